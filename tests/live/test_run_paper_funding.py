"""A perpetual paper account pays the funding rates that the futures interface has."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from run_harness import HOUR_MS, archive, configure, eventually, json_lines, query, reached, running, simulated

SYMBOLS = ("BTCUSDT", "ETHUSDT")
HOURS = 20
#: Entered at the first candle, and held.
HOLD = {
    "timeframes": ["1m"],
    "higher": {"1m": "5m"},
    "long": {"always": "close > 0"},
    "stop": "0.5 * close",
    "targets": [{"at": "0.5 * close", "share": "100%"}],
    "time_limit": 5_000,
}


@pytest.mark.slow
def test_what_is_held_pays_funding(tmp_path: Path) -> None:
    """Every payment once, exactly, across a kill; the journal says the same."""
    root, start_ms = archive(tmp_path, SYMBOLS, hours=HOURS)
    options = ("--data", str(root), "--start", str(start_ms), "--at-end", "hold", "--speed", "10000")
    with simulated(tmp_path, *options) as exchange:
        paper = {"account": "perpetual", "cap_symbol": "40%", "risk": "50%"}
        configure(tmp_path, exchange, SYMBOLS, strategies={"hold": HOLD}, paper=paper)
        with running(tmp_path, "killed") as run:
            eventually(lambda: query(tmp_path, "SELECT 1 FROM funding_paid") or run.code is not None)
            assert run.code is None, run.log
        end_ms = start_ms + HOURS * HOUR_MS
        with running(tmp_path) as run:
            eventually(lambda: reached(tmp_path, SYMBOLS, end_ms) or run.code is not None)
            assert run.stop() == 0, run.log
    paid = query(tmp_path, "SELECT trade_id, ms, rate, amount FROM funding_paid ORDER BY ms, trade_id")
    assert len(paid) == len({row[:2] for row in paid}) >= 2
    assert all(ms % (8 * HOUR_MS) == 0 and start_ms < ms < end_ms for _, ms, _, _ in paid)
    ((funding,),) = query(tmp_path, "SELECT funding FROM paper_accounts")
    assert sum(Decimal(amount) for *_, amount in paid) == Decimal(funding) != 0
    assert all(Decimal(amount) / Decimal(str(rate)) > 3_000 for *_, rate, amount in paid)
    (result,) = json_lines("replay", "-c", str(tmp_path / "tapewatch.yaml"), "--verify", "--json")
    assert result["differences"] == []
