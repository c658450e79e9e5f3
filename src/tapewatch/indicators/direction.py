"""Indicators of the direction of a trend."""

from __future__ import annotations

from tapewatch.indicators.definition import NAN, NEVER, decay_bars, indicator


@indicator(
    lengths=("length", "smoothing"),
    sources=("high", "low", "close"),
    outputs=("plus", "minus", "adx"),
    state={
        "last_high": NAN,
        "last_low": NAN,
        "last": NAN,
        "up": 0.0,
        "down": 0.0,
        "span": 0.0,
        "seen": 0,
        "average": 0.0,
        "counted": 0,
    },
    constants=lambda length, smoothing: {
        "keep": 1.0 - 1.0 / length,
        "share": 1.0 / smoothing,
        "hold": 1.0 - 1.0 / smoothing,
    },
    first_valid=lambda length, smoothing: (length, length, length + smoothing - 1),
    settling=lambda _day, length, smoothing: (
        length + decay_bars(1.0 - 1.0 / length) + smoothing + decay_bars(1.0 - 1.0 / smoothing)
    ),
    unit="none",
    formula=(
        "up = high - high[1] where above 0 and above low[1] - low, down the other way round; plus = 100 * W(up) / "
        "W(true range), minus = 100 * W(down) / W(true range), W: Wilder sums of length; "
        "adx = Wilder average of smoothing of 100 * |plus - minus| / (plus + minus)"
    ),
    seed=(
        "W: the sum of the first length - 1 bars; adx: the mean of the first smoothing values; 0 where nothing moves, "
        "and adx keeps its value while plus + minus is 0, all as TA-Lib"
    ),
    source="TA-Lib PLUS_DI, MINUS_DI, ADX; TradingView ta.dmi",
    example="dmi(14, 14).plus > dmi(14, 14).minus",
)
def dmi(
    high: float, low: float, close: float, last_high: float, last_low: float, last: float, up: float, down: float,
    span: float, seen: int, average: float, counted: int, length: int, smoothing: int, keep: float, share: float,
    hold: float,
) -> tuple[float, float, float, float, float, float, float, float, float, int, float, int]:  # fmt: skip
    """Directional movement: the two directional indicators and their average index, 0 to 100."""
    rise = high - last_high
    fall = last_low - low
    top = last if last > high else high
    bottom = last if last < low else low
    fade = keep if seen >= length else 1.0
    if seen > 0:
        up = fade * up + (rise if rise > 0.0 and rise > fall else 0.0)
        down = fade * down + (fall if fall > 0.0 and fall > rise else 0.0)
        span = fade * span + (top - bottom)
    plus = 100.0 * (up / span) if span > 0.0 else 0.0
    minus = 100.0 * (down / span) if span > 0.0 else 0.0
    both = plus + minus
    index = 100.0 * ((plus - minus if plus > minus else minus - plus) / both) if both > 0.0 else 0.0
    if seen >= length:
        if counted >= smoothing:
            average = hold * average + share * index if both > 0.0 else average
        else:
            average = average + index
            counted = counted + 1
            if counted == smoothing:
                average = average * share
    else:
        seen = seen + 1
        plus = NAN
        minus = NAN
    adx = average if counted >= smoothing else NAN
    last_high = high
    last_low = low
    last = close
    return plus, minus, adx, last_high, last_low, last, up, down, span, seen, average, counted


@indicator(
    name="_supertrend",
    inputs=("top", "bottom"),
    sources=("close",),
    outputs=("line", "direction"),
    state={"upper": NAN, "lower": NAN, "last": NAN, "side": -1.0},
    first_valid=lambda: 0,
    settling=lambda _day: NEVER,
    unit=("input", "none"),
    formula="see supertrend",
    seed="see supertrend",
    source="TradingView ta.supertrend",
)
def bands_that_follow(
    top: float, bottom: float, close: float, upper: float, lower: float, last: float, side: float
) -> tuple[float, float, float, float, float, float]:
    """Bands that only come closer until the close crosses one."""
    upper = upper if top >= upper and last <= upper else top
    lower = lower if bottom <= lower and last >= lower else bottom
    if side > 0.0 and close < lower:
        side = -1.0
    elif side < 0.0 and close > upper and last == last:  # noqa: PLR0124 - NaN before the first bar
        side = 1.0
    line = lower if side > 0.0 else upper
    direction = side
    last = close
    return line, direction, upper, lower, last, side
