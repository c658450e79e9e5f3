"""Metrics against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest

from tapewatch.study.backtest import Result
from tapewatch.study.metrics import drawdown, metrics, wilson
from tapewatch.study.trades import Exit, Trade

JUNE_MS = 1_748_736_000_000  # 2025-06-01
HOUR_MS = 3_600_000


def trade(
    net: float, r: float, symbol: str = "AAAUSDT", side: str = "long", at_ms: int = JUNE_MS, why: str = "stop"
) -> Trade:
    """A closed trade of an hour."""
    exits = (Exit(at_ms + HOUR_MS, 1.0, 100.0, why),)
    return Trade(
        "t", "s", symbol, side, "1m", at_ms, 1.0, exits, 1.0, 1.0, 0.0, net + 1, net, r, 2.0, -1.0, ambiguous=False
    )


def result(trades: list[Trade], equity: list[float]) -> Result:
    """A result with these days."""
    return Result(trades, 0, {}, [0] * (len(equity) - 1), equity, 100, equity[0], 0.0, 0.0, 0.0, 0.5)


def test_trades_are_counted_and_weighed() -> None:
    """Two won of four: nets 30, 10, -20, 0; r 3, 1, -2, 0."""
    found = metrics(result([trade(30, 3), trade(10, 1), trade(-20, -2), trade(0, 0)], [100.0, 120.0]))
    assert (found["trades"], found["win_rate_pct"], found["net"]) == (4, 50, 20)
    assert found["profit_factor"] == 2
    assert (found["expectancy_r"], found["expectancy_quote"]) == (0.5, 5)
    assert found["sqn"] == pytest.approx(2 * 0.5 / math.sqrt((2.5**2 + 0.5**2 + 2.5**2 + 0.5**2) / 3))
    assert (found["mfe_r"], found["mae_r"], found["fees_quote"]) == (2, -1, 4)
    assert (found["net_pct"], found["exposure_pct"]) == (pytest.approx(20), 50)


def test_daily_equity_says_growth_and_risk() -> None:
    """Returns 10%, -10%, 10%: mean 3.33%, deviation 9.43%, and of the losses alone 5.77%."""
    found = metrics(result([], [100.0, 110.0, 99.0, 108.9]))
    assert found["sharpe"] == pytest.approx(0.1 / 3 / math.sqrt(0.02 * 4 / 9) * math.sqrt(365))
    assert found["sortino"] == pytest.approx(0.1 / 3 / math.sqrt(0.01 / 3) * math.sqrt(365))
    assert found["cagr_pct"] == pytest.approx((1.089 ** (365 / 3) - 1) * 100)
    assert found["max_drawdown_pct"] == pytest.approx(10)
    assert found["calmar"] == pytest.approx(found["cagr_pct"] / 10)


def test_a_drawdown_is_measured_from_its_peak_and_in_days() -> None:
    """Deepest and longest need not be the same one."""
    assert drawdown([100, 50, 100, 120, 119, 118, 117, 121]) == (0.5, 3)
    assert drawdown([1, 2, 3]) == (0, 0)


def test_the_interval_of_a_share_is_wilsons() -> None:
    """Published: 10 of 20 gives 0.299 to 0.701; of nothing everything is possible."""
    assert wilson(10, 20) == (pytest.approx(0.299, abs=5e-4), pytest.approx(0.701, abs=5e-4))
    assert wilson(0, 0) == (0, 1)
    assert wilson(0, 5)[0] == 0


def test_parts_have_figures_of_their_own() -> None:
    """By symbol, side, month, hour and reason."""
    trades = [
        trade(1, 1),
        trade(-1, -1, "BBBUSDT", "short", JUNE_MS + 5 * HOUR_MS, "target"),
        trade(2, 2, at_ms=JUNE_MS - HOUR_MS),
    ]
    by = metrics(result(trades, [100.0, 101.0]))["by"]
    assert {name: one["trades"] for name, one in by["symbol"].items()} == {"AAAUSDT": 2, "BBBUSDT": 1}
    assert {name: one["net"] for name, one in by["side"].items()} == {"long": 3, "short": -1}
    assert list(by["month"]) == ["2025-05", "2025-06"]
    assert list(by["hour"]) == ["00", "05", "23"]
    assert list(by["exit_reason"]) == ["stop", "target"]


def test_nothing_traded_is_no_error() -> None:
    """What has no denominator is NaN."""
    found = metrics(result([], [100.0, 100.0]))
    assert found["trades"] == 0
    for name in ("win_rate_pct", "profit_factor", "expectancy_r", "sqn", "sharpe", "sortino", "calmar"):
        assert math.isnan(found[name]), name
