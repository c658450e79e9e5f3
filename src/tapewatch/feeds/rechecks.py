"""Bars that came over REST are looked at again: the exchange's answer may change for a minute after a bar's close."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from tapewatch.errors import DataError
from tapewatch.feeds.boundary import Series
from tapewatch.feeds.budget import Urgency
from tapewatch.feeds.clock import ExchangeClock
from tapewatch.feeds.release import Release
from tapewatch.feeds.rest import Rest
from tapewatch.model import MINUTE_MS, Bar

#: Symbols looked at at once, and bars that may wait for it; beyond that no more are taken on.
WORKERS = 2
MOST = 8_192
LOOK_S = 0.5


@dataclass(slots=True)
class _Pending:
    bar: Bar
    due_ms: list[int]


class Rechecks:
    """Asks again, once for all waiting bars of a symbol, when nothing more urgent needs the exchange.

    Args:
        after_ms: when after their close bars are looked at.
        corrected: told the values that went out and those found.
    """

    def __init__(
        self,
        after_ms: tuple[int, ...],
        rest: Rest,
        clock: ExchangeClock,
        release: Release,
        corrected: Callable[[Series, Bar, Bar], None],
    ) -> None:
        self._after_ms = sorted(after_ms)
        self._rest = rest
        self._clock = clock
        self._release = release
        self._corrected = corrected
        self._pending: dict[Series, list[_Pending]] = {}
        self._busy: set[Series] = set()
        self._due: list[Series] = []
        self._looked_s = -LOOK_S
        self._waiting = 0

    def add(self, series: Series, bars: list[Bar]) -> None:
        """These came over REST a moment ago; what is old enough already is settled."""
        now_ms = self._clock.now_ms()
        for bar in bars:
            due_ms = [at_ms for after_ms in self._after_ms if (at_ms := bar.close_ms + after_ms) > now_ms]
            if due_ms and self._waiting < MOST:
                self._pending.setdefault(series, []).append(_Pending(bar, due_ms))
                self._waiting += 1

    async def run(self) -> None:
        """Look until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(WORKERS):
                tasks.create_task(self._work())

    async def _work(self) -> None:
        while True:
            series = self._next()
            if series is None:
                await asyncio.sleep(LOOK_S)
                continue
            self._busy.add(series)
            try:
                await self._look(series)
            finally:
                self._busy.discard(series)

    def _next(self) -> Series | None:
        now_s = self._clock.wall_s()
        if not self._due and now_s >= self._looked_s + LOOK_S:
            now_ms, self._looked_s = self._clock.now_ms(), now_s
            due = [one for one, waiting in self._pending.items() if any(bar.due_ms[0] <= now_ms for bar in waiting)]
            self._due = sorted(due, key=lambda series: series.volume)
        while self._due:
            series = self._due.pop()
            if series in self._pending and series not in self._busy:
                return series
        return None

    async def _look(self, series: Series) -> None:
        waiting = self._pending.pop(series)
        self._waiting -= len(waiting)
        opens = [one.bar.open_ms for one in waiting]
        try:
            page = await self._rest.bars(
                series.symbol, MINUTE_MS, min(opens), max(opens), Urgency.HOUSEKEEPING, series.volume
            )
        except DataError:
            return  # it was told when the bars were fetched
        if series.gone:
            return
        found = {bar.open_ms: bar for bar in self._release.sound(page.bars)}
        now_ms = self._clock.now_ms()
        for one in waiting:
            after = found.get(one.bar.open_ms)
            before = series.sequence.known(one.bar.open_ms) or one.bar
            if after is not None and after != before:
                self._corrected(series, before, after)
                one.bar = after
            one.due_ms = [at_ms for at_ms in one.due_ms if at_ms > now_ms]
            if one.due_ms:
                self._pending.setdefault(series, []).append(one)
                self._waiting += 1
