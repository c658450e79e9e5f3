"""Backups of a run that is on: each is one state of ledger and journal, and a run can go on from it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from run_harness import (
    TO_FILE,
    Process,
    archive,
    command,
    configure,
    easy,
    eventually,
    json_lines,
    query,
    running,
    simulated,
)

SYMBOLS = ("BTCUSDT", "ETHUSDT")
HOURS = 6


@pytest.mark.slow
def test_what_is_backed_up_while_a_run_writes_is_verified_after_its_restore(
    tmp_path: Path, ledger_section: dict[str, Any]
) -> None:
    """Two moments of one run; from the first another run goes on and decides what this one did."""
    root, start_ms = archive(tmp_path, SYMBOLS, hours=HOURS)
    config = tmp_path / "tapewatch.yaml"
    options = ("--data", str(root), "--start", str(start_ms), "--at-end", "hold", "--speed", "400")
    made: list[Path] = []
    with simulated(tmp_path, *options) as exchange:
        configure(tmp_path, exchange, SYMBOLS, strategies=easy(), alerts=TO_FILE, ledger=ledger_section)
        with running(tmp_path) as run:
            for _ in range(2):
                more_than(tmp_path, 0 if not made else len(signal_ids(tmp_path)), run)
                done = command("db", "backup", "--to", str(tmp_path / "backups"), "-c", str(config))
                assert (done.returncode, done.stderr, run.code) == (0, "", None)
                made.append(Path(done.stdout.removeprefix("wrote ").partition(": ")[0]))
            more_than(tmp_path, len(signal_ids(tmp_path)), run)
            assert run.stop() == 0, run.log
        counts = [restored(one, tmp_path / f"new{number}") for number, one in enumerate(made)]
        assert 0 < counts[0] < counts[1]

        first = tmp_path / "new0"
        layer = (first / "restored.yaml").read_text()
        (first / "tapewatch.yaml").write_text(config.read_text().partition("ledger:")[0] + layer)
        with running(first) as run:
            eventually(lambda: signal_ids(tmp_path) <= signal_ids(first) or run.code is not None)
            assert run.stop() == 0, run.log
        assert "recovered" in run.log
    assert verify(first / "tapewatch.yaml") >= counts[1]
    assert signal_ids(tmp_path) <= signal_ids(first)


def signal_ids(folder: Path) -> set[str]:
    """Of the signals in a folder's ledger."""
    return {identity for (identity,) in query(folder, "SELECT id FROM signals")}


def more_than(folder: Path, count: int, run: Process) -> None:
    """Wait until a run has stored more signals, and candles of some: those come a moment later."""
    eventually(lambda: len(signal_ids(folder)) > count or run.code is not None)
    eventually(lambda: bool(query(folder, "SELECT 1 FROM market_data LIMIT 1")) or run.code is not None)


def restored(backup: Path, into: Path) -> int:
    """How many signals a restored ledger has, each of which its journal leads to."""
    done = command("db", "restore", str(backup), "--into", str(into))
    assert done.returncode == 0, done.stderr
    with closing(sqlite3.connect(into / "tapewatch.db")) as database:
        for table in ("instruments", "market_data", "market_snapshots"):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone()[0], table
    return verify(into / "tapewatch.yaml", into / "restored.yaml")


def verify(*configs: Path) -> int:
    """How many signals `replay --verify` compared, all of them equal."""
    layers = [word for path in configs for word in ("-c", str(path))]
    (result,) = json_lines("replay", *layers, "--verify", "--json")
    assert result["equal"], result["differences"]
    return int(result["signals"])
