"""The Sharpe ratio of the best of many sets, held against what the best of as many without an edge would show.

Ratios are those of one step of equity, without a scale: the mean of the returns over their deviation.

Sources: D. H. Bailey and M. López de Prado, The Sharpe ratio efficient frontier, Journal of Risk 15 (2012) 3-44; the
same, The deflated Sharpe ratio, Journal of Portfolio Management 40 (2014) 94-107.
"""

from __future__ import annotations

from math import e, sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tapewatch.model import NAN
from tapewatch.study.sweep import SQUARES, STEPS, SUM

#: Of Euler and Mascheroni.
_GAMMA = float(np.euler_gamma)
_NORMAL = NormalDist()


def sharpe(parts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The ratio of returns of which the first axis has `STEPS`, `SUM` and `SQUARES`; 0 where they do not vary."""
    steps = np.maximum(parts[STEPS], 1.0)
    mean, squares = parts[SUM] / steps, parts[SQUARES] / steps
    variance = squares - mean * mean
    # What is left of squares that cancel is no variance.
    found = np.zeros(mean.shape)
    np.divide(mean, np.sqrt(np.maximum(variance, 0.0)), out=found, where=variance > 1e-12 * squares)
    return found


def expected_best(variance: float, count: int) -> float:
    """The ratio that the best of so many independent sets without an edge would show, whose ratios vary so much.

    sqrt(V) ((1 - g) Z⁻¹(1 - 1/N) + g Z⁻¹(1 - 1/(N e))), g of Euler and Mascheroni; 0 of one set.
    """
    if count < 2:
        return 0.0
    one, other = _NORMAL.inv_cdf(1.0 - 1.0 / count), _NORMAL.inv_cdf(1.0 - 1.0 / (count * e))
    return sqrt(variance) * ((1.0 - _GAMMA) * one + _GAMMA * other)


def probability_above(returns: npt.NDArray[np.float64], benchmark: float) -> float:
    """How likely the true ratio of these returns is above a benchmark, NaN where they do not vary.

    Z((SR - SR*) sqrt(T - 1) / sqrt(1 - skew SR + (kurtosis - 1) / 4 SR²)), the probabilistic Sharpe ratio.
    """
    mean, deviation = float(returns.mean()) if len(returns) else 0.0, float(returns.std()) if len(returns) else 0.0
    if not deviation > 0.0:
        return NAN
    ratio, standard = mean / deviation, (returns - mean) / deviation
    skew, kurtosis = float((standard**3).mean()), float((standard**4).mean())
    spread = 1.0 - skew * ratio + (kurtosis - 1.0) / 4.0 * ratio * ratio
    return _NORMAL.cdf((ratio - benchmark) * sqrt((len(returns) - 1) / spread)) if spread > 0.0 else NAN


class Deflated(NamedTuple):
    """What is left of the best set's Sharpe ratio.

    Attributes:
        sharpe: its own, of one step.
        expected: what the best of as many sets without an edge would show.
        probability: that its true one is above that, the deflated Sharpe ratio; NaN where its equity does not vary.
        sets: how many were tried, also those that were given up.
        steps: returns of the best one.
    """

    sharpe: float
    expected: float
    probability: float
    sets: int
    steps: int


def deflated(returns: npt.NDArray[np.float64], blocks: npt.NDArray[np.float64], sets: int) -> Deflated:
    """Of the best set's returns, step by step, the blocks of those it was chosen from, and how many were tried.

    How much luck makes the ratios vary is told by their squares, for sets without an edge have ratios around 0: their
    variance among each other would not show the luck that all of them share. It is 1/(T - 1) of T returns at most;
    where ratios are larger the sets differ in earnest, as in what they pay, and luck would show no more for that.
    """
    ratios, steps = sharpe(blocks.sum(axis=1).T), len(returns)
    variance = min(float((ratios**2).mean()), 1.0 / (steps - 1)) if min(len(ratios), steps) > 1 else 0.0
    expected = expected_best(variance, sets)
    own = np.array([steps, returns.sum(), (returns**2).sum()])
    return Deflated(float(sharpe(own)), expected, probability_above(returns, expected), sets, steps)
