"""The sources of a process, and others in their place when the engine is made of something else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from tapewatch.config import Config
from tapewatch.live.context import Wanted, wanted_of
from tapewatch.live.host import Host
from tapewatch.live.makeup import Makeup
from tapewatch.live.prepared import Prepared
from tapewatch.live.sources import Sources
from tapewatch.live.turns import work_until
from tapewatch.live.works import Works
from tapewatch.strategy import Strategy
from tapewatch.telemetry import get_logger

_log = get_logger("live")

#: The end of a boundary is waited for so long, wall time, before sources that bring none are replaced.
LONGEST_S = 70.0


@dataclass(frozen=True)
class Needs:
    """What sources are made for: an engine, strategies whose windows are loaded, what is asked around candidates."""

    makeup: Makeup
    strategies: Sequence[Strategy]
    around: Wanted

    def alike(self, other: Needs) -> bool:
        """Whether sources for the one do for the other."""
        return self._told() == other._told()

    def _told(self) -> tuple[object, ...]:
        # Who only trades what others find has no strategies in its engine, and yet needs to know for how long.
        return self.makeup.fingerprint, self.around, {one.name: one.time_limit for one in self.strategies}


def needs_of(prepared: Prepared) -> Needs:
    """What a configuration needs."""
    return Needs(prepared.makeup, prepared.strategies, wanted_of(prepared.config))


class Bringing:
    """Has the engine of a process brought its events.

    Args:
        host, works: of the same process.
        needs: of the engine that `works` has.
    """

    def __init__(self, host: Host, works: Works, needs: Needs) -> None:
        self._host, self._works = host, works
        self.sources = Sources(host, works, needs.strategies)
        self._needs = self._next = needs
        self._asked, self._replaced = asyncio.Event(), asyncio.Event()
        host.metrics.watch_connections(lambda: self.sources.connections())  # noqa: PLW0108  (others take over)

    @property
    def caught_up(self) -> bool:
        """Whether every watched symbol's windows are complete."""
        return self.sources.caught_up

    def serve(self, needs: Needs) -> None:
        """Between two bars, replace the sources, and the engine, where these need it; the last word counts."""
        self._next = needs
        if needs.alike(self._needs):
            self._asked.clear()
        else:
            self._asked.set()

    def choose(self, config: Config) -> None:
        """Choose who is watched by this configuration. Raises SetupError, and changes nothing, where that is nobody."""
        self.sources.choose(config)

    async def run(self) -> None:
        """Bring events until cancelled. Raises what made it fail."""
        while True:
            between_bars = asyncio.create_task(self._between_bars(), name="between bars")
            try:
                await self._until(between_bars)
            finally:
                between_bars.cancel()
                await asyncio.wait([between_bars])
            await self._replace()

    async def answer(self) -> None:
        """Answer what the engine asks until cancelled; it asks until everything taken is stored."""
        while True:
            await work_until(self._replaced, self.sources.answer())

    async def _until(self, between_bars: asyncio.Task[None]) -> None:
        """The sources, until they are to be replaced."""
        given_way = asyncio.Event()
        between_bars.add_done_callback(lambda _task: given_way.set())
        await work_until(given_way, self.sources.run())

    async def _between_bars(self) -> None:
        """Returns when others are needed and the bars of a close are done, or when there is nothing to wait for.

        A ledger in trouble is waited for with bars coming in.
        """
        await self._asked.wait()
        health = self._host.health
        while self.caught_up:
            try:
                async with asyncio.timeout(LONGEST_S):
                    await self._works.pipeline.boundary()
            except TimeoutError:
                pass
            if health.ledger.trouble is None:
                return

    async def _replace(self) -> None:
        works, host = self._works, self._host
        await works.pipeline.drained()
        needs = self._needs = self._next
        self._asked.clear()
        await works.renew(needs.makeup)
        host.reporter.starts_over()
        self.sources = Sources(host, works, needs.strategies)
        replaced, self._replaced = self._replaced, asyncio.Event()
        replaced.set()
