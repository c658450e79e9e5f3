"""Pivots, and the price levels that they make."""

from __future__ import annotations

from tapewatch.indicators.definition import NAN, NEVER, Ring, indicator

#: Levels that are kept; one more takes the place of the one that was found first.
LEVELS = 16


@indicator(
    name="_pivot",
    lengths=("length",),
    sources=("high", "low"),
    outputs=("high", "low"),
    state={"highs": Ring(times=2, extra=1), "lows": Ring(times=2, extra=1), "at": 0, "seen": 0},
    first_valid=lambda length: 2 * length,
    settling=lambda _day, length: 2 * length,
    unit="none",
    formula=(
        "1 where the bar length bars ago has the highest high (the lowest low) of the 2 * length + 1 bars around it, "
        "of equal ones the first, else 0"
    ),
    seed="none: a value once 2 * length + 1 bars have been seen",
    source="TradingView ta.pivothigh and ta.pivotlow",
)
def pivot(
    high: float, low: float, highs: list[float], lows: list[float], at: int, seen: int, length: int
) -> tuple[float, float, int, int]:
    """Whether the bar `length` bars ago is a pivot."""
    highs[at] = high
    lows[at] = low
    seen = seen + 1 if seen <= 2 * length else seen
    middle = at - length if at >= length else at + length + 1
    peak = 1.0
    trough = 1.0
    for k in range(1, length + 1):
        older = middle - k if middle >= k else middle - k + 2 * length + 1
        newer = middle + k if middle + k <= 2 * length else middle + k - 2 * length - 1
        if highs[older] >= highs[middle] or highs[newer] > highs[middle]:
            peak = 0.0
        if lows[older] <= lows[middle] or lows[newer] < lows[middle]:
            trough = 0.0
        if peak + trough == 0.0:
            break
    if seen <= 2 * length:
        peak = NAN
        trough = NAN
    at = at + 1 if at < 2 * length else 0
    return peak, trough, at, seen


@indicator(
    name="_levels",
    inputs=("peak", "trough", "peak_price", "trough_price", "reach"),
    lengths=("length",),
    sources=("close",),
    outputs=(
        "below", "below_touches", "below_age", "below_strength", "above", "above_touches", "above_age",
        "above_strength",
    ),
    state={
        "prices": Ring(times=0, extra=LEVELS),
        "touches": Ring(times=0, extra=LEVELS),
        "born": Ring(times=0, extra=LEVELS),
        "touched": Ring(times=0, extra=LEVELS),
        "slot": 0,
        "held": 0,
        "bar": 0,
    },
    constants=lambda length: {"kept": LEVELS, "memory": 100.0 * length},
    first_valid=lambda _length: 0,
    settling=lambda _day, _length: NEVER,
    unit=("price", "none", "none", "none", "price", "none", "none", "none"),
    formula="see support",
    seed="see support",
    source="tapewatch",
)  # fmt: skip
def levels(
    peak: float, trough: float, peak_price: float, trough_price: float, reach: float, close: float,
    prices: list[float], touches: list[float], born: list[float], touched: list[float], slot: int, held: int, bar: int,
    length: int, kept: int, memory: float,
) -> tuple[float, float, float, float, float, float, float, float, int, int, int]:  # fmt: skip
    """The nearest levels below and above the close, from pivots as they are confirmed."""
    bar = bar + 1
    for side in range(2):
        price = trough_price if side else peak_price
        if (trough if side else peak) > 0.0:
            found = -1
            nearest = reach
            for k in range(held):
                gap = prices[k] - price if prices[k] > price else price - prices[k]
                if gap <= nearest:
                    nearest = gap
                    found = k
            if found < 0:
                found = slot
                slot = slot + 1 if slot + 1 < kept else 0
                held = held + 1 if held < kept else held
                prices[found] = price
                touches[found] = 0.0
                born[found] = bar - length
            touches[found] = touches[found] + 1.0
            prices[found] = prices[found] + (price - prices[found]) / touches[found]
            touched[found] = bar - length
    lower = -1
    upper = -1
    for k in range(held):
        if prices[k] <= close and (lower < 0 or prices[k] > prices[lower]):
            lower = k
        if prices[k] >= close and (upper < 0 or prices[k] < prices[upper]):
            upper = k
    below = prices[lower] if lower >= 0 else NAN
    below_touches = touches[lower] if lower >= 0 else NAN
    below_age = bar - born[lower] if lower >= 0 else NAN
    below_strength = 10.0 * below_touches / (below_touches + 1.0)
    below_strength = below_strength * memory / (memory + bar - touched[lower])
    above = prices[upper] if upper >= 0 else NAN
    above_touches = touches[upper] if upper >= 0 else NAN
    above_age = bar - born[upper] if upper >= 0 else NAN
    above_strength = 10.0 * above_touches / (above_touches + 1.0)
    above_strength = above_strength * memory / (memory + bar - touched[upper])
    return (
        below, below_touches, below_age, below_strength, above, above_touches, above_age, above_strength,
        slot, held, bar,
    )  # fmt: skip
