"""The database looked at while a run has nothing to store: what is known of it, and that its loss is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from feed_exchange import until

from postgres_server import Server
from tapewatch.live import ledgerwatch
from tapewatch.live.ledgerwatch import looking
from tapewatch.store import Ledger
from tapewatch.store.schema import REVISION
from tapewatch.telemetry.health import Health

T0 = 1_750_000_000_000


@asynccontextmanager
async def watching(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Health]:
    """The health of a run that is connected and has all its bars, and whose ledger is looked at often."""
    monkeypatch.setattr(ledgerwatch, "LOOK_S", 0.01)
    health = Health(T0, ["BTCUSDT"])
    health.connected()
    health.caught_up(T0)
    ledger = Ledger.open(url, busy_timeout_ms=500)
    with ThreadPoolExecutor(1) as executor:
        task = asyncio.create_task(looking(health, ledger, executor))
        try:
            yield health
        finally:
            task.cancel()
            await asyncio.wait([task])
    ledger.close()


async def test_size_and_revision_are_known(ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of both kinds of database, of a file with its write-ahead log."""
    async with watching(ledger_url, monkeypatch) as health:
        await until(lambda: health.ledger.revision is not None)
        assert health.ledger.revision == REVISION
        assert 10_000 < (health.ledger.size_bytes or 0) < 100_000_000
        assert health.ready(T0).ok


async def test_a_server_that_is_gone_makes_it_unready_and_not_dead(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nothing is to be stored; and it is ready again when the server is there."""
    with type(postgres).running() as server, server.database() as url:
        async with watching(url, monkeypatch) as health:
            await until(lambda: health.ledger.revision is not None)
            await asyncio.to_thread(server.stop)
            await until(lambda: not health.ready(T0).ok)
            (reason,) = health.ready(T0).reasons
            assert reason.startswith("the ledger cannot be read: ledger postgresql://")
            health.waiting_since_ms = T0 - 10 * health.stuck_ms
            assert health.live(T0).ok
            health.waiting_since_ms = None
            await asyncio.to_thread(server.start)
            await until(lambda: health.ready(T0).ok)


async def test_a_file_that_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is open can be read and written on, and would all be lost: the run is not ready."""
    path = tmp_path / "tape.db"
    async with watching(f"sqlite:///{path}", monkeypatch) as health:
        await until(lambda: health.ledger.revision is not None)
        path.rename(tmp_path / "elsewhere")
        await until(lambda: not health.ready(T0).ok)
        assert "is not where it was" in health.ready(T0).reasons[0]
        assert health.live(T0).ok
        (tmp_path / "elsewhere").rename(path)
        await until(lambda: health.ready(T0).ok)
