"""The link to a chart."""

from __future__ import annotations

import re
from urllib.parse import quote

from tapewatch.channels.labels import base_asset, quote_asset
from tapewatch.model import INTERVALS_MS, MINUTE_MS, Signal

#: Venues whose charts TradingView has under the exchange's own symbols, and what it adds to them.
_TRADINGVIEW = {"binance_spot": "", "binance_usdm": ".P"}
#: Longer addresses are not taken everywhere.
MOST = 2_000
_FIELD = re.compile(r"\{([^{}]*)\}")


def chart_url(template: str, signal: Signal) -> str | None:
    """The address of a signal's chart, its values percent-encoded; None where there is none.

    Args:
        template: `auto` for a site that is known to have the venue's charts, `off`, or an address with fields in
            braces: `venue symbol base quote timeframe minutes close_ms`.
        signal: whose.
    """
    if template == "off":
        return None
    if template == "auto":
        if signal.venue not in _TRADINGVIEW:
            return None
        template = f"https://www.tradingview.com/chart/?symbol=BINANCE:{{symbol}}{_TRADINGVIEW[signal.venue]}"
        template += "&interval={minutes}"
    values = {
        "venue": signal.venue,
        "symbol": signal.symbol,
        "base": base_asset(signal.symbol),
        "quote": quote_asset(signal.symbol),
        "timeframe": signal.timeframe,
        "minutes": str(INTERVALS_MS.get(signal.timeframe, MINUTE_MS) // MINUTE_MS),
        "close_ms": str(signal.close_ms),
    }
    address = _FIELD.sub(lambda found: quote(values[found[1]], safe="", errors="replace"), template)
    return address if len(address) <= MOST else None
