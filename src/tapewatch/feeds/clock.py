"""The exchange's clock, as known here.

Two clocks: bars, settling and boundaries run on the exchange's, which a simulator may run fast and stop at a boundary;
time-outs, backoff and limits run on the wall clock. Both are read through this object, so that tests can turn them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from tapewatch.model import MINUTE_MS

#: A paced simulator stops this long after a boundary until the client has acknowledged it.
HOLD_MS = 1_000
#: The exchange is asked for its time this often; a simulated one far oftener.
SYNC_S, SYNC_PACED_S = 600.0, 10.0
#: An event time further ahead than this is not believed.
LEAP_MS = 300_000


class ExchangeClock:
    """Estimates the exchange's time from what it last said, its rate and the wall time since.

    Args:
        wall: monotonic seconds.
    """

    def __init__(self, wall: Callable[[], float] = time.monotonic) -> None:
        self.wall_s = wall
        self.rate = 1.0
        #: Whether the exchange is a simulation, which has a time of its own at any rate.
        self.simulated = False
        self._base_ms = 0.0
        self._shown_ms = 0
        self._at_s = wall()
        self._acknowledged_ms: int | None = None
        self._cap_ms: float | None = None

    @property
    def paced(self) -> bool:
        """Whether the exchange is a simulation whose clock waits for us at boundaries."""
        return self.rate != 1.0

    @property
    def shown_ms(self) -> int:
        """The newest time that the exchange itself has shown; `now_ms` reckons on from there."""
        return self._shown_ms

    @property
    def sure_ms(self) -> int:
        """The exchange's time; of a simulated clock, which may stand, only what it has shown is sure."""
        return self.shown_ms if self.paced else self.now_ms()

    def now_ms(self) -> int:
        """The exchange's time, in ms."""
        estimate = self._base_ms + (self.wall_s() - self._at_s) * 1000.0 * self.rate
        if self._cap_ms is not None and estimate > self._cap_ms:
            estimate = self._cap_ms
        return int(estimate)

    def sync(self, server_ms: int, sent_s: float, received_s: float, rate: float) -> None:
        """Take the server's time from an answer; half of the round trip is counted as the way back."""
        self.rate = rate
        self._shown_ms = server_ms
        self._set(server_ms, (sent_s + received_s) / 2)

    def seen(self, event_ms: int) -> None:
        """An event bears this time, so it is not earlier than that now."""
        if event_ms <= self._shown_ms and self._cap_ms is None:
            return  # nothing new, as most of the thousands of a boundary
        ahead_ms = event_ms - self.now_ms()
        if ahead_ms < LEAP_MS:
            self._shown_ms = max(self._shown_ms, event_ms)
            if ahead_ms > 0:
                self._set(event_ms, self.wall_s())

    def acknowledged(self, close_ms: int) -> None:
        """The boundary up to which a paced exchange was told to go on: it will wait at the next."""
        self._acknowledged_ms = close_ms
        self._limit()

    def _set(self, server_ms: int, at_s: float) -> None:
        self._base_ms, self._at_s = float(server_ms), at_s
        self._limit()

    def _limit(self) -> None:
        if not self.paced or self._acknowledged_ms is None:
            self._cap_ms = None
            return
        # The first boundary it has neither been told to pass nor passed by itself (it does, after ten seconds).
        passed = -(-int(self._base_ms - HOLD_MS) // MINUTE_MS) * MINUTE_MS
        self._cap_ms = max(self._acknowledged_ms + MINUTE_MS, passed) + HOLD_MS


async def keep_synced(clock: ExchangeClock, sync: Callable[[], Awaitable[int]]) -> None:
    """Has the clock set by the exchange's time again and again, until cancelled."""
    while True:
        await asyncio.sleep(SYNC_PACED_S if clock.paced else SYNC_S)
        await sync()
