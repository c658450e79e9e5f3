"""Extremes and ranks of a sliding window."""

from __future__ import annotations

from tapewatch.indicators.definition import NAN, Ring, indicator


@indicator(
    inputs=("x",),
    lengths=("length",),
    state={"ring": Ring(extra=1), "at": 0, "running": 0.0, "ready": 0},
    first_valid=lambda length: length - 1,
    settling=lambda _day, length: length - 1,
    unit="input",
    formula="largest of the last length values",
    seed="none: a value once length values have been seen",
    source="TA-Lib MAX; TradingView ta.highest",
    example="highest(high, 20)",
)
def highest(
    x: float, ring: list[float], at: int, running: float, ready: int, length: int
) -> tuple[float, int, float, int]:
    """Highest value of a window.

    In blocks as `sma`: the larger of the current block's so far and of the rest of the block before.
    """
    ring[at] = x
    running = x if at == 0 or x > running else running
    at = at + 1
    value = running if at == length or running > ring[at] else ring[at]
    if at == length:
        ready = 1
        top = x
        for k in range(length):
            top = ring[length - 1 - k] if ring[length - 1 - k] > top else top
            ring[length - 1 - k] = top
        at = 0
    if ready == 0:
        value = NAN
    return value, at, running, ready


@indicator(
    inputs=("x",),
    lengths=("length",),
    state={"ring": Ring(extra=1), "at": 0, "running": 0.0, "ready": 0},
    first_valid=lambda length: length - 1,
    settling=lambda _day, length: length - 1,
    unit="input",
    formula="smallest of the last length values",
    seed="none: a value once length values have been seen",
    source="TA-Lib MIN; TradingView ta.lowest",
    example="lowest(low, 20)",
)
def lowest(
    x: float, ring: list[float], at: int, running: float, ready: int, length: int
) -> tuple[float, int, float, int]:
    """Lowest value of a window; see `highest`."""
    ring[at] = x
    running = x if at == 0 or x < running else running
    at = at + 1
    value = running if at == length or running < ring[at] else ring[at]
    if at == length:
        ready = 1
        bottom = x
        for k in range(length):
            bottom = ring[length - 1 - k] if ring[length - 1 - k] < bottom else bottom
            ring[length - 1 - k] = bottom
        at = 0
    if ready == 0:
        value = NAN
    return value, at, running, ready


@indicator(
    inputs=("x",),
    lengths=("length",),
    state={"ring": Ring(), "at": 0, "seen": 0},
    first_valid=lambda length: length,
    settling=lambda _day, length: length,
    unit="none",
    formula="100 * how many of the length values before this one are not above it / length",
    seed="none: a value once length values came before",
    source="TradingView ta.percentrank",
    example="percentrank(volume, 100)",
)
def percentrank(x: float, ring: list[float], at: int, seen: int, length: int) -> tuple[float, int, int]:
    """Share of the values before that are not above this one, 0 to 100; O(length) a bar."""
    below = 0
    for k in range(length):
        if ring[k] <= x:
            below = below + 1
    value = 100.0 * below / length if seen >= length else NAN
    ring[at] = x
    at = at + 1 if at + 1 < length else 0
    seen = seen + 1 if seen < length else seen
    return value, at, seen
