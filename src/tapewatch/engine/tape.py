"""What a watch list says of a symbol: its last price, what it moved in a day, and how unusual its volume is."""

from __future__ import annotations

from array import array
from math import sqrt

from tapewatch.model import DAY_MS, MINUTE_MS, Bar

#: Closes are kept every so often, for a day and a slot.
SLOT_MS = 15 * MINUTE_MS
_SLOTS = DAY_MS // SLOT_MS + 2
#: The last bar's volume is compared with those of as many bars before it, where there are at least so many.
VOLUMES = 60
LEAST = 20


class Tape:
    """The tape of one symbol, kept while somebody may look.

    Attributes:
        close, close_ms: of its last base bar; 0 before the first.
    """

    __slots__ = ("_closes", "_count", "_slots", "_volumes", "close", "close_ms")

    def __init__(self) -> None:
        self._closes = array("d", bytes(8 * _SLOTS))
        self._slots = array("q", bytes(8 * _SLOTS))
        self._volumes = array("d", bytes(8 * (VOLUMES + 1)))
        self._count = 0
        self.close = 0.0
        self.close_ms = 0

    def take(self, bar: Bar, base_ms: int = MINUTE_MS) -> None:
        """Take a bar of any interval; those that are larger than the base bars tell what was before these."""
        close_ms = bar.open_ms + bar.interval_ms
        slot = -(-close_ms // SLOT_MS)
        place = slot % _SLOTS
        if slot >= self._slots[place]:
            self._slots[place], self._closes[place] = slot, bar.close
        if bar.interval_ms == base_ms and close_ms > self.close_ms:
            self.close, self.close_ms = bar.close, close_ms
            self._volumes[self._count % (VOLUMES + 1)] = bar.volume
            self._count += 1

    def remember(self, at_ms: int, price: float) -> None:
        """Take the price at a time of which there is no bar any more; only those of whole slots count."""
        slot, within = divmod(at_ms, SLOT_MS)
        place = slot % _SLOTS
        if not within and slot > self._slots[place]:
            self._slots[place], self._closes[place] = slot, price

    @property
    def change_pct(self) -> float | None:
        """Of the price in 24 hours, else since the oldest close of them that is kept; None where none is."""
        first = (self.close_ms - DAY_MS) // SLOT_MS
        for slot in range(first, -(-self.close_ms // SLOT_MS) + 1):
            place = slot % _SLOTS
            if self._slots[place] == slot and slot > 0 and self._closes[place] > 0.0:
                return 100.0 * (self.close / self._closes[place] - 1.0)
        return None

    @property
    def volume_z(self) -> float | None:
        """How many standard deviations the last volume is from the mean of those before it; None of too few."""
        known = min(self._count - 1, VOLUMES)
        if known < LEAST:
            return None
        size = VOLUMES + 1
        before = [self._volumes[(self._count - 2 - back) % size] for back in range(known)]
        mean = sum(before) / known
        deviation = sqrt(sum((one - mean) ** 2 for one in before) / known)
        return (self._volumes[(self._count - 1) % size] - mean) / deviation if deviation > 0.0 else None
