"""Where the trades of a backtest come from: signals, and which of their factors were met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tapewatch.model import signal_id
from tapewatch.strategy import Strategy
from tapewatch.strategy.graph import FALSE, TRUE, UNKNOWN
from tapewatch.study.candidates import SIDES_BY_SIGN, SIGN, Found

#: As figures by factor are named; empty where the side has none of that name.
WORDS = {FALSE: "not_met", UNKNOWN: "unknown", TRUE: "met"}


@dataclass(frozen=True)
class Origins:
    """By the number of a candidate, what it was."""

    found: Found
    strategy: Strategy
    venue: str
    symbols: Sequence[str]

    def identity(self, n: int) -> str:
        """Its signal's id."""
        of = self.found
        symbol, timeframe = self.symbols[int(of.symbol[n])], self.strategy.timeframes[int(of.timeframe[n])]
        side, close_ms = SIDES_BY_SIGN[int(of.side[n])], int(of.decided_ms[n])
        return signal_id(self.venue, symbol, timeframe, self.strategy.name, side, close_ms)

    def factors(self, candidates: Sequence[int]) -> Factors:
        """What the factors were at each of these candidates."""
        return Factors(self, candidates)

    def worded(self, candidates: Sequence[int]) -> dict[str, list[str]]:
        """Factor -> what it was at each of these candidates, in `WORDS`; those of sides that none has are left out."""
        chosen = np.array(candidates, np.int64)
        codes, sides = self.found.factors[chosen], self.found.side[chosen]
        words = np.array([WORDS[code] for code in sorted(WORDS)], object)
        result: dict[str, Any] = {}
        for side, texts in self.strategy.sides.items():
            mine = sides == SIGN[side]
            for k, name in enumerate(texts if mine.any() else ()):
                of_name = result.setdefault(name, np.full(len(chosen), "", object))
                of_name[mine] = words[codes[mine, k]]
        return {name: of_name.tolist() for name, of_name in result.items()}


@dataclass(frozen=True, eq=False)  # equal to a mapping with the same words, as mappings are
class Factors(Mapping[str, Sequence[str]]):
    """As `Origins.worded`, put into words where somebody looks."""

    origins: Origins
    candidates: Sequence[int]

    @cached_property
    def _words(self) -> dict[str, list[str]]:
        return self.origins.worded(self.candidates)

    def __getitem__(self, name: str) -> Sequence[str]:
        return self._words[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._words)

    def __len__(self) -> int:
        return len(self._words)
