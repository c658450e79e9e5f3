"""The feed of any other exchange, through the CCXT library: closed 1m bars, from history to live, in order, each once.

Bars close by the exchange's clock and come over REST, which is asked for every one of them: as soon as the symbol's
stream has begun the next candle, else once it has settled. `ccxt_final` says which candle may go out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from collections.abc import Sequence as SequenceOf

from tapewatch.errors import DataError, first_of
from tapewatch.feeds.book import OrderBook
from tapewatch.feeds.boundary import Boundaries, Series
from tapewatch.feeds.budget import Urgency
from tapewatch.feeds.ccxt_backfill import CcxtBackfill
from tapewatch.feeds.ccxt_exchange import CcxtSettings, check_intervals, open_exchange
from tapewatch.feeds.ccxt_final import Finality
from tapewatch.feeds.ccxt_rest import ALL_WAIT, CONCURRENCY, CcxtRest
from tapewatch.feeds.ccxt_stream import CcxtStream
from tapewatch.feeds.clock import ExchangeClock, keep_synced
from tapewatch.feeds.fetches import Fetches
from tapewatch.feeds.observer import FeedObserver, FrameCounts
from tapewatch.feeds.port import Connection, ConnectionState, FundingRate, Instrument, Quote, SeriesPlan, Ticker
from tapewatch.feeds.progress import Progress
from tapewatch.feeds.release import Release
from tapewatch.feeds.settings import FeedSettings
from tapewatch.model import MINUTE_MS, Event

#: Prices and volumes of all symbols are asked for this often, where they come in one request.
TICKERS_S = 300.0
#: So long after it should have settled a bar may still come without being late for its boundary.
GRACE_S = 10.0


class _Boundaries(Boundaries):
    """Every bar comes over REST, after its settling delay: boundaries wait for that."""

    deadline_s = 0.0

    def passed(self, wall_s: float) -> bool:
        """Whether the boundary is complete, or bars that have not come yet are late from now on."""
        return not self._waiting or wall_s - self.opened_s >= self.deadline_s

    def handled(self, wall_s: float, *, failing: bool = False, reached_ms: int | None = None) -> bool:  # noqa: ARG002
        """The same: nothing that could be told to go on waits for these boundaries."""
        return self.passed(wall_s)


class CcxtFeed:
    """Sends events of every watched symbol into `sink` until cancelled; the order is that of `BinanceFeed`.

    Args:
        ccxt: which exchange.
        settings: deadlines; its hosts are not used.
        sink: takes the events of one symbol; what it raises ends `run`.
        observer: is told what happens.
        on_tickers: takes price and volume of all symbols every few minutes, where it is given.
        drained: awaited between the first windows, so that they do not come faster than they are worked off.

    Raises:
        SetupError: CCXT is not installed, or does not have the exchange or its 1m candles.
    """

    def __init__(
        self,
        ccxt: CcxtSettings,
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
        self._exchange = open_exchange(ccxt, settings)
        self._elsewhere = bool(ccxt.urls)
        self._rest = CcxtRest(self._exchange, settings, self.clock, observer)
        self._stream: CcxtStream | None = None
        if ccxt.streams and self._exchange.has.get("watchOHLCV") is True:
            self._stream = CcxtStream(self._exchange, settings, self.clock, self.counts, observer, self._on_turned)
        self._finality = Finality(self._stream, self._on_unlike)
        self._series: dict[str, Series] = {}
        self._boundaries = _Boundaries(settings)
        self._release = Release(sink, self.clock, self.counts, observer, self._boundaries, lambda: self._rest.failing)
        self._backfill = CcxtBackfill(
            settings,
            self._rest,
            self.clock,
            observer,
            self._boundaries,
            self._release,
            self._stream,
            self._finality,
            drained,
        )
        self._fetches = Fetches(CONCURRENCY, self._fetch)
        self._name = f"ccxt {self._exchange.id} REST"
        self._progress = Progress(observer, lambda: self.progress)
        self._reached = False
        self._tasks: asyncio.TaskGroup | None = None
        self._ready = asyncio.Event()
        self._wake = asyncio.Event()

    @property
    def progress(self) -> tuple[int, int]:
        """Symbols whose first windows are complete, and symbols watched."""
        return sum(series.started for series in self._series.values()), len(self._series)

    @property
    def emergency(self) -> bool:
        """Whether the exchange's streams, where they are used, have brought nothing for a while."""
        return self._backfill.polling

    def check_intervals(self, intervals_ms: Iterable[int]) -> None:
        """Raises SetupError when the exchange lacks candles of one of these."""
        check_intervals(self._exchange, sorted(intervals_ms))

    async def run(self) -> None:
        """Feeds until cancelled, through every trouble at the exchange.

        Raises:
            SetupError: the exchange refuses this region.
        """
        try:
            async with self._rest, asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                await self._start(tasks)
        except BaseExceptionGroup as group:
            raise first_of(group) from None
        finally:
            self._tasks = None

    async def ready(self) -> int:
        """The exchange's time, once REST has answered for the first time."""
        await self._ready.wait()
        return self.clock.sure_ms

    async def instruments(self) -> list[Instrument]:
        """Every symbol of the exchange's default kind, with its quote volume of 24 hours."""
        return await self._rest.instruments()

    async def quotes(self, symbols: SequenceOf[str]) -> dict[str, Quote]:
        """Best bid and ask now; a symbol that is unknown or has no book is left out."""
        return await self._rest.quotes(symbols)

    async def books(self, symbols: SequenceOf[str], within_s: float) -> dict[str, OrderBook]:
        """Order books now, of those that come in time."""
        return await self._rest.books(symbols, within_s)

    async def rates(self) -> dict[str, FundingRate]:
        """What perpetuals pay next. Raises DataError where they cannot be asked at once, and EdgeError.

        Where addresses of the library are replaced, nobody is asked: it may have others for perpetuals, and rates of
        another exchange would be worse than none.
        """
        if self._elsewhere:
            raise DataError("exchange.ccxt.urls may not be where the library asks for rates")
        return await self._rest.rates()

    def watch(self, plans: SequenceOf[SeriesPlan]) -> None:
        """Bring these symbols too; one that is watched already stays as it is.

        Raises:
            SetupError: the exchange lacks candles of an interval that is wanted.
        """
        now_ms = self.clock.sure_ms
        fresh = [plan for plan in plans if plan.symbol not in self._series]
        self.check_intervals({interval_ms for plan in fresh for interval_ms in plan.larger})
        for plan in fresh:
            series = self._series[plan.symbol] = Series.of(plan, now_ms)
            self._boundaries.add(series)
        if fresh:
            self._progress.more()
            self._wake.set()
        if self._stream is not None and self._tasks is not None:
            liquid_first = sorted(fresh, key=lambda plan: -plan.quote_volume_24h)
            self._stream.watch([plan.symbol for plan in liquid_first], self._tasks)

    def unwatch(self, symbols: SequenceOf[str]) -> None:
        """Bring nothing more of these symbols, not even what was being fetched."""
        gone = [self._series.pop(symbol) for symbol in symbols if symbol in self._series]
        for series in gone:
            self._boundaries.remove(series)
            self._finality.forget(series.symbol)
        if self._stream is not None and self._tasks is not None:
            self._stream.unwatch([series.symbol for series in gone], self._tasks)
        if gone:
            self._progress.look()
            self._release.look_at_boundary()

    def connections(self) -> list[Connection]:
        """The streams as one connection, or what stands for one where bars come over REST alone."""
        if self._stream is not None:
            return self._stream.connections()
        state: ConnectionState = "live" if self._reached else "down"
        return [Connection(self._name, state, 0, (), 0.0, None, 0, 0)]

    async def _start(self, tasks: asyncio.TaskGroup) -> None:
        start_ms = await self._rest.sync_clock(Urgency.BOOTSTRAP)
        rate = self.clock.rate
        self._boundaries.deadline_s = (self._settings.settle_ms / 1000 + GRACE_S) / rate + self._settings.settle_wall_s
        self._boundaries.open(start_ms // MINUTE_MS * MINUTE_MS, self.clock.wall_s())
        self._ready.set()
        tasks.create_task(keep_synced(self.clock, self._rest.sync_clock), name="clock")
        tasks.create_task(self._watch(tasks), name="boundaries")
        if self._stream is not None:
            tasks.create_task(self._stream.subscribe(tasks), name="subscriptions")
            tasks.create_task(self._stream.watch_silence(), name="silence")
        if self._on_tickers is not None and self._exchange.has.get("fetchTickers"):
            tasks.create_task(self._keep_tickers(self._on_tickers), name="tickers")

    # What the stream says.

    def _on_turned(self, symbol: str, open_ms: int) -> None:
        self._boundaries.open(open_ms, self.clock.wall_s())
        series = self._series.get(symbol)
        if series is not None and self._backfill.ended(series, open_ms):
            self._wake.set()

    def _on_unlike(self) -> None:
        self._observer.warning("the stream's candles have other figures than those of REST, which alone counts now")

    # What the clock brings.

    async def _watch(self, tasks: asyncio.TaskGroup) -> None:
        asking: asyncio.Task[None] | None = None
        while True:
            due = self._missing()
            if self.clock.paced:
                # A simulated clock may lag behind its rate: rows are judged by what it showed before.
                overdue = self.clock.now_ms() >= self._boundaries.boundary_ms + MINUTE_MS
                if (overdue or (due and not self._fetches.waiting)) and (asking is None or asking.done()):
                    asking = tasks.create_task(self._ask(tasks))
            elif due:
                self._fetches.offer(due, self._boundaries.boundary_ms, self.clock.now_ms(), tasks)
            self._release.look_at_boundary()
            self._look_at_connections()
            try:
                async with asyncio.timeout(self._settings.tick_s):
                    await self._wake.wait()
            except TimeoutError:
                continue
            self._wake.clear()

    async def _ask(self, tasks: asyncio.TaskGroup) -> None:
        asked_ms = await self._rest.sync_clock(Urgency.GAP)
        self._fetches.offer(self._missing(), self._boundaries.boundary_ms, asked_ms, tasks)

    def _missing(self) -> list[Series]:
        now_ms, wall_s = self.clock.now_ms(), self.clock.wall_s()
        self._boundaries.open(self.clock.sure_ms // MINUTE_MS * MINUTE_MS, wall_s)
        early = self._backfill.early()
        return [*early, *(one for one in self._boundaries.to_fetch(now_ms, wall_s) if one not in early)]

    def _look_at_connections(self) -> None:
        """Without streams REST stands for the connection."""
        if self._stream is not None:
            self._backfill.look_at_streams(down=self._stream.down)
        elif self._reached != (self._rest.failures < ALL_WAIT):
            self._reached = not self._reached
            if self._reached:
                self._observer.connected(0, self._name)
            else:
                self._observer.disconnected("REST does not answer", self._name)

    async def _keep_tickers(self, take: Callable[[list[Ticker]], None]) -> None:
        while True:
            await asyncio.sleep(TICKERS_S)
            if tickers := await self._rest.tickers():
                take(tickers)

    async def _fetch(self, series: Series, asked_ms: int) -> None:
        await self._backfill.fetch(series, asked_ms)
        self._progress.look()
