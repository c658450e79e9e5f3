"""The connection pool: which stream is carried by which connection, and as many connections as the streams need."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from tapewatch.errors import SetupError, first_of
from tapewatch.feeds.attempts import Attempts
from tapewatch.feeds.clock import ExchangeClock
from tapewatch.feeds.observer import FeedObserver, FrameCounts
from tapewatch.feeds.port import Connection, Ticker
from tapewatch.feeds.settings import FeedSettings
from tapewatch.feeds.shard import WATCH_S, Common, Shard
from tapewatch.feeds.wire import TICKERS, KlineEvent
from tapewatch.network import check_url, proxy_for, tls_context

#: Streams that the exchange allows on one connection (exchange-protocol 2.3).
STREAMS = 1_024
#: A connection that carries nothing is kept this long, since symbols that go are often followed by others.
EMPTY_S = 10.0
#: A stream that was subscribed to anew this long ago and is silent again is a new case.
FORGET_S = 900.0


class Pool:
    """Carries any number of streams, wanted and dropped at any time, over as few connections as they need.

    What one connection does to keep its share flowing is told at `Shard`; what all of them may do to the exchange at
    `Attempts`.

    Args:
        on_closed_bar: called with each kline event that closes a bar.
        on_tickers: called with each all-market ticker (`!miniTicker@arr`).
        on_connected: called with names whose streams just (re)started; what they missed before has to be fetched.
        symbol_of: the symbol of a stream, None for one that is of no symbol.
    """

    def __init__(
        self,
        settings: FeedSettings,
        clock: ExchangeClock,
        counts: FrameCounts,
        observer: FeedObserver,
        on_closed_bar: Callable[[KlineEvent], None],
        on_tickers: Callable[[list[Ticker]], None],
        on_connected: Callable[[frozenset[str]], None],
        symbol_of: Callable[[str], str | None],
    ) -> None:
        if not 1 <= settings.streams_per_connection <= STREAMS:
            raise SetupError(
                f"exchange.streams_per_connection: {settings.streams_per_connection} is not between 1 and {STREAMS:,}"
            )
        url = check_url(settings.ws_url, ("ws", "wss"), "exchange.ws_url")
        proxy_for(url)  # one that cannot be used is said now
        self._settings = settings
        self._clock = clock
        self._common = Common(
            settings,
            url,
            tls_context(settings.ca_file) if url.startswith("wss") or settings.ca_file is not None else None,
            clock,
            counts,
            observer,
            Attempts(settings, clock.wall_s, observer),
            on_closed_bar,
            self._on_tickers,
            on_connected,
            self._on_full,
            lambda: self.down,
            symbol_of,
        )
        self._take_tickers = on_tickers
        self._ticked_s = clock.wall_s()
        self._shards: dict[Shard, asyncio.Task[None] | None] = {}
        self._places: dict[str, Shard] = {}
        self._resubscribed_s: dict[str, float] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._made = 0
        self._paced_ms: int | None = None
        self._worked_s = clock.wall_s()

    async def run(self) -> None:
        """Keeps the connections until cancelled; an exception of a callback comes out."""
        self._worked_s = self._clock.wall_s()
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                for shard in self._shards:
                    self._start(shard)
                await self._watch()
        except BaseExceptionGroup as group:
            raise first_of(group) from None
        finally:
            self._tasks = None

    def want(self, names: Iterable[str]) -> None:
        """Carry these streams too (`btcusdt@kline_1m`, `!miniTicker@arr`); those carried already stay in place."""
        fresh = [name for name in dict.fromkeys(names) if name not in self._places]
        wanted = len(self._places) + len(fresh)
        while fresh and wanted > len(self._shards) * self._settings.streams_per_connection:
            self._make()
        self._place(fresh)

    def drop(self, names: Iterable[str]) -> None:
        """Carry these streams no more."""
        gone: dict[Shard, list[str]] = {}
        for name in names:
            shard = self._places.pop(name, None)
            self._resubscribed_s.pop(name, None)
            if shard is not None:
                gone.setdefault(shard, []).append(name)
        for shard, dropped in gone.items():
            shard.remove(dropped)

    def silent(self, name: str) -> None:
        """A stream did not bring what REST has: it is subscribed to anew, and the next time moved elsewhere."""
        shard = self._places.get(name)
        if shard is None or not shard.carries(name):
            return  # something is being done about it
        now_s = self._clock.wall_s()
        since_s = self._resubscribed_s.pop(name, None)
        if since_s is None or now_s - since_s > FORGET_S:
            self._resubscribed_s[name] = now_s
            shard.again(name)
            return
        shard.remove([name])
        self._place([name], avoid=shard)

    def suspect(self, name: str, close_ms: int) -> None:
        """REST has a bar of this stream that closed at `close_ms`: its connection is replaced if that is silent."""
        shard = self._places.get(name)
        if shard is not None:
            shard.suspect(close_ms)

    def heard(self, name: str, close_ms: int) -> bool:
        """Whether the stream's connection has brought events, of whatever stream, of that time or later."""
        shard = self._places.get(name)
        return shard is not None and shard.heard(close_ms)

    def pace(self, close_ms: int) -> None:
        """Tells a simulator that every bar that closes up to `close_ms` is processed, on every connection."""
        self._paced_ms = close_ms
        self._clock.acknowledged(close_ms)
        for shard in self._shards:
            shard.pace(close_ms)

    @property
    def down(self) -> bool:
        """Whether no connection has brought data for a while, though streams are wanted."""
        now_s = self._clock.wall_s()
        worked_s = max((shard.worked_s for shard in self._shards), default=now_s)
        return bool(self._places) and now_s - max(worked_s, self._worked_s) > self._settings.down_after_s

    def states(self) -> list[Connection]:
        """The connections as they are now."""
        return [shard.state() for shard in self._shards]

    # Which connection carries what.

    def _place(self, names: list[str], avoid: Shard | None = None) -> None:
        """Give each stream to the connection that carries the fewest."""
        given: dict[Shard, list[str]] = {}
        load = {shard: len(shard.share.names) for shard in self._shards if shard is not avoid}
        for name in names:
            free = [shard for shard, carried in load.items() if carried < shard.share.room]
            shard = min(free, key=load.__getitem__) if free else self._make()
            load[shard] = load.get(shard, 0) + 1
            self._places[name] = shard
            given.setdefault(shard, []).append(name)
        for shard, added in given.items():
            shard.add(added)

    def _on_tickers(self, tickers: list[Ticker]) -> None:
        self._ticked_s = self._clock.wall_s()
        self._take_tickers(tickers)

    def _on_full(self, shard: Shard, names: list[str], error: str) -> None:
        self._common.observer.warning(f"{shard.name} carries {shard.share.room} streams and no more: {error}")
        self._place([name for name in names if self._places.get(name) is shard], avoid=shard)

    def _make(self) -> Shard:
        self._made += 1
        shard = Shard(f"ws{self._made}", self._common)
        if self._paced_ms is not None:
            shard.pace(self._paced_ms)
        self._shards[shard] = None
        if self._tasks is not None:
            self._start(shard)
        return shard

    def _start(self, shard: Shard) -> None:
        assert self._tasks is not None
        self._shards[shard] = self._tasks.create_task(shard.run())

    async def _watch(self) -> None:
        """Lets connections go that nothing is left for; misses the ticker of the whole market, which REST cannot."""
        silence_s = self._settings.silence_s
        while True:
            await asyncio.sleep(min(WATCH_S, silence_s / 4))
            now_s = self._clock.wall_s()
            if TICKERS not in self._places or self.down:
                self._ticked_s = now_s
            elif now_s - self._ticked_s > silence_s:
                self._ticked_s = now_s
                self.silent(TICKERS)
            for shard in [
                shard for shard in self._shards if not shard.share.names and now_s - shard.changed_s > EMPTY_S
            ]:
                task = self._shards.pop(shard)
                if task is not None:
                    task.cancel()
                if shard.state().state in {"live", "replacing"}:
                    self._common.observer.disconnected("no stream is left for it", shard.name)
