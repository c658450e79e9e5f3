"""A circuit breaker: after failures in a row nobody asks for a while, then one request tries. Pure: told the time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from tapewatch.feeds.network import backoff

BreakerState = Literal["closed", "open", "half-open"]


class Breaker:
    """Stands before one host.

    Args:
        after: failures in a row that open it.
        waits_s: how long it stays open, the first time, the second in a row and so on; the last one repeats.
        wall: monotonic seconds.
    """

    def __init__(self, after: int, waits_s: Sequence[float], wall: Callable[[], float]) -> None:
        self._after = after
        self._waits_s = waits_s
        self._wall = wall
        self.state: BreakerState = "closed"
        self._failures = 0
        self._openings = 0
        self._until_s = 0.0

    def wait_s(self) -> float:
        """Seconds until a request may go; infinite while the one that tries is under way."""
        if self.state == "closed":
            return 0.0
        if self.state == "half-open":
            return math.inf
        return max(0.0, self._until_s - self._wall())

    def enter(self) -> None:
        """A request goes; after a pause it is the one that tries."""
        if self.state == "open":
            self.state = "half-open"

    def succeeded(self) -> None:
        """The host answered, whatever it said about the request."""
        self.state, self._failures, self._openings = "closed", 0, 0

    def failed(self, *, at_once: bool = False) -> None:
        """The host failed; `at_once` opens without waiting for more of it."""
        self._failures += 1
        if self.state == "open":
            return  # a request from before it opened
        if at_once or self.state == "half-open" or self._failures >= self._after:
            self._openings += 1
            self.state = "open"
            self._until_s = self._wall() + backoff(self._openings, self._waits_s)

    def abandoned(self) -> None:
        """The request that went was cancelled: nothing was learnt, the next one may try."""
        if self.state == "half-open":
            self.state, self._until_s = "open", self._wall()
