"""What is read off an order book, against exact fractions and laws that hold for every book."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.errors import DataError
from tapewatch.feeds.book import Level, OrderBook, near_quote, order_book, slippage_bps

SIZES = st.floats(1e-6, 1e6)
STEPS = st.lists(st.tuples(st.integers(1, 500), SIZES), min_size=1, max_size=60)
QUOTE = st.floats(1e-3, 1e8)


def book_from(middle: int, bids: list[tuple[int, float]], asks: list[tuple[int, float]], levels: int) -> OrderBook:
    """A book from distances in hundredths: each level that much further from the middle than the one before."""
    sides: list[list[Level]] = []
    for way, side in ((-1, bids), (1, asks)):
        ticks, made = middle, []
        for gap, size in side:
            ticks += way * gap
            made.append((ticks / 100, size))
        sides.append(made)
    return order_book("X", sides[0], sides[1], levels)


BOOKS = st.builds(book_from, st.integers(60_000, 10_000_000), STEPS, STEPS, st.sampled_from([30, 1_000]))


def exact_slippage(side: tuple[Level, ...], middle: Fraction, quote: Fraction) -> Fraction | None:
    """The same walk in fractions."""
    left, base = quote, Fraction(0)
    for price, size in ((Fraction(price), Fraction(size)) for price, size in side):
        part = min(left, price * size)
        base += part / price
        left -= part
        if not left:
            return abs(quote / base / middle - 1) * 10_000
    return None


def exact_middle(book: OrderBook) -> Fraction:
    """Between the best ones."""
    return (Fraction(book.bids[0][0]) + Fraction(book.asks[0][0])) / 2


def held(side: tuple[Level, ...]) -> Fraction:
    """Quote units of a side."""
    return sum((Fraction(price) * Fraction(size) for price, size in side), Fraction(0))


@given(BOOKS, QUOTE)
def test_slippage_is_the_mean_price_of_the_walk(book: OrderBook, quote: float) -> None:
    """As in fractions; unknown exactly where the side holds less, but for the last bits of a sum."""
    for side in (book.bids, book.asks):
        found, exact = slippage_bps(side, book.middle, quote), exact_slippage(side, exact_middle(book), Fraction(quote))
        if found is None or exact is None:
            assert found == exact or abs(held(side) / Fraction(quote) - 1) < 1e-9
        else:
            assert found == pytest.approx(float(exact), rel=1e-9, abs=1e-6)


@given(BOOKS, QUOTE, QUOTE)
def test_a_larger_order_never_slips_less(book: OrderBook, one: float, other: float) -> None:
    """And what is too much for the book stays too much."""
    small, large = sorted((one, other))
    for side in (book.bids, book.asks):
        less, more = slippage_bps(side, book.middle, small), slippage_bps(side, book.middle, large)
        if less is None:
            assert more is None
        if less is not None and more is not None:
            assert less <= more + 1e-6


@given(BOOKS)
def test_next_to_nothing_costs_half_the_spread(book: OrderBook) -> None:
    """On either side."""
    half = (book.asks[0][0] - book.bids[0][0]) / 2 / book.middle * 10_000
    for side in (book.bids, book.asks):
        assert slippage_bps(side, book.middle, 1e-12) == pytest.approx(half, rel=1e-6, abs=1e-6)


@given(BOOKS)
def test_what_is_near_lies_within_a_percent_and_as_far_as_both_sides_are_known(book: OrderBook) -> None:
    """A side that was cut off short does not seem thinner than one that was not."""
    middle = exact_middle(book)
    reach = middle / 100
    if not book.bids_whole:
        reach = min(reach, middle - Fraction(book.bids[-1][0]))
    if not book.asks_whole:
        reach = min(reach, Fraction(book.asks[-1][0]) - middle)
    slack = middle / 10**9
    for side, found in zip((book.bids, book.asks), near_quote(book), strict=True):
        surely = held(tuple(level for level in side if abs(Fraction(level[0]) - middle) <= reach - slack))
        perhaps = held(tuple(level for level in side if abs(Fraction(level[0]) - middle) <= reach + slack))
        assert float(surely) * (1 - 1e-9) <= found <= float(perhaps) * (1 + 1e-9)


@given(
    st.lists(st.tuples(st.floats(), st.floats()), max_size=4), st.lists(st.tuples(st.floats(), st.floats()), max_size=4)
)
def test_a_book_makes_sense_or_is_refused(bids: list[Level], asks: list[Level]) -> None:
    """Whatever comes: what is taken is in order, of numbers above nought, and everything can be read off it."""
    try:
        book = order_book("X", bids, asks, 4)
    except DataError:
        return
    assert book.bids[0][0] < book.asks[0][0]
    for side in (book.bids, book.asks):
        assert slippage_bps(side, book.middle, 1000.0) is None or slippage_bps(side, book.middle, 1000.0) >= 0
    assert min(near_quote(book)) >= 0
