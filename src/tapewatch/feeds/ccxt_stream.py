"""What an exchange's candle streams say through CCXT: each symbol's newest candles, running or not.

The library drops whether a candle is closed and when it was sent. A candle is over once a newer one has appeared; that
what was last seen of it is its end is likely and not sure, so it is a witness for REST's candle and never goes out
itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from tapewatch.errors import DataError, SetupError, TapewatchError
from tapewatch.feeds.ccxt_answers import bars_of
from tapewatch.feeds.ccxt_errors import meaning
from tapewatch.feeds.clock import ExchangeClock
from tapewatch.feeds.network import backoff
from tapewatch.feeds.observer import FeedObserver, FrameCounts
from tapewatch.feeds.port import Connection, ConnectionState
from tapewatch.feeds.settings import FeedSettings
from tapewatch.model import MINUTE_MS, Bar

#: Candles of a symbol that are remembered.
KEPT = 4
INTERVAL = "1m"
#: Symbols subscribed to with one message, where the library can; the time between such messages, and around each.
BATCH, BATCH_GAP_S, GATHER_S = 50, 0.5, 0.05
#: An exchange that does not answer when a stream is ended is not waited for.
UNWATCH_S = 5.0


class CcxtStream:
    """Listens to one candle stream per symbol, for ever, over as many connections as the library makes.

    Args:
        turned: called when a symbol's stream has begun a newer candle, with the symbol and that candle's open.
    """

    def __init__(
        self,
        exchange: Any,
        settings: FeedSettings,
        clock: ExchangeClock,
        counts: FrameCounts,
        observer: FeedObserver,
        turned: Callable[[str, int], None],
    ) -> None:
        self._exchange = exchange
        self._settings = settings
        self._clock = clock
        self._counts = counts
        self._observer = observer
        self._turned = turned
        self._name = f"ccxt {exchange.id}"
        self._candles: dict[str, dict[int, Bar]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._refused: set[str] = set()
        #: Who waits for being subscribed to together with others.
        self._joining: dict[str, asyncio.Future[None]] = {}
        self._joined = asyncio.Event()
        self._ending: set[asyncio.Task[None]] = set()
        self._failures = self._frames = self._reconnects = 0
        self._live = False
        #: When the connection began, data came last, and connecting was or will be tried.
        self._began_s = self._heard_s = self._tried_s = clock.wall_s()

    @property
    def down(self) -> bool:
        """Whether streams are wanted and none brings anything."""
        return bool(self._tasks) and not self._live

    def newest_ms(self, symbol: str) -> int:
        """The open of the newest candle that a symbol's stream has shown, 0 before any."""
        return max(self._candles.get(symbol, ()), default=0)

    def last_seen(self, symbol: str, open_ms: int) -> Bar | None:
        """How a candle was when the stream last showed it."""
        return self._candles.get(symbol, {}).get(open_ms)

    def watch(self, symbols: Sequence[str], tasks: asyncio.TaskGroup) -> None:
        """Listen to these too."""
        if not self._tasks:
            self._tried_s = self._clock.wall_s()
        for symbol in symbols:
            self._candles[symbol] = {}
            self._tasks[symbol] = tasks.create_task(self._listen(symbol), name=f"stream {symbol}")

    def unwatch(self, symbols: Sequence[str], tasks: asyncio.TaskGroup) -> None:
        """Listen to these no more, and tell the exchange where the library can."""
        for symbol in symbols:
            task = self._tasks.pop(symbol, None)
            self._candles.pop(symbol, None)
            self._refused.discard(symbol)
            if task is not None:
                task.cancel()
                if self._exchange.has.get("unWatchOHLCV"):
                    ending = tasks.create_task(self._end(symbol))
                    self._ending.add(ending)
                    ending.add_done_callback(self._ending.discard)
        if not self._tasks:
            self._lost("nothing is watched")

    async def subscribe(self, tasks: asyncio.TaskGroup) -> None:
        """Subscribes to many symbols with few messages, for ever: exchanges close connections that say too much."""
        while True:
            await self._joined.wait()
            self._joined.clear()
            await asyncio.sleep(GATHER_S)
            while self._joining:
                batch = [(symbol, self._joining.pop(symbol)) for symbol in list(self._joining)[:BATCH]]
                tasks.create_task(self._subscribe([symbol for symbol, _ in batch]))
                await asyncio.sleep(GATHER_S)
                for _, joined in batch:
                    if not joined.done():
                        joined.set_result(None)
                await asyncio.sleep(BATCH_GAP_S)

    async def watch_silence(self) -> None:
        """Makes the connections anew when nothing has come over any of them for too long, for ever."""
        while True:
            waited_s = self._clock.wall_s() - max(self._heard_s, self._tried_s)
            if self._tasks and waited_s >= self._settings.silence_s:
                self._lost(f"no data for {waited_s:.0f} s")
                self._tried_s = self._clock.wall_s()
                clients = self._exchange.clients or {}
                for url, client in list(clients.items()):
                    await client.close()  # cancels what waits for it
                    clients.pop(url, None)
            await asyncio.sleep(min(1.0, self._settings.silence_s / 4))

    def connections(self) -> list[Connection]:
        """All that is streamed, as one: which connection carries what is the library's affair."""
        if not self._tasks:
            return []
        now_s = self._clock.wall_s()
        state: ConnectionState = "live" if self._live else "down" if self._failures else "connecting"
        symbols = tuple(symbol for symbol in self._tasks if symbol not in self._refused)
        heard = now_s - self._heard_s if self._frames else None
        return [
            Connection(
                self._name, state, len(symbols), symbols, now_s - self._began_s, heard,
                self._frames, self._reconnects,
            )
        ]  # fmt: skip

    async def _subscribe(self, symbols: list[str]) -> None:
        """From here on the library knows that these are subscribed to; each is listened to by itself."""
        with suppress(Exception):  # whoever listens meets the same
            await self._exchange.watch_ohlcv_for_symbols([[symbol, INTERVAL] for symbol in symbols])

    async def _join(self, symbol: str) -> None:
        """Wait until this symbol has been subscribed to together with others."""
        if self._exchange.has.get("watchOHLCVForSymbols") is True:
            joined = self._joining[symbol] = asyncio.get_running_loop().create_future()
            self._joined.set()
            try:
                await joined
            finally:
                self._joining.pop(symbol, None)

    async def _listen(self, symbol: str) -> None:
        await self._join(symbol)
        while True:
            try:
                rows = await self._exchange.watch_ohlcv(symbol, INTERVAL)
                self._take(symbol, rows)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                await self._again(symbol, "the connection was closed")  # the library cancels what waits for it
            except Exception as error:  # the library meets malformed frames with whatever Python raises
                found = error if isinstance(error, TapewatchError) else meaning(error, self._exchange)
                if isinstance(found, DataError | SetupError):
                    self._refused.add(symbol)
                    self._observer.warning(f"{symbol}: no stream, REST alone brings it: {found}")
                    return
                await self._again(symbol, str(found))

    async def _end(self, symbol: str) -> None:
        with suppress(Exception):
            async with asyncio.timeout(UNWATCH_S):
                await self._exchange.un_watch_ohlcv(symbol, INTERVAL)

    def _take(self, symbol: str, rows: Sequence[Any]) -> None:
        self._heard_s = self._clock.wall_s()
        self._frames += 1
        self._counts.frames += 1
        if not self._live:
            self._stands()
        candles = self._candles.get(symbol)
        if candles is None:
            return
        bars, bad = bars_of(rows, symbol, MINUTE_MS)
        self._counts.running += len(bars)
        self._counts.malformed += bad
        known_ms = max(candles, default=0)
        for bar in bars[-KEPT:]:
            candles[bar.open_ms] = bar
        while len(candles) > KEPT:
            del candles[min(candles)]
        newest_ms = max(candles, default=0)
        self._clock.seen(newest_ms)
        if newest_ms > known_ms > 0:
            self._turned(symbol, newest_ms)

    def _stands(self) -> None:
        if self._failures >= self._settings.alert_after:
            self._observer.connection_found("stream")
        self._live, self._failures = True, 0
        self._reconnects += self._frames > 1
        self._began_s = self._heard_s
        self._observer.connected(len(self._tasks) - len(self._refused), self._name)

    def _lost(self, reason: str) -> None:
        if self._live:
            self._live = False
            self._observer.disconnected(reason, self._name)

    async def _again(self, symbol: str, reason: str) -> None:
        """Waits before the next try, all symbols until the same moment: they failed together."""
        self._lost(reason)
        now_s = self._clock.wall_s()
        if now_s >= self._tried_s:
            self._failures += 1
            wait_s = backoff(self._failures, self._settings.backoff_s)
            self._observer.attempt(self._failures, wait_s, reason, self._name)
            if self._failures == self._settings.alert_after:
                self._observer.connection_lost(self._failures, reason)
            self._tried_s = now_s + wait_s
        await asyncio.sleep(self._tried_s - now_s)
        await self._join(symbol)
