"""A truthful little exchange on a real socket, whose every frame and answer a test decides."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from tapewatch.feeds import BinanceFeed, FeedObserver, FeedSettings, SeriesPlan
from tapewatch.model import INTERVALS_MS, MINUTE_MS, Bar, BarClosed, Boundary, Correction, Event, History

START_MS = 1_700_000_040_000 // MINUTE_MS * MINUTE_MS


def candle(symbol: str, open_ms: int, interval_ms: int = MINUTE_MS) -> Bar:
    """A sound candle that follows from its symbol and time alone."""
    r = random.Random(f"{symbol}{open_ms}{interval_ms}")
    low = round(100 + r.random(), 2)
    close, opened = round(low + r.random(), 2), round(low + r.random(), 2)
    return Bar(
        symbol, interval_ms, open_ms, opened, round(low + 2, 2), low, close,
        round(r.random() * 10, 5), round(r.random() * 1000, 5), float(r.randrange(1, 99)), round(r.random(), 5),
    )  # fmt: skip


def frame(bar: Bar, event_ms: int, *, closed: bool = True, combined: bool = True) -> str:
    """The bar as the exchange streams it."""
    kline = {
        "t": bar.open_ms, "T": bar.close_ms - 1, "s": bar.symbol, "i": "1m", "f": 1, "L": 2,
        "o": f"{bar.open:.8f}", "c": f"{bar.close:.8f}", "h": f"{bar.high:.8f}", "l": f"{bar.low:.8f}",
        "v": f"{bar.volume:.8f}", "n": int(bar.trades), "x": closed, "q": f"{bar.quote_volume:.8f}",
        "V": f"{bar.taker_buy:.8f}", "Q": "1.00000000", "B": "0",
    }  # fmt: skip
    event = {"e": "kline", "E": event_ms, "s": bar.symbol, "k": kline}
    return json.dumps({"stream": f"{bar.symbol.lower()}@kline_1m", "data": event} if combined else event)


def row(bar: Bar) -> list[Any]:
    """The bar as REST serves it."""
    prices = [f"{value:.8f}" for value in (bar.open, bar.high, bar.low, bar.close, bar.volume)]
    return [bar.open_ms, *prices, bar.close_ms - 1, f"{bar.quote_volume:.8f}", int(bar.trades),
            f"{bar.taker_buy:.8f}", "1.0", "0"]  # fmt: skip


@dataclass
class Exchange:
    """Serves `symbols` from `first_ms` on; candles in `holes` do not exist."""

    symbols: list[str]
    first_ms: int = START_MS - 200 * MINUTE_MS
    holes: set[tuple[str, int]] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    received: list[Any] = field(default_factory=list)
    #: Called before REST answers; a response it returns is sent instead.
    before_rest: Callable[[web.Request], Awaitable[web.Response | None]] | None = None
    #: Called with each control message; text it returns is sent in place of an acknowledgement.
    before_ack: Callable[[dict[str, Any]], str | None] | None = None
    acknowledge: bool = True
    #: Whether streams can be had.
    streaming: bool = True
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._base_ms, self._at_s = float(START_MS), time.monotonic()
        self.port = 0

    @property
    def now_ms(self) -> int:
        """The exchange's time."""
        return int(self._base_ms + (time.monotonic() - self._at_s) * 1000)

    def set_time(self, now_ms: int) -> None:
        """The exchange's clock leaps."""
        self._base_ms, self._at_s = float(now_ms), time.monotonic()

    async def start(self, port: int = 0, context: ssl.SSLContext | None = None) -> None:
        """Listens."""
        app = web.Application()
        app.router.add_get("/api/v3/{what}", self._rest)
        app.router.add_get("/api/v3/{what}/{kind}", self._rest)
        app.router.add_get("/stream", self._socket)
        app.router.add_get("/ws/{number}", self._socket)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=context, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Resets every connection and listens no more."""
        self.cut()
        await self._runner.cleanup()

    def cut(self) -> None:
        """Resets every connection."""
        for socket in self.sockets:
            transport = socket._req.transport if socket._req is not None else None
            if transport is not None:
                transport.abort()
        self.sockets.clear()

    def write_raw(self, data: bytes) -> None:
        """Bytes straight onto the wire of the newest connection."""
        request = self.sockets[-1]._req
        assert request is not None
        assert request.transport is not None
        request.transport.write(data)

    async def send(self, text: str, which: int = -1) -> None:
        """A text frame on one connection, the newest unless told."""
        if self.sockets:
            with suppress(ConnectionError, IndexError):
                await self.sockets[which].send_str(text)

    async def close_minute(self, boundary_ms: int, symbols: list[str] | None = None) -> None:
        """The boundary comes and its bars are streamed."""
        self.set_time(boundary_ms + 150)
        for symbol in symbols if symbols is not None else self.symbols:
            if (symbol, boundary_ms - MINUTE_MS) not in self.holes:
                await self.send(frame(candle(symbol, boundary_ms - MINUTE_MS), boundary_ms + 100))

    def expected(self, symbol: str, from_ms: int, to_ms: int) -> list[Bar]:
        """The candles that exist and open in [from_ms, to_ms)."""
        return [
            candle(symbol, open_ms)
            for open_ms in range(from_ms, to_ms, MINUTE_MS)
            if open_ms >= self.first_ms and (symbol, open_ms) not in self.holes
        ]

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(str(request.rel_url))
        if self.before_rest is not None and (answer := await self.before_rest(request)) is not None:
            return answer
        what = request.match_info["what"]
        headers = {"X-MBX-USED-WEIGHT-1M": str(len(self.requests)), **self.headers}
        if what == "time":
            return web.json_response({"serverTime": self.now_ms}, headers=headers)
        if what == "exchangeInfo":
            limits = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000}]
            symbols = [
                {"symbol": s, "status": "TRADING", "baseAsset": s[:3], "quoteAsset": s[3:]} for s in self.symbols
            ]
            symbols.append({"symbol": "OLDUSDT", "status": "BREAK", "baseAsset": "OLD", "quoteAsset": "USDT"})
            return web.json_response({"symbols": symbols, "rateLimits": limits}, headers=headers)
        if what == "ticker":
            return web.json_response(self._tickers(request), headers=headers)
        return web.json_response(self._klines(request.query), headers=headers)

    def _tickers(self, request: web.Request) -> list[dict[str, str]]:
        named = json.loads(request.query.get("symbols", "null"))
        if request.path.endswith("24hr"):
            return [{"symbol": s, "quoteVolume": f"{volume:.8f}"} for s, volume in self.volumes().items()]
        asked = self.symbols if named is None else named
        if unknown := set(asked) - set(self.symbols):
            raise web.HTTPBadRequest(text=json.dumps({"code": -1121, "msg": f"Invalid symbol. {unknown}"}))
        return [{"symbol": s, "bidPrice": "99.50000000", "askPrice": "100.50000000"} for s in asked]

    def volumes(self) -> dict[str, float]:
        """The quote volume of a day: the first symbol's is the smallest."""
        return {symbol: 1000.0 * (number + 1) for number, symbol in enumerate(self.symbols)}

    def _klines(self, query: Any) -> list[list[Any]]:
        interval_ms = INTERVALS_MS[query["interval"]]
        start_ms = -(-max(int(query["startTime"]), self.first_ms) // interval_ms) * interval_ms
        end_ms = min(int(query.get("endTime", self.now_ms)), self.now_ms)
        rows = [
            row(candle(query["symbol"], open_ms, interval_ms))
            for open_ms in range(start_ms, end_ms + 1, interval_ms)
            if interval_ms != MINUTE_MS or (query["symbol"], open_ms) not in self.holes
        ]
        return rows[: int(query["limit"])]

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        if not self.streaming:
            raise web.HTTPServiceUnavailable
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            asked = json.loads(message.data)
            self.received.append(asked)
            answer = self.before_ack(asked) if self.before_ack is not None else None
            if answer is None and self.acknowledge:
                result = {"serverTime": self.now_ms, "rate": 1.0} if asked["method"] == "TAPEWATCH_PACE" else None
                answer = json.dumps({"result": result, "id": asked["id"]})
            if answer is not None:
                await socket.send_str(answer)
        if socket in self.sockets:
            self.sockets.remove(socket)
        return socket


class Notes(FeedObserver):
    """Keeps everything it is told as (what, values)."""

    def __init__(self) -> None:
        self.said: list[tuple[str, tuple[Any, ...]]] = []

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_") or name in {"said", "of", "count"}:
            return super().__getattribute__(name)
        return lambda *values: self.said.append((name, values))

    def of(self, what: str) -> list[tuple[Any, ...]]:
        """The values of every call of one kind."""
        return [values for name, values in self.said if name == what]

    def count(self, what: str) -> int:
        """How many calls of one kind there were."""
        return len(self.of(what))


class Sink:
    """Keeps the events by symbol."""

    def __init__(self) -> None:
        self.events: dict[str, list[History | BarClosed]] = {}
        self.boundaries: list[int] = []
        self.corrections: list[Correction] = []

    def __call__(self, events: list[Event]) -> None:
        """Take events, as the engine would."""
        for event in events:
            if isinstance(event, Boundary):
                self.boundaries.append(event.close_ms)
            elif isinstance(event, Correction):
                self.corrections.append(event)
            elif isinstance(event, History | BarClosed):
                self.events.setdefault(event.bar.symbol, []).append(event)

    def live(self, symbol: str) -> list[Bar]:
        """The live bars of one symbol."""
        return [event.bar for event in self.events.get(symbol, []) if isinstance(event, BarClosed)]

    def history(self, symbol: str) -> list[Bar]:
        """Its history."""
        return [event.bar for event in self.events.get(symbol, []) if not isinstance(event, BarClosed)]


def watching(
    feed: BinanceFeed, plans: Sequence[SeriesPlan] | Callable[[int], Sequence[SeriesPlan]]
) -> asyncio.Task[None]:
    """The running feed, told what to watch (or what to make of the exchange's time) as soon as it is ready."""

    async def begin() -> None:
        now_ms = await feed.ready()
        feed.watch(plans(now_ms) if callable(plans) else plans)

    async def run() -> None:
        beginning = asyncio.create_task(begin())
        try:
            await feed.run()
        finally:
            beginning.cancel()
            await asyncio.gather(beginning, return_exceptions=True)

    return asyncio.create_task(run())


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Returns when the condition holds; fails when it does not come to hold."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  (what is waited for has no event)
            await asyncio.sleep(0.005)


def quick(port: int, **changes: Any) -> FeedSettings:
    """Settings for a test's pace: everything that waits, waits for milliseconds."""
    values: dict[str, Any] = {
        "rest_url": f"http://127.0.0.1:{port}", "ws_url": f"ws://127.0.0.1:{port}",
        "settle_ms": 300, "settle_wall_s": 0.05, "backoff_s": (0.05, 0.1, 0.2),
        "rest_backoff_s": (0.01, 0.05), "breaker_s": (0.05, 0.1), "recheck_s": (0.1, 0.2),
        "tick_s": 0.02, "connect_timeout_s": 2.0, "request_timeout_s": 2.0,
    }  # fmt: skip
    return FeedSettings(**{**values, **changes})


async def serve(
    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> tuple[asyncio.Server, int]:
    """A raw TCP server on a free port."""
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes whatever comes and never answers, for `serve`."""
    await reader.read()
    writer.close()
