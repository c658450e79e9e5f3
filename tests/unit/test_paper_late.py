"""Signals that come late to a paper book, or whose symbol goes: nothing happens at a price that had passed by then."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from book_runs import Passed, Told, book_of, events_of, play
from paper_samples import NAMES, START_MS, Minute, Wish
from tapewatch.model import MINUTE_MS, BarClosed, Boundary, Universe
from tapewatch.study.settings import Account

FREE = Account(kind="perpetual", cash=1_000.0, taker_bps=0, maker_bps=0, slippage_bps=0, cap_symbol=1.0)
#: A cent more with every minute, so that a price says which minute it was.
BARS = [Minute(10_000 + n, 10_001 + n, 9_999 + n, 10_000 + n) for n in range(9)]


def told(late_ms: int) -> list[Told]:
    """A long at the first bar's close, a short at the third's that comes so much later than it."""
    wishes = [Wish(0, 1, 500, (500,), 99), Wish(2, -1, 500, (500,), 99)]
    return [late(event, late_ms) if late_ms else event for event in events_of([BARS], [wishes], (1.0,))]


def late(event: Told, late_ms: int) -> Told:
    """A short that comes so much later; everything else as it was."""
    if not isinstance(event, Passed) or event.judged.signal.side == "long":
        return event
    came_ms = event.judged.signal.close_ms + late_ms
    return replace(event, judged=msgspec.structs.replace(event.judged, late=True, recv_ms=came_ms))


@pytest.mark.parametrize(("late_ms", "minute"), [(0, 3), (1, 4), (30_000, 4), (60_000, 4), (150_000, 6)])
@pytest.mark.parametrize("what", ["close", "reverse"])
def test_an_opposite_signal_that_came_late_acts_at_an_open_that_was_to_come(
    late_ms: int, minute: int, what: str
) -> None:
    """In time, at the open of the minute after its bar; late, at the first open when it came or later."""
    played = play(book_of(replace(FREE, on_opposite=what)), told(late_ms))
    fills = [
        ((fill.ms - START_MS) // MINUTE_MS, float(fill.price), fill.reason)
        for of_trade in played.fills.values()
        for fill in of_trade
    ]
    at = 100 + minute / 100
    wanted = [(1, 100.01, "entry"), (minute, at, "opposite")]
    assert fills == wanted + ([(minute, at, "entry")] if what == "reverse" else [])


def test_a_stop_before_a_late_opposite_signal_acts_is_a_stop() -> None:
    """It came in the minute in which the position was stopped; what turns it round is entered when it can be."""
    events = told(30_000)
    for place, event in enumerate(events):
        if isinstance(event, BarClosed) and event.bar.open_ms == START_MS + 3 * MINUTE_MS:
            events[place] = BarClosed(msgspec.structs.replace(event.bar, low=90.0), event.recv_ms)
    played = play(book_of(replace(FREE, on_opposite="reverse")), events)
    reasons = [
        [((fill.ms - START_MS) // MINUTE_MS, fill.reason) for fill in of_trade] for of_trade in played.fills.values()
    ]
    assert reasons == [[(1, "entry"), (3, "stop")], [(4, "entry")]]


def test_a_signal_whose_symbol_goes_before_its_boundary_is_told_as_not_taken() -> None:
    """An alert that leads to no position says so."""
    events = told(0)
    first = next(place for place, event in enumerate(events) if isinstance(event, Boundary))
    events[first:] = [Universe(START_MS + MINUTE_MS, gone=NAMES[:1]), Boundary(START_MS + MINUTE_MS)]
    played = play(book_of(FREE), events)
    assert played.skipped == {"no candle came after it": 1}
    assert not played.fills
