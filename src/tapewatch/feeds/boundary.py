"""Which symbols' bars are due, which did not come, and when to ask for them. Pure: it is told the time.

No frame ever says that a bar will not come, so a boundary is watched by the clock: what is missing a settling delay
after it is asked for over REST, and asked for again until it is there or shown not to exist.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from tapewatch.feeds.port import SeriesPlan
from tapewatch.feeds.sequence import Sequence
from tapewatch.feeds.settings import FeedSettings
from tapewatch.model import MINUTE_MS, Bar

#: Wall seconds a simulated clock is held at most for bars that REST does not hand out; and while it fails.
PATIENCE_S = 3.0
IMPATIENCE_S = 0.5
#: Boundaries of which it is remembered when they came.
KEPT = 512


@dataclass(slots=True, eq=False)
class Series:
    """One symbol's way from the exchange to the engine.

    Args:
        decided_ms: base bars that open up to this are history: an earlier run decided them, or nobody has to.
        watched_ms: the exchange's time when it was first wanted; its first windows reach up to then.
        volume: what is traded in a day; the more, the earlier it is asked for.
        stream: the name of its stream.
        connected_ms: since when its stream has been carried by its connection.
        missed: closes in a row that came over REST though the stream stood.
        gone: it is watched no more; nothing of it may go out.
        larger: bars of larger intervals not yet sent out, ordered by close, the larger interval first.
        asked: the first windows were asked for.
        started: they are complete.
        busy: REST is being asked.
        checks: answers in a row that brought nothing.
        not_before_s: wall time before which REST is not asked again.
    """

    symbol: str
    sequence: Sequence
    decided_ms: int
    wanted: dict[int, int]
    watched_ms: int = 0
    volume: float = 0.0
    stream: str = ""
    connected_ms: int = 0
    missed: int = 0
    gone: bool = False
    larger: deque[Bar] = field(default_factory=deque)
    asked: bool = False
    started: bool = False
    busy: bool = False
    checks: int = 0
    not_before_s: float = 0.0

    @classmethod
    def of(cls, plan: SeriesPlan, now_ms: int) -> Series:
        """The beginning of what the plan asks for, wanted from now on."""
        base_ms = -(-plan.base_start_ms // MINUTE_MS) * MINUTE_MS
        decided_ms = plan.last_open_ms if plan.last_open_ms is not None else now_ms - MINUTE_MS
        return cls(
            plan.symbol,
            Sequence(base_ms),
            decided_ms,
            dict(plan.larger),
            watched_ms=now_ms,
            volume=plan.quote_volume_24h,
        )

    @property
    def due_ms(self) -> int:
        """The close of the first bar that has not gone out."""
        return self.sequence.next_ms + MINUTE_MS


class Boundaries:
    """Watches one minute boundary after the other for all symbols.

    The boundary of the start is told with `open`; a symbol that comes in the middle of a run is waited for like one at
    the start.
    """

    def __init__(self, settings: FeedSettings) -> None:
        self._series: dict[str, Series] = {}
        self._settle_ms = settings.settle_ms
        self._settle_wall_s = settings.settle_wall_s
        self._recheck_s = settings.recheck_s
        self.boundary_ms = 0
        self.opened_s = 0.0
        self._opened: dict[int, float] = {}
        #: Symbols whose bars up to the boundary have not all gone out; `_quiet` of them REST has nothing newer either.
        self._waiting: dict[str, Series] = {}
        self._quiet: dict[str, Series] = {}

    @property
    def complete(self) -> bool:
        """Whether nothing of the boundary is waited for."""
        return not self._waiting

    def add(self, series: Series) -> None:
        """Watch this one too."""
        self._series[series.symbol] = series
        self._place(series)

    def remove(self, series: Series) -> None:
        """Wait for this one no more."""
        series.gone = True
        for group in (self._series, self._waiting, self._quiet):
            group.pop(series.symbol, None)

    def open(self, boundary_ms: int, wall_s: float) -> None:
        """This boundary has come (a bar said so, or the clock)."""
        if boundary_ms > self.boundary_ms:
            for passed_ms in range(max(self.boundary_ms, boundary_ms - KEPT * MINUTE_MS), boundary_ms, MINUTE_MS):
                self._opened[passed_ms + MINUTE_MS] = wall_s
            while len(self._opened) > KEPT:
                del self._opened[next(iter(self._opened))]
            self.boundary_ms, self.opened_s = boundary_ms, wall_s
            self._sort()

    def known_for_s(self, close_ms: int, wall_s: float) -> float:
        """How long a boundary has been known, by the wall clock; one before all that are remembered as long as they."""
        if close_ms > self.boundary_ms:
            return 0.0
        first_s = next(iter(self._opened.values()), self.opened_s)
        return wall_s - self._opened.get(close_ms, first_s)

    def moved(self, series: Series, wall_s: float) -> None:
        """Bars of this symbol went out."""
        series.checks, series.not_before_s = 0, 0.0
        next_ms = series.sequence.next_ms
        if next_ms > self.boundary_ms:
            self.open(next_ms, wall_s)
        elif next_ms < self.boundary_ms or not series.started:
            self._place(series)
        else:
            self._waiting.pop(series.symbol, None)
            self._quiet.pop(series.symbol, None)

    def checked(self, series: Series, wall_s: float) -> None:
        """REST had nothing new for this symbol; it is asked again later."""
        series.not_before_s = wall_s + self._recheck_s[min(series.checks, len(self._recheck_s) - 1)]
        series.checks += 1
        self._place(series)

    def hurry(self, symbols: Iterable[str]) -> None:
        """Ask at once for all that is missing of these: their connection was down."""
        for symbol in symbols:
            if (series := self._series.get(symbol)) is not None:
                series.not_before_s = 0.0

    def to_fetch(self, now_ms: int, wall_s: float) -> list[Series]:
        """The symbols to ask REST for now: bars settled, waited for long enough, not asked for a moment ago."""
        settled_ms = now_ms - self._settle_ms
        # The newest boundary's bars may still be on their way, however fast the exchange's clock runs.
        due_ms = self.boundary_ms if self._waited(wall_s) else self.boundary_ms - MINUTE_MS
        limit_ms = min(settled_ms, due_ms)
        return [
            series
            for group in (self._waiting, self._quiet)
            for series in group.values()
            if (series.due_ms <= limit_ms or not series.asked) and not series.busy and series.not_before_s <= wall_s
        ]

    def handled(self, wall_s: float, *, failing: bool = False, reached_ms: int | None = None) -> bool:
        """Whether nothing more can be had of this boundary for now, so that a simulated clock may go on.

        While REST is `failing` nobody knows when it can be had, and it is waited for less: what is missing comes, late,
        when REST works again. Not at all would let a simulation run through hours of faults between two requests. A
        boundary that is only reckoned to have come, beyond what the exchange has shown (`reached_ms`), is not waited
        for: its bars come when the clock goes on.
        """
        if not self._waiting:
            return True
        if wall_s - self.opened_s >= (IMPATIENCE_S if failing else PATIENCE_S):
            return True
        return self._waited(wall_s) and all(
            series.started and series.due_ms >= (reached_ms or self.boundary_ms) for series in self._waiting.values()
        )

    def passed(self, wall_s: float) -> bool:
        """Whether the boundary is complete, or bars that have not come yet are late from now on."""
        return not self._waiting or wall_s - self.opened_s >= max(self._settle_wall_s, self._settle_ms / 1000)

    def _waited(self, wall_s: float) -> bool:
        return wall_s - self.opened_s >= self._settle_wall_s

    def _sort(self) -> None:
        self._waiting, self._quiet = {}, {}
        for series in self._series.values():
            self._place(series)

    def _place(self, series: Series) -> None:
        self._waiting.pop(series.symbol, None)
        self._quiet.pop(series.symbol, None)
        if series.due_ms <= self.boundary_ms or not series.started:
            (self._quiet if series.checks else self._waiting)[series.symbol] = series
