"""What the engine keeps for one symbol: its larger bars in the making, and every program's state on every frame."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tapewatch.bars import BarBuilder, Saved
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
        #: Of the larger frames, whose values are read at the program's own closes.
        self._latest: list[Values] = [step.unknown_values() for step in program.steps[:-1]]

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
        return fired, Evidence(program, [*self._latest, values])

    def state_of(self, interval_ms: int) -> list[float]:
        """The single numbers of a frame's state, for the report of a step that raised."""
        state = self._states[self.program.frames.index(interval_ms)]
        return [slot for slot in state if isinstance(slot, float | int)]

    def saved(self) -> Saved:
        """What `restore` makes it again: every frame's state, and the larger frames' values at their last close."""
        states = [list(map(_saved_slot, state)) for state in self._states]
        return [states, [list(map(_saved_number, values)) for values in self._latest]]

    def restore(self, saved: Saved) -> None:
        """Become what was saved. Raises ValueError where that is another program's."""
        states, latest = saved
        for state, slots in zip(self._states, states, strict=True):
            if [type(slot) is bytes for slot in slots] != [isinstance(slot, array) for slot in state]:
                raise ValueError("the state is another program's")
            for place, slot in enumerate(slots):
                state[place] = _slot(state[place], slot)
        if [len(values) for values in latest] != [len(values) for values in self._latest]:
            raise ValueError("the values are another program's")
        self._latest = [tuple(map(_number, values)) for values in latest]


def _saved_slot(slot: float | array[float]) -> Any:
    if isinstance(slot, array):
        return slot.tobytes()
    return _saved_number(slot)


def _saved_number(number: float) -> Any:
    # A user's indicator may count beyond 64 bits.
    return number if type(number) is float or -(2**63) <= number < 2**63 else [str(number)]


def _number(saved: Any) -> float:
    value: float = int(saved[0]) if isinstance(saved, list) else saved
    return value


def _slot(fresh: float | array[float], saved: Any) -> float | array[float]:
    if isinstance(fresh, array):
        ring = array("d", saved)
        if len(ring) != len(fresh):
            raise ValueError("a window has another length")
        return ring
    return _number(saved)


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

    def saved(self) -> Saved:
        """What `restore` makes it again, without its runners."""
        builder = self.builder.saved() if self.builder is not None else None
        return [self.interval_ms, self.start_ms, self.last_open_ms, self.count, builder]

    def restore(self, saved: Saved) -> None:
        """Become what was saved. Raises ValueError where that is another interval's."""
        interval_ms, self.start_ms, self.last_open_ms, self.count, builder = saved
        if interval_ms != self.interval_ms or (builder is None) != (self.builder is None):
            raise ValueError("the state is another interval's")
        if self.builder is not None:
            self.builder.restore(builder)


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
        #: Whether a bar has come that is to be decided on; before, its windows may not be whole.
        self.live = False
        self._runners: list[Runner] = []
        self._hours: dict[int, float] = {}
        self._symbol = ""

    def start(self, first_base_ms: int) -> None:
        """Make the frames; larger bars are built from the first bucket that base bars cover wholly."""
        self._runners = runners = [Runner(program) for program in self._programs]
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

    def saved(self) -> Saved:
        """What `restore` makes a started series again."""
        frames = [frame.saved() for frame in self.frames.values()]
        runners = [runner.saved() for runner in self._runners]
        return [frames, runners, list(self._hours.items()), self._symbol, self.live]

    def restore(self, saved: Saved) -> None:
        """Become what was saved, started or not. Raises ValueError where that is of other strategies."""
        self.start(0)
        frames, runners, hours, self._symbol, self.live = saved
        for frame, of_frame in zip(self.frames.values(), frames, strict=True):
            frame.restore(of_frame)
        for runner, of_runner in zip(self._runners, runners, strict=True):
            runner.restore(of_runner)
        self._hours = dict(hours)  # in their order, in which they are added up
