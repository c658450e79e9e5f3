"""What a scoring model learns from: past signals as rows of features, each with what became of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from tapewatch.features import FeatureSet, features_of
from tapewatch.model import INTERVALS_MS, Signal
from tapewatch.strategy import Strategy, compile_program
from tapewatch.study.labels import Label


def examples_of(strategy: Strategy, labelled: Iterable[tuple[Signal, Label | None]]) -> Examples:
    """A row for each of a strategy's signals that was settled and has ended, by close, symbol, timeframe and side.

    Those whose time limit lies after the last known end are left out: of these only the quick ones have ended.
    """
    pairs = [(signal, label) for signal, label in labelled if signal.settled and label and label.get("end_ms")]
    last_ms = max((label["end_ms"] for _, label in pairs), default=0)

    def whole(signal: Signal) -> bool:
        return signal.close_ms + strategy.time_limit * INTERVALS_MS[signal.timeframe] <= last_ms

    pairs = [(signal, label) for signal, label in pairs if whole(signal)]
    pairs.sort(key=lambda pair: (pair[0].close_ms, pair[0].symbol, pair[0].timeframe, pair[0].side))
    known = FeatureSet.of(compile_program(strategy, strategy.timeframes[0]))
    rows = [[*features_of(signal, known).values()] for signal, _ in pairs]
    return Examples(
        known.names,
        np.array(rows, np.float64).reshape(len(pairs), len(known.names)),
        np.array([label["result"] == "target" for _, label in pairs], np.bool_),
        np.array([all(verdict.passed for verdict in signal.verdicts) for signal, _ in pairs], np.bool_),
        np.array([signal.close_ms for signal, _ in pairs], np.int64),
        np.array([label["end_ms"] for _, label in pairs], np.int64),
        np.array([label["gross_pct"] for _, label in pairs], np.float64),
        np.array([label["risk_pct"] for _, label in pairs], np.float64),
    )


class Examples(NamedTuple):
    """Signals that were settled and have ended, a row each, by close.

    Attributes:
        names: of the features.
        values: (rows, features) float64, NaN where unknown.
        hit: whether the first target was touched first.
        passed: whether the gate let it through.
        close_ms: when its bar closed, and `known_ms` when the candle had that ended it.
        gross_pct, risk_pct: what it brought before costs and the way to its stop, in percent of the entry.
    """

    names: tuple[str, ...]
    values: Any
    hit: Any
    passed: Any
    close_ms: Any
    known_ms: Any
    gross_pct: Any
    risk_pct: Any

    @property
    def n(self) -> int:
        """How many."""
        return len(self.hit)

    def rows(self, chosen: Any) -> Examples:
        """Only these rows, chosen by number or by a mask."""
        return Examples(self.names, *(column[chosen] for column in self[1:]))

    def only(self, places: Any) -> Examples:
        """Only the features at these places."""
        return self._replace(names=tuple(self.names[place] for place in places), values=self.values[:, places])

    @property
    def varying(self) -> Any:
        """The places of the features with two known values or more; the others cannot tell rows apart."""
        known = np.isfinite(self.values)
        lowest = np.where(known, self.values, np.inf).min(axis=0, initial=np.inf)
        highest = np.where(known, self.values, -np.inf).max(axis=0, initial=-np.inf)
        return np.flatnonzero(lowest < highest)

    @property
    def hash(self) -> str:
        """32 hex digits of all that is learned from."""
        digest = hashlib.blake2b("\0".join(self.names).encode(), digest_size=16)
        for column in self[1:]:
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()
