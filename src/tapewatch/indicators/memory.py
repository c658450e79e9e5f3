"""Indicators that remember without end: what has happened last, and how much has been traded."""

from __future__ import annotations

from tapewatch.indicators.definition import NAN, NEVER, Ring, indicator


@indicator(
    inputs=("cond",),
    state={"count": NAN},
    first_valid=lambda: 0,
    settling=lambda _day: NEVER,
    unit="none",
    formula="0 on a bar where cond is true, else one more than on the bar before",
    seed="NaN until cond has been true once; unknown counts as not true",
    source="TradingView ta.barssince",
    example="barssince(crossover(close, vwap())) < 3",
)
def barssince(cond: int, count: float) -> tuple[float, float]:
    """Bars since the condition was last true."""
    count = 0.0 if cond == 2 else count + 1.0
    return count, count


@indicator(
    inputs=("cond", "x"),
    lengths=("occurrence",),
    least=0,
    state={"ring": Ring(extra=1), "at": 0, "seen": 0},
    first_valid=lambda occurrence: occurrence,
    settling=lambda _day, _occurrence: NEVER,
    unit="input",
    formula="x on the bar on which cond was true the last time (occurrence 0), the time before (1), and so on",
    seed="NaN until cond has been true so often; unknown counts as not true",
    source="TradingView ta.valuewhen",
    example="close > valuewhen(crossover(rsi(close, 14), 50), high, 0)",
)
def valuewhen(cond: int, x: float, ring: list[float], at: int, seen: int, occurrence: int) -> tuple[float, int, int]:
    """Value when a condition was true."""
    if cond == 2:
        at = at + 1 if at < occurrence else 0
        ring[at] = x
        seen = seen + 1 if seen <= occurrence else seen
    oldest = at + 1 if at < occurrence else 0
    value = ring[oldest] if seen > occurrence else NAN
    return value, at, seen


@indicator(
    sources=("close", "volume"),
    state={"total": 0.0, "lost": 0.0, "last": NAN},
    first_valid=lambda: 0,
    settling=lambda _day: NEVER,
    unit="none",
    formula="obv = obv[1] + volume where close > close[1], - volume where close < close[1]",
    seed="the first bar's volume, as TA-Lib; its level means nothing, only how it changes",
    source="TA-Lib OBV; TradingView ta.obv",
    example="obv() > ema(obv(), 20)",
)
def obv(close: float, volume: float, total: float, lost: float, last: float) -> tuple[float, float, float, float]:
    """On-balance volume.

    `lost` has what rounding took from the sum (Neumaier), so that years of volume do not wear it away.
    """
    signed = -volume if close < last else (0.0 if close == last else volume)
    larger = total if total * total >= signed * signed else signed
    smaller = signed if total * total >= signed * signed else total
    total = total + signed
    lost = lost + (larger - total + smaller)
    last = close
    value = total + lost
    return value, total, lost, last
