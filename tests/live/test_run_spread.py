"""Quotes for candidates in a whole run: asked for, waited for, judged, journaled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from run_harness import (
    HOUR_MS,
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
)

SYMBOLS = ("BTCUSDT", "ETHUSDT")
HOURS = 4


@pytest.mark.parametrize(("limit", "wide"), [("0.000001%", True), ("5%", False)])
def test_signals_pass_or_not_by_the_spread_when_their_bar_closed(tmp_path: Path, limit: str, wide: bool) -> None:
    """Every candidate has a verdict on the quotes of its moment, and a replay comes to the same ones."""
    root, start_ms = archive(tmp_path, SYMBOLS, hours=HOURS)
    options = ("--data", str(root), "--start", str(start_ms), "--at-end", "hold", "--speed", "60000")
    with simulated(tmp_path, *options) as exchange:
        configure(tmp_path, exchange, SYMBOLS, strategies=easy(), gate={"max_spread": limit})
        with running(tmp_path, "first") as run:
            eventually(lambda: len(stored_ids(tmp_path)) > 3 or run.code is not None)
            run.kill()  # wherever it is: a bar that waited for quotes is asked about again
        with running(tmp_path, "second") as run:
            eventually(lambda: reached(tmp_path, SYMBOLS, start_ms + HOURS * HOUR_MS) or run.code is not None)
            assert run.stop() == 0, run.log
    stored = stored_signals(tmp_path)
    verdicts = [next(one for one in signal["verdicts"] if one["check"] == "spread") for signal in stored]
    assert len(verdicts) > 20
    if wide:
        assert sum(not one["pass"] for one in verdicts) > 0.8 * len(verdicts)
        assert all("at most 0.000%" in one["reason"] for one in verdicts if not one["pass"])
        passed = [signal for signal, one in zip(stored, verdicts, strict=True) if one["pass"]]
        assert {line["alert_id"] for line in deliveries(tmp_path)} <= {signal["alert_id"] for signal in passed}
    else:
        assert all(one["pass"] for one in verdicts)
        agree(tmp_path, root, SYMBOLS, start_ms)
    done = command("replay", "-c", str(tmp_path / "tapewatch.yaml"), "--verify", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["signals"] == len(stored)


def stored_ids(folder: Path) -> list[str]:
    """The ids of the signals stored so far."""
    return [identity for (identity,) in query(folder, "SELECT id FROM signals")]
