"""What a watch list says of a symbol: change in a day and how unusual its volume is, against a plain computation."""

from __future__ import annotations

from statistics import fmean, pstdev

import pytest

from tapewatch.engine.tape import LEAST, VOLUMES, Tape
from tapewatch.model import MINUTE_MS, Bar

T0 = 1_750_000_000_000 // (60 * MINUTE_MS) * 60 * MINUTE_MS


def minute(number: int, close: float, volume: float = 1.0, interval_ms: int = MINUTE_MS) -> Bar:
    """A bar that opens so many minutes after T0."""
    return Bar("BTCUSDT", interval_ms, T0 + number * MINUTE_MS, close, close, close, close, volume)


@pytest.mark.parametrize("count", [1, 14, 16, 600, 1_440, 1_500, 3_000])
def test_the_change_is_that_of_a_day_or_of_what_is_known(count: int) -> None:
    """To the quarter of an hour."""
    tape = Tape()
    assert (tape.change_pct, tape.volume_z) == (None, None)
    for number in range(count):
        tape.take(minute(number, 100.0 + number))
    last = 100.0 + count - 1
    assert tape.change_pct is not None
    before = last / (1 + tape.change_pct / 100)
    assert max(100.0, last - 1_440 - 15) <= before <= max(100.0 + 14, last - 1_440)


def test_what_is_remembered_fills_gaps_and_replaces_no_bar() -> None:
    """Prices of whole quarters of an hour, from the day before on; in between nothing counts."""
    tape = Tape()
    tape.take(minute(1_440, 120.0))
    tape.remember(T0, 100.0)
    tape.remember(T0 - MINUTE_MS, 1.0)
    assert tape.change_pct == pytest.approx(20.0)
    for number in range(1_441, 1_500):
        tape.take(minute(number, 130.0))
    before = tape.change_pct
    tape.remember(T0 + 1_455 * MINUTE_MS, 1.0)
    assert tape.change_pct == before
    assert (tape.close, tape.close_ms) == (130.0, T0 + 1_500 * MINUTE_MS)


def test_larger_bars_tell_what_was_before() -> None:
    """A run begins with windows of larger bars, in which a day is."""
    tape = Tape()
    for hours in range(30):
        tape.take(minute(60 * (hours - 30), 50.0 + hours, interval_ms=60 * MINUTE_MS))
    assert tape.close_ms == 0
    tape.take(minute(0, 100.0))
    assert tape.change_pct == pytest.approx(100 * (100 / 55 - 1))


@pytest.mark.parametrize("count", [LEAST, LEAST + 1, VOLUMES, VOLUMES + 1, 500])
def test_the_volume_is_compared_with_those_before(count: int) -> None:
    """With the hour before at most, and with nothing where that is too little."""
    volumes = [float((number * 7919) % 101) for number in range(count)]
    tape = Tape()
    for number, volume in enumerate(volumes):
        tape.take(minute(number, 100.0, volume))
    before = volumes[:-1][-VOLUMES:]
    wanted = None if len(before) < LEAST else (volumes[-1] - fmean(before)) / pstdev(before)
    assert tape.volume_z == (None if wanted is None else pytest.approx(wanted))
    still = Tape()
    for number in range(count):
        still.take(minute(number, 100.0))
    assert still.volume_z is None
