"""The health paths, the API and the pages over HTTP, inside the caller's event loop."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from tapewatch.errors import SetupError
from tapewatch.telemetry.health import Health

if TYPE_CHECKING:
    from fastapi import FastAPI
    from uvicorn import Server

    from tapewatch.telemetry.metrics import Metrics
    from tapewatch.web.scene import Scene
    from tapewatch.web.site import Site

#: How long answers under way may take when it stops.
FINISH_S = 2


async def serve(
    health: Health,
    metrics: Metrics,
    host: str,
    port: int,
    *,
    now_ms: Callable[[], int],
    on_bound: Callable[[int], None],
    stop: asyncio.Event,
    scene: Scene | None = None,
    token: str | None = None,
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
        scene: what pages show; without one there are the health paths alone.
        token: what a request must show, None for nothing.

    Raises:
        SetupError: the port cannot be had; names `web.port`.
    """
    with closing(_listen(host, port)) as listening:
        bound = int(listening.getsockname()[1])
        # Importing takes some tenths of a second of CPU; the market data connection comes first.
        site = None if scene is None else await asyncio.to_thread(_site, scene, health, now_ms)
        made = await asyncio.to_thread(_app, health, metrics, now_ms, site, host, token)
        server = _server(made, lambda: on_bound(bound))
        await _served(server, listening, site, stop)


async def _served(server: Server, listening: socket.socket, site: Site | None, stop: asyncio.Event) -> None:
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    others: list[asyncio.Task[Any]] = [asyncio.create_task(stop.wait())]
    if site is not None:
        others.append(asyncio.create_task(site.run()))
    try:
        await asyncio.wait([serving, *others], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in others:
            task.cancel()
        if site is not None:
            site.hub.close()
        server.should_exit = True
        await serving
        if site is not None:
            await asyncio.to_thread(site.reads.close)
    for task in others:  # what made one fail is told
        if task.done() and not task.cancelled():
            task.result()


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


def _site(scene: Scene, health: Health, now_ms: Callable[[], int]) -> Site:
    from tapewatch.web.site import Site

    return Site(scene, health, now_ms)


def _app(
    health: Health, metrics: Metrics, now_ms: Callable[[], int], site: Site | None, host: str, token: str | None
) -> FastAPI:
    import uvicorn  # noqa: F401  (what it takes to import, aside)

    from tapewatch.web.app import build_app

    return build_app(health, metrics, now_ms, site, host=host, token=token)


def _server(app: FastAPI, started: Callable[[], None]) -> Server:
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
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=FINISH_S,
    )
    return Embedded(config)
