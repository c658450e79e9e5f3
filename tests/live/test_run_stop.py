"""`run` asked to stop, and two of them on one ledger."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from run_harness import (
    HOUR_MS,
    Process,
    agree,
    archive,
    command,
    configure,
    deliveries,
    easy,
    eventually,
    query,
    reached,
    running,
    simulated,
    stored_signals,
    undelivered,
)

SYMBOLS = ("BTCUSDT", "ETHUSDT")
HOURS = 12


@pytest.mark.alone
def test_a_stop_under_load_finishes_what_was_accepted(tmp_path: Path) -> None:
    """SIGTERM and SIGINT end a run soon with 0 and leave no process; runs in a row lose and repeat nothing."""
    root, start_ms = archive(tmp_path, SYMBOLS, hours=HOURS)
    options = ("--data", str(root), "--start", str(start_ms), "--at-end", "hold", "--speed", "20000")
    with simulated(tmp_path, *options) as exchange:
        configure(tmp_path, exchange, SYMBOLS, strategies=easy())
        for place, number in enumerate((signal.SIGTERM, signal.SIGINT, signal.SIGTERM)):
            with running(tmp_path, f"run-{place}") as run:
                eventually(lambda run=run: "caught_up" in run.log, every_s=0.01)
                time.sleep(0.2)
                before_s = time.monotonic()
                assert run.stop(number, within_s=10.0) == 0, run.log
                assert time.monotonic() - before_s < 5.0
                assert run.gone
                assert "Traceback" not in run.log
            assert not undelivered(tmp_path)
        with running(tmp_path, "last") as run:
            eventually(lambda: reached(tmp_path, SYMBOLS, start_ms + HOURS * HOUR_MS) or run.code is not None)
            assert run.stop() == 0, run.log
    agree(tmp_path, root, SYMBOLS, start_ms)
    assert not any(line["possible_repeat"] for line in deliveries(tmp_path))


def test_a_second_run_on_a_ledger_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    """It exits 2 and names the key and the process; looking at the ledger works meanwhile; a crash gives it free."""
    options = ("--synthetic", "3", "--symbols", "BTCUSDT", "--at-end", "hold", "--speed", "60000")
    with simulated(tmp_path, *options) as exchange:
        config = configure(tmp_path, exchange, ["BTCUSDT"], strategies=easy())
        with running(tmp_path) as first:
            eventually(lambda: query(tmp_path, "SELECT 1 FROM signals"))
            second = command("run", "-c", str(config))
            assert second.returncode == 2
            assert "ledger.url" in second.stderr
            assert str(first.process.pid) in second.stderr
            assert "Traceback" not in second.stderr
            assert stored_signals(tmp_path)
            assert command("alerts", "ls", "-c", str(config)).returncode == 0
            assert first.code is None
        third = Process(tmp_path, "third", "run", "-c", str(config))
        try:
            eventually(lambda: "connected" in third.log or third.code is not None)
            assert third.stop() == 0, third.log
        finally:
            third.kill()
