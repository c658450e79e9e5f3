"""A server that speaks the dashboard's API on a real socket, with as many symbols and events as a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from aiohttp import web
from stand_in_data import NOW_MS, Market

STATIC = Path(str(files("tapewatch") / "web" / "static"))
CHARTS = Path(str(files("litecharts") / "js" / "lightweight-charts.js"))
#: What the run's own server sends with every answer.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class StandIn:
    """One server: `emit` tells every open page; `asked` and `queries` are what was asked for.

    `streams` is how often events were.
    """

    def __init__(self, market: Market, port: int = 0) -> None:
        self.market = market
        self.port = port
        self.seq = self.streams = 0
        self.asked: list[str] = []
        self.queries: list[tuple[str, dict[str, str]]] = []
        self.pages: set[asyncio.Queue[tuple[int, str, str]]] = set()
        self._closing = asyncio.Event()

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.port}/"

    def emit(self, kind: str, data: Any) -> None:
        """One event for every open page."""
        self.seq += 1
        text = json.dumps(data)
        for page in self.pages:
            page.put_nowait((self.seq, kind, text))

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[StandIn]:
        """Serve until the end of the block; the port stays the same when it serves again."""
        self._closing = asyncio.Event()
        runner = web.AppRunner(self._app(), shutdown_timeout=0.5, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            self._closing.set()
            await runner.cleanup()

    def _app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/", self._page)
        app.router.add_get("/static/{name}", self._static)
        app.router.add_get("/api/v1/events", self._events)
        app.router.add_get("/api/v1/{path:.*}", self._answer)
        return app

    async def _page(self, request: web.Request) -> web.StreamResponse:
        return await file(STATIC / "index.html")

    async def _static(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        path = CHARTS if name == CHARTS.name else STATIC / name
        return await file(path)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        self.asked.append(path)
        self.queries.append((path, dict(request.query)))
        found = self.market.answer(path, dict(request.query))
        if found is None:
            error = {"error": {"code": "not_found", "message": f"There is no {path}."}}
            return web.json_response(error, status=404, headers=HEADERS)
        if path == "state":
            found = {**found, "seq": self.seq}
        return web.json_response(found, headers=HEADERS)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(b": hello\n\n")
        self.streams += 1
        page: asyncio.Queue[tuple[int, str, str]] = asyncio.Queue()
        self.pages.add(page)
        closing = asyncio.create_task(self._closing.wait())
        try:
            while True:
                coming = asyncio.create_task(page.get())
                await asyncio.wait({coming, closing}, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    coming.cancel()
                    break
                seq, kind, text = coming.result()
                await answer.write(f"id: {seq}\nevent: {kind}\ndata: {text}\n\n".encode())
        except ConnectionResetError:
            pass
        finally:
            closing.cancel()
            self.pages.discard(page)
        return answer


async def file(path: Path) -> web.StreamResponse:
    """A file, compressed as the run's own server does."""
    body = await asyncio.to_thread(path.read_bytes)
    kind = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}[path.suffix]
    answer = web.Response(body=body, content_type=kind, charset="utf-8", headers=HEADERS)
    answer.enable_compression()
    return answer


__all__ = ["NOW_MS", "Market", "StandIn"]
