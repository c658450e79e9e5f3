"""Order books: what they hold near the middle, and what buying or selling at once costs. Pure, but for asking."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from itertools import pairwise
from math import inf

import msgspec

from tapewatch.errors import DataError, TapewatchError

#: Levels of a side that are asked for: the most that Binance gives at the lowest weight (exchange-protocol 5.2).
LEVELS = 100
#: How far from the middle an order counts as near, as a share of it.
NEAR = 0.01

#: No price or quantity is larger than this, nor smaller than its inverse.
_SENSE = 1e18

#: Price and quantity.
Level = tuple[float, float]


class OrderBook(msgspec.Struct, frozen=True):
    """Bids and asks of a symbol, the best first, at least one of each.

    `bids_whole` and `asks_whole` say whether a side has no more than that.
    """

    symbol: str
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    bids_whole: bool = False
    asks_whole: bool = False

    @property
    def middle(self) -> float:
        """Between best bid and best ask."""
        return (self.bids[0][0] + self.asks[0][0]) / 2


def order_book(
    symbol: str, bids: Iterable[Sequence[float]], asks: Iterable[Sequence[float]], levels: int | None
) -> OrderBook:
    """A book from levels that begin with price and quantity; a side of fewer than `levels` is whole.

    Raises:
        DataError: a side is empty or out of order, bid and ask cross, or a number is none.
    """
    sides = [tuple((float(level[0]), float(level[1])) for level in side) for side in (bids, asks)]
    if not all(sides):
        raise DataError(f"{symbol}: a side of the order book is empty")
    if not all(1 / _SENSE < number < _SENSE for side in sides for level in side for number in level):
        raise DataError(f"{symbol}: the order book has a price or quantity that makes no sense")
    upwards = [*(price for price, _ in reversed(sides[0])), *(price for price, _ in sides[1])]
    if not all(lower < higher for lower, higher in pairwise(upwards)):
        raise DataError(f"{symbol}: the order book is out of order")
    whole = [levels is not None and len(side) < levels for side in sides]
    return OrderBook(symbol, sides[0], sides[1], whole[0], whole[1])


def near_quote(book: OrderBook) -> tuple[float, float]:
    """Quote units of the bids and of the asks within `NEAR` of the middle.

    Where a side was cut off before, both count only as far as that one is known: else it would seem thinner than it is.
    """
    middle = book.middle
    reach = min(
        NEAR * middle,
        inf if book.bids_whole else middle - book.bids[-1][0],
        inf if book.asks_whole else book.asks[-1][0] - middle,
    )
    bids = sum(price * quantity for price, quantity in book.bids if price >= middle - reach)
    asks = sum(price * quantity for price, quantity in book.asks if price <= middle + reach)
    return bids, asks


def slippage_bps(side: Sequence[Level], middle: float, quote: float) -> float | None:
    """From the middle to the mean price of `quote` units (more than 0) traded at once, in basis points.

    The side is walked level by level, the last one in part. None where it holds less than that. Of next to nothing it
    is half the spread.
    """
    left, base = quote, 0.0
    for price, quantity in side:
        if left <= price * quantity:
            return abs(quote / (base + left / price) / middle - 1) * 10_000
        left -= price * quantity
        base += quantity
    return None


async def gathered(
    ask: Callable[[str], Awaitable[OrderBook]], symbols: Iterable[str], within_s: float, at_once: int
) -> dict[str, OrderBook]:
    """The books that come in time, asked for in this order, so many at once; the others are left out."""
    found: dict[str, OrderBook] = {}
    waiting = deque(symbols)

    async def work() -> None:
        while waiting:
            symbol = waiting.popleft()
            with suppress(TapewatchError):
                found[symbol] = await ask(symbol)

    with suppress(TimeoutError):
        async with asyncio.timeout(within_s), asyncio.TaskGroup() as tasks:
            for _ in range(min(at_once, len(waiting))):
                tasks.create_task(work())
    return found
