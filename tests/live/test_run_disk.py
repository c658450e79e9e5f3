"""The journal of a run on the disk: closed files go into the archive, the oldest go, and a replay still works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from journal_samples import begun, minutes
from run_harness import (
    HOUR_MS,
    agree,
    archive,
    configure,
    easy,
    eventually,
    json_lines,
    reached,
    running,
    simulated,
    stored_signals,
)
from tapewatch.live.compact import closed, remove_months, waiting
from tapewatch.store.segments import segment_paths
from tapewatch.store.snapshot import snapshot_paths

SYMBOLS = ("BTCUSDT", "ETHUSDT")
HOURS = 12
#: Housekeeping every second instead of twice a minute.
OFTEN = "from tapewatch.live import housekeeping\nhousekeeping.EVERY_S = 1.0\n"


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """An archive, and where its last hours begin."""
    return archive(tmp_path_factory.mktemp("archive"), SYMBOLS, hours=HOURS)


def exchange_options(root: Path, start_ms: int, speed: int = 3_000) -> tuple[str, ...]:
    """What the simulated exchange is told."""
    return ("--data", str(root), "--start", str(start_ms), "--at-end", "hold", "--speed", str(speed))


@pytest.mark.slow
def test_what_a_run_saw_is_in_its_archive(tmp_path: Path, candles: tuple[Path, int]) -> None:
    """Every minute of every symbol, from the first window on, with the values that the exchange had."""
    root, start_ms = candles
    with simulated(tmp_path, *exchange_options(root, start_ms)) as exchange:
        configure(tmp_path, exchange, SYMBOLS, strategies=easy(), journal={"segment_bytes": 20_000})
        with running(tmp_path, program=OFTEN) as run:
            eventually(lambda: reached(tmp_path, SYMBOLS, start_ms + HOURS * HOUR_MS) or run.code is not None)
            folder = tmp_path / "tapewatch.db.journal"
            eventually(lambda: len(closed(folder)) > 3 and not waiting(folder))
            assert run.stop() == 0, run.log
    recorded = tmp_path / "tapewatch.db.archive" / "binance_spot" / "BTCUSDT" / "1m"
    kept = pl.concat([pl.read_parquet(path) for path in sorted(recorded.glob("*.parquet"))])
    first_ms, last_ms = kept["open_time"].min(), kept["open_time"].max()
    real = pl.read_parquet(root / "binance_spot" / "BTCUSDT" / "1m.parquet")
    real = real.filter(pl.col("open_time").is_between(first_ms, last_ms)).select(kept.columns)
    assert len(kept) > 1_000 + (HOURS - 6) * 60
    assert kept.sort("open_time").equals(real.sort("open_time"))
    agree(tmp_path, root, SYMBOLS, start_ms)


@pytest.mark.slow
def test_a_journal_within_its_bound_can_still_be_verified_and_gone_on_with(
    tmp_path: Path, candles: tuple[Path, int]
) -> None:
    """Its oldest files are gone; what is left begins at a saved state; older signals are counted as such."""
    root, start_ms = candles
    journal = {"segment_bytes": 20_000, "max_bytes": 1_000_000, "snapshot_every": "1s"}
    bound = OFTEN + "bounds = housekeeping.bounds_of\n"
    bound += "from dataclasses import replace\n"
    bound += "housekeeping.bounds_of = lambda config: replace(bounds(config), journal_bytes=150_000)\n"
    with simulated(tmp_path, *exchange_options(root, start_ms)) as exchange:
        config = configure(tmp_path, exchange, SYMBOLS, strategies=easy(), journal=journal)
        folder = tmp_path / "tapewatch.db.journal"
        with running(tmp_path, "first", bound) as run:
            eventually(lambda: "journal_removed" in run.log or run.code is not None)
        with running(tmp_path, "second", bound) as run:
            eventually(lambda: reached(tmp_path, SYMBOLS, start_ms + HOURS * HOUR_MS) or run.code is not None)
            assert "recovered" in run.log
            assert run.stop() == 0, run.log
        assert int(segment_paths(folder)[0].stem) > 1
        assert sum(path.stat().st_size for path in folder.iterdir()) < 400_000
        assert len(snapshot_paths(folder)) >= 2
    agree(tmp_path, root, SYMBOLS, start_ms)
    (result,) = json_lines("replay", "-c", str(config), "--verify", "--json")
    assert result["equal"], result["differences"]
    assert result["pruned"] > 0
    assert result["signals"] + result["pruned"] == len(stored_signals(tmp_path))


def test_an_archive_within_its_bound_loses_its_oldest_months(tmp_path: Path) -> None:
    """Only those; and candles that have other values already are kept as they were decided on."""
    month = 31 * 24 * 60
    events = [minutes(50, first) for first in (0, month, 2 * month, 3 * month)]
    journal = begun(tmp_path / "j", events, segment_bytes=1)
    journal.close()
    root = tmp_path / "archive"
    for _ in range(2):
        child = [sys.executable, "-m", "tapewatch.live.compact", str(tmp_path / "j"), str(root), "venue", "1000000000"]
        done = subprocess.run(child, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == ""  # there was nothing left to do
    folder = root / "venue" / "AAAUSDT" / "1m"
    months = sorted(path.name for path in folder.glob("*.parquet"))
    assert months == ["2024-01.parquet", "2024-02.parquet", "2024-03.parquet"]
    newest = (folder / months[-1]).stat().st_size
    assert [path.name for path in remove_months(root, "venue", newest)] == months[:2]
    assert [path.name for path in folder.glob("*.parquet")] == months[2:]
