"""Which bars count as processed in time; told the time, no clock runs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tapewatch.telemetry.timeliness import IN_TIME_MS, Timeliness


def test_a_bar_is_in_time_only_when_it_was_processed_in_time() -> None:
    """What arrived in time and was stored too late is late; the two delays add up."""
    measured = Timeliness()
    assert measured.share is None
    measured.came(500, 10_000)
    measured.came(500, 10_000)
    measured.processed(11_500)
    assert (measured.due, measured.in_time) == (2, 2)
    measured.came(500, 20_000)
    measured.processed(21_501)
    assert (measured.due, measured.in_time) == (3, 2)
    assert measured.share == 2 / 3


def test_a_bar_that_arrives_late_is_due_and_late_at_once() -> None:
    """Nobody has to wait for the engine to know that."""
    measured = Timeliness()
    measured.came(IN_TIME_MS + 1, 10_000)
    assert (measured.due, measured.in_time) == (1, 0)
    measured.processed(10_000)
    assert (measured.due, measured.in_time) == (1, 0)


def test_bars_that_cannot_be_in_time_any_more_are_not_kept() -> None:
    """While the ledger is in trouble nothing is processed: bars become late one by one, and memory stays flat."""
    measured = Timeliness()
    for minute in range(1_000):
        measured.came(100, minute * 60_000)
    assert measured.due >= 999
    assert measured.in_time == 0


@given(st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 3_000), st.booleans()), max_size=50))
def test_every_bar_counts_once(steps: list[tuple[int, int, bool]]) -> None:
    """However they come and are processed: due is all of them, in time those whose delays stay within the limit."""
    measured, now_ms, waiting, in_time = Timeliness(), 0, [], 0
    for delay_ms, passed_ms, processed in steps:
        now_ms += passed_ms
        measured.came(delay_ms, now_ms)
        waiting.append((delay_ms, now_ms))
        if processed:
            in_time += sum(delay + now_ms - came <= IN_TIME_MS for delay, came in waiting)
            waiting.clear()
            measured.processed(now_ms)
    measured.processed(now_ms)
    in_time += sum(delay + now_ms - came <= IN_TIME_MS for delay, came in waiting)
    assert (measured.due, measured.in_time) == (len(steps), in_time)
