"""Stores what a run counts and measures, minute by minute, for those who have no Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

from tapewatch.errors import StoreError
from tapewatch.store import Ledger
from tapewatch.telemetry import get_logger
from tapewatch.telemetry.figures import Sampler
from tapewatch.telemetry.metrics import Metrics

_log = get_logger("telemetry")

#: How often it is sampled.
EVERY_S = 60.0


async def keeping(metrics: Metrics, ledger: Ledger, executor: Executor, now_ms: Callable[[], int]) -> None:
    """Sample until cancelled; what a ledger in trouble does not take is a hole.

    Args:
        metrics: what is sampled.
        ledger: where to; used in `executor` only.
        executor: the ledger's.
        now_ms: the wall clock.
    """
    loop, sampler, started_ms = asyncio.get_running_loop(), Sampler(metrics.registry), now_ms()
    due_s, good = loop.time(), True
    while True:
        due_s = max(due_s + EVERY_S, loop.time())
        await asyncio.sleep(due_s - loop.time())
        figures = sampler.sample()
        try:
            await loop.run_in_executor(executor, ledger.figures.keep, now_ms(), started_ms, figures)
        except StoreError as error:
            if good:
                _log.warning("figures_not_kept", error=str(error))
            good = False
        else:
            good = True
