"""Lets REST requests through: the most urgent first, few at a time, within the exchange's weight limit.

Weights and bans run on the wall clock. The exchange counts per address and says how much is used; that figure includes
what others on this address spend.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import IntEnum
from itertools import count

#: Until exchangeInfo says what the limit is (6,000 a minute since 2023-08-25).
DEFAULT_LIMIT = 6_000
WINDOW_S = 60.0


class Urgency(IntEnum):
    """Who goes first."""

    GAP = 0
    BOOTSTRAP = 1
    HOUSEKEEPING = 2


class Budget:
    """The queue before the exchange's REST door.

    Args:
        concurrency: requests under way at once.
        share: the part of the exchange's limit that is used at most.
        wall: monotonic seconds.
    """

    def __init__(self, concurrency: int, share: float, wall: Callable[[], float]) -> None:
        self._free = concurrency
        self._share = share
        self._wall = wall
        self._ceiling = DEFAULT_LIMIT * share
        self._reported = 0
        self._under_way = 0
        self._window_s = wall()
        self._blocked_s = 0.0
        self._order = count()
        self._queue: list[tuple[Urgency, int, int, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None

    @property
    def used_weight(self) -> int:
        """The weight used in the current minute as far as is known, requests under way included."""
        return self._reported + self._under_way

    def limit(self, weight_per_minute: int) -> None:
        """The exchange said what it allows."""
        self._ceiling = weight_per_minute * self._share

    def account(self, used_weight: int) -> None:
        """The exchange said what is used, this address's other programs included."""
        if used_weight < self._reported / 2:  # its minute has turned; answers overtaking each other differ by little
            self._window_s, self._reported = self._wall(), used_weight
        self._reported = max(self._reported, used_weight)

    def block(self, seconds: float) -> None:
        """Nobody goes for so long: the exchange asked for it, or does not answer at all."""
        self._blocked_s = max(self._blocked_s, self._wall() + seconds)

    @asynccontextmanager
    async def turn(self, urgency: Urgency, weight: int) -> AsyncIterator[None]:
        """Waits until a request of `weight` may go, and holds its place while it is under way."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (urgency, next(self._order), weight, future)
        heapq.heappush(self._queue, entry)
        self._pump()
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._leave(weight)
            raise
        try:
            yield
        finally:
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
            _, _, weight, future = self._queue[0]
            if future.done():
                heapq.heappop(self._queue)  # its caller was cancelled
                continue
            wait_s = self._wait_s(weight)
            if wait_s > 0:
                self._pump_later(wait_s)
                return
            heapq.heappop(self._queue)
            self._free -= 1
            self._under_way += weight
            future.set_result(None)

    def _wait_s(self, weight: int) -> float:
        now_s = self._wall()
        if now_s < self._blocked_s:
            return self._blocked_s - now_s
        if now_s - self._window_s >= WINDOW_S:
            self._window_s, self._reported = now_s, 0
        if self.used_weight + weight > self._ceiling and self._reported > 0:
            return self._window_s + WINDOW_S - now_s
        return 0.0

    def _pump_later(self, seconds: float) -> None:
        self.close()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._pump)
