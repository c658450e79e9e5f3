"""Two compared step by step: what differs is found, what does not is not, and every figure is the plain formula."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tapewatch.model import DAY_MS
from tapewatch.study.backtest import Result
from tapewatch.study.compare import LEAST_TRADES, Comparison, Side, Together, differences
from tapewatch.study.metrics import DAYS_A_YEAR
from tapewatch.study.trades import Columns

DAYS = 240
STEPS_MS = list(range(DAY_MS, (DAYS + 1) * DAY_MS, DAY_MS))


def columns(entry_ms: list[int], r: list[float]) -> Columns:
    """Trades of so much R, each an hour long."""
    n, entries = len(r), np.array(entry_ms, np.int64)
    zeros, words = np.zeros(n), np.full(n, "AAAUSDT")
    return Columns(
        words, np.full(n, "long"), entries, entries + 3_600_000, words, zeros, zeros, zeros, np.array(r), np.array(r),
        zeros, zeros, np.zeros(n, np.bool_),
    )  # fmt: skip


def side(returns: npt.NDArray[np.float64], r: list[float] | None = None, at_day: int = 0) -> Side:
    """One whose account won this in each day, with a trade at noon of each day from one on."""
    trades = columns([(at_day + day) * DAY_MS + DAY_MS // 2 for day in range(len(r or []))], r or [])
    result = Result([], 0, {}, STEPS_MS, [1.0], 1, 1.0, 0.0, 0.0, 0.0, 0.0, steps_ms=STEPS_MS, returns=returns)
    plan: Any = SimpleNamespace(strategy=SimpleNamespace(name="tried", params={}))
    return Side(plan, result, trades, {"net_pct": 0.0})


def compared(a: Side, b: Side, seed: int = 0) -> Comparison:
    """The comparison of two that traded enough."""
    found = differences(a, b, DAY_MS, 400, seed)
    return Comparison(a, b, found, {}, (0, 0, 0), Together(0, 0.0, 0.0, 0, 0), DAY_MS, {})


def test_every_figure_is_the_plain_formula() -> None:
    """Growth of all steps, R of all trades, and Sharpe as the backtest's where a step is a day."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.001, 0.01, DAYS), rng.normal(0.0, 0.02, DAYS)
    found = differences(side(a, [1.0, -0.5, 0.25]), side(b, [-1.0], at_day=9), DAY_MS, 200, 0)
    net, expectancy, sharpe = found.values()
    assert (net.a, net.b) == pytest.approx(((np.prod(1 + a) - 1) * 100, (np.prod(1 + b) - 1) * 100))
    assert (expectancy.a, expectancy.b) == pytest.approx((0.25, -1.0))
    assert sharpe.a == pytest.approx(a.mean() / a.std() * np.sqrt(DAYS_A_YEAR))
    for one in (net, expectancy, sharpe):
        assert one.over.value == pytest.approx(one.a - one.b)
        assert one.over.low <= one.over.high


def test_one_and_the_same_are_not_told_apart() -> None:
    """There is no difference, and it is certain to be an accident."""
    one = side(np.random.default_rng(2).normal(0.0, 0.01, DAYS), [0.1] * DAYS)
    found = compared(one, one)
    for difference in found.differences.values():
        assert (difference.over, difference.p) == ((0.0, 0.0, 0.0), 1.0)
    assert found.better == ""
    assert "cannot be told" in found.sentence


def test_the_other_way_round_is_the_same_with_the_other_sign() -> None:
    """The draws do not depend on who is first; the same seed gives the same again, another one another."""
    rng = np.random.default_rng(3)
    a, b = side(rng.normal(0.002, 0.01, DAYS), [0.2] * 90), side(rng.normal(0.0, 0.01, DAYS), [0.1] * 50)
    there, back = compared(a, b), compared(b, a)
    for one, other in zip(there.differences.values(), back.differences.values(), strict=True):
        value, low, high = one.over
        assert other.over == pytest.approx((-value, -high, -low))
        assert other.p == one.p
    assert compared(a, b).differences == there.differences
    assert compared(a, b, seed=1).differences != there.differences


def test_what_only_chance_parts_is_seldom_told_apart() -> None:
    """Of pairs that share a market and differ by noise alone, about one in twenty is."""
    told = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        market = rng.normal(0.0, 0.02, DAYS)
        told += bool(compared(*(side(market + rng.normal(0.0, 0.005, DAYS), [0.0] * DAYS) for _ in range(2))).better)
    assert told <= 12


def test_a_difference_is_found_that_neither_ones_own_spread_would_show() -> None:
    """A tenth of the market's deviation a day, where both have had the same market."""
    found = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        market = rng.normal(0.0, 0.02, DAYS)
        better = side(market + rng.normal(0.002, 0.005, DAYS), [0.0] * DAYS)
        found += compared(better, side(market, [0.0] * DAYS)).better == "a"
    assert found >= 18


def test_few_trades_decide_nothing() -> None:
    """However far they are apart; the sentence says how few they are."""
    a, b = np.full(DAYS, 0.01), np.full(DAYS, -0.01)
    assert compared(side(a, [1.0] * LEAST_TRADES), side(b)).better == "a"
    few = compared(side(a, [1.0] * (LEAST_TRADES - 1)), side(b))
    assert few.better == ""
    assert f"only {LEAST_TRADES - 1} trades" in few.sentence
    assert "neither traded" in compared(side(a), side(b)).sentence


def test_an_account_that_is_lost_is_a_loss_of_all() -> None:
    """A step that takes everything does not break the figures."""
    lost = np.zeros(DAYS)
    lost[7] = -1.0
    found = compared(side(np.zeros(DAYS), [0.0] * 30), side(lost, [-1.0] * 30))
    assert found.differences["net_pct"].b == pytest.approx(-100.0)
    assert found.differences["net_pct"].over.value == pytest.approx(100.0)
