"""What the engine keeps for one symbol: its larger bars in the making, and every program's state on every frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tapewatch.bars import BarBuilder
from tapewatch.model import Bar
from tapewatch.strategy import Evidence, Program
from tapewatch.strategy.step import Fired, State, Values

HOUR_MS = 3_600_000
HOURS = 24


class Runner:
    """One program on one symbol."""

    __slots__ = ("_latest", "_states", "program")

    def __init__(self, program: Program) -> None:
        self.program = program
        self._states: list[State] = [step.fresh_state() for step in program.steps]
        self._latest: list[Values] = [step.unknown_values() for step in program.steps]

    def feed(self, bar: Bar, *, force: bool = False) -> tuple[Fired, Evidence] | None:
        """Take the next bar of one of the program's frames, in order of close, larger first.

        Returns what fired with the values, on the program's own timeframe when a side fires or `force` asks.
        """
        program = self.program
        position = program.frames.index(bar.interval_ms)
        result = program.steps[position].function(bar, self._states[position], self._latest, force)
        if bar.interval_ms != program.interval_ms:
            assert result is not None
            self._latest[position] = result[1]
            return None
        if result is None:
            return None
        fired, values = result
        return fired, Evidence(program, [*self._latest[:-1], values])

    def state_of(self, interval_ms: int) -> list[float]:
        """The single numbers of a frame's state, for the report of a step that raised."""
        state = self._states[self.program.frames.index(interval_ms)]
        return [slot for slot in state if isinstance(slot, float | int)]


@dataclass
class Frame:
    """One interval of one symbol: where its series starts, its last bar, how many there were, who reads it."""

    interval_ms: int
    builder: BarBuilder | None
    runners: list[Runner] = field(default_factory=list)
    start_ms: int = -1
    last_open_ms: int = -1
    count: int = 0

    def take(self, bar: Bar) -> bool:
        """Whether the bar is the next of the series; one that is not newer than the last is refused."""
        if bar.open_ms <= self.last_open_ms:
            return False
        if self.count == 0:
            self.start_ms = bar.open_ms
        self.last_open_ms = bar.open_ms
        self.count += 1
        return True


class Series:
    """All frames of one symbol.

    Args:
        base_ms: the base interval.
        programs: those that watch the symbol.
    """

    def __init__(self, base_ms: int, programs: Iterable[Program]) -> None:
        self.base_ms = base_ms
        self._programs = tuple(programs)
        self.frames: dict[int, Frame] = {}
        self._hours: dict[int, float] = {}
        self._symbol = ""

    def start(self, first_base_ms: int) -> None:
        """Make the frames; larger bars are built from the first bucket that base bars cover wholly."""
        runners = [Runner(program) for program in self._programs]
        intervals = {interval for program in self._programs for interval in program.frames}
        for interval_ms in sorted({*intervals, self.base_ms}, reverse=True):
            builder = None
            if interval_ms != self.base_ms:
                builder = BarBuilder(interval_ms, -(-first_base_ms // interval_ms) * interval_ms)
            readers = [runner for runner in runners if interval_ms in runner.program.frames]
            self.frames[interval_ms] = Frame(interval_ms, builder, readers)

    def count_volume(self, base: Bar) -> None:
        """Count a base bar for `rank`, in quote units by the hour."""
        self._symbol = base.symbol
        hour = base.open_ms // HOUR_MS
        known = base.quote_volume == base.quote_volume
        quote = base.quote_volume if known else base.volume * base.close
        if hour not in self._hours:
            self._hours = {old: total for old, total in self._hours.items() if old > hour - HOURS}
        self._hours[hour] = self._hours.get(hour, 0.0) + quote

    def rank(self) -> tuple[float, str]:
        """What orders symbols: the quote volume of this hour and the 23 before, the largest first, then the name."""
        return -sum(self._hours.values()), self._symbol

    def closed_by(self, base: Bar) -> list[Bar]:
        """The bars known once this base bar is known, in order of close, larger first; the base bar is the last."""
        done = [base]
        for frame in self.frames.values():
            if frame.builder is not None:
                done += frame.builder.add(base)
        done.sort(key=lambda bar: (bar.close_ms, -bar.interval_ms))
        return done
