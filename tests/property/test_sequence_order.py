"""The sequencer's promise: whatever is lost, doubled or reordered, the exchange's bars come out once, in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tapewatch.feeds.sequence import Offer, Sequence
from tapewatch.model import MINUTE_MS, Bar

START_MS = 1_700_000_040_000


def bar(minute: int, close: float = 1.0) -> Bar:
    """A bar that opens `minute` minutes after the start."""
    return Bar("BTCUSDT", MINUTE_MS, START_MS + minute * MINUTE_MS, 1.0, 2.0, 0.5, close, 3.0)


def truthful(exists: set[int], sequence: Sequence, now: int, limit: int) -> tuple[list[Bar], int]:
    """What REST has from the first missing bar on, and up to where that is all there is."""
    first = (sequence.next_ms - START_MS) // MINUTE_MS
    rows = [bar(minute) for minute in range(first, now) if minute in exists][:limit]
    known_ms = rows[-1].open_ms if rows else 0
    return rows, known_ms


minutes = st.integers(0, 40)


@given(
    exists=st.sets(minutes, min_size=1),
    frames=st.lists(minutes, max_size=120),
    asks=st.sets(st.integers(0, 119)),
    limit=st.integers(1, 10),
)
def test_every_bar_once_and_in_order(exists: set[int], frames: list[int], asks: set[int], limit: int) -> None:
    """Any loss, duplication and order of frames, with REST asked at any moments, gives exactly what exists."""
    sequence = Sequence(START_MS)
    out: list[Bar] = []
    newest = 0
    for step, minute in enumerate(frames):
        if minute in exists:
            newest = max(newest, minute + 1)
            if sequence.offer(bar(minute)) is Offer.NEW:
                out += sequence.release()
        if step in asks:
            rows, known_ms = truthful(exists, sequence, newest, limit)
            out += sequence.fill(rows, known_ms)[0]
    outages: list[tuple[int, int]] = []
    while sequence.next_ms <= START_MS + max(exists) * MINUTE_MS:
        rows, known_ms = truthful(exists, sequence, 41, limit)
        released, empty = sequence.fill(rows, known_ms)
        assert released or empty
        out += released
        outages += empty
    assert out == [bar(minute) for minute in sorted(exists)]
    assert len(sequence._held) == 0


@given(st.permutations(list(range(12))))
def test_any_permutation_comes_out_sorted(order: list[int]) -> None:
    """Without loss no REST is needed, whatever the order."""
    sequence = Sequence(START_MS)
    out: list[Bar] = []
    for minute in order:
        assert sequence.offer(bar(minute)) is Offer.NEW
        out += sequence.release()
    assert out == [bar(minute) for minute in range(12)]


@given(st.sets(minutes, min_size=2), st.data())
def test_confirmed_holes_are_exactly_the_missing_minutes(exists: set[int], data: st.DataObject) -> None:
    """What is reported as outage is what the exchange does not have before its newest bar, once each."""
    sequence = Sequence(START_MS)
    for minute in data.draw(st.lists(st.sampled_from(sorted(exists)))):
        sequence.offer(bar(minute))
    rows = [bar(minute) for minute in sorted(exists)]
    released, outages = sequence.fill(rows, rows[-1].open_ms)
    assert len(released) <= len(exists)
    missing = {ms for from_ms, to_ms in outages for ms in range(from_ms, to_ms, MINUTE_MS)}
    assert missing == {START_MS + minute * MINUTE_MS for minute in range(max(exists)) if minute not in exists}
