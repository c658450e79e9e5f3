"""Indicators that start anew at 00:00 UTC."""

from __future__ import annotations

from tapewatch.indicators.definition import NAN, indicator


@indicator(
    sources=("hlc3", "volume", "day"),
    state={"traded": 0.0, "total": 0.0, "session": -1},
    first_valid=lambda: 0,
    settling=lambda day: day,
    unit="price",
    formula="vwap = sum(hlc3 * volume) / sum(volume) since 00:00 UTC",
    seed="each session starts at nothing; NaN until something has traded",
    source="TradingView ta.vwap on hlc3",
    example="close > vwap()",
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
    sources=("taker_buy", "volume", "day"),
    state={"total": 0.0, "session": -1},
    first_valid=lambda: 0,
    settling=lambda day: day,
    unit="none",
    formula="cvd = sum(2 * taker_buy - volume) since 00:00 UTC",
    seed="each session starts at nothing; NaN on bars whose source has no taker volume",
    source="cumulative volume delta",
    example="cvd() > cvd()[5]",
)
def cvd(taker_buy: float, volume: float, day: int, total: float, session: int) -> tuple[float, float, int]:
    """Session sum of the taker-buy delta, in base units."""
    if day != session:
        session = day
        total = 0.0
    total = total + (2.0 * taker_buy - volume)
    return total, total, session
