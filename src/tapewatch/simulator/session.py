"""One WebSocket connection: its subscriptions, its limits, its pings, and the queue of what is to be sent on it."""

from __future__ import annotations

import asyncio
import math
import secrets
import socket
import struct
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Protocol

from aiohttp import ClientConnectionError, WSMessage, WSMsgType, web

from tapewatch.simulator import control
from tapewatch.simulator.clock import Clock
from tapewatch.simulator.limits import Books, RollingWindow
from tapewatch.simulator.streams import Frame, shutdown_text
from tapewatch.simulator.wire import framed

#: Bytes that may wait in the transport of a connection; more stays in its queue.
_BUFFER = 1 << 20
_FRAMES_AT_ONCE = 500


class Hub(Protocol):
    """What a connection tells the simulator."""

    def subscribed(self, session: Session, names: Iterable[str]) -> None:
        """The connection wants these streams from now on."""
        ...

    def unsubscribed(self, session: Session, names: Iterable[str]) -> None:
        """It wants them no more."""
        ...

    def symbol_of(self, name: str) -> str | None:
        """The symbol of a stream, None for one that is of no symbol."""
        ...

    def later(self, at_ms: int, what: Callable[[int], None]) -> None:
        """Something is to be done at a simulated time."""
        ...


class Session:
    """Serves one connection until it ends.

    Args:
        request: the handshake.
        combined: whether events come wrapped with their stream's name.
        unit: 1 for times in milliseconds, 1000 for microseconds.
    """

    def __init__(
        self, request: web.Request, hub: Hub, clock: Clock, books: Books, *, combined: bool, unit: int
    ) -> None:
        self.client = request.remote or "?"
        self.names: dict[str, None] = {}
        self._request, self._hub, self._clock, self._books = request, hub, clock, books
        self._combined, self._unit = combined, unit
        self._socket = web.WebSocketResponse(autoping=False, compress=False, heartbeat=None)
        self._queue: list[bytes] = []
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()
        self._messages = RollingWindow(books.limits.messages_per_s, 1.0)
        self._pings: dict[bytes, float] = {}
        self._muted: list[tuple[int, frozenset[str]]] = []
        self._silent: dict[str, float] = {}
        self._lag: tuple[int, int] = (0, 0)  # until when, and by how much
        self._choked_until_ms = 0
        self._last_due_ms = 0
        self._ended = False

    async def run(self, names: Iterable[str]) -> web.WebSocketResponse:
        """Serve until either side closes; `names` are the streams of the URL."""
        await self._socket.prepare(self._request)
        tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._keep())]
        try:
            self._subscribe(list(names))
            async for message in self._socket:
                await self._take(message)
        finally:
            self._hub.unsubscribed(self, list(self.names))
            self._clock.leave(self)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return self._socket

    def offer(self, frame: Frame, now_ms: int) -> bool:
        """Queue a frame, now or later, unless it is withheld."""
        if self._muted and any(now_ms < until and (not only or frame.symbol in only) for until, only in self._muted):
            return False
        if self._silent and now_ms < self._silent.get(frame.stream, 0):
            return False
        payload = frame.wire(combined=self._combined, unit=self._unit)
        if self._last_due_ms:
            due_ms = self._due_ms(now_ms)
            if due_ms > now_ms:
                self._hub.later(due_ms, lambda _at_ms: self._put(payload))
                return True
        self._put(payload)
        return True

    def _due_ms(self, now_ms: int) -> int:
        """When a frame goes out on a connection that is behind: never before the one that came before it."""
        until_ms, by_ms = self._lag
        due_ms = now_ms + by_ms if now_ms < until_ms else now_ms
        self._last_due_ms = max(due_ms, self._choked_until_ms, self._last_due_ms)
        if self._last_due_ms > now_ms:
            return self._last_due_ms
        self._last_due_ms = 0  # it has caught up
        return now_ms

    def symbols(self) -> set[str]:
        """The symbols of its streams."""
        return {symbol for name in self.names if (symbol := self._hub.symbol_of(name)) is not None}

    def announce_shutdown(self, now_ms: int) -> None:
        """Queue the notice that the server is about to go."""
        self._say(shutdown_text(now_ms, combined=self._combined, unit=self._unit))

    def mute(self, until_ms: int, symbols: frozenset[str]) -> None:
        """Withhold stream frames (of these symbols, all when empty) until then; pings and replies go on."""
        self._muted = [entry for entry in self._muted if entry[0] > self._clock.now_ms()] + [(until_ms, symbols)]

    def silence(self, symbols: set[str], until_ms: float) -> bool:
        """Withhold the streams of these symbols until then, or until they are subscribed anew; whether it has any."""
        hit = [name for name in self.names if self._hub.symbol_of(name) in symbols]
        self._silent.update(dict.fromkeys(hit, until_ms))
        return bool(hit)

    def lag(self, until_ms: int, by_ms: int) -> None:
        """Stream frames come so much later, until then."""
        self._lag = (until_ms, by_ms)
        self._last_due_ms = max(self._last_due_ms, 1)

    def choke(self, until_ms: int) -> None:
        """Stream frames pile up until then, and come all at once."""
        self._choked_until_ms = until_ms
        self._last_due_ms = max(self._last_due_ms, 1)

    def reset(self) -> None:
        """Cut the connection without a goodbye."""
        transport = self._request.transport
        if transport is None:
            return
        raw = transport.get_extra_info("socket")
        if raw is not None:
            with suppress(OSError):  # the peer may be gone already
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    async def close(self, code: int, reason: str, patience_s: float = 1.0) -> None:
        """Say goodbye, after what is queued if the reader takes it within the patience."""
        await self.drained(patience_s)
        with suppress(ClientConnectionError, ConnectionError, TimeoutError):
            async with asyncio.timeout(1.0):
                await self._socket.close(code=code, message=reason.encode())

    async def drained(self, patience_s: float) -> bool:
        """Wait until everything queued is sent; False when the reader is too slow for the patience."""
        if not self._queue or self._ended:
            return True
        self._drained.clear()
        try:
            async with asyncio.timeout(patience_s):
                await self._drained.wait()
        except TimeoutError:
            return False
        return True

    @property
    def full(self) -> bool:
        """Whether the queue is longer than it should be."""
        return len(self._queue) > self._books.limits.queue_frames

    async def _send(self) -> None:
        """Write what is queued, many frames at once: the transport has no more to do for them than for one."""
        while (transport := self._request.transport) is not None and not transport.is_closing():
            if transport.get_write_buffer_size() > _BUFFER:
                await asyncio.sleep(0.002)
            elif self._queue:
                transport.write(b"".join(self._queue[:_FRAMES_AT_ONCE]))
                del self._queue[:_FRAMES_AT_ONCE]
            else:
                self._filled.clear()
                self._drained.set()
                await self._filled.wait()
        self._ended = True  # nobody is there to read: a goodbye need not wait for what is queued
        self._drained.set()

    async def _keep(self) -> None:
        """Ping, and cut a connection that does not answer or is too old."""
        limits = self._books.limits
        born_s = time.monotonic()
        next_ping_s = born_s + limits.ping_s
        while True:
            oldest_s = min(self._pings.values(), default=math.inf) + limits.pong_s
            due_s = min(next_ping_s, oldest_s, born_s + limits.max_age_s)
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            now_s = time.monotonic()
            if now_s >= born_s + limits.max_age_s:
                await self._breach("age", 1001, "Connection age limit")
                return
            if min(self._pings.values(), default=math.inf) + limits.pong_s <= now_s:
                await self._breach("pong", 1008, "Pong timeout")
                return
            if now_s >= next_ping_s:
                payload = secrets.token_bytes(8)
                self._pings[payload] = now_s
                self._put(framed("ping", payload))
                next_ping_s += limits.ping_s

    async def _breach(self, limit: str, code: int, reason: str) -> None:
        self._books.breach(self.client, limit)
        await self.close(code, reason)

    async def _take(self, message: WSMessage) -> None:
        if message.type is WSMsgType.ERROR:
            return  # the socket has closed itself over it
        data = message.data.encode() if isinstance(message.data, str) else bytes(message.data)
        if b'"TAPEWATCH_PACE"' not in data and not self._messages.admit():
            self._books.penalise(self.client)
            await self.close(1008, "Too many requests")
        elif message.type is WSMsgType.PING:
            self._put(framed("pong", data))
        elif message.type is WSMsgType.PONG:
            self._answered(data)
        elif len(data) > self._books.limits.control_bytes:
            self._books.breach(self.client, "control")
        else:
            self._control(data.decode(errors="replace"))

    def _answered(self, payload: bytes) -> None:
        """A pong that echoes a ping settles it and the ones before; any other does not count."""
        sent_s = self._pings.get(payload)
        if sent_s is not None:
            self._pings = {ping: at_s for ping, at_s in self._pings.items() if at_s > sent_s}

    def _control(self, message: str) -> None:
        try:
            request = control.parse(message)
            self._say(control.result(self._answer(request), request.id))
        except control.Refused as refused:
            if refused.code == 4:
                self._books.breach(self.client, "streams")
            self._say(refused.reply())

    def _answer(self, request: control.Request) -> object:
        match request.method:
            case "SUBSCRIBE":
                if len(self.names.keys() | set(request.params)) > self._books.limits.streams:
                    raise control.Refused(4, "Too many subscriptions", request.id)
                self._subscribe(request.params)
            case "UNSUBSCRIBE":
                known = [name for name in request.params if self.names.pop(name, ()) is None]
                for name in known:
                    self._silent.pop(name, None)
                self._hub.unsubscribed(self, known)
            case "LIST_SUBSCRIPTIONS":
                return list(self.names)
            case "SET_PROPERTY":
                self._combined = bool(control.property_value(request))
            case "GET_PROPERTY":
                control.property_value(request)
                return self._combined
            case control.PACE:
                return self._pace(request)
        return None

    def _pace(self, request: control.Request) -> object:
        if len(request.params) != 1 or not isinstance(request.params[0], int):
            raise control.Refused(2, "Invalid request: expected one close time in milliseconds", request.id)
        self._clock.acknowledge(self, request.params[0])
        return {"serverTime": self._clock.now_ms(), "rate": self._clock.rate}

    def _subscribe(self, names: list[str]) -> None:
        fresh = [name for name in dict.fromkeys(names) if name not in self.names]
        self.names.update(dict.fromkeys(fresh))
        self._hub.subscribed(self, fresh)

    def _say(self, payload: bytes) -> None:
        self._put(framed("text", payload))

    def _put(self, frame: bytes) -> None:
        self._queue.append(frame)
        self._filled.set()
