"""Moving averages."""

from __future__ import annotations

from tapewatch.indicators.definition import NAN, Ring, decay_bars, indicator


@indicator(
    inputs=("x",),
    lengths=("length",),
    state={"last": NAN},
    constants=lambda length: {"alpha": 2.0 / (length + 1), "keep": 1.0 - 2.0 / (length + 1)},
    first_valid=lambda _length: 0,
    settling=lambda _day, length: decay_bars(1.0 - 2.0 / (length + 1)),
    unit="input",
    formula="ema = alpha * x + (1 - alpha) * ema[1], alpha = 2 / (length + 1)",
    seed="the first value, so there is one from bar 0",
    example="close > ema(close, 50)",
    source="pandas ewm(span=length, adjust=False); TradingView ta.ema",
)
def ema(x: float, last: float, alpha: float, keep: float) -> tuple[float, float]:
    """Exponential moving average."""
    last = alpha * x + keep * last if last == last else x  # noqa: PLR0124 - NaN is the one value that differs from itself
    return last, last


@indicator(
    inputs=("x",),
    lengths=("length",),
    state={"ring": Ring(extra=1), "at": 0, "running": 0.0, "ready": 0},
    first_valid=lambda length: length - 1,
    settling=lambda _day, length: length - 1,
    unit="input",
    formula="sma = sum of the last length values / length",
    seed="none: a value once length values have been seen",
    source="TA-Lib SMA; TradingView ta.sma",
    example="volume > 1.5 * sma(volume, 20)",
)
def sma(x: float, ring: list[float], at: int, running: float, ready: int, length: int) -> tuple[float, int, float, int]:
    """Simple moving average.

    Only additions, so nothing drifts and a window of zeros is exactly 0: values are taken in blocks of `length`; the
    window's sum is the current block so far plus the rest of the block before, whose suffix sums replace its values
    when it is full.
    """
    ring[at] = x
    running = running + x
    at = at + 1
    total = running + ring[at]
    if at == length:
        ready = 1
        tail = 0.0
        for k in range(length):
            tail = tail + ring[length - 1 - k]
            ring[length - 1 - k] = tail
        at = 0
        running = 0.0
    value = total / length if ready else NAN
    return value, at, running, ready


@indicator(
    inputs=("x",),
    lengths=("length",),
    state={"average": 0.0, "seen": 0},
    constants=lambda length: {"share": 1.0 / length, "keep": 1.0 - 1.0 / length},
    first_valid=lambda length: length - 1,
    settling=lambda _day, length: length + decay_bars(1.0 - 1.0 / length),
    unit="input",
    formula="rma = x / length + (1 - 1 / length) * rma[1]",
    seed="mean of the first length values",
    source="Wilder; TradingView ta.rma",
    example="rma(tr(), 14)",
)
def rma(x: float, average: float, seen: int, length: int, share: float, keep: float) -> tuple[float, float, int]:
    """Wilder's moving average."""
    if seen >= length:
        average = keep * average + share * x
    else:
        average = average + x
        seen = seen + 1
        if seen == length:
            average = average * share
    value = average if seen >= length else NAN
    return value, average, seen


@indicator(
    inputs=("x",),
    lengths=("length",),
    state={"ring": Ring(extra=1), "at": 0, "plain": 0.0, "weighted": 0.0, "ready": 0},
    constants=lambda length: {"weights": length * (length + 1) / 2},
    first_valid=lambda length: length - 1,
    settling=lambda _day, length: length - 1,
    unit="input",
    formula="wma = sum of the last length values, the oldest once, the newest length times / (1 + 2 + ... + length)",
    seed="none: a value once length values have been seen",
    source="TA-Lib WMA; TradingView ta.wma",
    example="wma(close, 20)",
)
def wma(
    x: float,
    ring: list[float],
    at: int,
    plain: float,
    weighted: float,
    ready: int,
    length: int,
    weights: float,
) -> tuple[float, int, float, float, int]:
    """Linearly weighted moving average.

    Only additions, in blocks as `sma`: the ring has of the block before, from each place to its end, the weighted sum.
    """
    ring[at] = x
    at = at + 1
    plain = plain + x
    weighted = weighted + at * x
    total = (length - at) * plain + weighted + ring[at]
    if at == length:
        ready = 1
        tail = 0.0
        sums = 0.0
        for k in range(length):
            tail = tail + ring[length - 1 - k]
            sums = sums + tail
            ring[length - 1 - k] = sums
        at = 0
        plain = 0.0
        weighted = 0.0
    value = total / weights if ready else NAN
    return value, at, plain, weighted, ready
