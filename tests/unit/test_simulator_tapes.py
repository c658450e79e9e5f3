"""A large market is held in parts, and nobody can tell."""

import numpy as np
import pytest

from tapewatch.model import DAY_MS, MINUTE_MS
from tapewatch.simulator import SyntheticMarket
from tapewatch.simulator.synthetic import START_MS
from tapewatch.simulator.tapes import Tapes

HOUR = 60 * MINUTE_MS
SYMBOLS = tuple(f"S{number}USDT" for number in range(9))


@pytest.fixture(scope="module")
def market() -> SyntheticMarket:
    """Five days of nine symbols."""
    return SyntheticMarket(3, SYMBOLS, history_ms=3 * DAY_MS, live_ms=2 * DAY_MS)


def test_a_part_tells_what_the_whole_would(market: SyntheticMarket) -> None:
    """Tickers, running and closed bars of every interval, quotes, trade ids and decimals, over a whole day."""
    small, large = Tapes(market), Tapes(market, rows=1)
    for minute in range(0, 1440, 37):
        now_ms = START_MS + minute * MINUTE_MS + minute * 31
        for symbol in SYMBOLS[:2]:
            whole, part = small.at(symbol, now_ms), large.at(symbol, now_ms)
            assert part is not whole
            assert len(part.base) < len(whole.base)
            one, other = part.day(now_ms), whole.day(now_ms)
            assert one.before == other.before
            assert (one.span.open, one.span.high, one.span.low, one.span.close, one.span.trades, one.span.first_id) == (
                other.span.open, other.span.high, other.span.low, other.span.close, other.span.trades,
                other.span.first_id,
            )  # fmt: skip
            assert one.span.volume == pytest.approx(other.span.volume, rel=1e-12)
            assert part.quote(now_ms) == whole.quote(now_ms)
            assert (part.price_places, part.quantity_places) == (whole.price_places, whole.quantity_places)
            for length in (MINUTE_MS, 5 * MINUTE_MS, HOUR, DAY_MS):
                close_ms = now_ms // length * length
                if now_ms - close_ms < HOUR:  # who asks for an older one has the whole
                    assert part.closed(length, 0, close_ms) == whole.closed(length, 0, close_ms)
                mine, theirs = part.running(length, 0, now_ms), whole.running(length, 0, now_ms)
                assert mine is not None
                assert theirs is not None
                assert (mine.high, mine.close, mine.trades) == (theirs.high, theirs.close, theirs.trades)


def test_history_comes_from_the_whole_and_the_present_from_the_part(market: SyntheticMarket) -> None:
    """Wherever the part reaches it is used."""
    tapes = Tapes(market, rows=1)
    part = tapes.at(SYMBOLS[0], START_MS)
    assert tapes.since(SYMBOLS[0], START_MS - HOUR, START_MS) is part
    assert tapes.since(SYMBOLS[0], START_MS - 2 * DAY_MS, START_MS) is tapes.whole(SYMBOLS[0])
    assert tapes.since(SYMBOLS[1], START_MS - HOUR, START_MS) is tapes.whole(SYMBOLS[1])


def test_parts_are_renewed_before_they_end(market: SyntheticMarket) -> None:
    """Not all at the same time; one that was forgotten is made when it is asked for."""
    tapes = Tapes(market, rows=1)
    for symbol in SYMBOLS:
        tapes.at(symbol, START_MS)
    assert tapes.fading(START_MS) == []
    ends = [next(h for h in range(600) if s in tapes.fading(START_MS + h * MINUTE_MS)) for s in SYMBOLS]
    assert len(set(ends)) > 4
    later_ms = START_MS + max(ends) * MINUTE_MS
    for symbol in tapes.fading(later_ms)[:3]:
        tapes.renew(symbol, later_ms)
        assert symbol not in tapes.fading(later_ms)
    tapes.renew("NOBODYUSDT", later_ms)
    much_later_ms = START_MS + DAY_MS
    assert tapes.at(SYMBOLS[0], much_later_ms).closed(MINUTE_MS, 0, much_later_ms) is not None


async def test_parts_can_be_made_before_they_are_needed(market: SyntheticMarket) -> None:
    """For all symbols; a market that is held whole has none."""
    large, small = Tapes(market, rows=1), Tapes(market)
    await large.prepare(START_MS)
    await small.prepare(START_MS)
    assert set(large._parts) == set(SYMBOLS)
    assert not small._parts
    assert not small._wholes


def test_memory_is_bounded_whatever_the_number_of_symbols(market: SyntheticMarket) -> None:
    """Few wholes are held, and of each symbol little more than a day."""
    tapes = Tapes(market, rows=1)
    for symbol in SYMBOLS:
        tapes.at(symbol, START_MS)
    assert len(tapes._wholes) == 8
    assert max(len(part.base) for _, _, part in tapes._parts.values()) <= 36 * 60


def test_decimals_of_a_synthetic_symbol_need_no_candles() -> None:
    """Exchange information of thousands of symbols is made from their listings."""
    market = SyntheticMarket(3, SYMBOLS)
    tapes = Tapes(market, rows=1)
    told = [tapes.places(symbol) for symbol in SYMBOLS]
    assert not tapes._wholes
    candles = market.candles(SYMBOLS[0])
    assert np.array_equal(np.round(candles.close, told[0][0]), candles.close)
