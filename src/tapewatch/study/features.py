"""The features of candidates as a table, and what a run would know of the surroundings of those on stored candles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from tapewatch.archive.candles import Candles
from tapewatch.archive.reader import intervals_of, series
from tapewatch.assets import split
from tapewatch.engine.rings import RETURNS, SLOT_MS, correlation, vector_of
from tapewatch.errors import SetupError
from tapewatch.features import VERSION, FeatureSet, features_of
from tapewatch.model import INTERVALS_MS, Outlook, Signal, Surroundings
from tapewatch.strategy import Program, Strategy
from tapewatch.study.dataset import KEYS, Column, Dataset, keys_of
from tapewatch.study.evaluate import Evaluator, interpreted
from tapewatch.study.regimes import outlooks_at
from tapewatch.study.signals import Reading, Request, asked_of, evaluator_of
from tapewatch.study.workers import sharing


def features_dataset(known: FeatureSet, signals: Iterable[Signal], about: Mapping[str, Any]) -> Dataset:
    """A row for each candidate with its features; those of `FeatureSet` of its strategy."""
    columns = [*KEYS, *(Column(name, "number", unit, meaning) for name, unit, meaning in known.features)]
    rows = ([*keys_of(signal), *features_of(signal, known).values()] for signal in signals)
    return Dataset.of("features", VERSION, columns, rows, about)


def surrounded(
    strategy: Strategy,
    request: Request,
    signals: Iterable[Signal],
    evaluator: Evaluator = "auto",
    workers: int = 1,
) -> Iterator[Signal]:
    """The candidates that `signals.find` has found with this request, in their order, with a `context`.

    It has the outlooks on the timeframe and its higher one, and the correlation with BTC of the same quote asset, as
    `Surroundings` of a run have them; what is no candles' business stays unknown.

    Raises:
        SetupError: the archive does not hold what is needed.
    """
    found = list(signals)
    of_symbol: dict[str, list[Signal]] = {symbol: [] for symbol in request.symbols}
    for signal in found:
        of_symbol[signal.symbol].append(signal)
    asked = asked_of(strategy, request)
    around = Around(strategy, asked, asked, request, evaluator_of(request, evaluator), {}, of_symbol)
    contexts: dict[str, Surroundings] = {}
    with sharing(around, [symbol for symbol, mine in of_symbol.items() if mine], workers) as gathered:
        for of_one in gathered():
            contexts |= of_one
    for signal in found:
        yield msgspec.structs.replace(signal, context=contexts[signal.id])


@dataclass(frozen=True)
class Around(Reading):
    """The surroundings of a symbol's candidates, by id: called with it.

    Attributes:
        of_symbol: symbol -> its candidates.
    """

    of_symbol: Mapping[str, Sequence[Signal]]

    def __call__(self, symbol: str) -> dict[str, Surroundings]:
        """Those of a symbol."""
        stored: dict[int, Candles] = {}
        read: dict[str, Candles] = {}
        bitcoin = self._bitcoin(symbol)
        contexts: dict[str, Surroundings] = {}
        for timeframe, program, frames in self.each(symbol, stored, read):
            mine = [signal for signal in self.of_symbol[symbol] if signal.timeframe == timeframe]
            if not mine:
                continue
            closes_ms = np.array([signal.close_ms for signal in mine])
            evaluator: Evaluator = "interpreted" if interpreted(frames, self.evaluator) else "columns"
            outlooks = [
                _outlooks(name, candles, closes_ms, evaluator)
                for name, candles in self._frames(symbol, program, frames, stored, read)
            ]
            correlations = np.full(len(mine), None, object)
            for base, rows in self.by_base(symbol, program, read, closes_ms):
                correlations[rows] = _correlations(base, bitcoin, closes_ms[rows])
            for signal, with_bitcoin, *known in zip(mine, correlations, *outlooks, strict=True):
                contexts[signal.id] = Surroundings(outlooks=tuple(known), btc_correlation=with_bitcoin)
        return contexts

    def _frames(
        self,
        symbol: str,
        program: Program,
        frames: Mapping[int, Candles],
        stored: dict[int, Candles],
        read: dict[str, Candles],
    ) -> Iterator[tuple[str, Candles | None]]:
        """The timeframe and its higher one, whether or not the program reads that; None where there are no candles."""
        yield program.timeframe, frames[program.interval_ms]
        higher = self.strategy.higher.get(program.timeframe)
        if higher is None:
            return
        length, request = INTERVALS_MS[higher], self.request
        if length in frames:
            yield higher, frames[length]
            return
        if length not in stored:
            try:
                stored[length] = series(request.root, request.venue, symbol, higher, read)
            except SetupError:
                yield higher, None
                return
        end_ms = None if request.until_ms is None else request.until_ms - length + 1
        yield higher, stored[length].slice(request.starts.get(length), end_ms)

    def _bitcoin(self, symbol: str) -> Candles | None:
        """The smallest candles of BTC in the symbol's quote asset; of BTC itself there are none."""
        base, quote = split(symbol)
        request, most = self.request, f"BTC{quote}"
        held = intervals_of(request.root, request.venue, most)
        if base == "BTC" or not held:
            return None
        until_ms = request.until_ms
        end_ms = None if until_ms is None else until_ms - INTERVALS_MS[held[0]] + 1
        return series(request.root, request.venue, most, held[0]).slice(None, end_ms)


def _outlooks(timeframe: str, candles: Candles | None, closes_ms: Any, evaluator: Evaluator) -> list[Outlook]:
    """At the last bar of candles that had closed by each of some closes."""
    unknown = Outlook(timeframe, {})
    if candles is None:
        return [unknown] * len(closes_ms)
    rows = np.searchsorted(candles.open_ms, closes_ms - candles.interval_ms, "right") - 1
    bars, places = np.unique(rows[rows >= 0], return_inverse=True)
    known = outlooks_at(candles, bars, evaluator)
    found = [unknown] * len(closes_ms)
    for row, place in zip(np.flatnonzero(rows >= 0).tolist(), places.tolist(), strict=True):
        found[row] = known[place]
    return found


def _correlations(own: Candles, bitcoin: Candles | None, closes_ms: Any) -> list[float | None]:
    """With BTC, on the slots that had ended before each of some closes."""
    slots = ((closes_ms - 1) // SLOT_MS).tolist()
    if bitcoin is None or max(own.interval_ms, bitcoin.interval_ms) > SLOT_MS:
        return [None] * len(slots)
    found: dict[int, float | None] = {}
    for slot in sorted(set(slots)):
        one, other = (_vector(candles, slot) for candles in (own, bitcoin))
        found[slot] = None if one is None or other is None else correlation(one, other)
    return [found[slot] for slot in slots]


def _vector(candles: Candles, slot: int) -> tuple[float, ...] | None:
    """As `engine.rings.Closes.vector` has it of these candles."""
    marks_ms = np.arange(slot - RETURNS, slot + 1) * SLOT_MS
    rows = np.searchsorted(candles.open_ms, marks_ms - candles.interval_ms, "right") - 1
    return vector_of(candles.close[rows].tolist()) if rows[0] >= 0 else None
