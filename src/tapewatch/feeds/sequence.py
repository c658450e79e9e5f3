"""One symbol's closed base bars, put in order: each once, none skipped without the exchange's word for it.

Pure: bars go in as they come (stream or REST, any order, any number of times), and come out strictly ordered. A bar
after a hole is held until the hole is filled or REST shows that there is no candle in it.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from tapewatch.model import MINUTE_MS, Bar

#: Released bars kept to tell a repeated close from a corrected one.
KEPT = 3


class Offer(Enum):
    """What became of an offered bar."""

    NEW = "new"  # kept for release
    DUPLICATE = "duplicate"  # known already, the same
    REPLACED = "replaced"  # kept for release with these values in place of others
    CORRECTION = "correction"  # went out already, with other values
    PASSED = "passed"  # older than what is remembered, or in a hole that was confirmed empty


class Sequence:
    """Releases the closed base bars of one symbol in order.

    Args:
        next_ms: open of the first bar to be released.
    """

    __slots__ = ("_held", "_recent", "next_ms")

    def __init__(self, next_ms: int) -> None:
        self.next_ms = next_ms
        self._held: dict[int, Bar] = {}
        self._recent: deque[list[Bar]] = deque(maxlen=KEPT)

    def take(self, bar: Bar) -> bool:
        """Release a closed bar at once if its turn has come and nothing waits behind it, as is usual."""
        if bar.open_ms != self.next_ms or self._held:
            return False
        self._recent.append([bar])
        self.next_ms += MINUTE_MS
        return True

    def offer(self, bar: Bar) -> Offer:
        """Take a closed bar; it comes out of `release` when its turn has come."""
        if bar.open_ms >= self.next_ms:
            known = self._held.get(bar.open_ms)
            self._held[bar.open_ms] = bar
            return Offer.DUPLICATE if known == bar else Offer.NEW if known is None else Offer.REPLACED
        versions = self._versions(bar.open_ms)
        if not versions:
            return Offer.PASSED
        return Offer.DUPLICATE if bar in versions else Offer.CORRECTION

    def known(self, open_ms: int) -> Bar | None:
        """The newest values of one of the last bars that went out, None for others."""
        versions = self._versions(open_ms)
        return versions[-1] if versions else None

    def correct(self, bar: Bar) -> None:
        """A bar that went out has these values now: to come again with them, or the old ones, is no correction."""
        self._versions(bar.open_ms).append(bar)

    def _versions(self, open_ms: int) -> list[Bar]:
        return next((versions for versions in self._recent if versions[0].open_ms == open_ms), [])

    def release(self) -> list[Bar]:
        """The bars whose turn has come, oldest first."""
        bars: list[Bar] = []
        while (bar := self._held.pop(self.next_ms, None)) is not None:
            bars.append(bar)
            self._recent.append([bar])
            self.next_ms += MINUTE_MS
        if bars and not self._held:
            self._held = {}  # an emptied dict keeps the room of the thousand bars it had
        return bars

    def fill(self, bars: list[Bar], known_to_ms: int) -> tuple[list[Bar], list[tuple[int, int]]]:
        """Take what REST has, and release.

        Args:
            bars: REST's closed bars.
            known_to_ms: every candle that opened before this is among `bars`, was held, or does not exist.

        Returns:
            The released bars, and the holes [from, to) confirmed empty on the way.
        """
        for bar in bars:
            if bar.open_ms >= self.next_ms:
                self._held.setdefault(bar.open_ms, bar)
        released, outages = self.release(), []
        while self.next_ms < known_to_ms:
            ahead = min((open_ms for open_ms in self._held if open_ms < known_to_ms), default=known_to_ms)
            outages.append((self.next_ms, ahead))
            self.next_ms = ahead
            released += self.release()
        return released, outages
