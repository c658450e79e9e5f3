"""Who is asked for next: a few symbols at a time, those with gaps before those at their start, the liquid first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tapewatch.feeds.boundary import Series
from tapewatch.feeds.budget import Urgency
from tapewatch.model import MINUTE_MS

#: So many minutes behind, a symbol goes before all that are less so, however small: nobody starves.
AGE_MINUTES = 3
KINDS = (Urgency.GAP, Urgency.BOOTSTRAP)


class Fetches:
    """Has due symbols fetched, each by one task at a time.

    First windows and gaps have places of their own: a few symbols wholly, rather than parts of all, is less memory and
    makes the first ones live early; and gaps never wait behind windows.

    Args:
        slots: places of each kind.
        fetch: fetches one symbol, as of the exchange's time given.
    """

    def __init__(self, slots: int, fetch: Callable[[Series, int], Awaitable[None]]) -> None:
        self._free = dict.fromkeys(KINDS, slots)
        self._queues: dict[Urgency, list[Series]] = {kind: [] for kind in KINDS}
        self._fetch = fetch
        self._asked_ms = 0

    @property
    def waiting(self) -> bool:
        """Whether somebody waits for a place."""
        return any(self._queues.values())

    def offer(self, due: list[Series], boundary_ms: int, asked_ms: int, tasks: asyncio.TaskGroup) -> None:
        """These are due, and only these; the next ones among them are fetched as of `asked_ms`."""
        self._asked_ms = asked_ms

        def rank(series: Series) -> tuple[int, float, str]:
            behind = max(0, boundary_ms - series.due_ms) // MINUTE_MS
            return behind // AGE_MINUTES if series.started else 0, series.volume, series.symbol

        for kind in KINDS:
            self._queues[kind] = sorted((one for one in due if _kind(one) is kind), key=rank)
            self._pump(kind, tasks)

    def _pump(self, kind: Urgency, tasks: asyncio.TaskGroup) -> None:
        queue = self._queues[kind]
        while queue and self._free[kind] > 0:
            series = queue.pop()
            if not (series.busy or series.gone):
                series.busy = True
                self._free[kind] -= 1
                tasks.create_task(self._one(series, kind, tasks))

    async def _one(self, series: Series, kind: Urgency, tasks: asyncio.TaskGroup) -> None:
        try:
            await self._fetch(series, self._asked_ms)
        finally:
            series.busy = False
            self._free[kind] += 1
        self._pump(kind, tasks)


def _kind(series: Series) -> Urgency:
    return Urgency.GAP if series.started else Urgency.BOOTSTRAP
