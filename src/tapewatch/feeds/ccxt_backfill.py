"""Every bar of an exchange behind CCXT comes this way: asked for over REST, sent out when it is final."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import takewhile

from tapewatch.errors import DataError, EdgeError
from tapewatch.feeds.backfill import Backfill, known_ms_of
from tapewatch.feeds.boundary import Boundaries, Series
from tapewatch.feeds.budget import Urgency
from tapewatch.feeds.ccxt_final import Finality, figures
from tapewatch.feeds.ccxt_rest import CcxtRest
from tapewatch.feeds.ccxt_stream import CcxtStream
from tapewatch.feeds.clock import ExchangeClock
from tapewatch.feeds.observer import FeedObserver
from tapewatch.feeds.release import Release
from tapewatch.feeds.settings import FeedSettings
from tapewatch.model import MINUTE_MS, Bar, fault_of

#: Candles before the first missing one that are asked for again with it, to see whether they have changed.
RECHECKED = 2
#: So many times in a row REST did not have yet what the stream had ended: from then on it is left to settle.
EARLY_MISSES = 20


class CcxtBackfill(Backfill):
    """First windows as everywhere; then every bar, as soon as the stream has ended it or it has settled.

    Args:
        stream: None where there is none.
        finality: says which candles may go out.
    """

    def __init__(
        self,
        settings: FeedSettings,
        rest: CcxtRest,
        clock: ExchangeClock,
        observer: FeedObserver,
        boundaries: Boundaries,
        release: Release,
        stream: CcxtStream | None,
        finality: Finality,
        drained: Callable[[], Awaitable[None]] | None,
    ) -> None:
        super().__init__(settings, rest, clock, observer, boundaries, release, lambda _series, _bars: None, drained)
        self._stream = stream
        self._finality = finality
        self._rest_s = settings.recheck_s[-1]
        self._early: dict[Series, None] = {}
        self._misses = 0

    def ended(self, series: Series, close_ms: int) -> bool:
        """The stream has begun the candle after `close_ms`; whether the one before is to be asked for at once."""
        worth = series.started and series.due_ms <= close_ms and self._misses < EARLY_MISSES
        if worth:
            self._early[series] = None
        return worth

    def early(self) -> list[Series]:
        """Who is to be asked for before the candle has settled."""
        self._early = {series: None for series in self._early if not series.gone}
        return [series for series in self._early if not series.busy]

    async def fetch(self, series: Series, asked_ms: int) -> None:
        """Fetch what is missing, as of `asked_ms`."""
        early = series in self._early
        self._early.pop(series, None)
        try:
            if not series.asked:
                await self._larger(series, asked_ms)
            found = await self._ask(series, asked_ms, early=early)
        except DataError as error:
            self._observer.warning(f"{series.symbol}: the exchange refuses its candles: {error}")
            found = 0
        except EdgeError as error:  # others get answers: it makes room for them
            self._observer.warning(f"{series.symbol}: its candles cannot be had for now: {error}")
            series.not_before_s = self._clock.wall_s() + self._rest_s
            return
        series.asked = True
        if series.gone or found is None:
            return
        if early:
            self._misses = 0 if found else self._misses + 1
            return
        self._place(series, found)

    async def _ask(self, series: Series, asked_ms: int, *, early: bool) -> int | None:
        """Base bars from the first missing one on; how far the series moved, None when nothing can be there yet."""
        sequence = series.sequence
        settled_ms = (asked_ms - self._settle_ms) // MINUTE_MS * MINUTE_MS
        ended_ms = self._stream.newest_ms(series.symbol) if early and self._stream is not None else 0
        ended_ms = max(settled_ms, min(ended_ms, asked_ms // MINUTE_MS * MINUTE_MS))
        first_ms = sequence.next_ms
        if first_ms >= ended_ms:
            return None
        gap = series.started and series.checks == 0 and settled_ms - first_ms > MINUTE_MS and not early
        if gap:
            self._observer.gap(series.symbol, first_ms, settled_ms)
        moved = filled = 0
        while sequence.next_ms < ended_ms:
            from_ms = sequence.next_ms - (RECHECKED * MINUTE_MS if series.started else 0)
            urgency = Urgency.GAP if series.started else Urgency.BOOTSTRAP
            page = await self._rest.bars(series.symbol, MINUTE_MS, from_ms, None, urgency, series.volume)
            if series.gone:
                return None
            self._look_again(series, page.bars)
            released, outages = self._send(series, page.bars, settled_ms, ended_ms)
            if released and not series.started and self._drained is not None:
                await self._drained()  # windows come faster than they are worked off: memory is not for waiting
            filled += released
            moved += released + outages
            if not page.full or not (released or outages):
                break
        if gap and filled:
            self._observer.filled(series.symbol, first_ms, filled)
        return moved

    def _send(self, series: Series, rows: list[Bar], settled_ms: int, ended_ms: int) -> tuple[int, int]:
        """What of REST's rows can go out, sent; how many that were, and how many holes were found empty."""
        sequence = series.sequence
        ahead = [bar for bar in rows if bar.open_ms >= sequence.next_ms and bar.close_ms <= ended_ms]
        ended = self._release.sound(ahead)
        final = list(takewhile(lambda bar: self._finality.is_final(bar, settled_ms), ended))
        known_ms = known_ms_of(series, rows, settled_ms)
        if len(final) < len(ended):
            known_ms = min(known_ms, ended[len(final)].open_ms)
        released, outages = sequence.fill(final, known_ms)
        self._report(series, outages)
        if released:
            self._release.bars(series, released, "rest")
        elif outages:
            self._boundaries.moved(series, self._clock.wall_s())
        return len(released), len(outages)

    def _look_again(self, series: Series, rows: list[Bar]) -> None:
        """Bars that went out and have other figures now are corrections."""
        for after in rows:
            before = series.sequence.known(after.open_ms) if after.open_ms > series.decided_ms else None
            if before is not None and figures(after) != figures(before) and fault_of(after) is None:
                series.sequence.correct(after)
                self._release.correction(before, after)
