"""Weights of labels that overlap."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.study.labels import uniqueness, uniqueness_by

spans = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12)), min_size=1, max_size=12)


def slowly(labels: list[tuple[int, int]]) -> list[Fraction]:
    """Moment by moment, as the book has it."""
    there = [sum(start <= moment < start + length for start, length in labels) for moment in range(50)]
    return [
        sum((Fraction(1, there[moment]) for moment in range(start, start + length)), Fraction()) / length
        for start, length in labels
    ]


@given(spans)
def test_a_label_weighs_the_mean_share_it_has_of_its_time(labels: list[tuple[int, int]]) -> None:
    """Against a loop over every moment, in fractions."""
    starts = [start for start, _ in labels]
    ends = [start + length for start, length in labels]

    assert uniqueness(starts, ends) == pytest.approx([float(one) for one in slowly(labels)])


@given(spans, st.integers(1, 45))
def test_what_starts_later_changes_nothing_and_what_is_open_reaches_to_the_end(
    labels: list[tuple[int, int]], now: int
) -> None:
    """Labels that have ended weigh the same bits in the past as in the end, those still open ending now."""
    starts, ends = (np.array(column) for column in zip(*((one, one + length) for one, length in labels), strict=True))
    known = starts < now

    past = uniqueness(starts[known], np.minimum(ends[known], now))

    ended = ends[known] <= now
    assert past[ended].tobytes() == uniqueness(starts, ends)[known][ended].tobytes()


def test_groups_do_not_overlap_each_other() -> None:
    """Two of one symbol share; another symbol's has its time to itself."""
    starts, ends, symbols = [0, 0, 5], [10, 10, 8], ["A", "A", "B"]

    assert uniqueness_by(symbols, starts, ends).tolist() == [0.5, 0.5, 1.0]
    assert uniqueness(starts, ends).tolist() == pytest.approx([0.45, 0.45, 1 / 3])
    assert uniqueness([], []).tolist() == uniqueness_by([], [], []).tolist() == []
