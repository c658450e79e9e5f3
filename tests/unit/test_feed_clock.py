"""The exchange's clock, as estimated from its answers, with a wall clock that the test turns."""

from __future__ import annotations

import pytest

from tapewatch.feeds.clock import ExchangeClock
from tapewatch.model import MINUTE_MS

NOW_MS = 1_700_000_040_000


class Wall:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.seconds


def synced(rate: float = 1.0) -> tuple[ExchangeClock, Wall]:
    """A clock that has just learnt the time."""
    wall = Wall()
    clock = ExchangeClock(wall)
    clock.sync(NOW_MS, wall.seconds, wall.seconds, rate)
    return clock, wall


def test_half_of_the_round_trip_is_the_way_back() -> None:
    """An answer that took 0.4 s was true 0.2 s ago."""
    wall = Wall()
    clock = ExchangeClock(wall)
    wall.seconds += 0.4
    clock.sync(NOW_MS, 100.0, 100.4, 1.0)
    assert clock.now_ms() == NOW_MS + 200


def test_it_runs_at_the_exchanges_rate() -> None:
    """A simulated hour passes in a minute at rate 60."""
    clock, wall = synced(60.0)
    assert clock.paced
    wall.seconds += 60
    assert clock.now_ms() == NOW_MS + 60 * MINUTE_MS
    real, wall = synced()
    assert not real.paced
    wall.seconds += 60
    assert real.now_ms() == NOW_MS + MINUTE_MS


def test_an_event_shows_that_it_is_later_but_not_by_hours() -> None:
    """An event time ahead of the estimate moves it; an absurd one or an old one does not."""
    clock, _ = synced()
    clock.seen(NOW_MS + 5_000)
    assert clock.now_ms() == NOW_MS + 5_000
    clock.seen(NOW_MS + 1_000)
    assert clock.now_ms() == NOW_MS + 5_000
    clock.seen(NOW_MS + 10 * 3_600_000)
    assert clock.now_ms() == NOW_MS + 5_000


def test_a_paced_clock_waits_at_the_boundary_after_the_acknowledged_one() -> None:
    """One second after the next boundary the simulator stands, and so does the estimate until it is told to go on."""
    clock, wall = synced(600.0)
    clock.acknowledged(NOW_MS)
    wall.seconds += 5
    assert clock.now_ms() == NOW_MS + MINUTE_MS + 1_000
    clock.acknowledged(NOW_MS + MINUTE_MS)
    assert clock.now_ms() == NOW_MS + 2 * MINUTE_MS + 1_000


def test_a_paced_clock_that_went_on_by_itself_waits_at_the_next_boundary() -> None:
    """After its patience the simulator goes on; what it says is believed."""
    clock, wall = synced(600.0)
    clock.acknowledged(NOW_MS)
    later_ms = NOW_MS + 3 * MINUTE_MS + 30_000
    clock.sync(later_ms, wall.seconds, wall.seconds, 600.0)
    assert clock.now_ms() == later_ms
    wall.seconds += 60
    assert clock.now_ms() == NOW_MS + 4 * MINUTE_MS + 1_000


def test_the_real_exchange_waits_for_nobody() -> None:
    """At rate 1 acknowledging changes nothing."""
    clock, wall = synced()
    clock.acknowledged(NOW_MS)
    wall.seconds += 300
    assert clock.now_ms() == NOW_MS + 300_000


def test_what_the_exchange_has_shown_follows_events_that_the_estimate_has_overtaken() -> None:
    """The estimate runs to where the simulator stands; events before that, but newer than all others, still show."""
    clock, wall = synced(60_000.0)
    clock.acknowledged(NOW_MS)
    wall.seconds += 5
    assert clock.shown_ms == NOW_MS
    clock.seen(NOW_MS + MINUTE_MS + 5)
    assert clock.now_ms() == NOW_MS + MINUTE_MS + 1_000
    assert clock.shown_ms == NOW_MS + MINUTE_MS + 5
    clock.seen(NOW_MS)
    clock.seen(NOW_MS + 10 * 3_600_000)
    assert clock.shown_ms == NOW_MS + MINUTE_MS + 5


@pytest.mark.parametrize("by_ms", [-300_000, -5_000, 5_000, 30_000, 300_000])
def test_a_leap_of_rests_time_is_not_believed_against_the_streams(by_ms: int) -> None:
    """It is a doubt until REST is right again, and no answer beside it changes what is reckoned."""
    clock, wall = synced()
    wall.seconds += 30
    clock.seen(NOW_MS + 30_000, NOW_MS + 30_000)
    for _ in range(3):
        wall.seconds += 15
        expected_ms = NOW_MS + int((wall.seconds - 100.0) * 1000)
        clock.sync(expected_ms + by_ms, wall.seconds, wall.seconds, 1.0)
        assert clock.in_doubt
        assert clock.refused_ms == expected_ms + by_ms
        assert clock.now_ms() == expected_ms
        clock.candle((expected_ms // MINUTE_MS) * MINUTE_MS)  # the one that is running knows nothing of it
        assert clock.now_ms() == expected_ms
    clock.sync(expected_ms + 800, wall.seconds, wall.seconds, 1.0)
    assert not clock.in_doubt
    assert clock.now_ms() == expected_ms + 800


@pytest.mark.parametrize("by_ms", [-300_000, -1_000, 1_000, 60_000, 300_000])
def test_a_leap_that_streams_and_rest_show_is_one(by_ms: int) -> None:
    """REST's word is doubted until an event bears it out, or until no event has said otherwise for long."""
    clock, wall = synced()
    wall.seconds += 30
    clock.seen(NOW_MS + 30_000, NOW_MS + 30_000)
    leapt_ms = NOW_MS + 40_000 + by_ms
    wall.seconds += 10
    clock.sync(leapt_ms, wall.seconds, wall.seconds, 1.0)
    clock.seen(leapt_ms + 100, leapt_ms)
    clock.sync(leapt_ms, wall.seconds, wall.seconds, 1.0)
    assert abs(clock.now_ms() - leapt_ms) <= 100
    assert not clock.in_doubt


def test_a_candle_shows_that_the_time_has_leapt() -> None:
    """Where nothing comes by stream, as after a sleep: one that opens after all that was reckoned."""
    clock, wall = synced()
    wall.seconds += 30
    clock.seen(NOW_MS + 30_000, NOW_MS + 30_000)
    clock.sync(NOW_MS + 10 * MINUTE_MS, wall.seconds, wall.seconds, 1.0)
    clock.candle(NOW_MS + 11 * MINUTE_MS)  # of another time altogether
    assert clock.in_doubt
    clock.candle(NOW_MS + 9 * MINUTE_MS)
    assert clock.now_ms() == NOW_MS + 10 * MINUTE_MS


def test_streams_that_were_away_say_nothing() -> None:
    """Meanwhile this machine may have slept: what REST tells then is believed."""
    clock, wall = synced()
    clock.seen(NOW_MS + 500, NOW_MS + 500)
    clock.reconnected()
    clock.sync(NOW_MS + 3_600_000, wall.seconds, wall.seconds, 1.0)
    assert clock.now_ms() == NOW_MS + 3_600_000


def test_one_event_with_a_wrong_time_moves_nothing() -> None:
    """It is minutes ahead, and so it is of its own candle's close."""
    clock, wall = synced()
    clock.seen(NOW_MS + 240_000, NOW_MS)
    assert clock.now_ms() == NOW_MS
    assert clock.in_doubt
    wall.seconds += 1
    clock.seen(NOW_MS + 1_000, NOW_MS + 900)
    assert not clock.in_doubt
