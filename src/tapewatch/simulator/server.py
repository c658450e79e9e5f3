"""The simulator: REST and WebSocket on one port, one clock, one market."""

from __future__ import annotations

import asyncio
import functools
import json
import ssl
from collections.abc import Sequence
from typing import Any, Literal

from aiohttp import web

from tapewatch.simulator.clock import Clock
from tapewatch.simulator.conductor import Conductor
from tapewatch.simulator.faults import Injector, OnFault
from tapewatch.simulator.limits import Books, Limits
from tapewatch.simulator.market import Market
from tapewatch.simulator.parameters import ApiError
from tapewatch.simulator.rest import PARAMETERS, Api, weight
from tapewatch.simulator.script import FaultRule
from tapewatch.simulator.session import Session
from tapewatch.simulator.tape import Tape

_TIME_UNITS = {"MILLISECOND": 1, "millisecond": 1, "MICROSECOND": 1000, "microsecond": 1000}
#: Time goes on so far past the last bar's close: who missed it asks REST once it has settled.
AFTER_MS = 5_000
_JSON = {"Content-Type": "application/json;charset=UTF-8"}


class Simulator:
    """Serves a market as the exchange would, in simulated time.

    Args:
        market: where the candles come from.
        rate: simulated time over wall time.
        start_ms: where the clock stands until the first subscription; earlier candles are REST history.
        faults: what goes wrong, and when.
        limits: what the exchange allows.
        at_end: `stop` closes all connections when the data end, `hold` leaves the clock standing there.
        ssl_context: TLS when given.
        host: address to listen on.
        port: port to listen on, 0 for any free one.
        seed: of the faults' choices.
        on_fault: told of each injected fault.
    """

    def __init__(
        self,
        market: Market,
        *,
        rate: float,
        start_ms: int,
        faults: Sequence[FaultRule] | None = None,
        limits: Limits = Limits(),
        at_end: Literal["stop", "hold"] = "stop",
        ssl_context: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int = 0,
        on_fault: OnFault = lambda _fault: None,
    ) -> None:
        self.market, self.rate, self.start_ms = market, rate, start_ms
        self.clock = Clock(rate, start_ms, market.last_ms + AFTER_MS, limits.patience_s)
        self.books = Books(limits)
        self._limits, self._at_end = limits, at_end
        self._tls, self._host, self._port = ssl_context, host, port
        self._tape = functools.cache(lambda symbol: Tape(market.candles(symbol)))
        self._injector = Injector(tuple(faults or ()), seed, start_ms, self.books, on_fault)
        self._api = Api(market.symbols, self._tape, self._settled_ms, limits)
        self._conductor = Conductor(self.clock, self._tape, market.symbols, self._injector, self.books, self._act)
        self._sessions: dict[Session, None] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._refused_until_ms = 0
        self._runner: web.AppRunner | None = None
        self._play: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen; the clock still stands.

        Raises:
            OSError: the address cannot be listened on.
        """
        app = web.Application()
        app.router.add_get("/api/v3/{endpoint:.+}", self._rest)
        app.router.add_get("/ws", self._raw)
        app.router.add_get("/ws/{streams:.*}", self._raw)
        app.router.add_get("/stream", self._combined)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port, ssl_context=self._tls).start()
        except OSError:
            await self._runner.cleanup()
            raise
        self._port = self._runner.addresses[0][1]
        self._play = asyncio.create_task(self._run())

    @property
    def rest_url(self) -> str:
        """Where REST is served."""
        return f"http{'s' if self._tls else ''}://{self._shown_host()}:{self._port}"

    @property
    def ws_url(self) -> str:
        """Where WebSocket is served, without `/ws` or `/stream`."""
        return f"ws{'s' if self._tls else ''}://{self._shown_host()}:{self._port}"

    async def wait_ended(self) -> None:
        """Return when simulated time has reached the end of the data; with `stop`, all connections are closed then."""
        if self._play is not None:
            await asyncio.shield(self._play)

    async def stop(self) -> None:
        """Close all connections and listen no more."""
        if self._play is not None:
            self._play.cancel()
            await asyncio.gather(self._play, return_exceptions=True)
        await self._close_all(list(self._sessions), "Going away")
        for task in list(self._closing):
            task.cancel()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _run(self) -> None:
        await self._conductor.run()
        if self._at_end == "stop":
            await self.clock.all_acknowledged(self.market.last_ms)
            await self._close_all(list(self._sessions), "The data end here")

    async def _rest(self, request: web.Request) -> web.Response:
        endpoint = request.match_info["endpoint"]
        now_ms = self.clock.now_ms()
        meter = self.books.meter(request.remote or "?")
        pairs = list(request.query.items())
        refusal = meter.charge(weight(endpoint, pairs))
        headers = {
            **_JSON,
            "X-MBX-USED-WEIGHT": str(meter.used),
            "X-MBX-USED-WEIGHT-1M": str(meter.used),
            "X-Tapewatch-Rate": repr(self.rate),
        }
        status, body = 200, None
        if refusal is not None:
            self.books.breaches[request.remote or "?", "ban" if refusal.status == 418 else "weight"] += 1
            headers["Retry-After"] = str(refusal.retry_after_s)
            status, body = refusal.status, _error(-1003, refusal.message)
        elif (fault := self._injector.request(now_ms, request.path, self.rate)) is not None:
            if fault.retry_after_s:
                headers["Retry-After"] = str(fault.retry_after_s)
            status, body = fault.status, _error(fault.code, fault.message)
        elif endpoint not in PARAMETERS:
            status, body = 404, _error(-1000, "Path not found.")
        else:
            try:
                unit = _time_unit(request.headers.get("X-MBX-TIME-UNIT", "MILLISECOND"))
                body = self._api.answer(endpoint, pairs, now_ms, unit)
            except ApiError as error:
                status, body = error.status, _error(error.code, error.message)
        self.books.requests[endpoint, status] += 1
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        return web.Response(status=status, body=text.encode(), headers=headers)

    async def _raw(self, request: web.Request) -> web.StreamResponse:
        names = [name for name in request.match_info.get("streams", "").split("/") if name]
        return await self._serve(request, names, combined=False)

    async def _combined(self, request: web.Request) -> web.StreamResponse:
        names = [name for name in request.query.get("streams", "").split("/") if name]
        return await self._serve(request, names, combined=True)

    async def _serve(self, request: web.Request, names: list[str], *, combined: bool) -> web.StreamResponse:
        if not self.books.admits(request.remote or "?"):
            return web.json_response(_error(-1003, "Too many connection attempts."), status=429)
        if self.clock.now_ms() < self._refused_until_ms:
            return web.json_response(_error(-1001, "Internal error; unable to process your request."), status=503)
        try:
            unit = _time_unit(request.query.get("timeUnit", "MILLISECOND"))
        except ApiError as error:
            return web.json_response(_error(error.code, error.message), status=error.status)
        if len(set(names)) > self._limits.streams:
            return web.json_response(_error(-1101, "Too many streams."), status=400)
        session = Session(request, self._conductor, self.clock, self.books, combined=combined, unit=unit)
        self._sessions[session] = None
        try:
            return await session.run(names)
        finally:
            del self._sessions[session]

    async def _act(self, rule: FaultRule, at_ms: int) -> None:
        """Carry out a fault on the connections that it means."""
        only = frozenset(rule.symbols)
        meant = [session for session in self._sessions if not only or only & session.symbols()]
        details: dict[str, object] = {"connections": len(meant)}
        if rule.kind == "stall":
            lasting_ms = self._injector.lasting_ms(rule)
            details |= {"for_ms": lasting_ms}
            for session in meant:
                session.mute(at_ms + lasting_ms, only)
        elif rule.kind == "drop":
            self._refused_until_ms = max(self._refused_until_ms, at_ms + (rule.lasting or 0))
            self.clock.shut(self._refused_until_ms)
            for session in meant:
                session.reset()
        else:
            lead_ms = self._injector.lasting_ms(rule)
            details |= {"for_ms": lead_ms}
            for session in meant:
                session.announce_shutdown(at_ms)
            self._conductor.later(at_ms + lead_ms, lambda _at_ms: self._begin_closing(meant))
        self._injector.report(rule.kind, at_ms, details)

    def _begin_closing(self, sessions: list[Session]) -> None:
        task = asyncio.create_task(self._close_all(sessions, "Server shutdown"))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close_all(self, sessions: list[Session], reason: str) -> None:
        await asyncio.gather(*(session.close(1001, reason, self._limits.patience_s) for session in sessions))

    def _settled_ms(self, now_ms: int) -> int:
        return max(self.start_ms, now_ms - self._limits.settle_ms)

    def _shown_host(self) -> str:
        return f"[{self._host}]" if ":" in self._host else self._host


def _time_unit(value: str) -> int:
    if value not in _TIME_UNITS:
        raise ApiError(-1194, "Invalid value for time unit; expected either MICROSECOND or MILLISECOND.")
    return _TIME_UNITS[value]


def _error(code: int, message: str) -> dict[str, Any]:
    return {"code": code, "msg": message}
