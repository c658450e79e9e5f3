"""Intervals of what trades brought, by drawing blocks of them again, for trades that are near each other are alike.

Source: D. N. Politis and J. P. Romano, The stationary bootstrap, JASA 89 (1994) 1303-1313.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tapewatch.model import NAN
from tapewatch.study.trades import Columns

#: Trades below which their spread says nothing, and so an interval would not.
FEW = 10


class Interval(NamedTuple):
    """A figure, and from where to where it is at 95%; NaN where there is too little to say."""

    value: float
    low: float
    high: float


class Bootstrapped(NamedTuple):
    """Of trades: mean R, the sum of their nets in quote units, and gains over losses."""

    expectancy_r: Interval
    net: Interval
    profit_factor: Interval


def length_of(count: int) -> float:
    """The mean length of blocks for so many in a row: their cube root, the order at which the error is least."""
    return max(1.0, float(round(math.cbrt(count))))


def stationary(count: int, length: float, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Row numbers of one draw: blocks from anywhere, of geometric lengths with this mean, from the end to the begin."""
    begins = rng.random(count) < 1.0 / length
    begins[0] = True
    starts = np.flatnonzero(begins)
    lengths = np.diff(np.append(starts, count))
    offsets = np.arange(count) - np.repeat(starts, lengths)
    return (np.repeat(rng.integers(0, count, len(starts)), lengths) + offsets) % count


def bootstrap(trades: Columns, draws: int, seed: int) -> Bootstrapped:
    """The intervals of so many draws of the trades, which are drawn in the order of their entries."""
    order = np.argsort(trades.entry_ms, kind="stable")
    r, net = trades.r[order], trades.net[order]
    drawn = np.array(list(_drawn(r, net, draws, seed))).reshape(-1, 3).T
    found = [Interval(value, *interval(of)) for value, of in zip(_figures(r, net), drawn, strict=True)]
    return Bootstrapped(*found)


def interval(drawn: npt.NDArray[np.float64]) -> tuple[float, float]:
    """From where to where the middle 95% of the draws are, of those that have a value."""
    known = drawn[~np.isnan(drawn)]
    low, high = np.quantile(known, (0.025, 0.975)).tolist() if len(known) else (NAN, NAN)
    return low, high


def _drawn(
    r: npt.NDArray[np.float64], net: npt.NDArray[np.float64], draws: int, seed: int
) -> Iterator[tuple[float, float, float]]:
    rng, length = np.random.default_rng(seed), length_of(len(r))
    for _ in range(draws if len(r) >= FEW else 0):
        rows = stationary(len(r), length, rng)
        yield _figures(r[rows], net[rows])


def _figures(r: npt.NDArray[np.float64], net: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    gains, losses = float(net[net > 0.0].sum()), -float(net[net < 0.0].sum())
    return float(r.mean()) if len(r) else NAN, gains - losses, gains / losses if losses else NAN
