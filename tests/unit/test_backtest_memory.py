"""What a backtest of a long history takes of memory, measured of a process of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from tapewatch.archive.frames import of_candles
from tapewatch.cli.bench import random_walk

#: Minutes of a year, and what design and issue allow for them.
YEAR, MOST_MB = 525_600, 400


@pytest.mark.alone
def test_a_year_of_minutes_takes_less_than_400_mb(tmp_path: Path) -> None:
    """The whole command, with `scalp` on both of its timeframes, the gate on."""
    candles = random_walk(YEAR)
    path = tmp_path / candles.venue / candles.symbol / "1m.parquet"
    path.parent.mkdir(parents=True)
    of_candles(candles).write_parquet(path)
    assert len(np.unique(candles.open_ms // 86_400_000)) == 365
    command = ["-m", "tapewatch", "backtest", "--strategy", "scalp", "--data", str(tmp_path), "--account", "perpetual"]
    child = os.posix_spawn(
        sys.executable, [sys.executable, *command, "--json"], os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, tmp_path / "out.json", os.O_WRONLY | os.O_CREAT, 0o600)],
    )  # fmt: skip
    _, status, used = os.wait4(child, 0)
    assert status == 0
    assert '"bars":525600' in (tmp_path / "out.json").read_text()
    assert used.ru_maxrss / 1024 < MOST_MB
