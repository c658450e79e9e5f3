"""What the engine keeps for one symbol: its larger bars in the making, and every program's state on every frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tapewatch.bars import BarBuilder, Saved
from tapewatch.draw import salt_of
from tapewatch.engine.outlook import OutlookRunner, outlook_frames
from tapewatch.engine.rings import Chart, Closes
from tapewatch.engine.settings import MarketSettings
from tapewatch.engine.slots import number_of, restore_state, saved_number, saved_state
from tapewatch.errors import in_words
from tapewatch.model import Bar, StepFailed
from tapewatch.strategy import Evidence, Program
from tapewatch.strategy.step import Fired, State, Values

HOUR_MS = 3_600_000
HOURS = 24


class Runner:
    """One program on one symbol.

    Args:
        program: what is evaluated.
        drawing: the symbol whose random entries are drawn; None draws none.

    Attributes:
        salts: of each side, where they are drawn.
    """

    __slots__ = ("_latest", "_states", "program", "salts")

    def __init__(self, program: Program, drawing: str | None = None) -> None:
        self.program = program
        named = (drawing or "", program.strategy.name, program.timeframe)
        self.salts = tuple(salt_of(*named, plan.side) for plan in program.sides) if drawing is not None else ()
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

    def failed(self, bar: Bar, error: Exception | str) -> StepFailed:
        """The report of a step that raised on this bar, with the single numbers of its frame's state."""
        program = self.program
        state = self._states[program.frames.index(bar.interval_ms)]
        numbers = [slot for slot in state if isinstance(slot, float | int)]
        text, stack = (error, "") if isinstance(error, str) else in_words(error)
        return StepFailed(program.strategy.name, bar, text, numbers, program.timeframe, stack)

    def saved(self) -> Saved:
        """What `restore` makes it again: every frame's state, and the larger frames' values at their last close."""
        states = [saved_state(state) for state in self._states]
        return [states, [list(map(saved_number, values)) for values in self._latest]]

    def restore(self, saved: Saved) -> None:
        """Become what was saved. Raises ValueError where that is another program's."""
        states, latest = saved
        for state, slots in zip(self._states, states, strict=True):
            restore_state(state, slots)
        if [len(values) for values in latest] != [len(values) for values in self._latest]:
            raise ValueError("the values are another program's")
        self._latest = [tuple(map(number_of, values)) for values in latest]


@dataclass
class Frame:
    """One interval of one symbol: where its series starts, its last bar, how many there were, who reads it.

    `outlook` and `chart` are None where they are not wanted.
    """

    interval_ms: int
    builder: BarBuilder | None
    runners: list[Runner] = field(default_factory=list)
    outlook: OutlookRunner | None = None
    chart: Chart | None = None
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
        if self.outlook is not None:
            self.outlook.feed(bar)
        if self.chart is not None:
            self.chart.take(bar)
        return True

    def saved(self) -> Saved:
        """What `restore` makes it again, without its runners."""
        parts = [part.saved() if part is not None else None for part in (self.builder, self.outlook, self.chart)]
        return [self.interval_ms, self.start_ms, self.last_open_ms, self.count, *parts]

    def restore(self, saved: Saved) -> None:
        """Become what was saved. Raises ValueError where that is another interval's."""
        interval_ms, self.start_ms, self.last_open_ms, self.count, *parts = saved
        if interval_ms != self.interval_ms:
            raise ValueError("the state is another interval's")
        for part, of_part in zip((self.builder, self.outlook, self.chart), parts, strict=True):
            if (part is None) != (of_part is None):
                raise ValueError("the state is another interval's")
            if part is not None:
                part.restore(of_part)


class Series:
    """All frames of one symbol.

    Args:
        base_ms: the base interval.
        programs: those that watch the symbol.
        market: what is kept for surroundings.
        drawing: the symbol, where random entries are drawn.
    """

    def __init__(
        self,
        base_ms: int,
        programs: Iterable[Program],
        market: MarketSettings | None = None,
        *,
        drawing: str | None = None,
    ) -> None:
        self.base_ms = base_ms
        self._programs = tuple(programs)
        self._market = market or MarketSettings()
        self._drawing = drawing
        self.closes = Closes() if self._market.closes else None
        self.frames: dict[int, Frame] = {}
        #: Whether a bar has come that is to be decided on; before, its windows may not be whole.
        self.live = False
        #: Whether volumes are counted, for `rank`.
        self.counts = False
        self._runners: list[Runner] = []
        self._hours: dict[int, float] = {}
        self._symbol = ""

    def start(self, first_base_ms: int) -> None:
        """Make the frames; larger bars are built from the first bucket that base bars cover wholly."""
        self._runners = runners = [Runner(program, self._drawing) for program in self._programs]
        intervals = {interval for program in self._programs for interval in program.frames}
        viewed: set[int] = set()
        if self._market.outlooks:
            viewed = viewed.union(*(outlook_frames(program.strategy) for program in self._programs))
        shown = {program.interval_ms for program in self._programs} if self._market.candles else set()
        for interval_ms in sorted({*intervals, *viewed, self.base_ms}, reverse=True):
            builder = None
            if interval_ms != self.base_ms:
                builder = BarBuilder(interval_ms, -(-first_base_ms // interval_ms) * interval_ms)
            frame = Frame(interval_ms, builder)
            frame.runners = [runner for runner in runners if interval_ms in runner.program.frames]
            frame.outlook = OutlookRunner(interval_ms) if interval_ms in viewed else None
            frame.chart = Chart(self._market.candles) if interval_ms in shown else None
            self.frames[interval_ms] = frame

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
        closes = self.closes.saved() if self.closes is not None else None
        return [frames, runners, list(self._hours.items()), self._symbol, self.live, closes]

    def restore(self, saved: Saved) -> None:
        """Become what was saved, started or not. Raises ValueError where that is of other strategies."""
        self.start(0)
        frames, runners, hours, self._symbol, self.live, closes = saved
        if (closes is None) != (self.closes is None):
            raise ValueError("the state is of an engine that knows something else of its market")
        if self.closes is not None:
            self.closes.restore(closes)
        for frame, of_frame in zip(self.frames.values(), frames, strict=True):
            frame.restore(of_frame)
        for runner, of_runner in zip(self._runners, runners, strict=True):
            runner.restore(of_runner)
        self._hours = dict(hours)  # in their order, in which they are added up
