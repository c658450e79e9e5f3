"""Where bars go out: as events of one symbol, in order, and boundaries after them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tapewatch.feeds.boundary import Boundaries, Series
from tapewatch.feeds.clock import ExchangeClock
from tapewatch.feeds.observer import FeedObserver, FrameCounts, Source
from tapewatch.model import INTERVAL_NAMES, MINUTE_MS, Bar, BarClosed, Boundary, Correction, Event, History, fault_of


class Release:
    """Turns released bars into events.

    Args:
        sink: takes the events; what it raises ends the feed.
        failing: whether REST fails, so that nobody knows when a missing bar can be had.
    """

    def __init__(
        self,
        sink: Callable[[list[Event]], None],
        clock: ExchangeClock,
        counts: FrameCounts,
        observer: FeedObserver,
        boundaries: Boundaries,
        failing: Callable[[], bool],
    ) -> None:
        self._sink = sink
        self._clock = clock
        self._counts = counts
        self._observer = observer
        self._boundaries = boundaries
        self._failing = failing
        self._said_ms = 0
        #: Set when nothing more can be had of a boundary for now.
        self.handled = asyncio.Event()

    def bars(self, series: Series, bars: list[Bar], source: Source) -> list[Bar]:
        """Send out what the sequence has released; those that were live come back."""
        now_ms, wall_s = self._clock.now_ms(), self._clock.wall_s()
        self._boundaries.moved(series, wall_s)
        events: list[Event] = []
        live: list[Bar] = []
        for bar in bars:
            while series.larger and series.larger[0].close_ms <= bar.close_ms:
                events.append(History(series.larger.popleft()))
            if bar.open_ms <= series.decided_ms:
                events.append(History(bar))
            else:
                live.append(bar)
                close_ms = bar.close_ms
                events.append(BarClosed(bar, close_ms if close_ms > now_ms else now_ms))  # noqa: FURB136  (every bar)
                self._observer.released(bar, source, self._delay_ms(close_ms, now_ms, wall_s))
        self._sink(events)
        if self._boundaries.complete:
            self.look_at_boundary()  # deadlines are looked at by the clock's watch
        return live

    def correction(self, before: Bar, after: Bar) -> None:
        """A bar that went out came again with other values: told, and never processed again."""
        self._counts.corrections += 1
        self._observer.correction(after.symbol, after.open_ms)
        self._sink([Correction(before, after, max(self._clock.now_ms(), after.close_ms))])

    def refuse(self, bar: Bar, reason: str) -> None:
        """A candle that makes no sense is left out."""
        self._counts.refused += 1
        self._observer.refused(bar.symbol, bar.open_ms, reason)

    def sound(self, bars: list[Bar]) -> list[Bar]:
        """Those bars of REST that make sense; the others are refused."""
        sound = []
        for bar in bars:
            reason = fault_of(bar)
            if reason is None:
                sound.append(bar)
            else:
                self.refuse(bar, f"{reason} ({INTERVAL_NAMES[bar.interval_ms]}, REST)")
        return sound

    def look_at_boundary(self) -> None:
        """Say that a boundary is complete, or that nothing more will be waited for."""
        boundary_ms, wall_s = self._boundaries.boundary_ms, self._clock.wall_s()
        if self._clock.paced:  # what is reckoned may not have come yet
            boundary_ms = min(boundary_ms, self._clock.shown_ms // MINUTE_MS * MINUTE_MS)
        handled = self._boundaries.handled(wall_s, failing=self._failing(), reached_ms=boundary_ms)
        passed = handled if self._clock.paced else self._boundaries.passed(wall_s)
        if passed and boundary_ms > self._said_ms:
            self._said_ms = boundary_ms
            self._sink([Boundary(boundary_ms)])
        if handled:
            self.handled.set()

    def _delay_ms(self, close_ms: int, now_ms: int, wall_s: float) -> int:
        """How long after its close a bar goes out, by the exchange's clock.

        A paced simulation passes minutes in the time a frame takes and says nothing about this program by that: there a
        bar is measured on the wall clock, from the moment its boundary was known.
        """
        if self._clock.paced:
            return int(self._boundaries.known_for_s(close_ms, wall_s) * 1000)
        return max(now_ms - close_ms, 0)
