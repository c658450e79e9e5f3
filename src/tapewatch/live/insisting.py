"""Doing what must be done with a ledger: one in trouble is tried again until it is done."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from tapewatch.errors import StoreError

T = TypeVar("T")

#: Waits between attempts with a ledger that cannot be used, in seconds; the last one repeats.
RETRY_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)

#: Called when something could not be done, and with None when it was done at last.
OnTrouble = Callable[[StoreError | None], None]


async def insisted(call: Callable[[], T], executor: Executor, on_trouble: OnTrouble) -> T:
    """What `call` returns, called in `executor` until it raises no StoreError."""
    loop, attempt = asyncio.get_running_loop(), 0
    while True:
        try:
            result = await loop.run_in_executor(executor, call)
        except StoreError as error:
            on_trouble(error)
            wait_s = RETRY_S[min(attempt, len(RETRY_S) - 1)]
            attempt += 1
            await asyncio.sleep(wait_s * random.uniform(0.75, 1.25))
        else:
            if attempt:
                on_trouble(None)
            return result
