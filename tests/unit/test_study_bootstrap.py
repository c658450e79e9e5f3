"""Blocks of trades drawn again: what a draw is, and whether the intervals hold what they should."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tapewatch.study.bootstrap import FEW, bootstrap, length_of, stationary
from tapewatch.study.trades import Columns

MINUTE_MS = 60_000


def columns(r: np.ndarray) -> Columns:
    """Trades a minute apart that risked one unit each."""
    count = len(r)
    numbers, words = np.zeros(count), np.full(count, "AAAUSDT")
    times = np.arange(count) * MINUTE_MS
    return Columns(words, words, times, times, words, *[numbers] * 3, r, r, numbers, numbers, numbers > 0)


def test_a_draw_is_of_blocks_whose_mean_length_is_the_one_asked_for() -> None:
    """From one row to the next, and from the last to the first; every row as often as the others."""
    rng = np.random.default_rng(1)
    draws = np.array([stationary(200, 8.0, rng) for _ in range(500)])
    breaks = np.diff(draws, axis=1) % 200 != 1
    assert 1 / breaks.mean() == pytest.approx(8.0, rel=0.05)
    counts = np.bincount(draws.ravel(), minlength=200)
    assert counts.min() > 400
    assert counts.max() < 600
    assert sorted({tuple(stationary(3, 1e9, rng)) for _ in range(50)}) == [(0, 1, 2), (1, 2, 0), (2, 0, 1)]


def test_blocks_are_as_long_as_the_cube_root() -> None:
    """At least one trade."""
    assert [length_of(count) for count in (1, 27, 1000)] == [1, 3, 10]


def test_intervals_of_independent_trades_are_those_of_the_mean() -> None:
    """Mean ± 1.96 deviations over the root, which is what 300 normal trades have; the net is their sum."""
    r = np.random.default_rng(2).normal(0.2, 1.0, 300)
    found = bootstrap(columns(r), 2000, seed=3)
    half = 1.96 * r.std() / math.sqrt(300)
    assert found.expectancy_r == pytest.approx((r.mean(), r.mean() - half, r.mean() + half), abs=0.03)
    assert found.net == pytest.approx([300 * value for value in found.expectancy_r])
    assert found.profit_factor.value == pytest.approx(r[r > 0].sum() / -r[r < 0].sum())
    assert found.profit_factor.low < found.profit_factor.value < found.profit_factor.high
    assert bootstrap(columns(r), 2000, seed=3) == found


def test_the_interval_holds_the_true_mean_19_times_of_20() -> None:
    """Also of trades that are like the ones before them, where the plain interval would hold it less often."""
    rng, held, plain = np.random.default_rng(4), 0, 0
    for seed in range(200):
        noise = rng.normal(0.0, 1.0, 401)
        r = noise[1:] + 0.6 * noise[:-1]
        low, high = bootstrap(columns(r), 300, seed).expectancy_r[1:]
        held += low <= 0.0 <= high
        plain += abs(r.mean()) <= 1.96 * r.std() / 20
    assert plain < 175 < 180 <= held


def test_of_few_trades_nothing_is_said() -> None:
    """The figures themselves are there; without a loss there is no profit factor."""
    found = bootstrap(columns(np.ones(FEW - 1)), 100, seed=1)
    assert (found.expectancy_r.value, found.net.value) == (1.0, FEW - 1)
    assert math.isnan(found.profit_factor.value)
    assert all(math.isnan(value) for one in found for value in one[1:])
    assert math.isnan(bootstrap(columns(np.zeros(0)), 100, seed=1).expectancy_r.value)
