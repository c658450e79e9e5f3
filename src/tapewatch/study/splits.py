"""A period in folds: what a search may look at, a gap, and what its choice is then tried on.

The second half of the period is cut into tests of equal length, one a fold. A fold's training is as long as the first
half, or begins with the period if it is anchored, and ends a gap before the test: long enough that the outcome of its
last signal is known before (purge; M. Lopez de Prado, Advances in Financial Machine Learning, 2018, ch. 7), and then
some, because markets remember (embargo).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from tapewatch.errors import SetupError
from tapewatch.model import DAY_MS


@dataclass(frozen=True)
class Split:
    """A fold: training in [train_from_ms, train_to_ms), test in [test_from_ms, test_to_ms), times of closes."""

    train_from_ms: int
    train_to_ms: int
    test_from_ms: int
    test_to_ms: int


def splits(
    from_ms: int, to_ms: int, folds: int, *, purge_ms: int, embargo_ms: int, whole_ms: int, anchored: bool
) -> list[Split]:
    """The folds of a period, in their order; their tests follow each other without a gap.

    Args:
        from_ms: where the period begins.
        to_ms: and where it ends.
        folds: how many.
        purge_ms: how long an outcome may take.
        embargo_ms: what lies besides between a training and its test.
        whole_ms: folds begin on multiples of it, or of a day where a test has two.
        anchored: whether every training begins with the period.

    Raises:
        SetupError: a test or a training would be empty.
    """
    half_ms = (to_ms - from_ms) // 2
    part_ms = (to_ms - from_ms - half_ms) // folds
    whole_ms = max(whole_ms, DAY_MS if part_ms >= 2 * DAY_MS else 0)
    begins = [(from_ms + half_ms + number * part_ms) // whole_ms * whole_ms for number in range(folds)]
    first_ms = begins[0] - from_ms
    found = []
    for begin_ms, end_ms in pairwise([*begins, to_ms]):
        train_from_ms, train_to_ms = from_ms if anchored else begin_ms - first_ms, begin_ms - purge_ms - embargo_ms
        if begin_ms >= end_ms or train_from_ms >= train_to_ms:
            raise SetupError(
                f"--folds: {folds} of them leave nothing of a period of {_hours(to_ms - from_ms)}, with "
                f"{_hours(purge_ms)} for the last outcome and {_hours(embargo_ms)} of embargo before each test"
            )
        found.append(Split(train_from_ms, train_to_ms, begin_ms, end_ms))
    return found


def _hours(ms: int) -> str:
    return f"{ms / DAY_MS * 24:.3g} hours"
