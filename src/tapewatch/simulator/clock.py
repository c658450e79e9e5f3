"""Simulated time: it stands at the start until the first subscription, then runs at a rate, and waits where it must.

It waits for frames that are due and not yet sent, and at each minute boundary for clients that asked to be waited for
(`TAPEWATCH_PACE`), so that a slow reader at a high rate loses no simulated hours.
"""

from __future__ import annotations

import asyncio
import math
import time

from tapewatch.model import MINUTE_MS

#: How far past a boundary, or past a frame that is due, simulated time may run before it waits.
SLACK_MS = 1000
#: So often in a row the time waits in vain for one client among others before it does so no more.
_WAITS = 3


class Clock:
    """Simulated milliseconds UTC.

    Args:
        rate: simulated milliseconds per millisecond of wall time.
        start_ms: where it stands until `begin`.
        end_ms: where it stops for good.
        patience_s: wall seconds that it waits for a client before it goes on without it.
    """

    def __init__(self, rate: float, start_ms: int, end_ms: int, patience_s: float = 10.0) -> None:
        self.rate, self.end_ms, self.patience_s = rate, end_ms, patience_s
        self.running = False
        self._now = float(start_ms)
        self._read_s = time.monotonic()
        self._due_ms = math.inf
        self._acknowledged: dict[object, int] = {}
        self._in_vain: dict[object, int] = {}
        self._awaited: tuple[int, float] | None = None  # what a client that left had acknowledged, and until when
        self._left_ms = 0.0
        self._shut_until_ms = 0
        self._standing: tuple[float, float] | None = None  # what time stands at, and since when
        self._wake = asyncio.Event()

    def now_ms(self) -> int:
        """The simulated time."""
        read_s = time.monotonic()
        elapsed_s, self._read_s = read_s - self._read_s, read_s
        if self.running:
            self._now = max(self._now, min(self._now + elapsed_s * 1000 * self.rate, self._limit(read_s)))
        return int(self._now)

    def begin(self) -> None:
        """Let the time run, from the first subscription on."""
        if not self.running:
            self.now_ms()
            self.running = True
            self._wake.set()

    def acknowledge(self, client: object, close_ms: int) -> None:
        """A client has processed all bars that close up to `close_ms`, and wants to be waited for from now on.

        Each connection of a client is one here: the time waits for the slowest of all that ever said so and are still
        there.
        """
        self.now_ms()
        self._in_vain.pop(client, None)
        self._acknowledged[client] = max(close_ms, self._acknowledged.get(client, close_ms))
        self._awaited = None
        self._wake.set()

    def leave(self, client: object) -> None:
        """A client is gone; if it was the last one waited for, the time stands a while for it to come back."""
        self.now_ms()
        self._in_vain.pop(client, None)
        close_ms = self._acknowledged.pop(client, None)
        if close_ms is not None and not self._acknowledged:
            shut_s = max(0.0, self._shut_until_ms - self._now) / 1000 / self.rate
            self._awaited = (close_ms, time.monotonic() + self.patience_s + shut_s)
            self._left_ms = self._now
        self._wake.set()

    def shut(self, until_ms: int) -> None:
        """Nobody can connect until then, so the time does not wait before for a client to come back."""
        self._shut_until_ms = max(self._shut_until_ms, until_ms)

    async def wait(self, due_ms: int) -> None:
        """Wait until the simulated time is `due_ms`, or until something is due earlier or has changed.

        Time does not run past what is due by more than the slack meanwhile.
        """
        self._due_ms = due_ms
        now_ms = self.now_ms()
        if now_ms >= due_ms:
            return
        self._wake.clear()
        wait_s = self._patience_left(due_ms)
        if wait_s is None and self.running:
            wait_s = (due_ms - now_ms) / 1000 / self.rate
        if wait_s is None:
            await self._wake.wait()
        elif wait_s < 0.001:
            await asyncio.sleep(wait_s)
        else:
            await _wait(self._wake, wait_s)

    def nudge(self) -> None:
        """Something is due earlier than what is waited for."""
        self._wake.set()

    async def all_acknowledged(self, close_ms: int) -> None:
        """Wait until every client waited for has acknowledged `close_ms`, or patience is over."""
        deadline_s = time.monotonic() + self.patience_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            held = [*self._acknowledged.values()] + ([self._awaited[0]] if self._awaited else [])
            if all(done_ms >= close_ms for done_ms in held):
                return
            self._wake.clear()
            await _wait(self._wake, left_s)

    def _held_ms(self) -> float:
        """The time that the clients waited for allow."""
        if self._awaited is not None:  # what is sent meanwhile would be lost, as it is not in the second that is meant
            return max(self._left_ms, self._shut_until_ms)
        done_ms = min(self._acknowledged.values(), default=None)
        if done_ms is None:
            return math.inf
        return done_ms - done_ms % MINUTE_MS + MINUTE_MS + SLACK_MS

    def _limit(self, read_s: float) -> float:
        if self._awaited is not None and read_s >= self._awaited[1]:
            self._awaited = None
        return min(self._held_ms(), self._due_ms + SLACK_MS, self.end_ms)

    def _patience_left(self, due_ms: int) -> float | None:
        """Wall seconds to wait for clients, or None when nothing but time itself is waited for."""
        held_ms = self._held_ms()
        if not self.running or self._now < held_ms or held_ms >= due_ms:
            return None
        read_s = time.monotonic()
        if self._awaited is not None:
            return max(0.0, self._awaited[1] - read_s)
        if self._standing is None or self._standing[0] != held_ms:
            self._standing = (held_ms, read_s)
        left_s = self._standing[1] + self.patience_s - read_s
        if left_s <= 0:
            self._pass_over(int(held_ms) - SLACK_MS)
        return max(0.0, left_s)

    def _pass_over(self, passed_ms: int) -> None:
        """Patience is over: who is behind counts as having acknowledged.

        One that is behind time and again while others are not is a connection that its client has forgotten.
        """
        behind = [client for client, done_ms in self._acknowledged.items() if done_ms < passed_ms]
        for client in behind:
            self._acknowledged[client] = passed_ms
            self._in_vain[client] = self._in_vain.get(client, 0) + 1
            if self._in_vain[client] >= _WAITS and len(behind) < len(self._acknowledged):
                del self._acknowledged[client], self._in_vain[client]


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        pass
