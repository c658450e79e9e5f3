"""Server-sent events: one ring that every open page reads at its own pace, so that none of them keeps anything back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import msgspec

#: What a page that lost its connection can go on from.
KEPT = 1_000
KEPT_BYTES = 8_000_000
#: A page hears something so often, be it that there is nothing.
QUIET_S = 15.0
#: After the last page has gone, events are gathered for so long: it may come again, or be about to open the stream.
GRACE_S = 30.0
#: Not a comment, which a browser keeps to itself: a page notices that a connection is dead by not hearing it.
_QUIET = b"event: quiet\ndata: {}\n\n"


class Hub:
    """Events by number, from the first page on; numbers go on from the clock, so that no restart repeats one.

    Attributes:
        seq: the number of the last event.
    """

    def __init__(self, first: int) -> None:
        self.seq = first
        self._ring: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self._pages = 0
        self._until_s = 0.0
        self._news, self._wanted = asyncio.Event(), asyncio.Event()
        self._closed = False

    @property
    def attended(self) -> bool:
        """Whether anybody reads, or did lately."""
        return self._pages > 0 or asyncio.get_running_loop().time() < self._until_s

    def attend(self) -> None:
        """Somebody is about to read."""
        if not self.attended:
            self.seq += 1  # what happened meanwhile was not gathered: nobody goes on from before
            self._ring.clear()
            self._bytes = 0
        self._until_s = asyncio.get_running_loop().time() + GRACE_S
        self._wanted.set()

    async def wanted(self) -> None:
        """Returns when there is somebody to gather events for."""
        while not self.attended:
            self._wanted.clear()
            await self._wanted.wait()

    def publish(self, kind: str, data: Any) -> None:
        """Tell every page."""
        self.seq += 1
        text = f"id: {self.seq}\nevent: {kind}\ndata: ".encode() + msgspec.json.encode(data) + b"\n\n"
        self._ring.append((self.seq, text))
        self._bytes += len(text)
        while len(self._ring) > KEPT or (self._bytes > KEPT_BYTES and len(self._ring) > 1):
            self._bytes -= len(self._ring.popleft()[1])
        news, self._news = self._news, asyncio.Event()
        news.set()

    def close(self) -> None:
        """End every stream."""
        self._closed = True
        self._news.set()

    async def stream(self, after: int | None) -> AsyncIterator[bytes]:
        """What happens after the event of this number, from now on without one; `reset` where some of it is lost.

        A page that reads too slowly is told `reset` too: events are kept for a while, but waited for nobody.
        """
        self.attend()
        seen = self.seq if after is None else after
        self._pages += 1
        try:
            while not self._closed:
                if not self._follows(seen):
                    seen = self.seq
                    yield f"id: {seen}\nevent: reset\ndata: {{}}\n\n".encode()
                news = self._news
                if seen == self.seq:
                    if not await _comes(news):
                        yield _QUIET
                    continue
                for number, text in [one for one in self._ring if one[0] > seen]:
                    if not self._follows(number - 1):
                        break
                    yield text
                    seen = number
        finally:
            self._pages -= 1
            self._until_s = asyncio.get_running_loop().time() + GRACE_S

    def _follows(self, seen: int) -> bool:
        """Whether all that came after a number is there."""
        first = self._ring[0][0] if self._ring else self.seq + 1
        return first - 1 <= seen <= self.seq


async def _comes(news: asyncio.Event) -> bool:
    """Whether there is news before a page has heard nothing for too long."""
    try:
        async with asyncio.timeout(QUIET_S):
            await news.wait()
    except TimeoutError:
        return False
    return True
