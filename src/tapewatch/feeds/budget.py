"""Lets REST requests through: the most urgent first, few at a time, within the exchange's limits.

Weights and bans run on the wall clock. The exchange counts per address and says how much is used; that figure includes
what others on this address spend.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import IntEnum
from itertools import count

from tapewatch.errors import EdgeError
from tapewatch.feeds.hosts import Host, Hosts

#: Until exchangeInfo says what the limits are (6,000 a minute since 2023-08-25, 300,000 since 2026-04-02).
DEFAULT_LIMIT = 6_000
DEFAULT_REQUESTS = 300_000
WINDOW_S = 60.0
REQUESTS_WINDOW_S = 300.0


class Urgency(IntEnum):
    """Who goes first."""

    GAP = 0
    CONTEXT = 1
    BOOTSTRAP = 2
    HOUSEKEEPING = 3


#: The part of what may be used that each urgency may use up: the rest is for what is more urgent. What goes with alerts
#: comes early or not at all, so its part is small: whatever else is asked has room beside it.
REACH = {Urgency.GAP: 1.0, Urgency.CONTEXT: 0.4, Urgency.BOOTSTRAP: 0.9, Urgency.HOUSEKEEPING: 0.5}


class RollingCount:
    """How many requests there were in the last five minutes, to within ten seconds."""

    STEP_S = 10.0

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._steps: deque[tuple[int, int]] = deque()
        self._total = 0

    def add(self) -> None:
        """One more now."""
        step = int(self._wall() // self.STEP_S)
        if self._steps and self._steps[-1][0] == step:
            self._steps[-1] = (step, self._steps[-1][1] + 1)
        else:
            self._steps.append((step, 1))
        self._total += 1

    def total(self) -> int:
        """The count now."""
        oldest = int((self._wall() - REQUESTS_WINDOW_S) // self.STEP_S)
        while self._steps and self._steps[0][0] < oldest:
            self._total -= self._steps.popleft()[1]
        return self._total


class Budget:
    """The queue before the exchange's REST door.

    Args:
        concurrency: requests under way at once.
        share: the part of the exchange's limits that is used at most.
        wall: monotonic seconds.
        hosts: which host a request goes to, and when one may go at all.
    """

    def __init__(self, concurrency: int, share: float, wall: Callable[[], float], hosts: Hosts) -> None:
        self._free = concurrency
        self._share = share
        self._wall = wall
        self._hosts = hosts
        self._limit = DEFAULT_LIMIT
        self._requests_limit = DEFAULT_REQUESTS
        self._reported = 0
        self._under_way = 0
        self._window_s = wall()
        self._requests = RollingCount(wall)
        self._order = count()
        self._queue: list[tuple[Urgency, float, int, int, bool, asyncio.Future[tuple[Host, bool]]]] = []
        self._timer: asyncio.TimerHandle | None = None

    @property
    def used_weight(self) -> int:
        """The weight used in the current minute as far as is known, requests under way included."""
        return self._reported + self._under_way

    def limit(self, weight_per_minute: int | None, requests_per_5m: int | None = None) -> None:
        """The exchange said what it allows."""
        self._limit = weight_per_minute if weight_per_minute is not None else self._limit
        self._requests_limit = requests_per_5m if requests_per_5m is not None else self._requests_limit

    def account(self, used_weight: int) -> None:
        """The exchange said what is used, this address's other programs included."""
        if used_weight < self._reported / 2:  # its minute has turned; answers overtaking each other differ by little
            self._window_s, self._reported = self._wall(), used_weight
        self._reported = max(self._reported, used_weight)

    def charge(self, weight: int) -> None:
        """A request went and no answer said what is used now."""
        self._reported += weight

    @asynccontextmanager
    async def turn(
        self, urgency: Urgency, weight: int, volume: float = 0.0, *, patient: bool = True
    ) -> AsyncIterator[Host]:
        """Waits until a request of `weight` may go, and holds its place while it is under way.

        Among equally urgent ones the larger `volume` goes first, then who came first. One that is not patient waits for
        a place among those under way, and for nothing else.

        Raises:
            EdgeError: it is not patient, and limits or the hosts let nothing go now.
        """
        future: asyncio.Future[tuple[Host, bool]] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (urgency, -volume, next(self._order), weight, patient, future))
        self._pump()
        try:
            host, _ = await future
            yield host
        finally:
            if future.done() and not future.cancelled() and future.exception() is None:
                host, trying = future.result()
                if trying:
                    host.breaker.abandoned()  # unless it was said to have answered or failed
                self._leave(weight)

    def close(self) -> None:
        """Stop the timer; nobody waits any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _leave(self, weight: int) -> None:
        self._free += 1
        self._under_way -= weight
        self._pump()

    def _pump(self) -> None:
        while self._queue and self._free > 0:
            urgency, _, _, weight, patient, future = self._queue[0]
            if future.done():
                heapq.heappop(self._queue)  # its caller was cancelled
                continue
            wait_s = self._wait_s(urgency, weight)
            if wait_s > 0 and not patient:
                heapq.heappop(self._queue)
                future.set_exception(EdgeError(f"no request of weight {weight} may go now"))
                continue
            if wait_s > 0:
                if wait_s < math.inf:
                    self._pump_later(wait_s)
                return
            heapq.heappop(self._queue)
            self._free -= 1
            self._under_way += weight
            self._requests.add()
            host = self._hosts.take()
            future.set_result((host, host.breaker.state == "half-open"))

    def _wait_s(self, urgency: Urgency, weight: int) -> float:
        now_s = self._wall()
        if (wait_s := self._hosts.wait_s()) > 0:
            return wait_s
        if now_s - self._window_s >= WINDOW_S:
            self._window_s, self._reported = now_s, 0
        allowed = self._limit * self._share * REACH[urgency]
        if self.used_weight + weight > allowed and self._reported > 0:
            return self._window_s + WINDOW_S - now_s
        if self._requests.total() >= self._requests_limit * self._share:
            return RollingCount.STEP_S
        return 0.0

    def _pump_later(self, seconds: float) -> None:
        self.close()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._pump)
