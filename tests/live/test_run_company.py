"""A ledger in use: a second run, a restore, a backup, a removal and a long reader, while a run writes to it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from run_harness import (
    HOUR_MS,
    TO_FILE,
    agree,
    archive,
    command,
    configure,
    easy,
    eventually,
    json_lines,
    notices,
    query,
    reached,
    running,
    simulated,
    undelivered,
)

SYMBOLS = ("BTCUSDT", "ETHUSDT")
HOURS = 4


@pytest.mark.slow
def test_what_others_do_with_the_ledger_of_a_run_changes_nothing_or_is_refused(tmp_path: Path) -> None:
    """A second run and a restore are refused by name; backup and prune are not; a long reader sees one state."""
    root, start_ms = archive(tmp_path, SYMBOLS, hours=HOURS)
    config, ledger = str(tmp_path / "tapewatch.yaml"), tmp_path / "tapewatch.db"
    options = ("--data", str(root), "--start", str(start_ms), "--at-end", "hold", "--speed", "800")
    with simulated(tmp_path, *options) as exchange:
        configure(tmp_path, exchange, SYMBOLS, strategies=easy(), alerts=TO_FILE)
        with running(tmp_path) as run:
            eventually(lambda: query(tmp_path, "SELECT 1 FROM signals") or run.code is not None)
            with closing(sqlite3.connect(ledger, isolation_level=None)) as reader:
                reader.execute("BEGIN")
                (known,) = reader.execute("SELECT count(*) FROM signals").fetchone()
                backups = str(tmp_path / "backups")
                made = command("db", "backup", "--to", backups, "--keep", "1", "-c", config)
                assert (made.returncode, made.stderr) == (0, "")
                pruned = command("db", "prune", "-c", config)
                assert (pruned.returncode, pruned.stderr) == (0, "")
                (backup,) = (tmp_path / "backups").glob("tapewatch-*")
                for words in (("run",), ("db", "restore", str(backup), "--replace")):
                    refused = command(*words, "-c", config)
                    assert refused.returncode == 2
                    assert f"process {run.process.pid} on" in refused.stderr
                assert reader.execute("SELECT count(*) FROM signals").fetchone() == (known,)
                eventually(lambda: reached(tmp_path, SYMBOLS, start_ms + HOURS * HOUR_MS) or run.code is not None)
            eventually(lambda: not undelivered(tmp_path) or run.code is not None)
            assert run.stop() == 0, run.log
    agree(tmp_path, root, SYMBOLS, start_ms)
    assert notices(tmp_path) == []
    (result,) = json_lines("replay", "-c", config, "--verify", "--json")
    assert result["equal"], result["differences"]
