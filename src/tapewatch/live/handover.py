"""Signals that another process has found and its gate has let pass, handed to the engine before the bars after them.

A signal of a close is stored before a bar of the next close comes. So the ledger is looked at whenever events have
come, before the engine gets them: it hears of everything as if it had found it itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import TypeVar

from tapewatch.live.insisting import OnTrouble, insisted
from tapewatch.live.pipeline import Pipeline
from tapewatch.model import Event, Heard, Passed
from tapewatch.store import Ledger
from tapewatch.strategy import Strategy
from tapewatch.telemetry import get_logger

T = TypeVar("T")

_log = get_logger("live")

#: Signals that are read at a time.
PAGE = 500


class Handover:
    """Stands before a pipeline, and lets no event pass it that signals of the ledger belong before.

    Args:
        ledger: used in `executor` only.
        executor: its thread.
        venue: whose signals.
        strategies: their time limits.
        pipeline: what is handed on to.
        on_trouble: of reading the ledger.
    """

    def __init__(
        self,
        ledger: Ledger,
        executor: Executor,
        venue: str,
        strategies: Sequence[Strategy],
        pipeline: Pipeline,
        on_trouble: OnTrouble,
    ) -> None:
        self._ledger, self._executor, self._venue = ledger, executor, venue
        self._limits: Mapping[str, int] = {one.name: one.time_limit for one in strategies}
        self._pipeline, self._on_trouble = pipeline, on_trouble
        self._number = 0
        self._events: list[Event] = []
        self._wake, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()

    def take(self, events: Sequence[Event]) -> None:
        """Accept events for the pipeline."""
        self._events.extend(events)
        self._idle.clear()
        self._wake.set()

    async def drained(self) -> None:
        """Returns when everything taken has been handed on and committed."""
        await self._idle.wait()
        await self._pipeline.drained()

    async def begin(self, heard: int) -> None:
        """Begin after the signal of this number; call it before the first event is taken.

        Where none was ever handed on, it begins after the last that was traded, or with what is stored from now on.
        """
        newest, traded = await self._read(partial(self._ledger.handed.newest, self._venue))
        self._number = max(heard, traded) if heard >= 0 else traded or newest
        self._pipeline.take([Heard(self._number)])

    async def run(self) -> None:
        """Hand on until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._events:
                events, self._events = self._events, []
                self._pipeline.take([*await self._passed(), *events])
            self._idle.set()

    async def _passed(self) -> list[Passed]:
        """What has passed since the last look; a strategy that is not configured here is not traded."""
        found: list[Passed] = []
        while True:
            page = await self._read(partial(self._ledger.handed.after, self._venue, self._number, PAGE))
            for number, judged in page:
                self._number = number
                limit = self._limits.get(judged.signal.strategy)
                if limit is None:
                    _log.warning("signal_not_traded", trace_id=judged.signal.trace_id, id=judged.signal.id)
                else:
                    found.append(Passed(number, judged, limit))
            if len(page) < PAGE:
                return found

    async def _read(self, read: Callable[[], T]) -> T:
        """What the ledger says; meanwhile nothing is handed on."""
        return await insisted(read, self._executor, self._on_trouble)
