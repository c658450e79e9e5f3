"""When another connection may be tried: the exchange counts attempts by address, over five minutes."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tapewatch.errors import EdgeError
from tapewatch.feeds.network import backoff
from tapewatch.feeds.observer import FeedObserver
from tapewatch.feeds.settings import FeedSettings

#: The exchange's window; a little more here, since the network stretches and squeezes.
WINDOW_S = 300.0
MARGIN_S = 1.0


class Attempts:
    """Hands out connection attempts, for every connection of the process.

    Never more than `attempts_per_5m` in any five minutes, and the second half of them evenly spread. While the exchange
    cannot be reached one connection tries for all, so that an outage costs the same few attempts however many
    connections wait for its end.

    Args:
        wall: monotonic seconds.
    """

    def __init__(self, settings: FeedSettings, wall: Callable[[], float], observer: FeedObserver) -> None:
        self._settings = settings
        self._wall = wall
        self._observer = observer
        self._begun_s: deque[float] = deque()
        self._queue = asyncio.Lock()
        self._moved = asyncio.Event()
        self._trying = False
        self._failures = 0
        self._failed_s = self._not_before_s = -math.inf
        self._alerted = False

    @property
    def used(self) -> int:
        """Attempts made in the last five minutes."""
        self._forget()
        return len(self._begun_s)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Waits for its turn; inside, a connection is made. An `EdgeError` that leaves it was a failed attempt."""
        begun_s = await self._turn()
        try:
            yield
        except EdgeError:
            if begun_s >= self._failed_s:  # those that were under way together failed of one cause
                self._failures += 1
                self._failed_s = self._wall()
                self._not_before_s = self._failed_s + backoff(self._failures, self._settings.backoff_s)
            raise
        else:
            self._failures = 0
        finally:
            self._trying = False
            self._moved.set()

    def pause(self, connection: str, failures: int, waits: int, error: str) -> float:
        """Report a failure; how long to wait before the next attempt.

        Args:
            connection: which one failed.
            failures: its failures in a row.
            waits: how often it has waited since it last worked.
            error: what the last one ended with.
        """
        number = max(failures, self._failures)
        wait_s = backoff(max(waits, self._failures), self._settings.backoff_s)
        self._observer.attempt(number + 1, wait_s, error, connection)
        if number >= self._settings.alert_after and not self._alerted:
            self._alerted = True
            self._observer.connection_lost(number, error)
        return wait_s

    def recovered(self) -> None:
        """Data came over a connection that had failed: the next alert is news again."""
        if self._alerted:
            self._alerted = False
            self._observer.connection_found("stream")

    async def _turn(self) -> float:
        async with self._queue:
            while (wait_s := self._wait_s()) > 0:
                self._moved.clear()
                try:
                    async with asyncio.timeout(min(wait_s, WINDOW_S)):
                        await self._moved.wait()
                except TimeoutError:
                    pass
            begun_s = self._wall()
            self._begun_s.append(begun_s)
            self._trying = self._failures > 0
            return begun_s

    def _wait_s(self) -> float:
        """Seconds until the next attempt may begin, as things are."""
        now_s = self._wall()
        self._forget()
        wait_s, used, allowed = 0.0, len(self._begun_s), self._settings.attempts_per_5m
        if used >= allowed:
            wait_s = self._begun_s[0] + WINDOW_S + MARGIN_S - now_s
        elif used > allowed // 2:  # what is left is spread, so that there is never a long time without any
            wait_s = self._begun_s[-1] + WINDOW_S / (allowed - allowed // 2) - now_s
        if self._failures:
            wait_s = math.inf if self._trying else max(wait_s, self._not_before_s - now_s)
        return wait_s

    def _forget(self) -> None:
        oldest_s = self._wall() - WINDOW_S - MARGIN_S
        while self._begun_s and self._begun_s[0] <= oldest_s:
            self._begun_s.popleft()
