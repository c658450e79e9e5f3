"""What the engine knows of a symbol's market at a moment, looked at without changing anything."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tapewatch.engine.market import Market
from tapewatch.engine.rings import SLOT_MS, correlation
from tapewatch.engine.series import Frame, Series
from tapewatch.model import MINUTE_MS, NAN, Outlook

#: The outlook of the largest timeframe up to this one is told, else of the smallest there is.
FRAME_MS = 15 * MINUTE_MS


class Glance(msgspec.Struct, frozen=True):
    """A symbol's market at a moment.

    Attributes:
        symbol: whose.
        price: its last close; NaN where none is kept.
        outlook: regimes and trend, at the last bar of the outlook's timeframe; None where none is kept.
        natr: natr(14) there; NaN where it is not known.
        btc_correlation: of its returns with those of BTC; None where it is not known, and of BTC itself.
    """

    symbol: str
    price: float
    outlook: Outlook | None
    natr: float
    btc_correlation: float | None


def glance(symbol: str, series: Mapping[str, Series], market: Market, at_ms: int) -> Glance | None:
    """What is known at `at_ms`, when the bars that close then have come; None where the symbol has no series."""
    own = series.get(symbol)
    if own is None:
        return None
    price = own.closes.last if own.closes is not None else NAN
    outlook, natr = None, NAN
    if (frame := _viewed(own)) is not None and frame.outlook is not None:
        outlook, natr = frame.outlook.outlook(frame.count), frame.outlook.natr
    return Glance(symbol, price, outlook, natr, _with_bitcoin(symbol, series, market, at_ms))


def _viewed(series: Series) -> Frame | None:
    """The frame whose outlook is told."""
    frames = sorted(
        (frame for frame in series.frames.values() if frame.outlook is not None), key=lambda frame: frame.interval_ms
    )
    small = [frame for frame in frames if frame.interval_ms <= FRAME_MS]
    return next(iter(small[-1:] or frames), None)


def _with_bitcoin(symbol: str, series: Mapping[str, Series], market: Market, at_ms: int) -> float | None:
    other = market.bitcoin_for(symbol) if market.settings.correlation else None
    if other is None:
        return None
    slot = (at_ms - 1) // SLOT_MS  # as of a signal of a bar that closes then
    closes = (series[one].closes if one in series else None for one in (symbol, other))
    own, others = (None if one is None else one.vector(slot) for one in closes)
    return None if own is None or others is None else correlation(own, others)
