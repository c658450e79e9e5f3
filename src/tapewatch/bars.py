"""Larger bars from base bars.

A larger bar closes with its last base bar, or, where the exchange has a hole there, when the next base bar shows that
nothing more will come. No candle is invented: a bucket without base bars gives no bar.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

from tapewatch.model import NAN, Bar

#: State as plain values that MessagePack holds without loss.
Saved: TypeAlias = list[Any]

#: Binance's volumes have 8 decimals; sums are kept as whole units and integers of 1e-8, so they are exact.
_PARTS = 100_000_000
_EXACT_BELOW = 2**53


class ExactSum:
    """The sum of values with at most 8 decimals, rounded once: the double nearest to the exact total.

    NaN in, NaN out.
    """

    __slots__ = ("_parts", "_unknown", "_whole")

    def __init__(self) -> None:
        self._whole = 0
        self._parts = 0
        self._unknown = False

    def add(self, value: float) -> None:
        """Take one more value, not negative."""
        if not value < math.inf:
            self._unknown = True
            return
        whole = math.floor(value)
        self._whole += whole
        self._parts += round((value - whole) * _PARTS)

    def value(self) -> float:
        """The total so far."""
        if self._unknown:
            return NAN
        whole = self._whole + self._parts // _PARTS
        parts = self._parts % _PARTS
        scaled = whole * _PARTS + parts
        return scaled / _PARTS if scaled < _EXACT_BELOW else whole + parts / _PARTS

    def saved(self) -> Saved:
        """What `restore` makes it again, for `engine.state`."""
        return [str(self._whole), self._parts, self._unknown]  # units of a market may be more than 64 bits

    def restore(self, saved: Saved) -> None:
        """Become what was saved."""
        whole, self._parts, self._unknown = saved
        self._whole = int(whole)


class BarBuilder:
    """Builds the bars of one larger interval of one symbol.

    Args:
        interval_ms: the larger interval, a multiple of the base bars' interval.
        from_ms: buckets that open before are left out, because base bars may not cover them.
    """

    __slots__ = ("_close", "_from_ms", "_high", "_interval_ms", "_low", "_open", "_open_ms", "_sums", "_trades")

    def __init__(self, interval_ms: int, from_ms: int = 0) -> None:
        self._interval_ms = interval_ms
        self._from_ms = from_ms
        self._open_ms = -1

    def add(self, base: Bar) -> tuple[Bar, ...]:
        """The bars that this base bar completes, oldest first: none, one, or two after a hole."""
        bucket_ms = base.open_ms - base.open_ms % self._interval_ms
        flushed: tuple[Bar, ...] = ()
        if bucket_ms != self._open_ms:
            if self._open_ms >= 0:
                flushed = (self._finish(base.symbol),)
            if bucket_ms < self._from_ms:
                return flushed
            self._begin(bucket_ms, base)
        self._take(base)
        if base.close_ms == bucket_ms + self._interval_ms:
            return (*flushed, self._finish(base.symbol))
        return flushed

    def _begin(self, bucket_ms: int, base: Bar) -> None:
        self._open_ms = bucket_ms
        self._open, self._high, self._low = base.open, base.high, base.low
        self._sums = (ExactSum(), ExactSum(), ExactSum())
        self._trades = 0.0

    def _take(self, base: Bar) -> None:
        self._high = max(base.high, self._high)
        self._low = min(base.low, self._low)
        self._close = base.close
        volume, quote_volume, taker_buy = self._sums
        volume.add(base.volume)
        quote_volume.add(base.quote_volume)
        taker_buy.add(base.taker_buy)
        self._trades += base.trades

    def _finish(self, symbol: str) -> Bar:
        volume, quote_volume, taker_buy = self._sums
        bar = Bar(
            symbol,
            self._interval_ms,
            self._open_ms,
            self._open,
            self._high,
            self._low,
            self._close,
            volume.value(),
            quote_volume.value(),
            self._trades,
            taker_buy.value(),
        )
        self._open_ms = -1
        return bar

    def saved(self) -> Saved:
        """What `restore` makes it again, for `engine.state`."""
        if self._open_ms < 0:
            return [self._from_ms]
        prices = [self._open, self._high, self._low, self._close]
        return [self._from_ms, self._open_ms, *prices, self._trades, *(total.saved() for total in self._sums)]

    def restore(self, saved: Saved) -> None:
        """Become what was saved."""
        self._from_ms, self._open_ms = saved[0], -1
        if len(saved) == 1:
            return
        self._open_ms, self._open, self._high, self._low, self._close, self._trades, *sums = saved[1:]
        self._sums = (ExactSum(), ExactSum(), ExactSum())
        for total, of_total in zip(self._sums, sums, strict=True):
            total.restore(of_total)
