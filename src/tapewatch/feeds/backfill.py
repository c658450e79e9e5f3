"""What REST brings: a symbol's first windows, and the bars that no stream brought."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from tapewatch.errors import DataError
from tapewatch.feeds.boundary import Boundaries, Series
from tapewatch.feeds.budget import Urgency
from tapewatch.feeds.clock import ExchangeClock
from tapewatch.feeds.observer import FeedObserver
from tapewatch.feeds.release import Release
from tapewatch.feeds.rest import Page
from tapewatch.feeds.settings import FeedSettings
from tapewatch.model import MINUTE_MS, Bar

#: REST without any newer row shows an outage only after so many answers, so long after the hole.
OUTAGE_CHECKS, OUTAGE_MS = 5, 600_000
#: A row that has been there for a minute is of a candle that has closed.
UNFOLLOWED_S = 60.0


class CandleSource(Protocol):
    """What the exchange's REST is asked for."""

    async def bars(  # noqa: D102
        self, symbol: str, interval_ms: int, start_ms: int, end_ms: int | None, urgency: Urgency, volume: float
    ) -> Page: ...


class Backfill:
    """Asks REST for what is missing of one symbol at a time.

    Args:
        on_live: told the live bars that came this way.
        drained: awaited between pages of first windows, where given.
    """

    def __init__(
        self,
        settings: FeedSettings,
        rest: CandleSource,
        clock: ExchangeClock,
        observer: FeedObserver,
        boundaries: Boundaries,
        release: Release,
        on_live: Callable[[Series, list[Bar]], None],
        drained: Callable[[], Awaitable[None]] | None,
    ) -> None:
        self._settle_ms = settings.settle_ms
        self._rest = rest
        self._clock = clock
        self._observer = observer
        self._boundaries = boundaries
        self._release = release
        self._on_live = on_live
        self._drained = drained
        self._emergency_after_s = settings.emergency_after_s
        self._down_since_s: float | None = None
        #: Of a symbol the last row that nothing follows: its open, and when it was there first.
        self._last: dict[str, tuple[int, float]] = {}
        #: Bars come by polling: that they did not come by stream is no news.
        self.polling = False

    def look_at_streams(self, *, down: bool) -> None:
        """Polling begins when streams have been down for too long, and ends with the first that works."""
        now_s = self._clock.wall_s()
        if not down:
            self._down_since_s = None
        elif self._down_since_s is None:
            self._down_since_s = now_s
        polling = self._down_since_s is not None and now_s - self._down_since_s >= self._emergency_after_s
        if polling == self.polling:
            return
        self.polling = polling
        if polling:
            self._observer.emergency_began()
        else:
            self._observer.emergency_ended()

    async def fetch(self, series: Series, asked_ms: int) -> None:
        """Fetch what is missing, as of `asked_ms`."""
        try:
            if not series.asked:
                await self._larger(series, asked_ms)
            found = await self._base(series, asked_ms)
        except DataError as error:
            self._observer.warning(f"{series.symbol}: the exchange refuses its candles: {error}")
            found = 0
        finally:
            series.asked = True
        if not series.gone:
            self._place(series, found)

    def _place(self, series: Series, found: int | None) -> None:
        """Has the boundaries know whether the first windows are complete and what REST had, None for nothing yet."""
        first = not series.started and (found == 0 or series.due_ms > series.watched_ms)
        series.started = series.started or first
        if found == 0:
            self._boundaries.checked(series, self._clock.wall_s())
        elif first:
            self._boundaries.moved(series, self._clock.wall_s())

    async def _larger(self, series: Series, asked_ms: int) -> None:
        """The first windows of larger intervals, up to the first bucket that base history covers wholly."""
        base_ms = series.sequence.next_ms
        found: list[Bar] = []
        for interval_ms, first_ms in series.wanted.items():
            next_ms = first_ms
            covered_ms = -(-base_ms // interval_ms) * interval_ms
            end_ms = min(covered_ms, (asked_ms - self._settle_ms) // interval_ms * interval_ms) - interval_ms
            while next_ms <= end_ms and not series.gone:
                page = await self._rest.bars(
                    series.symbol, interval_ms, next_ms, end_ms, Urgency.BOOTSTRAP, series.volume
                )
                bars = [bar for bar in page.bars if next_ms <= bar.open_ms <= end_ms]
                found += self._release.sound(bars)
                if not page.full or not bars:
                    break
                next_ms = bars[-1].close_ms
        series.larger.extend(sorted(found, key=lambda bar: (bar.close_ms, -bar.interval_ms)))
        series.wanted = {}

    async def _base(self, series: Series, asked_ms: int) -> int | None:
        """Base bars from the first missing one on; how far the series moved, None when nothing is settled yet."""
        sequence = series.sequence
        urgency = Urgency.GAP if series.started else Urgency.BOOTSTRAP
        settled_ms = (asked_ms - self._settle_ms) // MINUTE_MS * MINUTE_MS
        first_ms = sequence.next_ms
        if first_ms >= settled_ms:
            return None
        said = series.started and not self.polling
        if said and series.checks == 0:
            self._observer.gap(series.symbol, first_ms, settled_ms)
        moved = filled = 0
        while sequence.next_ms < settled_ms:
            page = await self._rest.bars(series.symbol, MINUTE_MS, sequence.next_ms, None, urgency, series.volume)
            if series.gone:
                return None
            closed = self._release.sound(self._closed(page.bars, settled_ms))
            known_ms = known_ms_of(series, page.bars, settled_ms)
            released, outages = sequence.fill(closed, known_ms)
            self._report(series, outages)
            if released:
                live = self._release.bars(series, released, "rest")
                if series.started:
                    fetched = set(map(id, closed))  # what its stream brought was held, and goes out with it
                    self._on_live(series, [bar for bar in live if id(bar) in fetched])
                elif self._drained is not None:
                    await self._drained()  # windows come faster than they are worked off: memory is not for waiting
            elif outages:
                self._boundaries.moved(series, self._clock.wall_s())
            filled += len(released)
            moved += len(released) + len(outages)
            if not page.full or not (released or outages):
                break
        if said and filled:
            self._observer.filled(series.symbol, first_ms, filled)
        return moved

    def _closed(self, rows: list[Bar], settled_ms: int) -> list[Bar]:
        """Those that have closed by the clock, and by a younger row or an event: it may be ahead."""
        if rows and rows[-1].close_ms <= settled_ms and not self._has_closed(rows[-1]):
            rows = rows[:-1]
        return [bar for bar in rows if bar.close_ms <= settled_ms]

    def _has_closed(self, last: Bar) -> bool:
        if last.close_ms <= self._clock.heard_ms:
            return True
        open_ms, seen_s = self._last.get(last.symbol, (-1, 0.0))
        if open_ms != last.open_ms:
            self._last[last.symbol] = last.open_ms, self._clock.wall_s()
            return False
        return self._clock.wall_s() - seen_s >= UNFOLLOWED_S

    def _report(self, series: Series, outages: list[tuple[int, int]]) -> None:
        if series.started:  # before, it may simply not have been listed yet
            for from_ms, to_ms in outages:
                self._observer.outage(series.symbol, from_ms, to_ms)


def known_ms_of(series: Series, rows: list[Bar], settled_ms: int) -> int:
    """The open before which REST has shown all there is; what is missing before it does not exist."""
    # The newest row is running, and one may be late.
    known_ms = min(rows[-1].open_ms, settled_ms) if rows else 0
    return max(known_ms, settled_ms - OUTAGE_MS) if series.checks >= OUTAGE_CHECKS else known_ms
