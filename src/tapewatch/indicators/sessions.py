"""Indicators that start anew at 00:00 UTC, and counters."""

from __future__ import annotations

from tapewatch.indicators.definition import NAN, NEVER, indicator


@indicator(
    sources=("hlc3", "volume", "day"),
    state={"traded": 0.0, "total": 0.0, "session": -1},
    first_valid=lambda: 0,
    settling=lambda day: day,
    unit="price",
    formula="vwap = sum(hlc3 * volume) / sum(volume) since 00:00 UTC",
    seed="each session starts at nothing; NaN until something has traded",
    source="TradingView ta.vwap on hlc3",
)
def vwap(
    hlc3: float, volume: float, day: int, traded: float, total: float, session: int
) -> tuple[float, float, float, int]:
    """Session volume-weighted average price."""
    if day != session:
        session = day
        traded = 0.0
        total = 0.0
    traded = traded + hlc3 * volume
    total = total + volume
    value = traded / total if total > 0.0 else NAN
    return value, traded, total, session


@indicator(
    inputs=("cond",),
    state={"count": NAN},
    first_valid=lambda: 0,
    settling=lambda _day: NEVER,
    unit="none",
    formula="0 on a bar where cond is true, else one more than on the bar before",
    seed="NaN until cond has been true once; unknown counts as not true",
    source="TradingView ta.barssince",
)
def barssince(cond: int, count: float) -> tuple[float, float]:
    """Bars since the condition was last true."""
    count = 0.0 if cond == 2 else count + 1.0
    return count, count
