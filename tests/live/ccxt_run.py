"""A feed through CCXT with its windows loaded, against an exchange whose every frame and answer a test decides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

import msgspec
from feed_exchange import START_MS, Exchange, Notes, Sink, candle, frame, quick, until

from tapewatch.feeds import SeriesPlan
from tapewatch.feeds.ccxt import CcxtFeed
from tapewatch.feeds.ccxt_exchange import CcxtSettings
from tapewatch.feeds.ccxt_final import figures
from tapewatch.model import MINUTE_MS, Bar

IDS = {"BTC/USDT": "BTCUSDT", "ETH/USDT": "ETHUSDT"}


@dataclass
class Run:
    """A running feed, its exchange, and what came of it."""

    exchange: Exchange
    feed: CcxtFeed
    sink: Sink
    notes: Notes
    task: asyncio.Task[None]
    minute_ms: int = START_MS

    async def push(self, symbol: str, bar: Bar, at_ms: int | None = None) -> None:
        """The stream shows this candle, running."""
        told = msgspec.structs.replace(bar, symbol=symbol)
        await self.exchange.send(frame(told, at_ms or self.exchange.now_ms, closed=False, combined=False))

    async def minute(self, *, late_ms: int = 150) -> Bar:
        """The stream shows the end of a minute of BTC and the beginning of the next; that candle."""
        bar, self.minute_ms = candle("BTCUSDT", self.minute_ms), self.minute_ms + MINUTE_MS
        self.exchange.set_time(self.minute_ms + late_ms)
        await self.push("BTCUSDT", bar)
        await self.push("BTCUSDT", candle("BTCUSDT", self.minute_ms))
        return bar

    async def heard(self) -> None:
        """Wait until the stream is listened to: the running candle is shown until somebody has seen it."""

        def live() -> bool:
            return self.feed.connections()[0].state == "live"

        async with asyncio.timeout(60):
            while not live():
                await self.push("BTCUSDT", candle("BTCUSDT", self.minute_ms))
                await asyncio.sleep(0.02)

    def live(self, symbol: str = "BTC/USDT") -> list[tuple[float, ...]]:
        """The live bars that came."""
        return [figures(bar) for bar in self.sink.live(symbol)]

    async def until(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        """Wait; a feed that ends raises what ended it."""
        await until(lambda: self.task.done() or condition(), seconds)
        if self.task.done():
            self.task.result()


@asynccontextmanager
async def running(
    symbols: tuple[str, ...] = ("BTC/USDT",),
    *,
    start: bool = True,
    streams: bool = True,
    late_ms: int = 1_000,
    lacks: tuple[str, ...] = (),
    **changes: Any,
) -> AsyncIterator[Run]:
    """A feed of these symbols with its windows loaded and its streams standing."""
    exchange = Exchange([IDS[symbol] for symbol in symbols])
    exchange.set_time(START_MS + late_ms)
    await exchange.start()
    address = f"127.0.0.1:{exchange.port}"
    api = {"public": f"http://{address}/api/v3", "ws": {"spot": f"ws://{address}/ws"}}
    ccxt = CcxtSettings("binance", streams, {"fetchMarkets": {"types": ["spot"]}}, {"api": api})
    sink, notes = Sink(), Notes()
    feed = CcxtFeed(ccxt, quick(exchange.port, **changes), sink, notes)
    feed._exchange.has.update(dict.fromkeys(lacks, False))
    exchange.headers["Date"] = formatdate(exchange.now_ms / 1000, usegmt=True)
    run = Run(exchange, feed, sink, notes, asyncio.create_task(feed.run()))
    try:
        if start:
            await run.until(feed._ready.is_set)
            now_ms = await feed.ready()
            feed.watch([SeriesPlan(symbol, now_ms - 5 * MINUTE_MS) for symbol in symbols])
            await run.until(lambda: feed.progress == (len(symbols), len(symbols)))
            if streams:
                await run.heard()
        yield run
    finally:
        run.task.cancel()
        await asyncio.gather(run.task, return_exceptions=True)
        await exchange.stop()
