"""Cross-validation of a choice among sets: against a plain loop, and where the answer is known."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from tapewatch.study.overfitting import halves, overfitting
from trial_samples import blocks_of


def ratio(returns: np.ndarray) -> np.ndarray:
    """Of each row."""
    return returns.mean(axis=1) / returns.std(axis=1)


def test_every_choice_is_that_of_a_plain_loop() -> None:
    """All 12,870 halves, with the ratios of the returns themselves and SciPy's ranks."""
    returns = np.random.default_rng(1).normal(0.0, 1.0, (5, 48))
    cut, logits, losses = np.split(returns, 16, axis=1), [], 0
    for some in combinations(range(16), 8):
        inside = ratio(np.hstack([cut[k] for k in some]))
        outside = ratio(np.hstack([cut[k] for k in range(16) if k not in some]))
        rank = stats.rankdata(outside)[inside.argmax()] / 6
        logits.append(math.log(rank / (1 - rank)))
        losses += outside[inside.argmax()] < 0
    found = overfitting(blocks_of(returns))
    assert np.sort(found.logits) == pytest.approx(np.sort(logits))
    assert found.probability == pytest.approx(np.mean(np.array(logits) <= 0))
    assert found.loss == pytest.approx(losses / 12_870)
    assert len(halves()) == 12_870 / 2


def test_one_good_set_among_noise_is_no_overfitting_and_noise_is() -> None:
    """Where one set has an edge it is chosen and stays; of noise the mean over 20 searches is near a half."""
    rng = np.random.default_rng(2)
    returns = rng.normal(0.0, 1.0, (50, 320))
    returns[7] += 0.3
    found = overfitting(blocks_of(returns))
    assert found.probability < 0.05
    assert found.loss < 0.05
    noise = [overfitting(blocks_of(rng.normal(0.0, 1.0, (20, 160)))).probability for _ in range(20)]
    assert 0.35 < np.mean(noise) < 0.65


def test_equal_sets_are_in_the_middle_and_one_set_is_no_choice() -> None:
    """Nobody can be chosen badly among equals."""
    returns = np.random.default_rng(3).normal(0.0, 1.0, (1, 160))
    assert not overfitting(blocks_of(np.repeat(returns, 4, axis=0))).logits.any()
    assert math.isnan(overfitting(blocks_of(returns)).probability)
