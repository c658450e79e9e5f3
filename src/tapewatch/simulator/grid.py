"""A synthetic symbol's candles in whole ticks and steps, the form in which they are made and altered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tapewatch.archive.candles import Candles, Floats, Times
from tapewatch.model import MINUTE_MS, Bar
from tapewatch.simulator.listings import Listing

#: Of every synthetic market.
VENUE = "binance_spot"


@dataclass
class Grid:
    """Columns of equal length: prices in ticks (`average` is the price of the mean trade), volumes in steps."""

    listing: Listing
    open_ms: Times
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    average: Floats
    steps: Floats
    taken: Floats

    def candles(self) -> Candles:
        """The candles, every value with few decimals."""
        tick, step = 10**self.listing.price_places, 10**self.listing.quantity_places
        money = self.steps * self.average / (step * tick)
        size = max(self.listing.quote_per_minute / 150, 1.0)
        return Candles(
            VENUE,
            self.listing.symbol,
            MINUTE_MS,
            self.open_ms,
            self.open / tick,
            self.high / tick,
            self.low / tick,
            self.close / tick,
            self.steps / step,
            np.rint(money * 1e8) / 1e8,
            np.where(self.steps > 0, np.minimum(np.ceil(money / size), self.steps), 0.0),
            self.taken / step,
        )

    def bars(self, first: int, end: int) -> Iterator[Bar]:
        """The candles [first, end) as bars."""
        part = slice(first, end)
        columns = (self.open, self.high, self.low, self.close, self.average, self.steps, self.taken)
        return Grid(self.listing, self.open_ms[part], *(column[part] for column in columns)).candles().bars()

    def row(self, open_ms: int) -> int:
        """The row of the candle that opens then."""
        return int((open_ms - int(self.open_ms[0])) // MINUTE_MS)

    def rescale(self, first: int, ratio: float) -> None:
        """Multiply all prices from row `first` on, so that they go on from a changed level."""
        for column in (self.open, self.high, self.low, self.close, self.average):
            column[first:] = np.maximum(np.rint(column[first:] * ratio), 1.0)

    def set_volume(self, row: int, steps: float) -> None:
        """Give a candle another volume; takers keep their share."""
        share = self.taken[row] / self.steps[row] if self.steps[row] else 0.5
        self.steps[row] = steps
        self.taken[row] = np.floor(steps * share)
