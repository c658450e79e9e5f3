"""An order book around a best bid and ask: made up, but the same for the same symbol and second."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tapewatch.archive.candles import Floats
from tapewatch.simulator.tape import Tape

#: Levels are this far apart on average, as a share of the price, and never nearer than a tick.
_GAP = 0.00002
#: A level near the middle holds this share of the quote volume of an average minute; after so many levels twice that.
_SHARE, _DOUBLED_AFTER = 0.02, 20
#: One side holds up to this much more than the mean of both, the other as much less.
_TILT = 0.6
_MINUTES_OF_DAY = 1_440


class Levels(NamedTuple):
    """Prices and quantities of one side, the best first."""

    prices: Floats
    quantities: Floats


def book_of(tape: Tape, now_ms: int, levels: int) -> tuple[Levels, Levels]:
    """Bids and asks, at most so many of each; none of a symbol that never traded.

    The best ones are those of `Tape.quote`. The others follow from the day's volume, and fewer levels of a book are the
    beginning of more of it.
    """
    bid, bid_quantity, ask, ask_quantity = tape.quote(now_ms)
    if not bid:
        nothing = np.empty(0)
        return Levels(nothing, nothing), Levels(nothing, nothing)
    usual = tape.day(now_ms).span.quote_volume / _MINUTES_OF_DAY * _SHARE * tape.depth_factor(now_ms)
    seed = (tape.salt, now_ms // 1000)
    tilt = np.random.default_rng(seed).uniform(-_TILT, _TILT)
    bids = _side(tape, (*seed, 0), (bid, bid_quantity), -1, usual * (1 + tilt), levels)
    asks = _side(tape, (*seed, 1), (ask, ask_quantity), 1, usual * (1 - tilt), levels)
    return bids, asks


def _side(
    tape: Tape, seed: tuple[int, ...], best: tuple[float, float], way: int, usual_quote: float, levels: int
) -> Levels:
    price, quantity = best
    tick, unit = 10.0**-tape.price_places, 10.0**-tape.quantity_places
    draws = np.random.default_rng(seed).uniform(0.5, 1.5, (levels - 1, 2))
    gaps = np.maximum(1.0, np.rint(draws[:, 0] * price * _GAP / tick))
    prices = price + way * np.cumsum(gaps) * tick
    growth = 1 + np.arange(1, levels) / _DOUBLED_AFTER
    kept = prices > tick / 2
    prices = prices[kept]
    quantities = np.maximum(1.0, np.rint((draws[:, 1] * growth)[kept] * usual_quote / prices / unit)) * unit
    return Levels(_after(price, prices, tape.price_places), _after(quantity, quantities, tape.quantity_places))


def _after(first: float, others: Floats, places: int) -> Floats:
    column: Floats = np.array([first, *others.tolist()])
    return column.round(places)
