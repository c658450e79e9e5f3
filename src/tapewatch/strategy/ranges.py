"""Values that a parameter may have when a search tries them: `5..15`, `1..3/0.25`, `[20, 25, 30]`."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from dataclasses import dataclass
from decimal import Decimal

_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,2})?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?:/({_NUMBER}))?")
#: More values than these are better searched without a step.
MOST = 10_000


@dataclass(frozen=True)
class Range:
    """From `low` to `high`; where there are `values`, these only, in their order."""

    low: float
    high: float
    values: tuple[float, ...] = ()

    def near(self, value: float) -> tuple[float, ...]:
        """The values next to one, below and above; of a range without steps those a tenth of it away."""
        if not self.values:
            tenth = (self.high - self.low) / 10
            return tuple(near for near in (value - tenth, value + tenth) if self.low <= near <= self.high)
        below, above = bisect_left(self.values, value) - 1, bisect_left(self.values, math.nextafter(value, math.inf))
        return self.values[max(below, 0) : below + 1] + self.values[above : above + 1]


def range_of(written: object, default: float) -> Range:
    """What `LOW..HIGH`, `LOW..HIGH/STEP` or a list of numbers means for a parameter with this default.

    Without a step only whole numbers are tried where both ends and the default are whole. Raises ValueError saying what
    is wrong with it.
    """
    if isinstance(written, list | tuple):
        return _listed(written)
    match = _RANGE.fullmatch(written.strip()) if isinstance(written, str) else None
    if match is None:
        raise ValueError("must be LOW..HIGH, LOW..HIGH/STEP or a list of numbers")
    low, high = Decimal(match[1]), Decimal(match[2])
    if low >= high:
        raise ValueError(f"{match[1]} is not below {match[2]}")
    step = Decimal(match[3]) if match[3] else Decimal(1)
    if step <= 0:
        raise ValueError("its step must be above 0")
    if not match[3] and not (float(low).is_integer() and float(high).is_integer() and default.is_integer()):
        return Range(float(low), float(high))
    steps = int((high - low) / step)
    if steps >= MOST:
        raise ValueError(f"has more than {MOST:,} values")
    values = tuple(float(low + number * step) for number in range(steps + 1))
    return Range(values[0], values[-1], values)


def _listed(written: list[object] | tuple[object, ...]) -> Range:
    if not written or not all(isinstance(one, int | float) and not isinstance(one, bool) for one in written):
        raise ValueError("must be LOW..HIGH, LOW..HIGH/STEP or a list of numbers")
    values = tuple(sorted({float(one) for one in written if isinstance(one, int | float)}))
    if not all(map(math.isfinite, values)) or len(values) > MOST:
        raise ValueError(f"must be at most {MOST:,} finite numbers")
    return Range(values[0], values[-1], values)
