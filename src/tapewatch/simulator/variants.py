"""More names than an archive has: its series again, moved by days and to other prices."""

from __future__ import annotations

import functools

import numpy as np

from tapewatch.archive.candles import VALUES, Candles
from tapewatch.model import DAY_MS
from tapewatch.simulator.market import Market, quote_of

_PRICES = ("open", "high", "low", "close")
#: Days by which each further round of names is moved, and by how much its prices are higher.
_DAYS, _SHARE = 2, 0.125
_HELD = 64


class VariantMarket:
    """So many names out of a market: its own symbols first, then variants of them, round after round.

    Round 1 of BTCUSDT is BTC01USDT. In round n the candles are 2n days later, those of the last days come first, and
    prices are multiplied by 1 + n/8 and rounded to 8 decimals. The same market and number are the same candles.

    Args:
        market: where the series come from.
        count: how many names.
    """

    def __init__(self, market: Market, count: int) -> None:
        self.venue, self.first_ms, self.last_ms = market.venue, market.first_ms, market.last_ms
        self._of: dict[str, tuple[str, int]] = {symbol: (symbol, 0) for symbol in market.symbols[:count]}
        turn = 0
        while len(self._of) < count:
            turn += 1
            for symbol in market.symbols[: count - len(self._of)]:
                quote = quote_of(symbol)
                self._of[f"{symbol.removesuffix(quote)}{turn:02d}{quote}"] = (symbol, turn)
        self.symbols = tuple(self._of)
        self._source = functools.lru_cache(_HELD)(market.candles)

    def candles(self, symbol: str) -> Candles:
        """The name's candles."""
        source, turn = self._of[symbol]
        candles = self._source(source)
        return self._varied(candles, symbol, turn) if turn else candles

    def _varied(self, candles: Candles, symbol: str, turn: int) -> Candles:
        span_ms = (self.last_ms - self.first_ms) // DAY_MS * DAY_MS
        since_ms = candles.open_ms - self.first_ms
        inside = since_ms < span_ms
        moved_ms = np.where(inside, (since_ms + _DAYS * turn * DAY_MS) % max(span_ms, 1), since_ms) + self.first_ms
        order = np.argsort(moved_ms)
        columns = {name: getattr(candles, name)[order] for name in VALUES}
        factor = 1 + _SHARE * turn
        for name in (*_PRICES, "quote_volume"):
            columns[name] = np.round(columns[name] * factor, 8)
        return Candles(self.venue, symbol, candles.interval_ms, moved_ms[order], **columns)
