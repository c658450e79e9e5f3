"""What the operator is told by a process that has no engine, whose steps would carry it into the ledger."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial

from tapewatch.live.insisting import OnTrouble, insisted
from tapewatch.store import Ledger, Step


class Notices:
    """Stores steps of notices, in their order.

    Args:
        ledger: used in `executor` only.
        executor: its thread.
        on_stored: called after each commit.
        on_trouble: of storing them.
    """

    def __init__(
        self, ledger: Ledger, executor: Executor, on_stored: Callable[[], None], on_trouble: OnTrouble
    ) -> None:
        self._ledger, self._executor = ledger, executor
        self._on_stored, self._on_trouble = on_stored, on_trouble
        self._steps: deque[Step] = deque()
        self._wake, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()

    def submit(self, step: Step) -> None:
        """Have a step stored."""
        self._steps.append(step)
        self._idle.clear()
        self._wake.set()

    async def drained(self) -> None:
        """Returns when everything submitted is stored."""
        await self._idle.wait()

    async def run(self) -> None:
        """Store until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._steps:
                await insisted(partial(self._ledger.commit_step, self._steps[0]), self._executor, self._on_trouble)
                self._steps.popleft()
                self._on_stored()
            self._idle.set()
