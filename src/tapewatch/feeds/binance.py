"""The Binance spot feed: every symbol's closed 1m bars, from history to live, in order, each once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from collections.abc import Sequence as SequenceOf
from contextlib import nullcontext, suppress

from tapewatch.errors import DataError, first_of
from tapewatch.feeds.backfill import Backfill
from tapewatch.feeds.book import OrderBook
from tapewatch.feeds.boundary import Boundaries, Series
from tapewatch.feeds.budget import Urgency
from tapewatch.feeds.clock import ExchangeClock, keep_synced
from tapewatch.feeds.fetches import Fetches
from tapewatch.feeds.history import futures_of
from tapewatch.feeds.observer import FeedObserver, FrameCounts
from tapewatch.feeds.pool import Pool
from tapewatch.feeds.port import Connection, FundingRate, Instrument, Quote, SeriesPlan, Ticker
from tapewatch.feeds.progress import Progress
from tapewatch.feeds.rechecks import Rechecks
from tapewatch.feeds.release import Release
from tapewatch.feeds.rest import Rest
from tapewatch.feeds.sequence import Offer
from tapewatch.feeds.settings import FeedSettings
from tapewatch.feeds.wire import KlineEvent, bar_of, kline_stream
from tapewatch.model import MINUTE_MS, Bar, Event, fault_of

#: The all-market ticker.
TICKERS = "!miniTicker@arr"
#: So many closes in a row over REST, and a stream that stands is called silent.
MISSED = 3
#: A bar that closed this soon after its stream was subscribed may rightly not have come by it.
SUBSCRIBED_MS = 2_000
#: While REST and streams disagree about the time, it is asked for this often.
DOUBT_S = 20.0


class BinanceFeed:
    """Sends events of every watched symbol into `sink` until cancelled.

    Per symbol: bars of larger intervals and base bars as `History`, ordered by close with the larger interval first, up
    to the moment it was watched from (or to the last bar an earlier run decided); then every base bar once, in order,
    as `BarClosed`. What the stream does not bring comes over REST; what the exchange does not have is an outage and is
    left out. A bar that went out and comes again with other values is a `Correction`.

    Args:
        settings: hosts and deadlines.
        sink: takes the events of one symbol; what it raises ends `run`.
        observer: is told what happens.
        on_tickers: takes the all-market ticker, where it is given.
        drained: awaited before a simulator is told to go on, so that its clock cannot outrun whoever works off what
            `sink` took.
    """

    def __init__(
        self,
        settings: FeedSettings,
        sink: Callable[[list[Event]], None],
        observer: FeedObserver,
        *,
        on_tickers: Callable[[list[Ticker]], None] | None = None,
        drained: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.counts = FrameCounts()
        self.clock = ExchangeClock()
        self._settings = settings
        self._observer = observer
        self._on_tickers = on_tickers
        self._drained = drained
        self._rest = Rest(settings, self.clock, observer)
        self._futures = futures_of(settings, observer)
        self._series: dict[str, Series] = {}
        self._by_stream: dict[str, Series] = {}
        self._loading: set[Series] = set()
        self._boundaries = Boundaries(settings)
        self._release = Release(sink, self.clock, self.counts, observer, self._boundaries, lambda: self._rest.failing)
        self._backfill = Backfill(
            settings, self._rest, self.clock, observer, self._boundaries, self._release, self._came_late, drained
        )
        self._fetches = Fetches(settings.concurrency, self._fetch)
        self._rechecks = Rechecks(settings.recheck_ms, self._rest, self.clock, self._release, self._correct)
        self._pool = Pool(
            settings,
            self.clock,
            self.counts,
            observer,
            self._on_closed_bar,
            self._take_tickers,
            self._on_connected,
            self._symbol_of,
        )
        #: The last closes that any stream brought.
        self._streamed: deque[int] = deque(maxlen=16)
        self._unsure = False
        self._doubted_s = -DOUBT_S
        self._progress = Progress(observer, lambda: self.progress)
        self._ready = asyncio.Event()
        self._watching = asyncio.Event()
        self._connected = asyncio.Event()

    @property
    def used_weight(self) -> int:
        """The REST weight used in the current minute."""
        return self._rest.used_weight

    @property
    def progress(self) -> tuple[int, int]:
        """Symbols whose first windows are complete, and symbols watched."""
        return len(self._series) - len(self._loading), len(self._series)

    @property
    def emergency(self) -> bool:
        """Whether bars come by polling, because streams cannot be had."""
        return self._backfill.polling

    async def run(self) -> None:
        """Feeds until cancelled, through every trouble at the exchange.

        Raises:
            SetupError: hosts are wrong.
        """
        try:
            async with self._rest, self._futures or nullcontext(), asyncio.TaskGroup() as tasks:
                await self._start(tasks)
        except BaseExceptionGroup as group:
            raise first_of(group) from None

    async def ready(self) -> int:
        """The exchange's time, once REST has answered for the first time."""
        await self._ready.wait()
        return self.clock.sure_ms

    async def instruments(self) -> list[Instrument]:
        """Every symbol of the exchange, with its quote volume of 24 hours."""
        return await self._rest.instruments()

    async def quotes(self, symbols: SequenceOf[str]) -> dict[str, Quote]:
        """Best bid and ask now; a symbol that is unknown or has no book is left out."""
        return await self._rest.quotes(symbols)

    async def books(self, symbols: SequenceOf[str], within_s: float) -> dict[str, OrderBook]:
        """Order books now, of those that come in time."""
        return await self._rest.books(symbols, within_s)

    async def rates(self) -> dict[str, FundingRate]:
        """What perpetuals pay next. Raises DataError where no futures can be asked, and EdgeError."""
        if self._futures is None:
            raise DataError("there is no host for futures")
        return await self._futures.rates()

    def watch(self, plans: SequenceOf[SeriesPlan]) -> None:
        """Bring these symbols too; one that is watched already stays as it is."""
        now_ms = self.clock.sure_ms
        fresh = [Series.of(plan, now_ms) for plan in plans if plan.symbol not in self._series]
        for series in fresh:
            series.stream = kline_stream(series.symbol, MINUTE_MS)
            self._series[series.symbol] = self._by_stream[series.stream] = series
            self._loading.add(series)
            self._boundaries.add(series)
        self._pool.want([series.stream for series in fresh])
        if self._on_tickers is not None:
            self._pool.want([TICKERS])
        if fresh:
            self._progress.more()
            self._progress.look()
            self._watching.set()

    def unwatch(self, symbols: SequenceOf[str]) -> None:
        """Bring nothing more of these symbols, not even what was being fetched."""
        gone = [self._series.pop(symbol) for symbol in symbols if symbol in self._series]
        for series in gone:
            del self._by_stream[series.stream]
            self._loading.discard(series)
            self._boundaries.remove(series)
        self._pool.drop([series.stream for series in gone])
        if gone:
            self._progress.look()
            self._release.look_at_boundary()

    def connections(self) -> list[Connection]:
        """The streaming connections as they are now."""
        return self._pool.states()

    def _symbol_of(self, stream: str) -> str | None:
        # Not by its capitals: not every script has them, and those of `ß` are `SS`.
        series = self._by_stream.get(stream)
        return None if series is None else series.symbol

    async def _start(self, tasks: asyncio.TaskGroup) -> None:
        start_ms = await self._rest.sync_clock(Urgency.BOOTSTRAP)
        self._boundaries.open(start_ms // MINUTE_MS * MINUTE_MS, self.clock.wall_s())
        self._ready.set()
        tasks.create_task(keep_synced(self.clock, self._told_time))
        await self._watching.wait()
        if self.clock.paced:
            self._pool.pace(self._boundaries.boundary_ms)
            tasks.create_task(self._pace())
        tasks.create_task(self._pool.run())
        tasks.create_task(self._rechecks.run())
        tasks.create_task(self._watch(tasks))

    # What the connections bring.

    def _on_connected(self, names: frozenset[str]) -> None:
        started = [self._by_stream[name] for name in names if name in self._by_stream]
        for series in started:
            series.connected_ms, series.missed = self.clock.now_ms(), 0
        self._boundaries.hurry(series.symbol for series in started)
        self.clock.reconnected()
        self._unsure = True  # this machine may have slept
        self._connected.set()

    def _on_closed_bar(self, event: KlineEvent) -> None:
        counts = self.counts
        counts.closed += 1
        series = self._series.get(event.k.s)
        bar = bar_of(event.k)
        if series is None or bar.interval_ms != MINUTE_MS:
            counts.unexpected += 1
            return
        self.clock.seen(event.E, bar.close_ms)
        reason = fault_of(bar)
        if reason is None and bar.close_ms - 1 > event.E:
            reason = "closed before its time"
        if reason is not None:
            self._release.refuse(bar, reason)
            return
        series.missed = 0
        if bar.close_ms not in self._streamed:
            self._streamed.appendleft(bar.close_ms)
        if series.sequence.take(bar):
            self._release.bars(series, [bar], "ws")
            return
        offer = series.sequence.offer(bar)
        if offer is Offer.NEW:
            bars = series.sequence.release()
            if bars:
                self._release.bars(series, bars, "ws")
            else:
                series.not_before_s = 0.0  # it waits behind a hole: look at once
        elif offer is Offer.CORRECTION:
            known = series.sequence.known(bar.open_ms)
            assert known is not None, "only what is known can be corrected"
            self._correct(series, known, bar)
        else:
            counts.duplicates += 1
            self._observer.duplicate(bar.symbol, bar.open_ms)

    def _take_tickers(self, tickers: list[Ticker]) -> None:
        for ticker in tickers:
            series = self._series.get(ticker.symbol)
            if series is not None:
                series.volume = ticker.quote_volume_24h
        if self._on_tickers is not None:
            self._on_tickers(tickers)

    # What the clock brings.

    async def _watch(self, tasks: asyncio.TaskGroup) -> None:
        try:
            async with asyncio.timeout(self._settings.emergency_after_s):
                await self._connected.wait()
        except TimeoutError:
            self._unsure = True  # without streams everything comes over REST
        asking: asyncio.Task[None] | None = None
        while True:
            self._backfill.look_at_streams(down=self._pool.down)
            due = self._missing()
            if asking is not None and not asking.done():
                pass  # the exchange is being asked for its time
            elif self._unsure or self._doubts or (due and self.clock.paced and not self._fetches.waiting):
                # A simulated clock may lag behind its rate by minutes: rows are judged by what it showed before.
                asking = tasks.create_task(self._ask(tasks))
            elif due and not self.clock.paced:
                self._fetches.offer(due, self._boundaries.boundary_ms, self.clock.now_ms(), tasks)
            self._release.look_at_boundary()
            await asyncio.sleep(self._settings.tick_s)

    async def _ask(self, tasks: asyncio.TaskGroup) -> None:
        """Asks for the time before what is missing is fetched; the clock's watch must not wait for that."""
        self._unsure = False
        asked_ms = await self._told_time(Urgency.GAP)
        self._fetches.offer(self._missing(), self._boundaries.boundary_ms, asked_ms, tasks)

    @property
    def _doubts(self) -> bool:
        return self.clock.in_doubt and self.clock.wall_s() - self._doubted_s >= DOUBT_S

    async def _told_time(self, urgency: Urgency = Urgency.HOUSEKEEPING) -> int:
        """The exchange's time by REST; where it leaps and no event knows of it, the most liquid symbol decides."""
        await self._rest.sync_clock(urgency)
        if self.clock.refused_ms is not None and self._series:
            symbol = max(self._series.values(), key=lambda series: series.volume).symbol
            with suppress(DataError):
                page = await self._rest.bars(
                    symbol, MINUTE_MS, self.clock.heard_ms // MINUTE_MS * MINUTE_MS, None, urgency
                )
                self.clock.candle(max((bar.open_ms for bar in page.bars), default=0))
        if (refused_ms := self.clock.refused_ms) is not None:
            self._observer.warning(
                f"the exchange tells a time that is {refused_ms - self.clock.now_ms()} ms off its candles"
            )
        if self.clock.in_doubt:
            self._doubted_s = self.clock.wall_s()
        return self.clock.sure_ms

    def _missing(self) -> list[Series]:
        now_ms, wall_s = self.clock.now_ms(), self.clock.wall_s()
        self._boundaries.open(now_ms // MINUTE_MS * MINUTE_MS, wall_s)
        return self._boundaries.to_fetch(now_ms, wall_s)

    async def _pace(self) -> None:
        acknowledged_ms = self._boundaries.boundary_ms
        while True:
            await self._release.handled.wait()
            self._release.handled.clear()
            # What is reckoned may not have come; up to what the exchange has shown, nothing more is to be had.
            reached_ms = min(self._boundaries.boundary_ms, self.clock.shown_ms // MINUTE_MS * MINUTE_MS)
            if reached_ms > acknowledged_ms:
                if self._drained is not None:
                    await self._drained()
                acknowledged_ms = reached_ms
            elif self._boundaries.boundary_ms <= acknowledged_ms:
                continue
            self._pool.pace(acknowledged_ms)  # its reply tells the time

    # What REST brings.

    async def _fetch(self, series: Series, asked_ms: int) -> None:
        await self._backfill.fetch(series, asked_ms)
        if series.started:
            self._loading.discard(series)
        self._progress.look()

    def _came_late(self, series: Series, bars: list[Bar]) -> None:
        """Live bars came over REST: they are looked at again, and their stream may be silent."""
        self._rechecks.add(series, bars)
        self._pool.suspect(series.stream, bars[-1].close_ms if bars else 0)
        if self._backfill.polling:
            return
        series.missed += sum(self._missed(series, bar) for bar in bars)
        if series.missed >= MISSED:
            series.missed = 0
            self._observer.silent(series.symbol)
            self._pool.silent(series.stream)

    def _missed(self, series: Series, bar: Bar) -> bool:
        """Whether the stream should have brought this bar: other streams brought theirs, and it has trades in it.

        A connection that has not been read that far is behind, as all of them are when this program is busy.
        """
        subscribed = bar.close_ms > series.connected_ms + SUBSCRIBED_MS
        others_came = bar.close_ms in self._streamed and self._pool.heard(series.stream, bar.close_ms)
        return subscribed and others_came and bar.trades != 0

    def _correct(self, series: Series, before: Bar, after: Bar) -> None:
        series.sequence.correct(after)
        self._release.correction(before, after)
