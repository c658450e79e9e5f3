"""What the CCXT library's answers mean here; where they make no sense, less."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from tapewatch.feeds.port import FundingRate, Instrument, Quote, Ticker
from tapewatch.model import NAN, Bar, Listing
from tapewatch.paper.instruments import LEAST_NOTIONAL


def bars_of(rows: Sequence[Any], symbol: str, interval_ms: int) -> tuple[list[Bar], int]:
    """The library's candles `[open_ms, open, high, low, close, volume]`, oldest first, and how many make no sense.

    It gives no quote volume, no trades and no taker volume.
    """
    bars: dict[int, Bar] = {}
    bad = 0
    for row in rows:
        try:
            open_ms, *values = row[:6]
            opened, high, low, close, volume = map(float, values)
            bar = Bar(symbol, interval_ms, int(open_ms), opened, high, low, close, volume)
        except (TypeError, ValueError, OverflowError):
            bad += 1
        else:
            bars[bar.open_ms] = bar
    return [bars[open_ms] for open_ms in sorted(bars)], bad


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return NAN


def ticker_of(one: dict[str, Any], now_ms: int) -> Ticker:
    """Price and quote volume of 24 hours."""
    close = _number(one.get("last"))
    volume = _number(one.get("quoteVolume"))
    if math.isnan(volume):
        volume = _number(one.get("baseVolume")) * close
    stamp = one.get("timestamp")
    return Ticker(one["symbol"], close, volume, stamp if isinstance(stamp, int) else now_ms)


def instrument_of(market: dict[str, Any], ticker: Ticker | None, listing: Listing | None) -> Instrument:
    """A symbol, with what was traded of it where that is known."""
    active = market.get("active")
    status = "unknown" if active is None else "active" if active else "inactive"
    volume = NAN if ticker is None else ticker.quote_volume_24h
    base, quote = (str(market.get(side) or "") for side in ("base", "quote"))
    return Instrument(market["symbol"], base, quote, status, active is not False, volume, listing)


def listing_of(market: dict[str, Any]) -> Listing | None:
    """In which pieces it is traded; None where that is not known."""
    precision, limits = market.get("precision") or {}, market.get("limits") or {}
    least = (limits.get("cost") or {}).get("min")
    found = [_number(precision.get("price")), _number(precision.get("amount"))]
    if not all(size > 0 for size in found):
        return None
    tick, step = (Decimal(str(size)) for size in found)
    return Listing(market["symbol"], tick, step, Decimal(str(least)) if _number(least) > 0 else LEAST_NOTIONAL)


def rates_of(found: Iterable[Any]) -> dict[str, FundingRate]:
    """What perpetuals pay next, by their symbols and by those of the spot markets of the same assets."""
    rates = [rate for rate in map(_funding_rate, found) if rate is not None]
    spot = {rate.symbol.partition(":")[0]: rate for rate in rates if _in_quote(rate.symbol)}
    return spot | {rate.symbol: rate for rate in rates}


def _funding_rate(found: Any) -> FundingRate | None:
    rate, symbol = _number(found.get("fundingRate")), found.get("symbol")
    next_ms = found.get("fundingTimestamp") or found.get("nextFundingTimestamp")
    known = isinstance(symbol, str) and isinstance(next_ms, int) and math.isfinite(rate)
    return FundingRate(symbol, rate, next_ms) if known else None


def _in_quote(symbol: str) -> bool:
    """Whether it is a perpetual that is settled in the quote asset, as `BTC/USDT:USDT` is."""
    pair, _, settle = symbol.partition(":")
    return pair.rpartition("/")[2] == settle


def quote_of(symbol: str, found: Any) -> Quote | None:
    """Best bid and ask of a ticker or the like; None where it has none."""
    if not isinstance(found, dict):
        return None
    bid, ask = _number(found.get("bid")), _number(found.get("ask"))
    return Quote(symbol, bid, ask) if bid > 0 and ask > 0 else None
