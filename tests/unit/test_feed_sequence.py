"""How the sequencer names what becomes of a bar."""

from __future__ import annotations

from tapewatch.feeds.sequence import KEPT, Offer, Sequence
from tapewatch.model import MINUTE_MS, Bar


def bar(minute: int, close: float = 1.0) -> Bar:
    """The bar of a minute."""
    return Bar("BTCUSDT", MINUTE_MS, minute * MINUTE_MS, 1.0, 2.0, 0.5, close, 3.0, 4.0, 5.0, 6.0)


def test_a_released_bar_again_is_a_duplicate_or_a_correction() -> None:
    """The same values are a duplicate; other values are a correction that changes nothing."""
    sequence = Sequence(0)
    assert sequence.offer(bar(0)) is Offer.NEW
    assert sequence.release() == [bar(0)]
    assert sequence.offer(bar(0)) is Offer.DUPLICATE
    assert sequence.offer(bar(0, 1.5)) is Offer.CORRECTION
    assert sequence.release() == []
    assert sequence.known(0) == bar(0)
    sequence.correct(bar(0, 1.5))
    assert sequence.known(0) == bar(0, 1.5)
    assert sequence.offer(bar(0, 1.5)) is Offer.DUPLICATE
    assert sequence.offer(bar(0)) is Offer.DUPLICATE
    assert sequence.known(MINUTE_MS) is None


def test_a_held_bar_again_is_a_duplicate_or_replaced() -> None:
    """A bar that waits behind a hole goes out with its newest values: nothing was decided on it yet."""
    sequence = Sequence(0)
    assert sequence.offer(bar(2)) is Offer.NEW
    assert sequence.release() == []
    assert sequence.offer(bar(2)) is Offer.DUPLICATE
    assert sequence.offer(bar(2, 1.5)) is Offer.REPLACED
    assert len(sequence._held) == 1
    assert sequence.fill([bar(0), bar(1), bar(2)], 2 * MINUTE_MS) == ([bar(0), bar(1), bar(2, 1.5)], [])


def test_an_old_bar_has_passed() -> None:
    """What is older than the few remembered bars is only told to have passed."""
    sequence = Sequence(0)
    for minute in range(KEPT + 1):
        sequence.offer(bar(minute))
    sequence.release()
    assert sequence.offer(bar(0, 9.0)) is Offer.PASSED
    assert sequence.offer(bar(1)) is Offer.DUPLICATE


def test_a_hole_is_empty_only_as_far_as_rest_knows() -> None:
    """Beyond what REST's answer covers a missing bar stays missing."""
    sequence = Sequence(0)
    sequence.offer(bar(5))
    released, outages = sequence.fill([bar(1)], 3 * MINUTE_MS)
    assert released == [bar(1)]
    assert outages == [(0, MINUTE_MS), (2 * MINUTE_MS, 3 * MINUTE_MS)]
    assert sequence.next_ms == 3 * MINUTE_MS
    assert len(sequence._held) == 1


def test_a_bar_in_its_turn_is_taken_at_once() -> None:
    """`take` is `offer` and `release` in one, where nothing waits; else it leaves everything as it was."""
    sequence = Sequence(0)
    first, second, third = (bar(n) for n in range(3))
    assert not sequence.take(second)
    assert sequence.take(first)
    assert not sequence.take(first)
    assert sequence.offer(first) is Offer.DUPLICATE
    assert sequence.offer(third) is Offer.NEW
    assert not sequence.take(second)  # something waits behind it
    assert sequence.offer(second) is Offer.NEW
    assert sequence.release() == [second, third]
