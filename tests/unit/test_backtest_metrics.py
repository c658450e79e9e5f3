"""Metrics against numbers worked out by hand."""

from __future__ import annotations

import dataclasses
import math
import random
import statistics

import pandas
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


def test_parts_by_factor_are_of_the_trades_that_had_it() -> None:
    """A trade whose side has no factor of the name is in none of its parts."""
    trades = [trade(3, 3), trade(-1, -1), trade(2, 2), trade(-2, -2)]
    factors = {"cross": ["met", "met", "not_met", ""], "calm": ["unknown", "met", "met", "met"]}
    by = metrics(dataclasses.replace(result(trades, [100.0, 102.0]), factors=factors))["by"]["factor"]
    assert {name: {met: one["net"] for met, one in parts.items()} for name, parts in by.items()} == {
        "calm": {"met": -1, "unknown": 3},
        "cross": {"met": 2, "not_met": 2},
    }
    assert by["cross"]["met"] == {
        "trades": 2, "win_rate_pct": 50, "net": 2, "profit_factor": 3, "expectancy_r": 1,
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_figures_are_those_that_pandas_and_statistics_find(seed: int) -> None:
    """Random trades over random years, each figure worked out anew by its formula in another way."""
    draw = random.Random(seed)
    trades = [trade(draw.gauss(0.5, 10), draw.gauss(0.05, 1.2)) for _ in range(draw.randint(30, 200))]
    equity = [1_000.0]
    for _ in range(draw.randint(50, 900)):
        equity.append(equity[-1] * (1 + draw.gauss(0.0005, 0.02)))
    found = metrics(result(trades, equity))
    series = pandas.Series(equity)
    returns = series.pct_change().dropna()
    fall = series / series.cummax() - 1
    below = (fall < 0).astype(int)
    assert found["cagr_pct"] == pytest.approx(100 * (math.exp(math.log(equity[-1] / 1_000) * 365 / len(returns)) - 1))
    assert found["sharpe"] == pytest.approx(returns.mean() / returns.std(ddof=0) * math.sqrt(365))
    down = returns.clip(upper=0).pow(2).mean() ** 0.5
    assert found["sortino"] == pytest.approx(returns.mean() / down * math.sqrt(365))
    assert found["max_drawdown_pct"] == pytest.approx(-100 * fall.min())
    assert found["max_drawdown_days"] == below.groupby((below == 0).cumsum()).sum().max()
    assert found["calmar"] == pytest.approx(found["cagr_pct"] / found["max_drawdown_pct"])
    table = pandas.DataFrame([{"net": one.net, "r": one.r} for one in trades])
    assert found["sqn"] == pytest.approx(len(table) ** 0.5 * table.r.mean() / table.r.std(ddof=1))
    assert found["expectancy_r"] == pytest.approx(table.r.mean())
    assert found["expectancy_quote"] == pytest.approx(table.net.mean())
    assert found["profit_factor"] == pytest.approx(table.net[table.net > 0].sum() / -table.net[table.net <= 0].sum())
    share, z = (table.net > 0).mean(), statistics.NormalDist().inv_cdf(0.975)
    for bound in (found["win_rate_low_pct"] / 100, found["win_rate_high_pct"] / 100):
        # Wilson's bounds are where the share seen is just z deviations of the share supposed away.
        assert abs(share - bound) == pytest.approx(z * (bound * (1 - bound) / len(table)) ** 0.5)
