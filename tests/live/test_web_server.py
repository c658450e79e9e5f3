"""The health paths over real sockets."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tapewatch.errors import SetupError
from tapewatch.telemetry.health import Health
from tapewatch.telemetry.metrics import Metrics
from tapewatch.web.server import serve

T0 = 1_750_000_000_000
TIMEOUT = aiohttp.ClientTimeout(total=10)


@asynccontextmanager
async def serving(health: Health, metrics: Metrics, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """The server's address while it serves."""
    stop, bound = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(health, metrics, host, 0, now_ms=lambda: T0, on_bound=bound.set_result, stop=stop))
    try:
        port = await asyncio.wait_for(bound, 60)
        yield f"http://{host}:{port}"
    finally:
        stop.set()
        await asyncio.wait_for(task, 60)


def ready() -> Health:
    """A run that does its work."""
    health = Health(T0, ["BTCUSDT"])
    health.connected()
    health.caught_up(T0)
    return health


async def test_paths_answer() -> None:
    """The four paths answer with their media types, HEAD too, and there is nothing else."""
    async with serving(ready(), Metrics()) as url, aiohttp.ClientSession(timeout=TIMEOUT) as session:
        for path in ("/livez", "/readyz", "/health"):
            async with session.get(url + path) as answer:
                assert (answer.status, answer.content_type) == (200, "application/health+json")
                assert (await answer.json())["status"] == "pass"
                assert answer.headers["Cache-Control"] == "no-store"
            async with session.head(url + path) as answer:
                assert answer.status == 200
        async with session.get(url + "/metrics") as answer:
            assert (answer.status, answer.content_type) == (200, "text/plain")
            assert "tapewatch_build_info" in await answer.text()
        for path in ("/", "/docs", "/redoc", "/openapi.json", "/metrics/x"):
            async with session.get(url + path) as answer:
                assert answer.status == 404
        async with session.post(url + "/health") as answer:
            assert answer.status == 405


async def test_metrics_speak_openmetrics_when_asked() -> None:
    """A scraper that asks for OpenMetrics gets it."""
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    async with (
        serving(ready(), Metrics()) as url,
        aiohttp.ClientSession(timeout=TIMEOUT) as session,
        session.get(url + "/metrics", headers=accept) as answer,
    ):
        assert answer.content_type == "application/openmetrics-text"
        assert (await answer.text()).endswith("# EOF\n")


async def test_failures_are_503() -> None:
    """Without the exchange readiness and health answer 503 with the reason while liveness holds."""
    health = ready()
    health.disconnected()
    async with serving(health, Metrics()) as url, aiohttp.ClientSession(timeout=TIMEOUT) as session:
        for path, status in (("/livez", 200), ("/readyz", 503), ("/health", 503)):
            async with session.get(url + path) as answer:
                assert answer.status == status
                document = await answer.json(content_type="application/health+json")
        assert document["output"] == "no connection to the exchange"


async def test_port_in_use_is_named() -> None:
    """A port that somebody has is the user's mistake and names the key."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SetupError, match=f"web.port: {port} on 127.0.0.1 is in use already"):
            await serve(ready(), Metrics(), "127.0.0.1", port, now_ms=lambda: T0, on_bound=print, stop=asyncio.Event())


@pytest.mark.parametrize(
    ("host", "says"), [("host.invalid", "web.host: host.invalid"), ("192.0.2.1", "web.port: 0 on")]
)
async def test_address_that_is_not_ours(host: str, says: str) -> None:
    """An address that cannot be listened on is said to be one."""
    with pytest.raises(SetupError, match=says):
        await serve(ready(), Metrics(), host, 0, now_ms=lambda: T0, on_bound=print, stop=asyncio.Event())


async def test_stops_with_a_connection_open() -> None:
    """A client that keeps its connection does not hold up the end, and the signals stay with the program."""
    import signal

    before = signal.getsignal(signal.SIGTERM)
    async with serving(ready(), Metrics()) as url:
        assert signal.getsignal(signal.SIGTERM) is before
        session = aiohttp.ClientSession(timeout=TIMEOUT)
        async with session.get(url + "/livez") as answer:
            await answer.read()
    await session.close()


async def test_cancelling_ends_it() -> None:
    """Cancelled instead of stopped, it closes its port too."""
    bound = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        serve(ready(), Metrics(), "127.0.0.1", 0, now_ms=lambda: T0, on_bound=bound.set_result, stop=asyncio.Event())
    )
    port = await asyncio.wait_for(bound, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection("127.0.0.1", port)


def test_importing_the_module_does_not_load_the_server() -> None:
    """FastAPI and uvicorn are loaded when serving begins, not before."""
    import subprocess

    code = "import sys, tapewatch.web.server; sys.exit('fastapi' in sys.modules or 'uvicorn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
