"""The Binance spot feed: every symbol's closed 1m bars, from history to live, in order, each once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from tapewatch.errors import DataError, SetupError
from tapewatch.feeds.boundary import Boundaries, Series
from tapewatch.feeds.budget import Urgency
from tapewatch.feeds.clock import ExchangeClock
from tapewatch.feeds.link import Link
from tapewatch.feeds.network import check_url
from tapewatch.feeds.observer import FeedObserver, FrameCounts, Source
from tapewatch.feeds.rest import Rest
from tapewatch.feeds.sequence import Offer, Sequence
from tapewatch.feeds.settings import FeedSettings
from tapewatch.feeds.wire import ExchangeInfo, KlineEvent, bar_of, kline_stream
from tapewatch.model import INTERVAL_NAMES, MINUTE_MS, Bar, BarClosed, Boundary, Event, History, fault_of

#: Streams of one connection (exchange-protocol 2.3).
STREAMS = 1_024
#: The server's time is asked for this often; a simulated clock's far oftener.
SYNC_S, SYNC_PACED_S = 600.0, 10.0
#: REST without any newer row shows an outage only after so many answers, so long after the hole.
OUTAGE_CHECKS, OUTAGE_MS = 5, 600_000


@dataclass(frozen=True, slots=True)
class SeriesPlan:
    """What one symbol needs.

    Args:
        symbol: as the exchange writes it.
        base_start_ms: open of the first 1m bar.
        larger: interval -> open of its first bar, for intervals whose first windows come from the exchange.
        last_open_ms: the 1m bar an earlier run decided last, None at a first start.
    """

    symbol: str
    base_start_ms: int
    larger: Mapping[int, int] = field(default_factory=dict)
    last_open_ms: int | None = None


class BinanceFeed:
    """Sends events of every planned symbol into `sink` until cancelled.

    Per symbol: bars of larger intervals and base bars as `History`, ordered by close with the larger interval first, up
    to the start (or to the last bar an earlier run decided); then every base bar once, in order, as `BarClosed`. What
    the stream does not bring comes over REST; what the exchange does not have is an outage and is left out.

    Args:
        settings: hosts and deadlines.
        plans: called once, with the exchange's time at the start.
        sink: takes the events of one symbol; what it raises ends `run`.
        observer: is told what happens.
        drained: awaited before a simulator is told to go on, so that its clock cannot outrun whoever works off what
            `sink` took.
    """

    def __init__(
        self,
        settings: FeedSettings,
        plans: Callable[[int], list[SeriesPlan]],
        sink: Callable[[list[Event]], None],
        observer: FeedObserver,
        *,
        drained: Callable[[], Awaitable[None]] | None = None,
        clock: ExchangeClock | None = None,
    ) -> None:
        self.counts = FrameCounts()
        self.clock = clock if clock is not None else ExchangeClock()
        self._settings = settings
        self._plans = plans
        self._sink = sink
        self._observer = observer
        self._drained = drained
        self._rest = Rest(settings, self.clock, observer)
        check_url(settings.ws_url, ("ws", "wss"), "exchange.ws_url")
        self._series: dict[str, Series] = {}
        self._start_ms = 0
        self._said_ms = 0
        self._bootstrapping = 0
        self._bootstraps = asyncio.Semaphore(settings.concurrency)
        self._unsure = False
        self._connected = asyncio.Event()
        self._handled = asyncio.Event()

    @property
    def used_weight(self) -> int:
        """The REST weight used in the current minute."""
        return self._rest.used_weight

    async def run(self) -> None:
        """Feeds until cancelled, through every trouble at the exchange.

        Raises:
            SetupError: hosts or symbols are wrong.
        """
        try:
            async with self._rest, asyncio.TaskGroup() as tasks:
                await self._start(tasks)
        except BaseExceptionGroup as group:
            raise _first(group) from None

    async def _start(self, tasks: asyncio.TaskGroup) -> None:
        start_ms = await self._rest.sync_clock(Urgency.BOOTSTRAP)
        plans = self._tradable(self._plans(start_ms), await self._rest.exchange_info())
        self._series = {plan.symbol: _series(plan, start_ms) for plan in plans}
        self._bootstrapping = len(self._series)
        self._start_ms = start_ms
        self._boundaries = Boundaries(self._series.values(), self._settings, start_ms)
        names = [kline_stream(symbol, MINUTE_MS) for symbol in self._series]
        self._link = Link(
            self._settings, self.clock, self.counts, self._observer, names, self._on_closed_bar, self._on_connected
        )
        if self.clock.paced:
            self._link.pace(self._boundaries.boundary_ms)
            tasks.create_task(self._pace())
        tasks.create_task(self._link.run())
        tasks.create_task(self._keep_clock())
        tasks.create_task(self._watch(tasks))

    def _tradable(self, plans: list[SeriesPlan], info: ExchangeInfo) -> list[SeriesPlan]:
        status = {symbol.symbol: symbol.status for symbol in info.symbols}
        missing = [
            f"{plan.symbol} ({status.get(plan.symbol, 'unknown')})"
            for plan in plans
            if status.get(plan.symbol) != "TRADING"
        ]
        kept = [plan for plan in plans if status.get(plan.symbol) == "TRADING"]
        if not kept:
            raise SetupError(f"universe: no symbol is left to watch; not traded: {', '.join(missing) or 'none given'}")
        if len(kept) > STREAMS:
            raise SetupError(f"universe: {len(kept)} symbols; one connection carries {STREAMS:,} streams")
        if missing:
            self._observer.warning(f"not traded at the exchange and not watched: {', '.join(missing)}")
        return kept

    # What the connection brings.

    def _on_connected(self) -> None:
        self._boundaries.hurry()
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
        self.clock.seen(event.E)
        reason = fault_of(bar)
        if reason is None and bar.close_ms - 1 > event.E:
            reason = "closed before its time"
        if reason is not None:
            self._refuse(bar, reason)
            return
        offer = series.sequence.offer(bar)
        if offer is Offer.NEW:
            bars = series.sequence.release()
            if bars:
                self._emit(series, bars, "ws")
            else:
                series.not_before_s = 0.0  # it waits behind a hole: look at once
        elif offer is Offer.CORRECTION:
            counts.corrections += 1
            self._observer.correction(bar.symbol, bar.open_ms)
        else:
            counts.duplicates += 1
            self._observer.duplicate(bar.symbol, bar.open_ms)

    def _refuse(self, bar: Bar, reason: str) -> None:
        self.counts.refused += 1
        self._observer.refused(bar.symbol, bar.open_ms, reason)

    def _emit(self, series: Series, bars: list[Bar], source: Source) -> None:
        now_ms = self.clock.now_ms()
        events: list[Event] = []
        for bar in bars:
            while series.larger and series.larger[0].close_ms <= bar.close_ms:
                events.append(History(series.larger.popleft()))
            if bar.open_ms <= series.decided_ms:
                events.append(History(bar))
            else:
                recv_ms = max(now_ms, bar.close_ms)
                events.append(BarClosed(bar, recv_ms))
                self._observer.released(bar, source, recv_ms - bar.close_ms)
        self._sink(events)
        self._boundaries.moved(series, self.clock.wall_s())
        self._look_at_boundary()

    def _look_at_boundary(self) -> None:
        """Say that a boundary is complete, or that nothing more will be waited for."""
        boundary_ms, wall_s = self._boundaries.boundary_ms, self.clock.wall_s()
        handled = self._boundaries.handled(wall_s, failing=self._rest.failing)
        passed = handled if self.clock.paced else self._boundaries.passed(wall_s)
        if passed and boundary_ms > self._said_ms:
            self._said_ms = boundary_ms
            self._sink([Boundary(boundary_ms)])
        if handled:
            self._handled.set()

    # What the clock brings.

    async def _watch(self, tasks: asyncio.TaskGroup) -> None:
        await self._connected.wait()
        asking: asyncio.Task[None] | None = None
        while True:
            due = self._missing() or self._unsure
            if due and (asking is None or asking.done()):
                asking = tasks.create_task(self._ask(tasks))
            self._look_at_boundary()
            await asyncio.sleep(self._settings.tick_s)

    async def _ask(self, tasks: asyncio.TaskGroup) -> None:
        """Fetches what is missing; waits for REST on the way, which the clock's watch must not."""
        if self._unsure or self.clock.paced:
            self._unsure = False
            # A simulated clock may lag behind its rate by minutes: rows are judged by what it showed before they came.
            asked_ms = await self._rest.sync_clock(Urgency.GAP)
        else:
            asked_ms = self.clock.now_ms()
        for series in self._missing():
            series.busy = True
            tasks.create_task(self._fetch(series, asked_ms))

    def _missing(self) -> list[Series]:
        now_ms, wall_s = self.clock.now_ms(), self.clock.wall_s()
        self._boundaries.open(now_ms // MINUTE_MS * MINUTE_MS, wall_s)
        return self._boundaries.to_fetch(now_ms, wall_s)

    async def _pace(self) -> None:
        acknowledged_ms = self._boundaries.boundary_ms
        while True:
            await self._handled.wait()
            self._handled.clear()
            boundary_ms = self._boundaries.boundary_ms
            if boundary_ms <= acknowledged_ms:
                continue
            if self.clock.shown_ms < boundary_ms:
                self._link.pace(acknowledged_ms)  # reckoned only: its reply tells whether the boundary has come
                continue
            if self._drained is not None:
                await self._drained()
            acknowledged_ms = boundary_ms
            self._link.pace(boundary_ms)

    async def _keep_clock(self) -> None:
        while True:
            await asyncio.sleep(SYNC_PACED_S if self.clock.paced else SYNC_S)
            await self._rest.sync_clock()

    # What REST brings.

    async def _fetch(self, series: Series, asked_ms: int) -> None:
        """Asks REST for what is missing of one symbol, as of `asked_ms`."""
        try:
            if series.asked:
                found = await self._fetch_base(series, asked_ms)
            else:
                async with self._bootstraps:  # a few symbols wholly, rather than parts of all: that is less memory
                    await self._fetch_larger(series, asked_ms)
                    found = await self._fetch_base(series, asked_ms)
        except DataError as error:
            self._observer.warning(f"{series.symbol}: the exchange refuses its candles: {error}")
            found = 0
        finally:
            series.asked, series.busy = True, False
        first = not series.started and (found == 0 or series.due_ms > self._start_ms)
        series.started = series.started or first
        if found == 0:
            self._boundaries.checked(series, self.clock.wall_s())
        elif first:
            self._boundaries.moved(series, self.clock.wall_s())
        if first:
            self._bootstrapping -= 1
            if self._bootstrapping == 0:
                self._observer.caught_up()

    async def _fetch_larger(self, series: Series, asked_ms: int) -> None:
        """The first windows of larger intervals, up to the first bucket that base history covers wholly."""
        base_ms = series.sequence.next_ms
        found: list[Bar] = []
        for interval_ms, first_ms in series.wanted.items():
            next_ms = first_ms
            covered_ms = -(-base_ms // interval_ms) * interval_ms
            end_ms = min(covered_ms, (asked_ms - self._settings.settle_ms) // interval_ms * interval_ms) - interval_ms
            while next_ms <= end_ms:
                page = await self._rest.bars(series.symbol, interval_ms, next_ms, end_ms, Urgency.BOOTSTRAP)
                bars = [bar for bar in page.bars if next_ms <= bar.open_ms <= end_ms]
                found += self._sound(bars)
                if not page.full or not bars:
                    break
                next_ms = bars[-1].close_ms
        series.larger.extend(sorted(found, key=lambda bar: (bar.close_ms, -bar.interval_ms)))
        series.wanted = {}

    async def _fetch_base(self, series: Series, asked_ms: int) -> int | None:
        """Base bars from the first missing one on; how far the series moved, None when nothing is settled yet."""
        sequence = series.sequence
        urgency = Urgency.GAP if series.started else Urgency.BOOTSTRAP
        settled_ms = (asked_ms - self._settings.settle_ms) // MINUTE_MS * MINUTE_MS
        first_ms = sequence.next_ms
        if first_ms >= settled_ms:
            return None
        if series.started and series.checks == 0:
            self._observer.gap(series.symbol, first_ms, settled_ms)
        moved = filled = 0
        while sequence.next_ms < settled_ms:
            page = await self._rest.bars(series.symbol, MINUTE_MS, sequence.next_ms, None, urgency)
            # The newest row is running, and one may be late; before it, what is not there does not exist.
            known_ms = min(page.bars[-1].open_ms, settled_ms) if page.bars else 0
            if series.checks >= OUTAGE_CHECKS:
                known_ms = max(known_ms, settled_ms - OUTAGE_MS)
            closed = [bar for bar in page.bars if bar.close_ms <= settled_ms]
            released, outages = sequence.fill(self._sound(closed), known_ms)
            self._report(series, outages)
            if released:
                self._emit(series, released, "rest")
                self._link.suspect(released[-1].close_ms)
                if not series.started and self._drained is not None:
                    await self._drained()  # windows come faster than they are worked off: memory is not for waiting
            elif outages:
                self._boundaries.moved(series, self.clock.wall_s())
            filled += len(released)
            moved += len(released) + len(outages)
            if not page.full or not (released or outages):
                break
        if series.started and filled:
            self._observer.filled(series.symbol, first_ms, filled)
        return moved

    def _report(self, series: Series, outages: list[tuple[int, int]]) -> None:
        if series.started:  # before, it may simply not have been listed yet
            for from_ms, to_ms in outages:
                self._observer.outage(series.symbol, from_ms, to_ms)

    def _sound(self, bars: list[Bar]) -> list[Bar]:
        sound = []
        for bar in bars:
            reason = fault_of(bar)
            if reason is None:
                sound.append(bar)
            else:
                self._refuse(bar, f"{reason} ({INTERVAL_NAMES[bar.interval_ms]}, REST)")
        return sound


def _series(plan: SeriesPlan, start_ms: int) -> Series:
    base_ms = -(-plan.base_start_ms // MINUTE_MS) * MINUTE_MS
    decided_ms = plan.last_open_ms if plan.last_open_ms is not None else start_ms - MINUTE_MS
    return Series(plan.symbol, Sequence(base_ms), decided_ms, dict(plan.larger))


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first real exception in a group; the rest is only cancelled because of it."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
