"""What an engine is to know of the market around signals."""

from __future__ import annotations

from dataclasses import dataclass

from tapewatch.model import MINUTE_MS

#: How many candles an alert carries where a channel shows a chart.
CANDLES = 72


@dataclass(frozen=True)
class MarketSettings:
    """What is kept and asked for around signals; nothing, unless it is wanted.

    Attributes:
        outlooks: whether a signal carries regimes and trend on its timeframe and the higher one.
        correlation: whether it carries the correlation with BTC.
        movers: whether it carries symbols alerted lately that move with it.
        asks: whether the feed is asked for quotes, depth and the like (`FetchContext`).
        candles: the last bars of its timeframe that an alert carries.
        correlated: from this correlation on, either way, one alert stands for both symbols; None is no such check.
        correlated_window_ms: for so long.
    """

    outlooks: bool = False
    correlation: bool = False
    movers: bool = False
    asks: bool = False
    candles: int = 0
    correlated: float | None = None
    correlated_window_ms: int = 15 * MINUTE_MS

    @property
    def around(self) -> bool:
        """Whether signals carry surroundings."""
        return self.outlooks or self.correlation or self.movers or self.asks or self.correlated is not None

    @property
    def closes(self) -> bool:
        """Whether closes are kept for correlations."""
        return self.correlation or self.movers or self.correlated is not None
