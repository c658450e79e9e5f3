"""The health paths over HTTP: `/livez`, `/readyz`, `/health` and `/metrics`, inside the caller's event loop."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from tapewatch.errors import SetupError
from tapewatch.telemetry.document import health_document, memory_bytes, verdict_document
from tapewatch.telemetry.health import Health

if TYPE_CHECKING:
    from fastapi import FastAPI, Response
    from uvicorn import Server

    from tapewatch.telemetry.metrics import Metrics

#: How long answers under way may take when it stops.
FINISH_S = 2
_HEALTH_TYPE = "application/health+json"


async def serve(
    health: Health,
    metrics: Metrics,
    host: str,
    port: int,
    *,
    now_ms: Callable[[], int],
    on_bound: Callable[[int], None],
    stop: asyncio.Event,
) -> None:
    """Serve until `stop` is set, then finish what is under way.

    Args:
        health: answers `/livez`, `/readyz`, `/health`.
        metrics: answers `/metrics`.
        host: the address to listen on.
        port: the port; 0 takes any free one.
        now_ms: the wall clock.
        on_bound: called with the port once requests are answered.
        stop: ends it.

    Raises:
        SetupError: the port cannot be had; names `web.port`.
    """
    with closing(_listen(host, port)) as listening:
        bound = int(listening.getsockname()[1])
        # Importing takes some tenths of a second of CPU; the market data connection comes first.
        server = await asyncio.to_thread(_server, health, metrics, now_ms, lambda: on_bound(bound))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            server.should_exit = True
            await serving


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SetupError(f"web.host: {host} cannot be used: {error.strerror}") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise SetupError(f"web.port: {port} on {host} is in use already; 0 takes any free one") from None
        raise SetupError(f"web.port: {port} on {host} cannot be had: {error.strerror}") from None
    return listening


def _server(health: Health, metrics: Metrics, now_ms: Callable[[], int], started: Callable[[], None]) -> Server:
    import uvicorn

    class Embedded(uvicorn.Server):
        """A server that leaves the process's signals to the program it is part of."""

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started()

    config = uvicorn.Config(
        build_app(health, metrics, now_ms),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=FINISH_S,
    )
    return Embedded(config)


def build_app(health: Health, metrics: Metrics, now_ms: Callable[[], int]) -> FastAPI:
    """The application: four paths to read, nothing to change, no pages."""
    from fastapi import FastAPI, Request, Response
    from prometheus_client.exposition import choose_encoder

    def answer(document: dict[str, Any]) -> Response:
        code = 503 if document["status"] == "fail" else 200
        # Thousands of symbols have an entry each: written by msgspec it is a tenth of the work.
        return Response(msgspec.json.encode(document), code, {"Cache-Control": "no-store"}, _HEALTH_TYPE)

    async def livez() -> Response:
        return answer(verdict_document(health.live(now_ms())))

    async def readyz() -> Response:
        return answer(verdict_document(health.ready(now_ms())))

    async def state() -> Response:
        return answer(health_document(health, now_ms(), memory_bytes()))

    async def figures(request: Request) -> Response:
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(metrics.registry), headers={"Content-Type": kind, "Cache-Control": "no-store"})

    app = FastAPI(title="tapewatch", openapi_url=None, docs_url=None, redoc_url=None)
    paths = {"/livez": livez, "/readyz": readyz, "/health": state}
    for path, handler in paths.items():
        app.add_api_route(path, handler, methods=["GET", "HEAD"], response_model=None)
    # Its annotation names a class imported in this function, which FastAPI could not find by itself.
    figures.__annotations__ = {"request": Request}
    app.add_api_route("/metrics", figures, methods=["GET", "HEAD"], response_model=None)
    return app
