"""How many of the bars that were due were processed in time: the measure of availability."""

from __future__ import annotations

from collections import deque

#: A bar is in time when it has been processed this long after its close (requirement F2).
IN_TIME_MS = 2_000


class Timeliness:
    """Counts bars due and bars in time.

    A bar is due when the exchange has it, and counts when it has been processed, or cannot be in time any more. Its
    delay is the feed's (from its close to its arrival by the exchange's clock; in a simulation that waits for this
    program, the wall time since its boundary was known here) and the wall time until all that had come was stored.
    A hole that the exchange confirms is no bar and is not due.
    """

    def __init__(self) -> None:
        self.due = 0
        self.in_time = 0
        #: Until when each bar under way is in time, in the order they came; by a clock that nobody sets.
        self._under_way: deque[int] = deque()

    @property
    def share(self) -> float | None:
        """Bars in time of bars due; None before the first."""
        return self.in_time / self.due if self.due else None

    def came(self, delay_ms: int, now_ms: int) -> None:
        """A live bar went to the engine, so long after its close."""
        while self._under_way and self._under_way[0] < now_ms:
            self._under_way.popleft()
            self.due += 1
        if delay_ms > IN_TIME_MS:
            self.due += 1
        else:
            self._under_way.append(now_ms + IN_TIME_MS - delay_ms)

    def processed(self, now_ms: int) -> None:
        """Everything that came so far has been processed and stored."""
        self.due += len(self._under_way)
        self.in_time += sum(until_ms >= now_ms for until_ms in self._under_way)
        self._under_way.clear()
