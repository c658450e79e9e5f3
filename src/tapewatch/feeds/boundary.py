"""Which symbols' bars are due, which did not come, and when to ask for them. Pure: it is told the time.

No frame ever says that a bar will not come, so a boundary is watched by the clock: what is missing a settling delay
after it is asked for over REST, and asked for again until it is there or shown not to exist.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from tapewatch.feeds.sequence import Sequence
from tapewatch.feeds.settings import FeedSettings
from tapewatch.model import MINUTE_MS, Bar

#: Wall seconds a simulated clock is held at most for bars that REST does not hand out.
PATIENCE_S = 3.0


@dataclass(slots=True, eq=False)
class Series:
    """One symbol's way from the exchange to the engine.

    Args:
        decided_ms: base bars that open up to this are history: an earlier run decided them, or nobody has to.
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
    larger: deque[Bar] = field(default_factory=deque)
    asked: bool = False
    started: bool = False
    busy: bool = False
    checks: int = 0
    not_before_s: float = 0.0

    @property
    def due_ms(self) -> int:
        """The close of the first bar that has not gone out."""
        return self.sequence.next_ms + MINUTE_MS


class Boundaries:
    """Watches one minute boundary after the other for all symbols.

    Args:
        series: every symbol's.
        start_ms: the exchange's time at the start.
    """

    def __init__(self, series: Iterable[Series], settings: FeedSettings, start_ms: int) -> None:
        self._series = list(series)
        self._settle_ms = settings.settle_ms
        self._settle_wall_s = settings.settle_wall_s
        self._recheck_s = settings.recheck_s
        self.boundary_ms = start_ms // MINUTE_MS * MINUTE_MS
        self._opened_s = 0.0
        #: Symbols whose bars up to the boundary have not all gone out; `_quiet` of them REST has nothing newer either.
        self._waiting: dict[str, Series] = {}
        self._quiet: dict[str, Series] = {}
        self._sort()

    def open(self, boundary_ms: int, wall_s: float) -> None:
        """This boundary has come (a bar said so, or the clock)."""
        if boundary_ms > self.boundary_ms:
            self.boundary_ms, self._opened_s = boundary_ms, wall_s
            self._sort()

    def moved(self, series: Series, wall_s: float) -> None:
        """Bars of this symbol went out."""
        series.checks, series.not_before_s = 0, 0.0
        self.open(series.sequence.next_ms, wall_s)
        self._place(series)

    def checked(self, series: Series, wall_s: float) -> None:
        """REST had nothing new for this symbol; it is asked again later."""
        series.not_before_s = wall_s + self._recheck_s[min(series.checks, len(self._recheck_s) - 1)]
        series.checks += 1
        self._place(series)

    def hurry(self) -> None:
        """Ask at once for all that is missing: a connection was down."""
        for series in self._series:
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

    def handled(self, wall_s: float, *, failing: bool = False) -> bool:
        """Whether nothing more can be had of this boundary for now, so that a simulated clock may go on.

        While REST is `failing` nobody knows when it can be had; what is missing comes, late, when REST works again.
        """
        if not self._waiting:
            return True
        if wall_s - self._opened_s >= PATIENCE_S:
            return True
        return self._waited(wall_s) and (
            failing or all(series.started and series.due_ms >= self.boundary_ms for series in self._waiting.values())
        )

    def passed(self, wall_s: float) -> bool:
        """Whether the boundary is complete, or bars that have not come yet are late from now on."""
        return not self._waiting or wall_s - self._opened_s >= max(self._settle_wall_s, self._settle_ms / 1000)

    def _waited(self, wall_s: float) -> bool:
        return wall_s - self._opened_s >= self._settle_wall_s

    def _sort(self) -> None:
        self._waiting, self._quiet = {}, {}
        for series in self._series:
            self._place(series)

    def _place(self, series: Series) -> None:
        self._waiting.pop(series.symbol, None)
        self._quiet.pop(series.symbol, None)
        if series.due_ms <= self.boundary_ms or not series.started:
            (self._quiet if series.checks else self._waiting)[series.symbol] = series
