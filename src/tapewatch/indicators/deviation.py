"""How far values of a window lie from their mean, and how two of them move together.

Means and squares are of distances from the first value of a block, so a flat window has exactly no deviation and a high
price takes no digits. Blocks are joined as Chan, Golub and LeVeque do it; nothing is ever subtracted again, so nothing
drifts.
"""

from __future__ import annotations

from math import sqrt

from tapewatch.indicators.definition import NAN, Ring, indicator


@indicator(
    inputs=("x",),
    lengths=("length",),
    state={
        "means": Ring(extra=1),
        "squares": Ring(extra=1),
        "at": 0,
        "mean": 0.0,
        "square": 0.0,
        "anchor": 0.0,
        "before": 0.0,
        "ready": 0,
    },
    first_valid=lambda length: length - 1,
    settling=lambda _day, length: length - 1,
    unit="input",
    formula="stdev = sqrt(sum((x - mean) ** 2) / length) over the last length values",
    seed="none: a value once length values have been seen",
    source="TA-Lib STDDEV and TradingView ta.stdev, the population's; pandas rolling(length).std(ddof=0)",
    example="stdev(close, 20)",
)
def stdev(
    x: float,
    means: list[float],
    squares: list[float],
    at: int,
    mean: float,
    square: float,
    anchor: float,
    before: float,
    ready: int,
    length: int,
) -> tuple[float, int, float, float, float, float, int]:
    """Standard deviation of the population.

    In blocks as `sma`: the rings have of the block before, from each place to its end, the mean and the squares.
    """
    if at == 0:
        anchor = x
    means[at] = x - anchor
    at = at + 1
    step = x - anchor - mean
    mean = mean + step / at
    square = square + step * (x - anchor - mean)
    apart = anchor - before + mean - means[at] if at < length else 0.0
    total = square + squares[at] + apart * apart * (at * (length - at) / length)
    if at == length:
        ready = 1
        before = anchor
        mean = 0.0
        square = 0.0
        for k in range(length):
            away = means[length - 1 - k]
            step = away - mean
            mean = mean + step / (k + 1)
            square = square + step * (away - mean)
            means[length - 1 - k] = mean
            squares[length - 1 - k] = square
        at = 0
        mean = 0.0
        square = 0.0
    value = 0.0 if total <= 0.0 else sqrt(total / length)
    if ready == 0:
        value = NAN
    return value, at, mean, square, anchor, before, ready


@indicator(
    name="_covariance",
    inputs=("x", "y"),
    lengths=("length",),
    state={
        "lefts": Ring(extra=1),
        "rights": Ring(extra=1),
        "products": Ring(extra=1),
        "at": 0,
        "left": 0.0,
        "right": 0.0,
        "product": 0.0,
        "x_anchor": 0.0,
        "y_anchor": 0.0,
        "x_before": 0.0,
        "y_before": 0.0,
        "ready": 0,
    },
    first_valid=lambda length: length - 1,
    settling=lambda _day, length: length - 1,
    unit="none",
    formula="sum((x - mean of x) * (y - mean of y)) / length over the last length values",
    seed="none: a value once length values have been seen",
    source="pandas rolling(length).cov(ddof=0)",
)
def covariance(
    x: float, y: float, lefts: list[float], rights: list[float], products: list[float], at: int, left: float,
    right: float, product: float, x_anchor: float, y_anchor: float, x_before: float, y_before: float, ready: int,
    length: int,
) -> tuple[float, int, float, float, float, float, float, float, float, int]:  # fmt: skip
    """Covariance of the population, in blocks as `stdev`."""
    if at == 0:
        x_anchor = x
        y_anchor = y
    lefts[at] = x - x_anchor
    rights[at] = y - y_anchor
    at = at + 1
    step = x - x_anchor - left
    left = left + step / at
    right = right + (y - y_anchor - right) / at
    product = product + step * (y - y_anchor - right)
    x_apart = x_anchor - x_before + left - lefts[at] if at < length else 0.0
    y_apart = y_anchor - y_before + right - rights[at] if at < length else 0.0
    value = (product + products[at] + x_apart * y_apart * (at * (length - at) / length)) / length
    if ready == 0 and at < length:
        value = NAN
    if at == length:
        ready = 1
        x_before = x_anchor
        y_before = y_anchor
        left = 0.0
        right = 0.0
        product = 0.0
        for k in range(length):
            step = lefts[length - 1 - k] - left
            left = left + step / (k + 1)
            right = right + (rights[length - 1 - k] - right) / (k + 1)
            product = product + step * (rights[length - 1 - k] - right)
            lefts[length - 1 - k] = left
            rights[length - 1 - k] = right
            products[length - 1 - k] = product
        at = 0
        left = 0.0
        right = 0.0
        product = 0.0
    return value, at, left, right, product, x_anchor, y_anchor, x_before, y_before, ready


@indicator(
    lengths=("length",),
    sources=("hlc3",),
    state={"ring": Ring(), "at": 0, "seen": 0},
    first_valid=lambda length: length - 1,
    settling=lambda _day, length: length - 1,
    unit="none",
    formula="cci = (hlc3 - mean) / (0.015 * mean of |hlc3 - mean|) over the last length bars",
    seed="none: a value once length bars have been seen; 0 where nothing deviates, as TA-Lib",
    source="TA-Lib CCI; TradingView ta.cci on hlc3",
    example="cci(20) > 100",
)
def cci(hlc3: float, ring: list[float], at: int, seen: int, length: int) -> tuple[float, int, int]:
    """Commodity channel index; O(length) a bar."""
    ring[at] = hlc3
    at = at + 1 if at + 1 < length else 0
    seen = seen + 1 if seen < length else seen
    away = 0.0
    for k in range(length):
        away = away + (ring[k] - hlc3)
    away = away / length
    spread = 0.0
    for k in range(length):
        step = ring[k] - hlc3 - away
        spread = spread + (step if step > 0.0 else -step)
    scale = 0.015 * (spread / length)
    value = 0.0 if scale == 0.0 else -away / scale
    if seen < length:
        value = NAN
    return value, at, seen
