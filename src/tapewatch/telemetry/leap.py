"""What becomes of times that are remembered when somebody sets the wall clock."""

from __future__ import annotations

from typing import NamedTuple


class Leap(NamedTuple):
    """The wall clock was set: by so much, and noticed a moment later.

    Times that are remembered are moved with it, so that what has passed since them stays what it was. One that lies in
    the moment until it was noticed was read from the clock as it is now.

    Attributes:
        by_ms: how far it was set forward; with a minus, back.
        from_ms, to_ms: by the clock as it is now, a moment before it was set and when that was noticed.
    """

    by_ms: int
    from_ms: int
    to_ms: int

    def moved(self, at_ms: int) -> int:
        """A remembered time by the clock as it is now."""
        return at_ms if self.from_ms <= at_ms <= self.to_ms else at_ms + self.by_ms
