"""Reads of ledger and journal for pages: in threads of their own, so that the run waits for none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

from tapewatch.store import Ledger

T = TypeVar("T")


class Reads:
    """A ledger that is only read.

    Args:
        address: as `Ledger.open` takes it; opened when something is asked first.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._thread = ThreadPoolExecutor(2, thread_name_prefix="web reads")
        self._ledger: Ledger | None = None
        self._opening = Lock()

    async def __call__(self, read: Callable[[Ledger], T]) -> T:
        """What a read says. Raises StoreError."""
        return await self.aside(lambda: read(self._opened()))

    async def aside(self, work: Callable[[], T]) -> T:
        """What some work that is long for the event loop comes to."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _opened(self) -> Ledger:
        with self._opening:
            if self._ledger is None:
                self._ledger = Ledger.open(self._address, create=False)
            return self._ledger

    def close(self) -> None:
        """Close the connections, once what is under way has ended."""
        self._thread.shutdown(cancel_futures=True)
        if self._ledger is not None:
            self._ledger.close()
