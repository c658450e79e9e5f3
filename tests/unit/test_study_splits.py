"""Folds of a period: nothing that a search sees reaches into its test, and the tests lie side by side."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.errors import SetupError
from tapewatch.model import DAY_MS
from tapewatch.record import HOUR_MS
from tapewatch.study.splits import splits

HOURS = st.integers(0, 48)


@given(st.integers(40, 4_000), st.integers(1, 8), HOURS, HOURS, st.booleans(), st.integers(0, 10_000_000))
def test_a_gap_lies_between_training_and_test(
    hours: int, folds: int, purge: int, embargo: int, anchored: bool, off_ms: int
) -> None:
    """At least the purge and the embargo; tests cover the second half, each later by its length; or it is refused."""
    from_ms = 1_700_000_000_000 + off_ms
    to_ms = from_ms + hours * HOUR_MS
    gaps = {"purge_ms": purge * HOUR_MS, "embargo_ms": embargo * HOUR_MS, "whole_ms": HOUR_MS}
    try:
        found = splits(from_ms, to_ms, folds, **gaps, anchored=anchored)
    except SetupError:
        assert folds * HOUR_MS + gaps["purge_ms"] + gaps["embargo_ms"] > (to_ms - from_ms) // 2 - DAY_MS
        return
    assert len(found) == folds
    for one in found:
        assert from_ms <= one.train_from_ms < one.train_to_ms <= one.test_from_ms
        assert one.test_from_ms - one.train_to_ms == gaps["purge_ms"] + gaps["embargo_ms"]
        assert one.test_from_ms < one.test_to_ms
        assert one.test_from_ms % HOUR_MS == 0
        assert (one.train_from_ms == from_ms) or not anchored
    assert found[-1].test_to_ms == to_ms
    assert all(one.test_to_ms == later.test_from_ms for one, later in pairwise(found))
    assert len({one.train_to_ms - one.train_from_ms for one in found}) == 1 or anchored
    half_ms = (from_ms + to_ms) // 2
    assert half_ms - DAY_MS <= found[0].test_from_ms <= half_ms


def test_long_tests_are_whole_days() -> None:
    """So that their daily equity joins without a broken day."""
    found = splits(0, 80 * DAY_MS + HOUR_MS, 4, purge_ms=0, embargo_ms=HOUR_MS, whole_ms=HOUR_MS, anchored=False)
    assert [one.test_from_ms // DAY_MS for one in found] == [40, 50, 60, 70]
    assert [one.train_from_ms // DAY_MS for one in found] == [0, 10, 20, 30]
    assert all(one.test_from_ms % DAY_MS == 0 for one in found)


def test_too_short_a_period_is_refused_with_what_it_would_need() -> None:
    """Hours of the period, of the outcome and of the embargo."""
    with pytest.raises(SetupError, match=r"--folds: 4 .* period of 48 hours, with 30 hours .* and 6 hours of embargo"):
        splits(0, 2 * DAY_MS, 4, purge_ms=30 * HOUR_MS, embargo_ms=6 * HOUR_MS, whole_ms=HOUR_MS, anchored=False)
