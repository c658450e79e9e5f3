"""The simulator: REST, WebSocket and the file archive on one port, one clock, one market."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Sequence
from typing import Literal

from aiohttp import web

from tapewatch.simulator.bulk import BulkFiles
from tapewatch.simulator.changes import Change, ChangedMarket, Roster, changes
from tapewatch.simulator.clock import Clock
from tapewatch.simulator.conductor import Conductor
from tapewatch.simulator.faults import Injector, OnFault
from tapewatch.simulator.funding import Payments
from tapewatch.simulator.futures import FuturesApi, FuturesServer
from tapewatch.simulator.incidents import Incidents
from tapewatch.simulator.limits import Books, Limits
from tapewatch.simulator.market import Market
from tapewatch.simulator.parameters import ApiError
from tapewatch.simulator.rest import Api
from tapewatch.simulator.rest_server import RestServer, error, time_unit
from tapewatch.simulator.rules import FaultRule
from tapewatch.simulator.session import Session
from tapewatch.simulator.tapes import Tapes

#: Time goes on so far past the last bar's close: who missed it asks REST once it has settled.
AFTER_MS = 5_000


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
        rules = tuple(faults or ())
        made = changes(rules, seed, start_ms, market.last_ms)
        self.market, self.rate, self.start_ms = ChangedMarket(market, made) if made else market, rate, start_ms
        self.clock = Clock(rate, start_ms, market.last_ms + AFTER_MS, limits.patience_s)
        self.books = Books(limits)
        self._limits, self._at_end = limits, at_end
        self._tls, self._host, self._port = ssl_context, host, port
        tapes = self._tapes = Tapes(self.market)
        roster = Roster(market.symbols, made)
        self._injector = Injector(rules, seed, start_ms, self.books, on_fault)
        wrong = self._injector.rest
        self._rest = RestServer(
            Api(roster, tapes, wrong, self._settled_ms, limits), self.clock, self.books, wrong, rate
        )
        payments = Payments(market, tapes.whole)
        futures = FuturesApi(roster, tapes, wrong, self._settled_ms, limits, payments)
        self._futures = FuturesServer(futures, self.clock, self.books, wrong, rate)
        self._bulk = BulkFiles(
            market.symbols, tapes.whole, payments.until, self.clock, self.books, rules, seed, on_fault
        )
        self._sessions: dict[Session, None] = {}
        self._incidents = Incidents(self._sessions, self._injector, self.clock, limits.patience_s)
        self._conductor = Conductor(self.clock, tapes, market.symbols, self._injector, self.books, self._incidents.act)
        self._incidents.through(self._conductor.later)
        for change in made:
            self._conductor.later(change.at_ms, functools.partial(self._tell, change))
        self._runner: web.AppRunner | None = None
        self._play: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen, once there is something to tell of every symbol; the clock still stands.

        Raises:
            OSError: the address cannot be listened on.
        """
        await self._tapes.prepare(self.start_ms)
        app = web.Application()
        self._rest.add_routes(app)
        app.router.add_get("/ws", self._raw)
        app.router.add_get("/ws/{streams:.*}", self._raw)
        app.router.add_get("/stream", self._combined)
        self._futures.add_routes(app)
        self._bulk.add_routes(app)
        app.router.add_get("/tapewatch/books", self._told)
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
        await self._incidents.close_all(list(self._sessions), "Going away")
        self._incidents.cancel()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _run(self) -> None:
        await self._conductor.run()
        if self._at_end == "stop":
            await self.clock.all_acknowledged(self.market.last_ms)
            await self._incidents.close_all(list(self._sessions), "The data end here")

    def _tell(self, change: Change, _at_ms: int) -> None:
        self._injector.report(change.kind, change.at_ms, change.told())

    async def _told(self, _request: web.Request) -> web.Response:
        return web.json_response(self.books.told())

    async def _raw(self, request: web.Request) -> web.StreamResponse:
        names = [name for name in request.match_info.get("streams", "").split("/") if name]
        return await self._serve(request, names, combined=False)

    async def _combined(self, request: web.Request) -> web.StreamResponse:
        names = [name for name in request.query.get("streams", "").split("/") if name]
        return await self._serve(request, names, combined=True)

    async def _serve(self, request: web.Request, names: list[str], *, combined: bool) -> web.StreamResponse:
        client = request.remote or "?"
        if not self.books.admits(client):
            return _refused(429, -1003, "Too many connection attempts.")
        refusal = self._incidents.refusal()
        if refusal is not None:
            return self._turned_away(request, refusal)
        if len(request.raw_path) > self._limits.url_chars:
            self.books.breach(client, "url")
            return _refused(414, -1101, "Too long.")
        try:
            unit = time_unit(request.query.get("timeUnit", "MILLISECOND"))
        except ApiError as refused:
            return _refused(400, refused.code, refused.message)
        if len(set(names)) > self._limits.streams:
            self.books.breach(client, "streams")
            return _refused(400, -1101, "Too many streams.")
        session = Session(request, self._conductor, self.clock, self.books, combined=combined, unit=unit)
        self._sessions[session] = None
        try:
            return await session.run(names)
        finally:
            del self._sessions[session]

    @staticmethod
    def _turned_away(request: web.Request, status: int) -> web.Response:
        """While handshakes are refused: an answer, or the end of the connection without one."""
        if not status and request.transport is not None:
            request.transport.abort()
        return _refused(status or 503, -1001, "Internal error; unable to process your request.")

    def _settled_ms(self, now_ms: int) -> int:
        return max(self.start_ms, now_ms - self._limits.settle_ms)

    def _shown_host(self) -> str:
        return f"[{self._host}]" if ":" in self._host else self._host


def _refused(status: int, code: int, message: str) -> web.Response:
    return web.Response(status=status, body=error(code, message), content_type="application/json")
