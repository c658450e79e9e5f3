"""What is kept of a symbol's last bars: closes every five minutes, and the bars of a chart."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from operator import truediv
from typing import TypeAlias

from tapewatch.bars import Saved
from tapewatch.engine.slots import ring_of
from tapewatch.model import MINUTE_MS, Bar

#: Open, high, low and close.
Prices: TypeAlias = tuple[float, float, float, float]

#: Closes are taken every so often, and so many returns between them are compared: eight hours.
SLOT_MS = 5 * MINUTE_MS
RETURNS = 96
#: An hour in slots.
HOUR_SLOTS = 12
#: What is decided late is decided on the slots before its bar: so many more are kept.
_LATE_SLOTS = 3
#: The history that they need.
CLOSES_MS = (RETURNS + 1) * SLOT_MS
_CLOSES = RETURNS + 1 + _LATE_SLOTS
#: Returns that differ less than this in all are those of a price that stands still.
_STILL = 1e-9


class Closes:
    """The closes of one symbol: slot `n` has the close of the last base bar that closed until `n * SLOT_MS`."""

    __slots__ = ("_first", "_ring", "_slot")

    def __init__(self) -> None:
        self._ring = array("d", bytes(8 * _CLOSES))
        self._first = self._slot = -1

    def take(self, bar: Bar) -> int:
        """Take the next base bar; returns its slot. A slot without bars repeats the close before it."""
        slot = -(-bar.close_ms // SLOT_MS)
        if slot > self._slot + 1:
            if self._slot < 0:
                self._first = slot
            else:
                last = self.last
                for missed in range(max(self._slot + 1, slot - _CLOSES + 1), slot):
                    self._ring[missed % _CLOSES] = last
        self._ring[slot % _CLOSES] = bar.close
        self._slot = slot
        return slot

    @property
    def last(self) -> float:
        """The last close."""
        return self._ring[self._slot % _CLOSES]

    def at(self, slot: int) -> float | None:
        """The close of a slot; None where it is not known, or not any more."""
        if slot < self._first or slot <= self._slot - _CLOSES or self._slot < 0:
            return None
        return self._ring[min(slot, self._slot) % _CLOSES]

    def vector(self, slot: int) -> tuple[float, ...] | None:
        """The `RETURNS` returns until a slot, less their mean, scaled to length 1; None where they cannot be had.

        Of two such vectors of one slot the scalar product is the correlation.
        """
        if self.at(slot - RETURNS) is None:
            return None
        return vector_of(self._closes(slot - RETURNS, slot))

    def _closes(self, first: int, slot: int) -> list[float]:
        """The closes of the slots from `first` on, all of which are known."""
        if first > self._slot:
            return [self.last] * (slot - first + 1)
        until, ring = min(slot, self._slot), self._ring
        start, end = first % _CLOSES, until % _CLOSES + 1
        closes = ring[start:end] if start < end else ring[start:] + ring[:end]
        return closes.tolist() + [self.last] * (slot - until)

    def saved(self) -> Saved:
        """What `restore` makes it again."""
        return [self._ring.tobytes(), self._first, self._slot]

    def restore(self, saved: Saved) -> None:
        """Become what was saved. Raises ValueError where that has another length."""
        ring, self._first, self._slot = saved
        self._ring = ring_of(ring, _CLOSES)


def vector_of(closes: Sequence[float]) -> tuple[float, ...] | None:
    """The returns between closes, one more than `RETURNS`, as `Closes.vector` has them."""
    if not min(closes) > 0.0:
        return None
    ratios = list(map(truediv, closes[1:], closes))  # one more than the returns, as is their mean
    if not math.isfinite(total := sum(ratios)):
        return None
    mean = total / RETURNS
    norm = math.dist(ratios, [mean] * RETURNS)
    return tuple([(ratio - mean) / norm for ratio in ratios]) if norm > _STILL else None


def correlation(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Pearson's correlation of the returns that two `Closes.vector` stand for, -1 to 1."""
    return max(-1.0, 1.0 - math.dist(one, other) ** 2 / 2.0)  # of vectors of length 1: the fastest way there is


class Chart:
    """The last bars of one interval of one symbol."""

    __slots__ = ("_count", "_ring")

    def __init__(self, bars: int) -> None:
        self._ring = array("d", bytes(8 * 4 * bars))
        self._count = 0

    def take(self, bar: Bar) -> None:
        """Take the next bar."""
        place = 4 * self._count % len(self._ring)
        self._ring[place : place + 4] = array("d", (bar.open, bar.high, bar.low, bar.close))
        self._count += 1

    def until(self, count: int) -> tuple[Prices, ...]:
        """The bars up to number `count`, oldest first; of those after it nothing."""
        ring, bars = self._ring, len(self._ring) // 4
        first = max(0, self._count - bars)
        places = [4 * (number % bars) for number in range(first, min(count, self._count))]
        return tuple([(ring[at], ring[at + 1], ring[at + 2], ring[at + 3]) for at in places])

    def saved(self) -> Saved:
        """What `restore` makes it again."""
        return [self._ring.tobytes(), self._count]

    def restore(self, saved: Saved) -> None:
        """Become what was saved. Raises ValueError where that has another length."""
        ring, self._count = saved
        self._ring = ring_of(ring, len(self._ring))
