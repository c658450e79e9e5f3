"""One alert for a cluster in a whole run: decided, stored, and the same after a kill and in a replay."""

from __future__ import annotations

import json
from pathlib import Path

from run_harness import (
    HOUR_MS,
    archive,
    command,
    configure,
    easy,
    eventually,
    query,
    reached,
    running,
    simulated,
    stored_signals,
)

SYMBOLS = ("BTCUSDT", "ETHUSDT")
HOURS = 4


def test_what_moves_together_is_one_alert_through_a_kill_and_in_a_replay(tmp_path: Path) -> None:
    """Each candidate says what it moves with, and a replay comes to the same numbers."""
    root, start_ms = archive(tmp_path, SYMBOLS, hours=HOURS)
    options = ("--data", str(root), "--start", str(start_ms), "--at-end", "hold", "--speed", "60000")
    with simulated(tmp_path, *options) as exchange:
        gate = {"correlated": {"min": 0.1, "window": "1h"}}
        configure(tmp_path, exchange, SYMBOLS, strategies=easy(), gate=gate)
        with running(tmp_path, "first") as run:
            eventually(lambda: len(query(tmp_path, "SELECT id FROM signals")) > 3 or run.code is not None)
            run.kill()
        with running(tmp_path, "second") as run:
            eventually(lambda: reached(tmp_path, SYMBOLS, start_ms + HOURS * HOUR_MS) or run.code is not None)
            assert run.stop() == 0, run.log
    stored = stored_signals(tmp_path)
    verdicts = [next(one for one in signal["verdicts"] if one["check"] == "correlated") for signal in stored]
    blocked = [one for one in verdicts if not one["pass"]]
    assert blocked
    assert all("USDT, alerted" in one["reason"] for one in blocked)
    known = [signal["context"]["btc_correlation"] for signal in stored if signal["symbol"] == "ETHUSDT"]
    assert known
    assert all(-1 <= one <= 1 for one in known)
    assert all(signal["context"]["outlooks"][0]["trend"] for signal in stored if signal["settled"])
    listed = [one for signal in stored for one in signal["context"]["movers"] if one["listed"]]
    at_once = [one for one in blocked if one["reason"].endswith("at the same close, below 0.10 is asked")]
    assert len(listed) <= len(at_once)
    done = command("replay", "-c", str(tmp_path / "tapewatch.yaml"), "--verify", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["signals"] == len(stored)
