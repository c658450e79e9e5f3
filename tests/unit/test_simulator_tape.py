"""A tape tells what was known at a time: no more, and larger bars in the making."""

import itertools

import numpy as np
import pytest

from tapewatch.archive import resample
from tapewatch.archive.candles import Candles
from tapewatch.model import MINUTE_MS
from tapewatch.simulator.tape import Tape

HOUR = 60


def candles(minutes: list[int], interval_ms: int = MINUTE_MS) -> Candles:
    """Candles that open at these multiples of the interval; prices tell the time."""
    opens = np.array(minutes, np.int64)
    close = 100 + opens.astype(np.float64)
    ones = np.ones(len(opens))
    columns = (close - 0.5, close + 0.25, close - 0.75, close, ones * 2, close * 2, ones * 4, ones)
    return Candles("v", "AAAUSDT", interval_ms, opens * interval_ms, *columns)


def test_a_running_bar_reveals_only_what_has_happened() -> None:
    """At its open it has one price and no volume, then an extreme, and never the whole volume before it closes."""
    tape = Tape(candles(list(range(10))))
    states = [tape.running(MINUTE_MS, 0, 5 * MINUTE_MS + second * 1000) for second in range(60)]
    assert states[0] is not None
    assert (states[0].open, states[0].high, states[0].low, states[0].close) == (104.5,) * 4
    assert (states[0].volume, states[0].trades, states[0].first_id, states[0].last_id) == (0.0, 0, -1, -1)
    volumes = [state.volume for state in states if state]
    assert volumes == sorted(volumes)
    assert len(set(volumes)) == 5
    assert volumes[-1] < 2
    assert all(state.high <= 105.25 and state.low >= 104.25 for state in states if state)


def test_a_running_larger_bar_holds_the_closed_minutes_and_the_running_one() -> None:
    """Its volume, high and trades are theirs together."""
    tape = Tape(candles(list(range(10))))
    running = tape.running(5 * MINUTE_MS, 0, 7 * MINUTE_MS + 30_000)
    assert running is not None
    assert (running.open_ms, running.open, running.low) == (5 * MINUTE_MS, 104.5, 104.25)
    assert running.high == 106.5 or running.high == 106.25
    assert 4 < running.volume < 6
    assert running.first_id == 1 + 5 * 4


def test_a_hole_has_no_running_bar_and_no_closed_one() -> None:
    """A larger bar goes on with what exists."""
    tape = Tape(candles([0, 1, 2, 5, 6, 7, 8, 9]))
    assert tape.running(MINUTE_MS, 0, 3 * MINUTE_MS + 1000) is None
    assert tape.closed(MINUTE_MS, 0, 4 * MINUTE_MS) is None
    five = tape.closed(5 * MINUTE_MS, 0, 5 * MINUTE_MS)
    assert five is not None
    assert (five.volume, five.close, five.trades) == (6.0, 102.0, 12)
    assert tape.running(5 * MINUTE_MS, 0, 4 * MINUTE_MS) is not None
    assert tape.steps(3 * MINUTE_MS, 4) == []


def test_a_larger_series_is_the_archives() -> None:
    """With an offset, days and hours begin elsewhere."""
    source = candles(list(range(3 * HOUR)))
    tape = Tape(source)
    assert np.array_equal(tape.series(HOUR * MINUTE_MS).volume, resample.build(source, HOUR * MINUTE_MS).volume)
    shifted = tape.series(HOUR * MINUTE_MS, 30 * MINUTE_MS)
    assert shifted.open_ms.tolist() == [30 * MINUTE_MS, 90 * MINUTE_MS]


def test_a_source_of_larger_candles_serves_no_smaller_ones() -> None:
    """5m from 15m cannot be had; 1h can."""
    tape = Tape(candles(list(range(8)), 15 * MINUTE_MS))
    assert not tape.serves(5 * MINUTE_MS)
    assert tape.closed(5 * MINUTE_MS, 0, 5 * MINUTE_MS) is None
    hour = tape.closed(HOUR * MINUTE_MS, 0, HOUR * MINUTE_MS)
    assert hour is not None
    assert hour.volume == 8.0


def test_a_symbol_that_never_traded_has_a_day_of_zeros() -> None:
    """And no quote; one that has stopped keeps its last price."""
    nothing = Tape(candles([]))
    assert nothing.day(10 * MINUTE_MS).span.close == 0
    assert nothing.quote(10 * MINUTE_MS) == (0.0, 0.0, 0.0, 0.0)
    stopped = Tape(candles([0, 1]))
    later = stopped.day(3 * 1440 * MINUTE_MS)
    assert (later.before, later.span.open, later.span.close, later.span.volume) == (101.0, 101.0, 101.0, 0.0)


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (1, 1), (2, 2), (4, 4)])
def test_pushes_are_as_many_as_asked(count: int, expected: int) -> None:
    """Within the bar, at least two seconds apart."""
    tape = Tape(candles([0, 1, 2]))
    steps = tape.steps(MINUTE_MS, count)
    assert len(steps) == expected
    assert all(MINUTE_MS < step < 2 * MINUTE_MS for step in steps)
    assert all(later - earlier >= 2000 for earlier, later in itertools.pairwise(steps))
