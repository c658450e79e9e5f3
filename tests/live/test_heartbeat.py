"""The heartbeat against real servers: only while the work is done, and never harmful."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from run_harness import configure, eventually, fetch, health_url, json_lines, running, simulated
from tapewatch.errors import SetupError
from tapewatch.live import heartbeat
from tapewatch.live.heartbeat import Heartbeat
from tapewatch.telemetry.health import Health
from tapewatch.telemetry.metrics import Metrics

SECRET = "0f3c9a1e-beat"


class Listener:
    """A service that expects signs of life, on loopback."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.status = 200
        self.hang_s = 0.0
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                listener.paths.append(self.path)
                time.sleep(listener.hang_s)
                self.send_response(listener.status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                with suppress(ConnectionError):  # who waited has gone
                    self.wfile.write(b"OK")

            def log_message(self, *_: object) -> None:
                """Not to stderr."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/{SECRET}"


@contextmanager
def listening() -> Iterator[Listener]:
    """A listener, gone afterwards."""
    listener = Listener()
    thread = threading.Thread(target=listener.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield listener
    finally:
        listener.server.shutdown()
        thread.join()
        listener.server.server_close()


def well(now_ms: int) -> Health:
    """A run that does its work."""
    health = Health(now_ms, ["BTCUSDT"])
    health.connected()
    health.caught_up(now_ms)
    health.bar("BTCUSDT", now_ms, now_ms)
    return health


class Rig:
    """A heartbeat every 50 ms, and what it counted."""

    def __init__(self, url: str) -> None:
        self.now_ms = 1_750_000_000_000
        self.health, self.metrics = well(self.now_ms), Metrics()
        self.more: list[str] = []
        self.beat = Heartbeat(url, 0.05, self.health, lambda: self.more, self.metrics, lambda: self.now_ms)

    def count(self, outcome: str) -> int:
        """How many ended so."""
        lines = generate_latest(self.metrics.registry).decode().splitlines()
        name = f'tapewatch_heartbeats_total{{outcome="{outcome}"}} '
        return next((int(float(line.removeprefix(name))) for line in lines if line.startswith(name)), 0)

    async def until(self, outcome: str, more: int = 2) -> None:
        """Returns when so many more ended so."""
        enough = self.count(outcome) + more
        async with asyncio.timeout(60):
            while self.count(outcome) < enough:  # noqa: ASYNC110 - nothing tells of a beat
                await asyncio.sleep(0.01)


@asynccontextmanager
async def beating(url: str) -> AsyncIterator[Rig]:
    """A rig whose heartbeat runs."""
    rig = Rig(url)
    task = asyncio.create_task(rig.beat.run())
    try:
        yield rig
    finally:
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])


async def test_it_beats_only_while_the_work_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not without fresh bars, a connection, a ledger or a channel that delivers; again when they are back."""
    monkeypatch.setattr(heartbeat, "TIMEOUT_S", 0.05)
    with listening() as listener:
        async with beating(listener.url) as rig:
            await rig.until("sent")
            assert set(listener.paths) == {f"/{SECRET}"}
            assert rig.health.heartbeat_ms == rig.now_ms
            for lack, mend in (
                (
                    lambda: setattr(rig, "now_ms", rig.now_ms + 200_000),
                    lambda: rig.health.bar("BTCUSDT", 1, rig.now_ms),
                ),
                (rig.health.disconnected, rig.health.connected),
                (
                    lambda: setattr(rig.health.ledger, "error", "full"),
                    lambda: setattr(rig.health.ledger, "error", None),
                ),
                (
                    lambda: setattr(rig.health, "waiting_since_ms", rig.now_ms - 61_000),
                    lambda: setattr(rig.health, "waiting_since_ms", None),
                ),
                (lambda: rig.more.append("no channel delivers"), rig.more.clear),
            ):
                lack()
                await rig.until("withheld", 1)
                heard = len(listener.paths)
                await rig.until("withheld")
                assert len(listener.paths) == heard
                mend()
                await rig.until("sent")


async def test_whatever_the_other_side_does_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors, hanging and nobody there are counted; the next beat is as good as ever."""
    monkeypatch.setattr(heartbeat, "TIMEOUT_S", 0.3)
    with listening() as listener:
        async with beating(listener.url) as rig:
            await rig.until("sent")
            for status in (500, 404, 429, 301):
                listener.status = status
                await rig.until("failed")
            listener.status, listener.hang_s = 200, 1.0
            await rig.until("failed", 1)
            listener.hang_s = 0.0
            await rig.until("sent")
    async with beating(listener.url) as rig:
        await rig.until("failed")


@pytest.mark.parametrize("url", ["http://example.com/abc", "ftp://example.com/abc", "nonsense"])
def test_a_url_that_cannot_be_is_refused_without_being_repeated(url: str) -> None:
    """At the start; the key is named."""
    with pytest.raises(SetupError, match=r"telemetry\.heartbeat\.url") as refused:
        Rig(url)
    assert "abc" not in str(refused.value)


@pytest.mark.slow
def test_a_run_without_bars_stops_beating(tmp_path: Path) -> None:
    """It beats while bars are decided on; when they stay away it is not heard any more, and its URL never told."""
    stall = "from tapewatch.telemetry.health import Health\nHealth.stale_ms = 2_000\n"
    options = ("--synthetic", "3", "--symbols", "BTCUSDT", "--speed", "600")
    with listening() as listener, simulated(tmp_path, *options) as exchange:
        (tmp_path / ".env").write_text(f"BEAT_URL={listener.url}\n")
        (tmp_path / ".env").chmod(0o600)
        config = configure(
            tmp_path, exchange, ["BTCUSDT"], telemetry={"heartbeat": {"url": "${BEAT_URL}", "every": "1s"}}
        )
        with running(tmp_path, program=stall) as run:
            eventually(lambda: len(listener.paths) > 2 or run.code is not None)
            url = health_url(run)
            assert 'tapewatch_heartbeats_total{outcome="sent"}' in fetch(f"{url}/metrics")[1]
            (shown,) = json_lines("status", "-c", str(config), "--port", url.rpartition(":")[2], "--json")
            assert shown["heartbeat_age_s"] < 10
            exchange.kill()
            eventually(lambda: "heartbeat_withheld" in run.log or run.code is not None)
            heard = len(listener.paths)
            time.sleep(3.0)
            assert len(listener.paths) == heard
            assert run.stop() == 0, run.log
            assert SECRET not in run.log
