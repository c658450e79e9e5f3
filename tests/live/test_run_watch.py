"""What a run notices by itself and tells the operator: disk, memory, clocks, a process that stood still."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from run_harness import configure, eventually, notices, running, simulated

#: A wall clock that jumps when a file is there, an exchange whose clock is believed, and less patience than usual.
PROGRAM = """
import os, time
real = time.time_ns
time.time_ns = lambda: real() + (3_600_000_000_000 if os.path.exists({flag!r}) else 0)
from tapewatch.feeds.clock import ExchangeClock
ExchangeClock.simulated = property(lambda self: False, lambda self, given: None)
from tapewatch.live import watch
watch.OFF_S, watch.LOOP_S, watch.DISK_S = 2, 8, 1.0
"""


def subjects(folder: Path) -> list[str]:
    """Of what the operator was told."""
    return [notice["subject"].removeprefix("[tapewatch] ") for notice in notices(folder)]


@pytest.mark.slow
def test_a_run_notices_what_nobody_reports(tmp_path: Path) -> None:
    """Each is told once with its figures; what ends is told as over."""
    flag = tmp_path / "jump"
    limits = {"channels": ["out"], "free_bytes": 10**16, "memory_bytes": 1_000_000}
    alerts = {"routes": [{"channels": ["out"]}], "operator": limits}
    options = ("--synthetic", "3", "--symbols", "BTCUSDT", "--speed", "1")
    with simulated(tmp_path, *options) as exchange:
        configure(tmp_path, exchange, ["BTCUSDT"], alerts=alerts)
        with running(tmp_path, program=PROGRAM.format(flag=str(flag))) as run:

            def told(subject: str) -> None:
                eventually(lambda: subject in subjects(tmp_path) or run.code is not None)
                assert run.code is None, run.log

            told("A disk is nearly full")
            told("tapewatch needs too much memory")
            told("This machine's clock is wrong")  # the simulated day is another one
            flag.touch()
            told("This machine's clock was changed")
            run.process.send_signal(signal.SIGSTOP)
            time.sleep(5.0)
            run.process.send_signal(signal.SIGCONT)
            told("tapewatch cannot keep up")
            told("Over: tapewatch cannot keep up")
            assert run.stop() == 0, run.log
    said = {notice["subject"]: notice["text"] for notice in notices(tmp_path)}
    assert "ledger (" in said["[tapewatch] A disk is nearly full"]
    assert "It was put forward by 1 h 0 min" in said["[tapewatch] This machine's clock was changed"]
    assert subjects(tmp_path).count("A disk is nearly full") == 1
    assert subjects(tmp_path).count("tapewatch needs too much memory") == 1
