"""A candle, the intervals it can have, and why one must be refused."""

from __future__ import annotations

import math

import msgspec

NAN = math.nan
MINUTE_MS = 60_000
DAY_MS = 86_400_000

#: Timeframe name -> length. Only intervals that divide a day are built; longer ones follow calendars of their own.
INTERVALS_MS = {
    "1m": MINUTE_MS,
    "3m": 3 * MINUTE_MS,
    "5m": 5 * MINUTE_MS,
    "15m": 15 * MINUTE_MS,
    "30m": 30 * MINUTE_MS,
    "1h": 60 * MINUTE_MS,
    "2h": 120 * MINUTE_MS,
    "4h": 240 * MINUTE_MS,
    "6h": 360 * MINUTE_MS,
    "8h": 480 * MINUTE_MS,
    "12h": 720 * MINUTE_MS,
    "1d": DAY_MS,
}
INTERVAL_NAMES = {length: name for name, length in INTERVALS_MS.items()}


class Bar(msgspec.Struct, frozen=True, gc=False):
    """One closed candle. Prices in quote units, `volume` and `taker_buy` in base units.

    What a source does not have (`quote_volume`, `trades`, `taker_buy`) is NaN.
    """

    symbol: str
    interval_ms: int
    open_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float = NAN
    trades: float = NAN
    taker_buy: float = NAN

    @property
    def close_ms(self) -> int:
        """When the bar is known: the next bar's open."""
        return self.open_ms + self.interval_ms


def fault_of(bar: Bar) -> str | None:
    """Why a candle must be refused, or None when it is sound. NaN fails every comparison and so is refused."""
    if not (bar.open > 0 and bar.high > 0 and bar.low > 0 and bar.close > 0):
        return "price not above zero"
    if not (bar.high >= bar.low):
        return "high below low"
    if not (bar.high >= bar.open and bar.high >= bar.close and bar.low <= bar.open and bar.low <= bar.close):
        return "open or close outside high and low"
    if not (bar.volume >= 0 and bar.volume < math.inf and bar.high < math.inf):
        return "volume negative or not a number"
    if bar.open_ms % bar.interval_ms:
        return "open time not on the interval"
    return None
