"""What a market is like on one timeframe: the language's regimes and a trend, kept for a symbol bar by bar."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

from tapewatch.bars import Saved
from tapewatch.engine.slots import restore_state, saved_state
from tapewatch.model import INTERVAL_NAMES, INTERVALS_MS, NAN, Bar, Outlook
from tapewatch.strategy.definition import REGIMES, Strategy
from tapewatch.strategy.expression import Reader
from tapewatch.strategy.graph import TRUE, UNKNOWN, Graph, settling
from tapewatch.strategy.program import LEAST_WINDOW
from tapewatch.strategy.step import FrameStep, compile_frame

#: As a signal's bias: bullish is up, bearish is down.
_UP = "close > ema(close, 50) and ema(close, 9) > ema(close, 21)"
_DOWN = "close < ema(close, 50) and ema(close, 9) < ema(close, 21)"
_HOLDS = (False, None, True)


@dataclass(frozen=True)
class OutlookStep:
    """The conditions of an outlook on one interval, compiled.

    Attributes:
        step: computes them.
        places: of each regime, of up and of down among its values.
        natr: the place of natr(14).
        settled_at: index of the first bar, from the start of a series, on which all of them are settled.
    """

    step: FrameStep
    places: tuple[int, ...]
    natr: int
    settled_at: int

    @property
    def window(self) -> int:
        """Bars of history before it is settled."""
        return max(LEAST_WINDOW, self.settled_at + 1)


@cache
def outlook_step(interval_ms: int) -> OutlookStep:
    """The outlook on bars of this interval; made once."""
    graph = Graph()
    reader = Reader(graph, {}, {})
    nodes = [reader.regime(name, interval_ms) for name in REGIMES]
    nodes += [reader.read(text, interval_ms, "condition", "outlook") for text in (_UP, _DOWN)]
    natr = reader.read("natr(14)", interval_ms, "number", "outlook")  # which the regimes are made of
    step = compile_frame(graph, interval_ms, None)
    places = tuple(step.nodes.index(node) for node in nodes)
    return OutlookStep(step, places, step.nodes.index(natr), settling(graph.nodes)[interval_ms])


def outlook_frames(strategy: Strategy) -> set[int]:
    """The intervals whose outlooks the signals of a strategy carry: of its timeframes, and the higher one of each."""
    names = [*strategy.timeframes, *(strategy.higher.get(name) for name in strategy.timeframes)]
    return {INTERVALS_MS[name] for name in names if name is not None}


class OutlookRunner:
    """The outlook of one symbol on one interval.

    Attributes:
        natr: natr(14) at the last bar; NaN where it is not known, as before the first bar after a restart.
    """

    __slots__ = ("_codes", "_state", "_step", "natr")

    def __init__(self, interval_ms: int) -> None:
        self._step = outlook_step(interval_ms)
        self._state = self._step.step.fresh_state()
        self._codes = [UNKNOWN] * len(self._step.places)
        self.natr = NAN

    def feed(self, bar: Bar) -> None:
        """Take the next bar."""
        result = self._step.step.function(bar, self._state, (), True)
        assert result is not None
        values = result[1]
        self._codes = [int(values[place]) for place in self._step.places]
        self.natr = values[self._step.natr]

    def outlook(self, count: int) -> Outlook:
        """At the last of `count` bars; nothing is known before all of it is settled."""
        step = self._step
        codes = self._codes if count > step.settled_at else [UNKNOWN] * len(self._codes)
        *regimes, up, down = codes
        trend: Literal["up", "down", "flat"] | None = None
        if UNKNOWN not in (up, down):
            trend = "up" if up == TRUE else "down" if down == TRUE else "flat"
        holds = {name: _HOLDS[code] for name, code in zip(REGIMES, regimes, strict=True)}
        return Outlook(INTERVAL_NAMES[step.step.frame_ms], holds, trend)

    def saved(self) -> Saved:
        """What `restore` makes it again."""
        return [saved_state(self._state), self._codes]

    def restore(self, saved: Saved) -> None:
        """Become what was saved. Raises ValueError where that is another outlook's."""
        state, codes = saved
        restore_state(self._state, state)
        if len(codes) != len(self._codes):
            raise ValueError("the outlook is another one's")
        self._codes = list(codes)
