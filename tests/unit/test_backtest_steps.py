"""What the account won step by step: it leads to the same equity, and there are enough steps of a short period too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from command_line import store
from core_samples import MONDAY_MS, walk
from tapewatch import strategies
from tapewatch.model import DAY_MS
from tapewatch.study.backtest import Backtest, Plan
from tapewatch.study.settings import Account
from tapewatch.study.signals import Request


@pytest.mark.parametrize(("days", "step_ms"), [(3, DAY_MS // 24), (6, DAY_MS // 24), (21, DAY_MS // 6)])
def test_steps_lead_to_the_equity_of_the_days(tmp_path: Path, days: int, step_ms: int) -> None:
    """All together and up to each day's end; the last step is shorter where the candles end within it."""
    store(tmp_path, walk(days * 1_440 - 30))
    strategy = strategies.load("scalp", [("min_factors", 3)])
    request = Request(tmp_path, "binance_spot", ["AAAUSDT"], ["1m"])
    result = Backtest(Plan(strategy, request, Account(kind="perpetual"))).run()
    assert len(result.trades) > 5
    ends = [*range(MONDAY_MS + step_ms, MONDAY_MS + days * DAY_MS, step_ms), MONDAY_MS + days * DAY_MS - 30 * 60_000]
    assert list(result.steps_ms) == ends
    grown = result.cash * np.cumprod(1.0 + result.returns)
    at_days = grown[[ends.index(ms) for ms in result.days_ms]]
    assert at_days == pytest.approx(result.equity[1:], rel=1e-12)
