"""The deflated Sharpe ratio against SciPy, and against what the best of many draws really is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from tapewatch.study.deflated import deflated, expected_best, probability_above, sharpe
from trial_samples import blocks_of


def test_the_ratio_of_sums_is_that_of_the_returns() -> None:
    """Mean over deviation; 0 where nothing varies."""
    returns = np.random.default_rng(1).normal(0.01, 0.1, (3, 50))
    returns[2] = 0.001
    found = sharpe(blocks_of(returns).sum(axis=1).T)
    assert found[:2] == pytest.approx(returns[:2].mean(axis=1) / returns[:2].std(axis=1))
    assert found[2] == 0.0


@pytest.mark.parametrize("count", [10, 100, 1000])
def test_the_best_of_many_without_an_edge_is_expected_where_it_is(count: int) -> None:
    """The mean of the largest of so many normal draws, 5,000 times."""
    drawn = np.random.default_rng(2).normal(0.0, 0.3, (5000, count)).max(axis=1)
    assert expected_best(0.09, count) == pytest.approx(drawn.mean(), rel=0.03)
    assert expected_best(0.09, 1) == 0.0


def test_the_probability_is_that_of_the_formula() -> None:
    """With the moments that SciPy finds."""
    returns = np.random.default_rng(3).standard_t(4, 300) * 0.01 + 0.001
    ratio = returns.mean() / returns.std()
    spread = 1 - stats.skew(returns) * ratio + (stats.kurtosis(returns, fisher=False) - 1) / 4 * ratio**2
    wanted = stats.norm.cdf((ratio - 0.05) * math.sqrt(299) / math.sqrt(spread))
    assert probability_above(returns, 0.05) == pytest.approx(wanted, rel=1e-12)
    assert math.isnan(probability_above(np.zeros(10), 0.0))
    assert math.isnan(probability_above(np.zeros(0), 0.0))


def test_the_example_of_the_paper_comes_out() -> None:
    """Five years of days with a yearly ratio of 2.5, the best of 100 whose yearly ratios vary by 1/2: 0.9004."""
    returns = np.array([0.0] * 1250)
    skew, kurtosis, ratio = -3.0, 10.0, 2.5 / math.sqrt(250)
    benchmark = expected_best(0.5 / 250, 100)
    spread = 1 - skew * ratio + (kurtosis - 1) / 4 * ratio**2
    found = stats.norm.cdf((ratio - benchmark) * math.sqrt(len(returns) - 1) / math.sqrt(spread))
    assert benchmark == pytest.approx(0.1132, abs=5e-5)
    assert found == pytest.approx(0.9004, abs=5e-5)


def test_the_best_of_noise_is_deflated_and_an_edge_is_not() -> None:
    """Of 200 sets without an edge the best is not believed; one that has 0.3 a step is."""
    returns = np.random.default_rng(4).normal(0.0, 1.0, (200, 300))
    best = int(returns.mean(axis=1).argmax())
    noise = deflated(returns[best], blocks_of(returns), 200)
    assert probability_above(returns[best], 0.0) > 0.95 > noise.probability
    assert (noise.sets, noise.steps) == (200, 300)
    returns[best] += 0.3
    found = deflated(returns[best], blocks_of(returns), 200)
    assert found.sharpe == pytest.approx(returns[best].mean() / returns[best].std())
    assert found.probability > 0.95


def test_sets_that_share_their_luck_are_deflated_as_much_as_others() -> None:
    """Nearly equal sets vary little among each other; sets that differ in earnest do not make luck larger."""
    rng = np.random.default_rng(5)
    lucky = rng.normal(0.15, 1.0, 200)
    alike = blocks_of(lucky + rng.normal(0.0, 0.01, (100, 200)))
    assert deflated(lucky, alike, 100).expected == pytest.approx(expected_best(1 / 199, 100))
    apart = blocks_of(rng.normal(0.0, 1.0, (100, 200)) + np.linspace(-1.0, 0.2, 100)[:, None])
    assert deflated(lucky, apart, 100).expected == pytest.approx(expected_best(1 / 199, 100))
    idle = blocks_of(np.zeros((100, 200)))
    assert deflated(lucky, idle, 100).expected == 0.0
