"""`run` with its ledger in PostgreSQL: the same alerts, restarts, a server that goes away, a second run."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from postgres_server import USER, Server, rows, with_user
from run_harness import (
    HOUR_MS,
    TO_FILE,
    Process,
    agree,
    archive,
    configure,
    easy,
    eventually,
    fetch,
    health_url,
    json_lines,
    notices,
    query,
    reached,
    running,
    simulated,
    undelivered,
)

SYMBOLS = ("BTCUSDT", "ETHUSDT")
HOURS = 6
#: Ends every connection of a run.
CUT = sql.SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tapewatch'")


@pytest.fixture
def candles(tmp_path: Path) -> tuple[Path, int]:
    """An archive, and where its last hours begin."""
    return archive(tmp_path, SYMBOLS, hours=HOURS)


@pytest.fixture
def own_server(postgres: Server) -> Iterator[Server]:
    """A server that a test may kill; `postgres` says whether there can be one."""
    with Server.running() as server:
        yield server


def options(candles: tuple[Path, int], speed: int) -> tuple[str, ...]:
    """What the simulated exchange is told."""
    return ("--data", str(candles[0]), "--start", str(candles[1]), "--at-end", "hold", "--speed", str(speed))


def sections(url: str, **more: Any) -> dict[str, Any]:
    """Of the configuration."""
    return {"strategies": easy(), "alerts": TO_FILE, "ledger": {"url": url, "folder": "state"}, **more}


def to_the_end(folder: Path, candles: tuple[Path, int], run: Process) -> None:
    """Wait for the last bar, stop, and assert that live is what a backtest and the journal say."""
    eventually(lambda: reached(folder, SYMBOLS, candles[1] + HOURS * HOUR_MS) or run.code is not None)
    eventually(lambda: not undelivered(folder) or run.code is not None)
    assert run.stop() == 0, run.log
    agree(folder, candles[0], SYMBOLS, candles[1])
    (result,) = json_lines("replay", "-c", str(folder / "tapewatch.yaml"), "--verify", "--json")
    assert result["equal"], result["differences"]


@pytest.mark.slow
def test_a_run_is_killed_and_goes_on_and_a_second_is_refused(
    tmp_path: Path, candles: tuple[Path, int], postgres: Server
) -> None:
    """Signals as in a file's ledger, each alert delivered once; the journal is in the folder that was named."""
    with postgres.database() as url, simulated(tmp_path, *options(candles, 1_000)) as exchange:
        configure(tmp_path, exchange, SYMBOLS, **sections(url))
        with running(tmp_path, "first") as run:
            eventually(lambda: query(tmp_path, "SELECT 1 FROM signals") or run.code is not None)
            with running(tmp_path, "second") as other:
                assert other.wait() == 2
                assert f"is in use by another run, process {run.process.pid} on" in other.log
            run.kill()
        with running(tmp_path, "third") as run:
            to_the_end(tmp_path, candles, run)
            assert f"{url.rpartition('/')[2]}.journal" in {path.name for path in (tmp_path / "state").iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
def test_a_server_that_goes_away_and_comes_back_holds_everything_back_and_loses_nothing(
    tmp_path: Path, candles: tuple[Path, int], own_server: Server, how: signal.Signals
) -> None:
    """Shut down or crashed: readiness tells, liveness does not; afterwards all is stored, and delivered once."""
    with own_server.database() as url, simulated(tmp_path, *options(candles, 1_000)) as exchange:
        configure(tmp_path, exchange, SYMBOLS, **sections(url))
        with running(tmp_path) as run:
            health = health_url(run)
            eventually(lambda: query(tmp_path, "SELECT 1 FROM signals") or run.code is not None)
            own_server.stop(how)
            eventually(lambda: "the ledger cannot be written" in fetch(f"{health}/readyz")[1] or run.code is not None)
            assert fetch(f"{health}/readyz")[0] == 503
            assert fetch(f"{health}/livez")[0] == 200
            own_server.start()
            to_the_end(tmp_path, candles, run)
        assert "The ledger could not be written for a while" in [line["subject"][12:] for line in notices(tmp_path)]
        assert rows(url, "SELECT count(*) FROM messages WHERE state NOT IN ('sent', 'late')") == [(0,)]


@pytest.mark.slow
def test_connections_cut_and_none_to_be_had_lose_and_double_nothing(
    tmp_path: Path, candles: tuple[Path, int], own_server: Server
) -> None:
    """Cut by the server's owner again and again; then it allows none for a while: that is said and waited for."""
    with own_server.database() as whole, simulated(tmp_path, *options(candles, 2_000)) as exchange:
        url, name = with_user(whole, "plain"), whole.rpartition("/")[2]
        own_server.execute(sql.SQL("CREATE ROLE plain LOGIN"))
        own_server.execute(sql.SQL("ALTER DATABASE {} OWNER TO plain").format(sql.Identifier(name)))
        configure(tmp_path, exchange, SYMBOLS, **sections(url))
        with running(tmp_path) as run:
            health = health_url(run)
            eventually(lambda: query(tmp_path, "SELECT 1 FROM signals") or run.code is not None)
            for _ in range(10):
                own_server.execute(CUT)
                time.sleep(0.1)
            own_server.execute(sql.SQL("ALTER ROLE plain CONNECTION LIMIT 0"))
            own_server.execute(CUT)
            eventually(lambda: "too many connections" in run.log or run.code is not None)
            eventually(lambda: "the ledger cannot be written" in fetch(f"{health}/readyz")[1] or run.code is not None)
            assert fetch(f"{health}/livez")[0] == 200
            own_server.execute(sql.SQL("ALTER ROLE plain CONNECTION LIMIT -1"))
            to_the_end(tmp_path, candles, run)
        assert rows(url, "SELECT count(*) FROM messages WHERE state NOT IN ('sent', 'late')") == [(0,)]
        own_server.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(name), sql.Identifier(USER)))
