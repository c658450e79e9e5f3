"""Each kind of feed in front of the same simulated exchange, under one name for symbols."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from feed_exchange import Notes, Sink, until
from simulated import START_MS, TableMarket, connected, serving

from tapewatch.feeds import BinanceFeed, Feed, FeedSettings, SeriesPlan
from tapewatch.feeds.ccxt import CcxtFeed
from tapewatch.feeds.ccxt_exchange import CcxtSettings
from tapewatch.model import MINUTE_MS, Bar
from tapewatch.simulator import Simulator
from tapewatch.simulator.limits import Limits
from tapewatch.simulator.script import FaultRule

KINDS = ("binance", "ccxt", "ccxt_rest")
#: CCXT cannot ask the exchange to wait, so its simulated time is slower; a minute takes 0.3 s, at 50 ms a request.
RATES = {"binance": 600.0, "ccxt": 200.0, "ccxt_rest": 200.0}
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


def settings_of(simulator: Simulator, **changes: Any) -> FeedSettings:
    """Settings for a test's pace."""
    values: dict[str, Any] = {
        "rest_url": simulator.rest_url, "ws_url": simulator.ws_url, "settle_wall_s": 0.05, "tick_s": 0.02,
        "backoff_s": (0.1, 0.2), "rest_backoff_s": (0.05, 0.1), "recheck_s": (0.1, 0.2), "silence_s": 2.0,
    }  # fmt: skip
    return FeedSettings(**{**values, **changes})


def ccxt_of(simulator: Simulator, *, streams: bool = True) -> CcxtSettings:
    """CCXT's own Binance, pointed at the simulator."""
    api = {"public": f"{simulator.rest_url}/api/v3", "ws": {"spot": f"{simulator.ws_url}/ws"}}
    return CcxtSettings("binance", streams, {"fetchMarkets": {"types": ["spot"]}}, {"api": api})


@dataclass
class Rig:
    """One feed at work.

    Attributes:
        kind: which feed.
        market, simulator: the exchange.
        feed, sink, notes: the feed, what it brought and what it said.
    """

    kind: str
    market: TableMarket
    simulator: Simulator
    feed: Feed
    sink: Sink
    notes: Notes
    task: asyncio.Task[None] | None = None
    start_ms: dict[str, int] = field(default_factory=dict)

    def name(self, symbol: str) -> str:
        """The symbol as this feed has it."""
        return symbol if self.kind == "binance" else f"{symbol.removesuffix('USDT')}/USDT"

    async def watch(self, symbols: Sequence[str], base: int = 30, **plan: Any) -> None:
        """Watch these with so many minutes of history, and 5m bars before."""
        now_ms = await self.feed.ready()
        base_ms = (now_ms - base * MINUTE_MS) // (5 * MINUTE_MS) * (5 * MINUTE_MS)
        larger = {5 * MINUTE_MS: base_ms - 100 * MINUTE_MS}
        self.start_ms |= dict.fromkeys(symbols, base_ms)
        self.feed.watch([SeriesPlan(self.name(symbol), base_ms, larger, **plan) for symbol in symbols])

    def live(self, symbol: str) -> list[tuple[float, ...]]:
        """The live bars that came."""
        return [figures(bar) for bar in self.sink.live(self.name(symbol))]

    def history(self, symbol: str, interval_ms: int = MINUTE_MS) -> list[tuple[float, ...]]:
        """The history that came."""
        bars = self.sink.history(self.name(symbol))
        return [figures(bar) for bar in bars if bar.interval_ms == interval_ms]

    def stored(self, symbol: str, from_ms: int = 0, to_ms: int | None = None) -> list[tuple[float, ...]]:
        """What the exchange has."""
        return [figures(bar) for bar in self.market.candles(symbol).slice(from_ms, to_ms).bars()]

    def whole(self, symbol: str) -> bool:
        """Whether the last bar of the market has come."""
        live = self.sink.live(self.name(symbol))
        return bool(live) and live[-1].close_ms == self.market.last_ms

    async def until(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        """Wait until the condition holds; a feed that ends is an error at once."""
        assert self.task is not None
        task = self.task
        await until(lambda: task.done() or condition(), seconds)
        if task.done():
            task.result()
            raise AssertionError("the feed ended by itself")

    async def until_whole(self, *symbols: str, seconds: float = 60.0) -> None:
        """Wait for the market's last bar of these symbols, and assert that all came as they are, once, in order."""
        await self.until(lambda: all(self.whole(symbol) for symbol in symbols or SYMBOLS), seconds)
        for symbol in symbols or SYMBOLS:
            got = self.history(symbol) + self.live(symbol)
            assert got == self.stored(symbol, self.start_ms[symbol])

    async def stop(self) -> None:
        """End the feed."""
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def figures(bar: Bar) -> tuple[float, ...]:
    """What every source of candles has."""
    return (bar.open_ms, bar.open, bar.high, bar.low, bar.close, bar.volume)


@asynccontextmanager
async def rigged(
    kind: str, market: TableMarket | None = None, faults: Sequence[dict[str, Any]] = (), **changes: Any
) -> AsyncIterator[Rig]:
    """A running feed of this kind before an exchange with these faults; nothing is watched yet."""
    market = market or TableMarket(SYMBOLS, minutes=12)
    rules = [FaultRule.model_validate(fault) for fault in faults]
    async with AsyncExitStack() as stack:
        rate = changes.pop("rate", RATES[kind])
        limits = changes.pop("limits", Limits())
        serves = serving(market, rate=rate, faults=rules, at_end="hold", limits=limits)
        simulator = await stack.enter_async_context(serves)
        settings, notes, sink = settings_of(simulator, **changes), Notes(), Sink()
        feed: Feed
        if kind == "binance":
            feed = BinanceFeed(settings, sink, notes)
        else:
            feed = CcxtFeed(ccxt_of(simulator, streams=kind == "ccxt"), settings, sink, notes)
        rig = Rig(kind, market, simulator, feed, sink, notes)
        rig.task = asyncio.create_task(feed.run())
        if kind == "ccxt_rest":  # the exchange's time begins with a subscription
            await stack.enter_async_context(connected(simulator, "/ws/btcusdt@kline_1m"))
        try:
            yield rig
        finally:
            await rig.stop()


__all__ = ["KINDS", "START_MS", "SYMBOLS", "Rig", "figures", "rigged"]
