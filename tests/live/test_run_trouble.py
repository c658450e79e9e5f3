"""`run` in trouble that no crash brings: wrong settings, nobody there, a full disk, a ledger that is locked."""

from __future__ import annotations

import os
import resource
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from run_harness import (
    HOUR_MS,
    TO_FILE,
    Process,
    agree,
    archive,
    command,
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
from tapewatch.live.compact import closed, waiting

SYMBOLS = ("BTCUSDT", "ETHUSDT")
HOURS = 6
#: Housekeeping every second, also after a failure.
OFTEN = "from tapewatch.live import housekeeping\nhousekeeping.EVERY_S = housekeeping.AFTER_FAILURE_S = 1.0\n"


@contextmanager
def full_disk(folder: Path, run: Process) -> Iterator[None]:
    """No file of the run can grow any more, as on a full disk or beyond a quota."""
    largest = max(path.stat().st_size for path in (folder / "tapewatch.db", folder / "tapewatch.db-wal"))
    before = resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE, before)


@contextmanager
def locked(folder: Path, _run: Process) -> Iterator[None]:
    """Somebody else has the ledger for himself."""
    with closing(sqlite3.connect(folder / "tapewatch.db", timeout=5.0, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@pytest.mark.parametrize("trouble", [full_disk, locked])
def test_a_ledger_that_cannot_be_written_holds_everything_back_and_loses_nothing(
    tmp_path: Path, trouble: Callable[[Path, Process], Iterator[None]]
) -> None:
    """It is said, and readiness fails, liveness not; afterwards all is stored, delivered once, and the owner told."""
    root, start_ms = archive(tmp_path, SYMBOLS, hours=HOURS)
    options = ("--data", str(root), "--start", str(start_ms), "--at-end", "hold", "--speed", "5000")
    with simulated(tmp_path, *options) as exchange:
        configure(tmp_path, exchange, SYMBOLS, strategies=easy(), alerts=TO_FILE)
        with running(tmp_path) as run:
            url = health_url(run)
            eventually(lambda: query(tmp_path, "SELECT 1 FROM series WHERE last_open_ms IS NOT NULL"))
            with trouble(tmp_path, run):  # type: ignore[attr-defined]
                eventually(lambda: "the ledger cannot be written" in fetch(f"{url}/readyz")[1])
                assert fetch(f"{url}/readyz")[0] == 503
                assert "ledger_trouble" in run.log
                assert fetch(f"{url}/livez")[0] == 200
            eventually(lambda: reached(tmp_path, SYMBOLS, start_ms + HOURS * HOUR_MS) or run.code is not None)
            eventually(lambda: not undelivered(tmp_path) or run.code is not None)
            assert fetch(f"{url}/readyz")[0] == 200
            assert run.stop() == 0, run.log
    agree(tmp_path, root, SYMBOLS, start_ms)
    assert [line["subject"] for line in notices(tmp_path)] == [
        "[tapewatch] The ledger could not be written for a while"
    ]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, with little room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tapewatch", str(disk)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no disk of one's own can be had: that takes root, and a system that lets it mount")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def filled_up(disk: Path) -> Path:
    """A file that takes all the room that is left."""
    filler = disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4_096))
    return filler


@pytest.mark.slow
def test_a_disk_without_any_room_holds_everything_back_and_loses_nothing(tmp_path: Path, small_disk: Path) -> None:
    """Ledger, journal, archive, log and a file of alerts are on it; afterwards each goes on, and alerts came once."""
    root, start_ms = archive(tmp_path, SYMBOLS, hours=HOURS)
    options = ("--data", str(root), "--start", str(start_ms), "--at-end", "hold", "--speed", "5000")
    sections: dict[str, Any] = {
        "logging": {"file": "run.log"},
        "journal": {"segment_bytes": 20_000},
        "telemetry": {"health_every": "1s"},
    }
    alerts = {**TO_FILE, "operator": {"channels": ["out"], "free_bytes": 1_000_000}}
    with simulated(tmp_path, *options) as exchange:
        configure(small_disk, exchange, SYMBOLS, strategies=easy(), alerts=alerts, **sections)
        with running(small_disk, program=OFTEN) as run:
            url = health_url(run)
            eventually(lambda: query(small_disk, "SELECT 1 FROM signals") or run.code is not None)
            filler = filled_up(small_disk)
            eventually(lambda: "the ledger cannot be written" in fetch(f"{url}/readyz")[1] or run.code is not None)
            assert fetch(f"{url}/livez")[0] == 200
            filler.unlink()
            eventually(lambda: fetch(f"{url}/readyz")[0] == 200 or run.code is not None)
            eventually(lambda: reached(small_disk, SYMBOLS, start_ms + HOURS * HOUR_MS) or run.code is not None)
            eventually(lambda: not undelivered(small_disk) or run.code is not None)
            logged = (small_disk / "run.log").stat().st_size
            eventually(lambda: (small_disk / "run.log").stat().st_size > logged or run.code is not None)
            journal = small_disk / "tapewatch.db.journal"
            eventually(lambda: (closed(journal) and not waiting(journal)) or run.code is not None)
            assert run.stop() == 0, run.log
    agree(small_disk, root, SYMBOLS, start_ms)
    assert list((small_disk / "tapewatch.db.archive" / "binance_spot" / "BTCUSDT" / "1m").glob("*.parquet"))
    (result,) = json_lines("replay", "-c", str(small_disk / "tapewatch.yaml"), "--verify", "--json")
    assert result["equal"], result["differences"]


def test_an_exchange_that_cannot_be_reached_is_tried_again_and_said(tmp_path: Path) -> None:
    """Waiting 1, 2, 4, 8 s between attempts; after five the operator is told; alive, not ready, and stopped with 0."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        configure(tmp_path, f"127.0.0.1:{nobody.getsockname()[1]}", SYMBOLS, alerts=TO_FILE)
        with running(tmp_path) as run:
            started_s = time.monotonic()
            url = health_url(run)
            assert fetch(f"{url}/livez")[0] == 200
            status, body = fetch(f"{url}/readyz")
            assert status == 503
            assert "no connection to the exchange" in body
            eventually(lambda: notices(tmp_path) or run.code is not None)
            assert time.monotonic() - started_s > 0.75 * (1 + 2 + 4 + 8)
            assert run.stop(within_s=5.0) == 0, run.log
    (notice,) = notices(tmp_path)
    assert notice["subject"] == "[tapewatch] Connection to the exchange lost"
    assert "5 attempts failed" in notice["text"]


@pytest.mark.slow
def test_an_exchange_that_comes_back_is_said_as_well(tmp_path: Path) -> None:
    """How long it was lost, counted from before a restart in the middle, of which nothing is told again."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        configure(tmp_path, f"127.0.0.1:{port}", SYMBOLS, alerts=TO_FILE)
        with running(tmp_path, "first") as run:
            eventually(lambda: (notices(tmp_path) and not undelivered(tmp_path)) or run.code is not None)
            run.kill()
    since_s = time.monotonic()
    with running(tmp_path, "second") as run:
        eventually(lambda: "connection_lost" in run.log or run.code is not None)
        options = ("--synthetic", "1", "--symbols", ",".join(SYMBOLS), "--speed", "1000")
        with simulated(tmp_path, "--port", str(port), *options):
            eventually(lambda: len(notices(tmp_path)) > 1 or run.code is not None)
            assert run.stop() == 0, run.log
    lost, over = notices(tmp_path)
    assert lost["subject"] == "[tapewatch] Connection to the exchange lost"
    assert over["subject"] == "[tapewatch] Over: Connection to the exchange lost"
    assert over["sent_ms"] - lost["sent_ms"] >= (time.monotonic() - since_s) * 500
    assert "It lasted" in over["text"]


def test_mistakes_in_a_configuration_are_all_named_at_once(tmp_path: Path) -> None:
    """Each with its file, line and key; nothing is started and nothing written."""
    path = tmp_path / "tapewatch.yaml"
    path.write_text(
        "exchange: {venue: binance_spot}\n"
        "universe: {include: [BTCUSDT]}\n"
        "strategies: {scalp: {timeframes: [1m]}}\n"
        "channels:\n"
        "  out: {type: file, pth: alerts.jsonl}\n"
        "alerts: {routes: [{channels: [nowhere]}]}\n"
        'ledger: {url: "sqlite:///tapewatch.db"}\n'
        "web: {port: 99999}\n"
    )
    done = command("run", "-c", str(path))
    assert done.returncode == 2
    assert not done.stdout
    for place, key in ((5, "channels.out.pth"), (6, "nowhere"), (8, "web.port")):
        assert any(f"{path}:{place}" in line and key in line for line in done.stderr.splitlines()), (place, done.stderr)
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "tapewatch.db").exists()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"universe": {"include": ["NOPEUSDT"]}}, "NOPEUSDT"),
        ({"strategies": {"scalp": {"timeframes": ["7m"]}}}, "scalp"),
        ({"strategies": {"scalpp": {"timeframes": ["1m"]}}}, "scalpp"),
        ({"ledger": {"url": "sqlite:////dev/null/tape.db"}}, "/dev/null"),
    ],
)
def test_what_only_shows_at_the_start_is_named_without_a_traceback(
    tmp_path: Path, changes: dict[str, object], named: str
) -> None:
    """A symbol or timeframe that does not exist, a ledger that cannot: it is named, and the exit code is not 0."""
    with simulated(tmp_path, "--synthetic", "1", "--symbols", "BTCUSDT", "--speed", "1000") as exchange:
        config = configure(tmp_path, exchange, ["BTCUSDT"], **changes)
        done = command("run", "-c", str(config))
    assert done.returncode == (1 if "ledger" in changes else 2), done.stderr
    assert named in done.stderr
    assert "Traceback" not in done.stderr


def test_a_symbol_that_is_not_traded_does_not_keep_the_others_from_being_watched(tmp_path: Path) -> None:
    """It is said, and the rest goes on."""
    with simulated(tmp_path, "--synthetic", "1", "--symbols", "BTCUSDT", "--speed", "60000") as exchange:
        configure(tmp_path, exchange, ["BTCUSDT", "NOPEUSDT"])
        with running(tmp_path) as run:
            eventually(lambda: query(tmp_path, "SELECT 1 FROM series WHERE last_open_ms IS NOT NULL"))
            assert "NOPEUSDT" in run.log
            assert run.stop() == 0, run.log


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    """A run that cannot serve its health paths exits 2 and names the key."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with simulated(tmp_path, "--synthetic", "1", "--symbols", "BTCUSDT", "--speed", "1000") as exchange:
            config = configure(tmp_path, exchange, ["BTCUSDT"], web={"enabled": False, "port": taken.getsockname()[1]})
            done = command("run", "-c", str(config))
    assert done.returncode == 2, done.stderr
    assert "web.port" in done.stderr
    assert "Traceback" not in done.stderr
