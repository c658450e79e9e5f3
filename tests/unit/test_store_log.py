"""The log of a SQLite ledger: moved into the file between commits, and no larger for good than it has to be."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from delivery_samples import CLOSE_MS, alert_of, signal, step_of
from journal_samples import begun
from tapewatch.live.recorder import Recorder
from tapewatch.store import Ledger, sqlite


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the ledger's file is."""
    return tmp_path / "tape.db"


@pytest.fixture
def ledger(file: Path) -> Iterator[Ledger]:
    """A new ledger."""
    opened = Ledger.open(f"sqlite:///{file}")
    yield opened
    opened.close()


def stored(ledger: Ledger, minutes: range) -> None:
    """Some megabytes of log: many alerts at each of these closes."""
    for minute in minutes:
        close_ms = CLOSE_MS + minute * 60_000
        ledger.commit_step(step_of(*(alert_of(signal(f"S{number}USDT", close_ms=close_ms)) for number in range(280))))


def sizes(file: Path) -> tuple[int, int]:
    """Of the file and of its log."""
    return file.stat().st_size, file.with_name("tape.db-wal").stat().st_size


async def test_a_run_moves_the_log_so_that_commits_need_not(ledger: Ledger, file: Path, tmp_path: Path) -> None:
    """It does so within seconds once there is something to move; the next commits begin the log anew."""
    stored(ledger, range(3))
    before, logged = sizes(file)
    assert logged > 2_000_000 > before
    journal = begun(tmp_path / "j", [])
    with ThreadPoolExecutor(1) as executor:
        recorder = Recorder(journal, ledger, executor, 3_600.0)
        task = asyncio.create_task(recorder.run(lambda: False))
        while sizes(file)[0] <= 2_000_000:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        recorder.close()
    stored(ledger, range(3, 4))
    assert sizes(file)[1] == logged


def test_a_long_reader_makes_the_log_large_for_no_longer_than_it_reads(ledger: Ledger, file: Path) -> None:
    """It sees what there was; afterwards the room that it took is given back."""
    stored(ledger, range(1))
    with closing(sqlite3.connect(file, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        (known,) = reader.execute("SELECT count(*) FROM signals").fetchone()
        stored(ledger, range(1, 20))
        ledger.move_log()
        assert reader.execute("SELECT count(*) FROM signals").fetchone() == (known,)
        assert sizes(file)[1] > sqlite.LOG_PAGES * sqlite.PAGE_BYTES
    ledger.move_log()
    stored(ledger, range(20, 21))
    assert sizes(file)[1] <= sqlite.LOG_PAGES * sqlite.PAGE_BYTES
    assert ledger.info()["rows"]["signals"] == 21 * 280
