"""The streaming side of an exchange, on a real socket, that keeps the limits' books for each connection."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web
from feed_exchange import START_MS, Notes, candle, frame, quick

from tapewatch.feeds import ExchangeClock, FeedSettings, FrameCounts
from tapewatch.feeds.pool import Pool
from tapewatch.feeds.port import Ticker
from tapewatch.feeds.wire import KlineEvent


@dataclass(eq=False)
class Wire:
    """One connection as the exchange sees it."""

    socket: web.WebSocketResponse
    request: web.Request
    names: dict[str, None] = field(default_factory=dict)
    arrived_s: list[float] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    paced: list[int] = field(default_factory=list)

    def cut(self) -> None:
        """A reset without a goodbye."""
        if self.request.transport is not None:
            self.request.transport.abort()

    async def send(self, text: str) -> None:
        """One text frame, whatever comes of it."""
        with suppress(ConnectionError):
            await self.socket.send_str(text)


@dataclass
class Streams:
    """Serves `/stream`; what it must never see is noted in `breaches`."""

    limit: int = 1024
    #: Called with each control message; text that it returns goes out in place of the reply, "" for none at all.
    before_reply: Callable[[Wire, dict[str, Any]], str | None] | None = None
    #: Whether handshakes are refused.
    refusing: bool = False
    #: Streams that are acknowledged and bring nothing.
    mute: set[str] = field(default_factory=set)
    wires: list[Wire] = field(default_factory=list)
    every_wire: list[Wire] = field(default_factory=list)
    handshakes_s: list[float] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)
    port: int = 0

    async def start(self, port: int = 0, context: ssl.SSLContext | None = None) -> None:
        """Listens."""
        app = web.Application()
        app.router.add_get("/stream", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=context, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Cuts everything and listens no more."""
        self.cut()
        await self._runner.cleanup()

    def cut(self) -> None:
        """Every connection at once."""
        for wire in list(self.wires):
            wire.cut()

    @property
    def names(self) -> list[str]:
        """What is subscribed to, over all connections; a name twice while one connection hands over to another."""
        return sorted(name for wire in self.wires for name in wire.names)

    async def close_minute(self, boundary_ms: int) -> None:
        """Each connection gets the closed bars of the symbols that it asked for."""
        for wire in list(self.wires):
            for name in [name for name in wire.names if "@kline_1m" in name and name not in self.mute]:
                symbol = name.partition("@")[0].upper()
                await wire.send(frame(candle(symbol, boundary_ms - 60_000), boundary_ms + 100))

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.handshakes_s.append(time.monotonic())
        if self.refusing:
            return web.Response(status=503)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        wire = Wire(socket, request)
        self.wires.append(wire)
        self.every_wire.append(wire)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await self._take(wire, message.data)
        finally:
            self.wires.remove(wire)
        return socket

    async def _take(self, wire: Wire, text: str) -> None:
        asked = json.loads(text)
        if asked["method"] == "TAPEWATCH_PACE":
            wire.paced += asked["params"]
            await wire.send(json.dumps({"result": {"serverTime": START_MS, "rate": 1.0}, "id": asked["id"]}))
            return
        self._audit(wire, text)
        wire.asked.append(asked)
        answer = self.before_reply(wire, asked) if self.before_reply is not None else None
        if answer is None:
            answer = json.dumps(self._answer(wire, asked))
        if answer:
            await wire.send(answer)

    def _audit(self, wire: Wire, text: str) -> None:
        now_s = time.monotonic()
        wire.arrived_s.append(now_s)
        # On a busy machine what was sent a second apart may arrive a little less apart.
        if len([at_s for at_s in wire.arrived_s if at_s > now_s - 0.8]) > 3:
            self.breaches.append("more than three messages in a second")
        if len(text.encode()) >= 4096:
            self.breaches.append(f"a message of {len(text.encode())} bytes")

    def _answer(self, wire: Wire, asked: dict[str, Any]) -> dict[str, Any]:
        names = dict.fromkeys(asked["params"])
        if asked["method"] == "UNSUBSCRIBE":
            if not names.keys() <= wire.names.keys():
                self.breaches.append("an unknown stream was unsubscribed from")
            wire.names = {name: None for name in wire.names if name not in names}
        elif len(wire.names | names) > self.limit:
            return {"error": {"code": 4, "msg": "Too many subscriptions"}, "id": asked["id"]}
        else:
            if names.keys() & wire.names.keys():
                self.breaches.append("a stream was subscribed to twice")
            wire.names |= names
        return {"result": None, "id": asked["id"]}


class Pooling:
    """A pool at work, and what came out of it."""

    def __init__(self, streams: Streams, settings: FeedSettings) -> None:
        self.streams, self.notes, self.counts = streams, Notes(), FrameCounts()
        self.bars: list[tuple[str, int]] = []
        self.tickers: list[list[Ticker]] = []
        self.started: list[frozenset[str]] = []
        self.minute_ms = START_MS
        self.pool = Pool(
            settings,
            ExchangeClock(),
            self.counts,
            self.notes,
            self.bar,
            self.tickers.append,
            self.started.append,
            lambda name: None if name[0] == "!" else name.partition("@")[0].upper(),
        )

    def bar(self, event: KlineEvent) -> None:
        """Take a closed bar."""
        self.bars.append((event.k.s, event.k.t))

    async def minute(self) -> int:
        """The next boundary, and the open of its bars."""
        self.minute_ms += 60_000
        await self.streams.close_minute(self.minute_ms)
        return self.minute_ms - 60_000

    @property
    def settled(self) -> bool:
        """Whether the exchange streams what is wanted, each once."""
        return self.streams.names == sorted(self.pool._places)


@asynccontextmanager
async def pooling(names: list[str], streams: Streams | None = None, **changes: Any) -> AsyncIterator[Pooling]:
    """A pool that runs against an exchange of its own; it leaves nothing behind."""
    streams = streams or Streams()
    if not streams.port:
        await streams.start()
    pooled = Pooling(streams, quick(streams.port, **changes))
    pooled.pool.want(names)
    task = asyncio.create_task(pooled.pool.run())
    try:
        yield pooled
        assert not task.done(), "the pool ended by itself"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await streams.stop()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not [task for task in left if "tapewatch" in str(task.get_coro())], "tasks were left behind"
