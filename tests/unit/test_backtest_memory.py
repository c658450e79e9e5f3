"""What a backtest of a long history takes of memory, measured of a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tapewatch.archive.frames import of_candles
from tapewatch.cli.bench import random_walk

#: Minutes of a year, and what design and issue allow for them.
YEAR, MOST_MB = 525_600, 400


#: A process counts as its own peak what its parent had when it started: this one is small, a test run is not.
MEASURE = """
import os, sys
child = os.posix_spawn(sys.executable, [sys.executable, *sys.argv[1:]], os.environ)
_, status, used = os.wait4(child, 0)
print(used.ru_maxrss, file=sys.stderr)
sys.exit(status != 0)
"""


@pytest.mark.alone
def test_a_year_of_minutes_takes_less_than_400_mb(tmp_path: Path) -> None:
    """The whole command, with `scalp` on both of its timeframes, the gate on."""
    candles = random_walk(YEAR)
    path = tmp_path / candles.venue / candles.symbol / "1m.parquet"
    path.parent.mkdir(parents=True)
    of_candles(candles).write_parquet(path)
    assert len(np.unique(candles.open_ms // 86_400_000)) == 365
    command = ["-m", "tapewatch", "backtest", "--strategy", "scalp", "--data", str(tmp_path), "--account", "perpetual"]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command, "--json"], capture_output=True, text=True, check=True
    )
    assert '"bars":525600' in done.stdout
    assert int(done.stderr.splitlines()[-1]) / 1024 < MOST_MB
