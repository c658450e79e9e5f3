"""Work that gives way to other work of its kind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def work_until(given_way: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Work until it is to give way; returns when it has. Raises what made it fail."""
    working, waiting = asyncio.ensure_future(work), asyncio.ensure_future(given_way.wait())
    try:
        await asyncio.wait([working, waiting], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working
            await waiting
    finally:
        for task in (working, waiting):
            task.cancel()
        await asyncio.wait([working, waiting])
    if not working.cancelled():
        working.result()
