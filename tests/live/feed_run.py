"""A feed that is caught up with an exchange of its own, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from feed_exchange import START_MS, Exchange, Notes, Sink, quick, until, watching

from tapewatch.feeds import BinanceFeed, SeriesPlan
from tapewatch.model import MINUTE_MS

SYMBOLS = ["BTCUSDT", "ETHUSDT", "SOLUSDT"]


class Running:
    """A feed with its exchange, and what it said and sent."""

    def __init__(self, exchange: Exchange, notes: Notes, sink: Sink, feed: BinanceFeed) -> None:
        self.exchange, self.notes, self.sink, self.feed = exchange, notes, sink, feed
        self.minute_ms = START_MS

    async def minute(self, symbols: list[str] | None = None) -> None:
        """The next boundary; only these symbols' bars are streamed."""
        self.minute_ms += MINUTE_MS
        await self.exchange.close_minute(self.minute_ms, symbols)

    async def told_time(self) -> None:
        """REST has told the time: the exchange's clock leaps in these tests."""
        await self.feed._rest.sync_clock()

    async def all_out(self, seconds: float = 10.0) -> None:
        """Every bar up to now came, once, in order."""

        def complete() -> bool:
            return all(
                len(self.sink.live(s)) >= len(self.exchange.expected(s, START_MS, self.minute_ms))
                for s in self.exchange.symbols
            )

        await self.told_time()
        with suppress(TimeoutError):
            await until(complete, seconds)
        for symbol in self.exchange.symbols:
            assert self.sink.live(symbol) == self.exchange.expected(symbol, START_MS, self.minute_ms)

    def looks(self) -> int:
        """How often candles were asked for."""
        return sum("klines" in request for request in self.exchange.requests)

    def sources(self, close_ms: int) -> set[str]:
        """How the bars that closed then came."""
        return {source for bar, source, _ in self.notes.of("released") if bar.close_ms == close_ms}


@asynccontextmanager
async def running(symbols: list[str], *, streaming: bool = True, **changes: Any) -> AsyncIterator[Running]:
    """A feed of these symbols; `changes` are settings."""
    exchange = Exchange(symbols, streaming=streaming)
    await exchange.start()
    notes, sink = Notes(), Sink()
    feed = BinanceFeed(quick(exchange.port, **changes), sink, notes)
    task = watching(feed, [SeriesPlan(symbol, START_MS - 5 * MINUTE_MS) for symbol in symbols])
    try:
        await until(lambda: notes.count("caught_up") or task.done())
        yield Running(exchange, notes, sink, feed)
        assert not task.done(), "the feed ended by itself"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await exchange.stop()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not [t for t in left if "tapewatch" in str(t.get_coro())], "tasks were left behind"
