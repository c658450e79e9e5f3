"""Looks at the database every now and then, so that a run which has nothing to store knows how it is as well."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

from tapewatch.errors import StoreError
from tapewatch.store import Ledger
from tapewatch.telemetry import get_logger
from tapewatch.telemetry.health import Health

_log = get_logger("store")

#: How often.
LOOK_S = 10.0


async def looking(health: Health, ledger: Ledger, executor: Executor) -> None:
    """Look until cancelled.

    Args:
        health: is told.
        ledger: what is looked at; used in `executor` only.
        executor: the ledger's.
    """
    loop, state = asyncio.get_running_loop(), health.ledger
    while True:
        try:
            state.revision, state.size_bytes = await loop.run_in_executor(executor, ledger.condition)
        except StoreError as error:
            if state.unread is None:
                _log.warning("ledger_not_read", error=str(error))
            state.unread = str(error)
        else:
            if state.unread is not None:
                _log.info("ledger_read_again")
            state.unread = None
        await asyncio.sleep(LOOK_S)
