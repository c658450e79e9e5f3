"""Indicators of range and momentum with Wilder's smoothing, seeded exactly as TA-Lib seeds them."""

from __future__ import annotations

from tapewatch.indicators.definition import NAN, decay_bars, indicator


@indicator(
    inputs=("x",),
    lengths=("length",),
    state={"last": NAN, "up": 0.0, "down": 0.0, "seen": 0},
    constants=lambda length: {"share": 1.0 / length, "keep": 1.0 - 1.0 / length},
    first_valid=lambda length: length,
    settling=lambda _day, length: length + decay_bars(1.0 - 1.0 / length),
    unit="none",
    formula="rsi = 100 * (up / (up + down)), up and down: Wilder averages of the rises and of the falls",
    seed="means of the first length changes; 0 where nothing has moved (up + down is 0), as TA-Lib",
    source="TA-Lib RSI; TradingView ta.rsi",
    example="30 <= rsi(close, 14) <= 70",
)
def rsi(
    x: float, last: float, up: float, down: float, seen: int, length: int, share: float, keep: float
) -> tuple[float, float, float, float, int]:
    """Relative strength index, 0 to 100."""
    change = x - last
    rise = change if change > 0.0 else 0.0
    fall = -change if change < 0.0 else 0.0
    if seen > length:
        up = keep * up + share * rise
        down = keep * down + share * fall
    else:
        up = up + rise
        down = down + fall
        if seen == length:
            up = up * share
            down = down * share
        seen = seen + 1
    both = up + down
    value = 100.0 * (up / both) if both > 0.0 else 0.0
    if seen <= length:
        value = NAN
    last = x
    return value, last, up, down, seen


@indicator(
    lengths=("length",),
    sources=("high", "low", "close"),
    state={"last": NAN, "average": 0.0, "seen": 0},
    constants=lambda length: {"share": 1.0 / length, "keep": 1.0 - 1.0 / length},
    first_valid=lambda length: length,
    settling=lambda _day, length: length + decay_bars(1.0 - 1.0 / length),
    unit="price",
    formula="atr = Wilder average of max(high, close[1]) - min(low, close[1])",
    seed="mean of the first length true ranges; the first bar has none",
    source="TA-Lib ATR",
    example="2.0 * atr(14)",
)
def atr(
    high: float,
    low: float,
    close: float,
    last: float,
    average: float,
    seen: int,
    length: int,
    share: float,
    keep: float,
) -> tuple[float, float, float, int]:
    """Average true range, in the price's unit."""
    top = last if last > high else high
    bottom = last if last < low else low
    if seen > length:
        average = keep * average + share * (top - bottom)
    elif seen > 0:
        average = average + (top - bottom)
        if seen == length:
            average = average * share
        seen = seen + 1
    else:
        seen = 1
    value = average if seen > length else NAN
    last = close
    return value, last, average, seen
