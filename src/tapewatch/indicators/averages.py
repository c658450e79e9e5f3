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
    source="TA-Lib SMA",
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
