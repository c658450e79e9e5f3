"""Where the events of a run come from: the feed of the symbols that are chosen, mutes, quotes, and what is paid."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tapewatch.config import Config
from tapewatch.errors import first_of
from tapewatch.feeds import Instrument, SeriesPlan
from tapewatch.live.context import desk_of
from tapewatch.live.feeds import build_feed
from tapewatch.live.funding import history_of, paying
from tapewatch.live.handover import Handover
from tapewatch.live.host import Host, wall_ms
from tapewatch.live.mutes import MuteWatch
from tapewatch.live.plans import base_of, plan_series, resumed, seen_by, states_of
from tapewatch.live.survey import survey_of
from tapewatch.live.universe import UniverseService, caps_of, rules_of
from tapewatch.live.watch import exchange_ms_of
from tapewatch.live.works import Works
from tapewatch.store import Step
from tapewatch.strategy import Strategy
from tapewatch.universe import Review


class Sources:
    """Brings the engine of a process its events.

    Args:
        host, works: of the same process.
        strategies: what they need is loaded.

    Raises:
        SetupError: the exchange cannot be had, or lacks what the strategies need.
    """

    def __init__(self, host: Host, works: Works, strategies: Sequence[Strategy]) -> None:
        self._host, self._works, self._strategies = host, works, strategies
        #: Whether signals are found elsewhere.
        self._apart = host.role == "positions"
        config, pipeline = host.config, works.pipeline
        self._handover = Handover(
            host.ledger, host.executor, works.makeup.venue, strategies, pipeline, host.reporter.ledger_trouble
        )
        take, drained = pipeline.take, pipeline.drained
        if self._apart:
            take, drained = self._handover.take, self._handover.drained
        self._take = take
        self._universe = UniverseService(
            rules_of(config.universe),
            take=take,
            begin=self._begin,
            plan=self._plan,
            refresh_ms=config.universe.refresh,
            caps=caps_of(config, wall_ms),
            on_change=self._reviewed,
            listings=works.makeup.paper is not None,
        )
        self._survey = survey_of(config, host.ledger, host.executor)
        self.feed = build_feed(
            config,
            take,
            host.reporter,
            strategies,
            on_tickers=self._universe.on_tickers,
            drained=drained,
        )
        self._context = desk_of(config, self.feed, self._universe.volume_1h, take, host.reporter.answered)
        works.ask = self._context.ask
        self._mutes = MuteWatch(host.ledger, host.executor, take, wall_ms, self.feed.clock.now_ms)
        host.exchange_ms = lambda: exchange_ms_of(self.feed.clock)
        if host.onlookers is not None:
            clock = self.feed.clock
            host.onlookers.market_ms = lambda: clock.now_ms() if clock.shown_ms else None
        host.health.volume_24h = lambda symbol: self._universe.volume_1h(symbol) * 24
        host.health.parts["universe"] = self._universe.state
        host.health.parts["connections"] = self.connections
        host.reporter.watch(self.feed.counts, self.feed.clock.now_ms)

    async def run(self) -> None:
        """Bring events until cancelled. Raises what made it fail."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.feed.run(), name="feed")
                tasks.create_task(self._choose_symbols(), name="universe")
                if self._apart:
                    tasks.create_task(self._handover.run(), name="handover")
                else:
                    tasks.create_task(self._mutes.run(), name="mutes")
                    engine = lambda: self._works.pipeline.engine  # noqa: E731
                    tasks.create_task(self._survey.run(self.feed, engine, self._universe.volume_1h), name="survey")
        except BaseExceptionGroup as group:
            raise first_of(group) from None

    def _reviewed(self, review: Review) -> None:
        self._host.reporter.universe_changed(review)
        self._survey.changed(review, self._universe.listing)

    async def answer(self) -> None:
        """Answer what the engine asks until cancelled; it asks until everything taken is stored."""
        if not self._apart:  # a paper book asks nothing
            await self._context.run()

    def choose(self, config: Config) -> None:
        """Choose who is watched by this configuration. Raises SetupError, and changes nothing, where that is nobody."""
        new, before = config.universe, self._host.config.universe
        caps = self._universe.caps if new.market_cap == before.market_cap else caps_of(config, wall_ms)
        self._universe.change(rules_of(new), new.refresh, caps)

    @property
    def caught_up(self) -> bool:
        """Whether every watched symbol's windows are complete."""
        complete, watched = self.feed.progress
        return watched > 0 and complete == watched

    async def _choose_symbols(self) -> None:
        """Have the feed bring who is chosen, from where an earlier run left off, for as long as it runs."""
        await self.feed.ready()
        host, engine = self._host, self._works.pipeline.engine
        if self._apart:
            await self._handover.begin(engine.heard())
        else:
            self._mutes.start()
        held, standings, listings = engine.symbols(), engine.standings(), engine.listings()
        history = history_of(host.config, host.reporter)
        async with paying(history, self._take, engine.open_since, self.feed.clock.now_ms):
            await self._universe.run(self.feed, held, standings, listings)

    async def _begin(self, instruments: Sequence[Instrument], now_ms: int) -> list[SeriesPlan]:
        """What the feed must bring at the start: of whom the engine still holds only what is new."""
        positions, gone = resumed(self._works.pipeline.engine, (one.symbol for one in instruments), now_ms)
        if gone is not None:
            self._take([gone])
        return await self._plan(instruments, now_ms, positions)

    async def _plan(
        self, instruments: Sequence[Instrument], now_ms: int, positions: Mapping[str, int] | None = None
    ) -> list[SeriesPlan]:
        """What the feed must bring of these; where their series start is stored before it does."""
        ledger, makeup = self._host.ledger, self._works.makeup

        def planned() -> list[SeriesPlan]:
            if self._apart:
                known = seen_by(ledger.paper.account(makeup.venue), instruments)
                return [base_of(plan) for plan in plan_series(instruments, self._strategies, known, now_ms, positions)]
            known = ledger.series_states(makeup.venue)
            plans = plan_series(instruments, self._strategies, known, now_ms, positions, makeup.market)
            ledger.commit_step(Step(makeup.venue, series=states_of(plans, positions)))
            return plans

        return await asyncio.get_running_loop().run_in_executor(self._host.executor, planned)

    def connections(self) -> list[dict[str, Any]]:
        """The stream-to-connection map, as health and metrics show it."""
        states: list[dict[str, Any]] = msgspec.to_builtins(self.feed.connections())
        return states
