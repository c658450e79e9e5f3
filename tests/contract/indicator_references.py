"""What every function of the language must equal: TA-Lib where it has the function, pandas or NumPy otherwise.

A case is an expression in which `X` stands for a series and `{0}`, `{1}`, ... for constants; its reference is computed
from whole columns, from scratch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import talib
from numpy.lib.stride_tricks import sliding_window_view

from tapewatch.archive.candles import Candles
from tapewatch.model import DAY_MS, NAN

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """One function, or one member of it.

    Attributes:
        text: the expression.
        golden: from candles, series and constants to the reference.
        flat: its value on a price of 50 that never moves, without any range or volume.
        args: the constants it is tested with.
        slack: absolute tolerance, for values that are small differences of large numbers.
        oracle: one more reference on random bars, where TA-Lib rounds in its own way on bars whose hlc3 are equal.
    """

    text: str
    golden: Callable[..., Any]
    flat: float = NAN
    args: list[tuple[float, ...]] = field(default_factory=lambda: [()])
    slack: float = 0.0
    oracle: Callable[..., Any] | None = None


def rolled(x: Floats, length: int, reduce: Callable[[Floats], Floats]) -> Floats:
    """`reduce` over the last axis of every window, some thousand windows at a time."""
    out = np.full(len(x), NAN)
    if len(x) >= length:
        windows = sliding_window_view(x, length)
        for start in range(0, len(windows), 20_000):
            out[length - 1 + start : length - 1 + start + 20_000] = reduce(windows[start : start + 20_000])[:]
    return out


def mean(x: Floats, length: int) -> Floats:
    """Mean of every window."""
    return rolled(x, length, lambda w: w.mean(axis=1))


def deviation(x: Floats, length: int) -> Floats:
    """Population deviation of every window, in two passes."""
    return rolled(x, length, lambda w: (w - w[:, :1]).std(axis=1))


def lagged(x: Floats, bars: int) -> Floats:
    """The series some bars ago."""
    return np.concatenate((np.full(bars, NAN), x[: len(x) - bars]))[: len(x)]


def ewm(x: Floats, span: int) -> Floats:
    """EMA from the first value."""
    return pd.Series(x).ewm(span=span, adjust=False, ignore_na=True).mean().to_numpy()


def wilder(x: Floats, length: int) -> Floats:
    """Wilder's average, from the mean of the first values."""
    first = int(np.isnan(x).sum()) + length - 1
    seeded = x.copy()
    seeded[:first], seeded[first] = NAN, x[first - length + 1 : first + 1].mean()
    return pd.Series(seeded).ewm(alpha=1 / length, adjust=False).mean().to_numpy()


def weighted(x: Floats, length: int) -> Floats:
    """WMA by its definition."""
    weights = np.arange(1, length + 1) / (length * (length + 1) / 2)
    return rolled(x, length, lambda w: w @ weights)


def true_range(c: Candles) -> Floats:
    """TA-Lib's."""
    return talib.TRANGE(c.high, c.low, c.close)


def atr(c: Candles, length: int) -> Floats:
    """TA-Lib's."""
    return talib.ATR(c.high, c.low, c.close, length)


def hlc3(c: Candles) -> Floats:
    """The typical price."""
    return (c.high + c.low + c.close) / 3


def condition(value: npt.NDArray[np.bool_], *known: Floats) -> Floats:
    """1 and 0, NaN where something it is made of is unknown."""
    return np.where(np.isnan(np.sum(known, axis=0)), NAN, value.astype(float))


def by_session(c: Candles, x: Floats) -> Floats:
    """Running sum of each day."""
    return pd.Series(x).groupby(c.open_ms // DAY_MS).cumsum().to_numpy()


def barssince(c: Candles, x: Floats) -> Floats:
    """Bars since X > open."""
    true = pd.Series(x > c.open)
    since = true.groupby(true.cumsum()).cumcount().astype(float)
    return since.where(true.cumsum() > 0).to_numpy()


def valuewhen(c: Candles, x: Floats, occurrence: int) -> Floats:
    """High when X > open."""
    true = x > c.open
    found = np.concatenate((np.full(occurrence + 1, NAN), c.high[true]))
    return found[np.cumsum(true)]


def hull(_c: Candles, x: Floats, length: int) -> Floats:
    """HMA by its definition."""
    return weighted(2 * weighted(x, length // 2) - weighted(x, length), math.isqrt(length))


def macd(x: Floats, fast: int, slow: int, signal: int) -> tuple[Floats, Floats, Floats]:
    """Line, signal and hist."""
    line = ewm(x, fast) - ewm(x, slow)
    return line, ewm(line, signal), line - ewm(line, signal)


def rank(x: Floats, length: int) -> Floats:
    """Percent rank among the values before."""
    return rolled(x, length + 1, lambda w: 100 * (w[:, :-1] <= w[:, -1:]).mean(axis=1) + 0 * w.sum(axis=1))


def covary(x: Floats, y: Floats, length: int) -> Floats:
    """Pearson's correlation of every window, in two passes."""
    both = np.lib.stride_tricks.sliding_window_view(np.column_stack((x, y)), length, axis=0)
    out = np.full(len(x), NAN)
    for start in range(0, len(both), 20_000):
        part = both[start : start + 20_000]
        away = part - part[:, :, :1]
        away = away - away.mean(axis=2, keepdims=True)
        spread = np.sqrt((away**2).sum(axis=2)).prod(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            value = np.where(spread > 0, away.prod(axis=1).sum(axis=1) / spread, NAN)
        out[length - 1 + start : length - 1 + start + 20_000] = value
    return out


def directional(c: Candles, length: int, smoothing: int, member: str) -> Floats:
    """TA-Lib's DI, and the ADX of any smoothing by its definition."""
    plus, minus = (getattr(talib, name)(c.high, c.low, c.close, length) for name in ("PLUS_DI", "MINUS_DI"))
    if member != "adx":
        return plus if member == "plus" else minus
    out, total = np.full(len(c), NAN), 0.0
    for k in range(length, len(c)):
        both = plus[k] + minus[k]
        index = 100 * abs(plus[k] - minus[k]) / both if both else 0.0
        if k < length + smoothing - 1:
            total += index
        elif k == length + smoothing - 1:
            out[k] = (total + index) / smoothing
        else:
            out[k] = (out[k - 1] * (smoothing - 1) + index) / smoothing if both else out[k - 1]
    return out


def supertrend(c: Candles, factor: float, length: int, member: str) -> Floats:
    """Pine's own code, except that up is 1."""
    width, middle = factor * atr(c, length), (c.high + c.low) / 2
    line, side = np.full(len(c), NAN), np.full(len(c), NAN)
    upper = lower = 0.0
    for k in range(length, len(c)):
        top, bottom, before = middle[k] + width[k], middle[k] - width[k], c.close[k - 1]
        first = k == length
        lower = bottom if bottom > lower or before < lower or first else lower
        upper = top if top < upper or before > upper or first else upper
        if first:
            side[k] = -1
        elif side[k - 1] == -1:
            side[k] = 1 if c.close[k] > upper else -1
        else:
            side[k] = -1 if c.close[k] < lower else 1
        line[k] = lower if side[k] == 1 else upper
    return line if member == "line" else side


def place(c: Candles, length: int) -> Floats:
    """Raw stochastic."""
    high, low = talib.MAX(c.high, length), talib.MIN(c.low, length)
    with np.errstate(invalid="ignore"):
        return np.where(high == low, 0.0, 100 * (c.close - low) / (high - low))


def money_flow(c: Candles, length: int) -> Floats:
    """CMF by its definition."""
    with np.errstate(invalid="ignore"):
        place_in_bar = ((c.close - c.low) - (c.high - c.close)) / (c.high - c.low)
        flow = np.where(c.high == c.low, 0.0, place_in_bar) * c.volume
        return mean(flow, length) / mean(c.volume, length)


def money_index(c: Candles, length: int) -> Floats:
    """MFI by its definition."""
    typical, paid = hlc3(c), hlc3(c) * c.volume
    before = lagged(typical, 1)
    up, down = np.where(typical > before, paid, 0.0), np.where(typical < before, paid, 0.0)
    up[0] = down[0] = NAN
    total = mean(up, length) + mean(down, length)
    with np.errstate(invalid="ignore"):
        return np.where(total == 0, 0.0, 100 * mean(up, length) / total)


def channel_index(c: Candles, length: int) -> Floats:
    """CCI by its definition."""

    def index(windows: Floats) -> Floats:
        away = windows - windows[:, -1:]
        spread = abs(away - away.mean(axis=1, keepdims=True)).mean(axis=1)
        with np.errstate(invalid="ignore"):
            return np.where(spread == 0, 0.0, -away.mean(axis=1) / (0.015 * spread))

    return rolled(hlc3(c), length, index)


def straightness(x: Floats, length: int) -> Floats:
    """Efficiency ratio by its definition."""
    path = rolled(abs(x - lagged(x, 1)), length, lambda w: w.sum(axis=1))
    with np.errstate(invalid="ignore"):
        return np.where(path == 0, 0.0, abs(x - lagged(x, length)) / path)


def volatility(c: Candles) -> Floats:
    """Percentile of NATR(14)."""
    natr = talib.NATR(c.high, c.low, c.close, 14)
    return np.where(natr == 0, 0.0, 1.0) * rank(natr, 100)


def regime(c: Candles, kind: str) -> Floats:
    """`trending` or `ranging`."""
    adx, straight = talib.ADX(c.high, c.low, c.close, 14), straightness(c.close, 14)
    if kind == "trending":
        return both(condition(adx > 25, adx), condition(straight > 0.3, straight))
    return both(condition(adx < 20, adx), condition(straight < 0.3, straight))


def both(left: Floats, right: Floats) -> Floats:
    """`and` of 1, 0 and NaN."""
    return np.where((left == 0) | (right == 0), 0.0, left + right - 1)


def ratio(top: Floats, bottom: Floats) -> Floats:
    """Top / bottom, NaN where bottom is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(bottom == 0, NAN, top / bottom)


def each(function: Callable[[float], float], x: Floats) -> Floats:
    """A scalar function of every value."""
    return np.array([function(value) for value in x.tolist()])


def nearest_levels(c: Candles, length: int, kind: str, member: str) -> Floats:
    """Pivots by looking at whole windows, levels as a list of dicts."""
    bars, reach = len(c), 0.5 * atr(c, 14)
    known: list[dict[str, float]] = []
    made = 0
    out = np.full(bars, NAN)
    for k in range(max(2 * length, 14), bars):
        middle = k - length
        for column, side in ((c.high, 1.0), (-c.low, -1.0)):
            before, after = column[middle - length : middle], column[middle + 1 : k + 1]
            if not (column[middle] > before.max() and column[middle] >= after.max()):
                continue
            price = side * float(column[middle])
            near = [level for level in known if abs(level["price"] - price) <= reach[k]]
            if near:  # of equally near ones the one with the most recent place
                level = min(reversed(near), key=lambda level: abs(level["price"] - price))
            else:
                level = {"price": price, "touches": 0, "born": middle, "touched": middle}
                if len(known) < 16:
                    known.append(level)
                else:
                    known[made % 16] = level
                made += 1
            level["touches"] += 1
            level["price"] += (price - level["price"]) / level["touches"]
            level["touched"] = middle
        close = c.close[k]
        within = [one for one in known if (one["price"] <= close if kind == "support" else one["price"] >= close)]
        if within:
            level = min(within, key=lambda one: abs(one["price"] - close))
            rest = 100 * length / (100 * length + k - level["touched"])
            out[k] = {
                "price": level["price"],
                "touches": level["touches"],
                "age": k - level["born"],
                "strength": 10 * level["touches"] / (level["touches"] + 1) * rest,
            }[member]
    return out
