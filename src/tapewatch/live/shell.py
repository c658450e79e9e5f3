"""`run`: feed, engine, ledger, relay and health in one process, supervised.

Any part that fails unexpectedly takes the process down: the operator is told, the exit code says so, and starting again
is recovery. A stop (SIGTERM, SIGINT) finishes what was accepted: events are processed, steps committed, deliveries
under way completed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn, Protocol, TextIO

import msgspec

from tapewatch import strategies
from tapewatch.channels import Channel, build
from tapewatch.config import Config
from tapewatch.errors import TapewatchError, first_of
from tapewatch.feeds import Feed, Instrument, SeriesPlan
from tapewatch.live.context import desk_of
from tapewatch.live.crash import last_words
from tapewatch.live.delivery import DeliveryWatch
from tapewatch.live.feeds import build_feed
from tapewatch.live.figures import keeping
from tapewatch.live.funding import history_of, paying
from tapewatch.live.heartbeat import beating, heartbeat_of
from tapewatch.live.housekeeping import housekeeper_of
from tapewatch.live.makeup import makeup_of, memory_of, passed_of
from tapewatch.live.mutes import MuteWatch
from tapewatch.live.operator import OperatorDesk
from tapewatch.live.pace import rules_of as rules_of_channels
from tapewatch.live.pipeline import Pipeline, StepReport
from tapewatch.live.plans import plan_series, resumed, states_of
from tapewatch.live.recorder import Recorder
from tapewatch.live.records import keeper_of
from tapewatch.live.recovery import Recoverer
from tapewatch.live.relay import Attempt, Pace, Relay
from tapewatch.live.reporter import Reporter
from tapewatch.live.stores import open_stores
from tapewatch.live.telling import teller_of, writer_of
from tapewatch.live.troubles import HOUR_MS
from tapewatch.live.universe import UniverseService, caps_of, rules_of
from tapewatch.live.watch import watch_of
from tapewatch.store import Step
from tapewatch.telemetry import get_logger
from tapewatch.telemetry.health import Health
from tapewatch.telemetry.metrics import Metrics

_log = get_logger("live")

#: A stop waits this long for the ledger to take what was accepted.
DRAIN_S = 30.0
#: And this long for alerts just stored to be delivered; what a channel refuses for now is for the next start.
DELIVER_S = 2.0
#: The health paths are served after the first subscription, or after this long without one.
WEB_DELAY_S = 2.0


def wall_ms() -> int:
    """The wall clock; the live shell reads it here and nowhere else."""
    return time.time_ns() // 1_000_000


class ServeHealth(Protocol):
    """Serves the health paths until `stop` is set; see `tapewatch.web.server.serve`."""

    def __call__(  # noqa: D102
        self,
        health: Health,
        metrics: Metrics,
        host: str,
        port: int,
        *,
        now_ms: Callable[[], int],
        on_bound: Callable[[int], None],
        stop: asyncio.Event,
    ) -> Awaitable[None]: ...


@dataclass
class Watchers:
    """Who else wants to know what happens: the demo counts and measures."""

    on_step: Callable[[StepReport], None] = lambda _report: None
    on_attempt: Callable[[Attempt], None] = lambda _attempt: None
    on_stages: Callable[[str, Mapping[str, float]], None] = lambda _alert_id, _stages: None


class Live:
    """One run; `health` is what is known of how it does.

    Args:
        config: what to watch and whom to tell.
        serve_health: loads and returns what serves the health paths; called after the first subscription.
        watchers: see `Watchers`.
        console: where a console channel prints; stdout unless given.

    Raises:
        SetupError: strategies or channels cannot work, or another run has the ledger.
        StoreError: the ledger cannot be opened.
    """

    def __init__(
        self,
        config: Config,
        serve_health: Callable[[], ServeHealth],
        watchers: Watchers | None = None,
        console: TextIO | None = None,
    ) -> None:
        self._config = config
        self._serve_health_with = serve_health
        self._watchers = watchers or Watchers()
        mappings = strategies.mappings(config.strategies)
        self._strategies = strategies.from_mappings(mappings)
        self._writer = writer_of(config, self._unwritten)
        channels = [build(name, spec, console=console) for name, spec in config.channels.items()]
        self._ledger, self._lease, journal = open_stores(config, wall_ms)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._stopping = asyncio.Event()
        mailing = [name for name, spec in config.channels.items() if spec.type == "email"]
        self._metrics, self.health = Metrics(), Health(wall_ms(), [], mailing)
        self._operator = self._made_operator()
        data_errors = config.alerts.operator.data_errors_per_hour
        self._reporter = Reporter(self._metrics, self.health, self._operator, data_errors, wall_ms)
        self._reporter.on_stages = self._watchers.on_stages
        makeup = self._makeup = makeup_of(config, mappings)
        passed, memory = partial(passed_of, self._ledger, makeup), partial(memory_of, self._ledger, makeup)
        self._recoverer = Recoverer(journal, self._ledger, makeup, passed, self._stopping.is_set, memory)
        self._recorder = Recorder(journal, self._ledger, self._executor, config.journal.snapshot_every / 1000)
        self._pipeline: Pipeline = self._made_pipeline()
        self._relay = self._made_relay(channels)
        self._universe = self._made_universe()
        self._feed = self._made_feed()
        self._context = desk_of(
            config, self._feed, self._universe.volume_1h, self._pipeline.take, self._reporter.answered
        )
        self._mutes = MuteWatch(self._ledger, self._executor, self._pipeline.take, wall_ms, self._feed.clock.now_ms)
        self._watch = watch_of(
            config, self._operator, self.health, self._feed.clock, self._ledger, self._executor, wall_ms
        )
        self._heartbeat = heartbeat_of(config, self.health, self._operator, self._metrics, wall_ms)
        if config.paper is not None:
            self._reporter.book.start(self._ledger, config.exchange.venue)
        self.health.parts["universe"] = self._universe.state
        self.health.parts["connections"] = self._connections
        self._metrics.watch_connections(self._connections)
        self._reporter.watch(self._feed.counts, self._feed.clock.now_ms)

    def _made_operator(self) -> OperatorDesk:
        def submit(step: Step) -> None:
            self._pipeline.notify(step)

        config, told = self._config, self._ledger.operation
        desk = OperatorDesk(config.alerts.operator, submit, wall_ms, config.exchange.venue, list(config.channels))
        desk.resume(told.troubles(), told.told_since(wall_ms() - HOUR_MS), told.maintenance())
        return desk

    def _made_pipeline(self) -> Pipeline:
        return Pipeline(
            recorder=self._recorder,
            executor=self._executor,
            teller=teller_of(self._config),
            now_ms=wall_ms,
            on_step=self._stepped,
            on_trouble=self._reporter.ledger_trouble,
            on_waiting=self._reporter.waiting,
            on_ask=lambda wanted: self._context.ask(wanted),  # noqa: PLW0108  (it is made later)
            records=keeper_of(self._ledger, self._executor, self._makeup, wall_ms),
        )

    def _made_feed(self) -> Feed:
        return build_feed(
            self._config,
            self._pipeline.take,
            self._reporter,
            self._strategies,
            on_tickers=self._universe.on_tickers,
            drained=self._pipeline.drained,
        )

    def _made_relay(self, channels: Sequence[Channel]) -> Relay:
        alerts = self._config.alerts
        return Relay(
            self._ledger.outbox,
            channels,
            self._executor,
            writer=self._writer,
            now_ms=wall_ms,
            pace=Pace(useful_s=alerts.expiry / 1000),
            rules=rules_of_channels(self._config),
            observer=DeliveryWatch(
                self._metrics, self.health, self._operator, self._config.channels, wall_ms, self._attempted
            ),
        )

    def _made_universe(self) -> UniverseService:
        return UniverseService(
            rules_of(self._config.universe),
            take=self._pipeline.take,
            begin=self._begin,
            plan=self._plan,
            refresh_ms=self._config.universe.refresh,
            caps=caps_of(self._config, wall_ms),
            on_change=self._reporter.universe_changed,
            listings=self._config.paper is not None,
        )

    async def run(self) -> None:
        """Run until `stop`, then finish what was accepted. Raises what made it fail."""
        self._loop = asyncio.get_running_loop()
        async with self._delivering() as relay:
            try:
                drained = False
                async with asyncio.TaskGroup() as tasks:
                    if not await self._recover():
                        return
                    sources = [
                        tasks.create_task(self._feed.run(), name="feed"),
                        tasks.create_task(self._choose_symbols(), name="universe"),
                        tasks.create_task(self._serve_health(), name="health"),
                        tasks.create_task(self._mutes.run(), name="mutes"),
                        tasks.create_task(
                            housekeeper_of(self._config, self._ledger, wall_ms, self._watch.housekeeping).run(),
                            name="housekeeper",
                        ),
                        tasks.create_task(self._watch.run(), name="watch"),
                        tasks.create_task(beating(self._heartbeat), name="heartbeat"),
                        tasks.create_task(
                            keeping(self._metrics, self._ledger, self._executor, wall_ms), name="figures"
                        ),
                        tasks.create_task(
                            self._reporter.run(self._config.telemetry.health_every / 1000, self._watch.each_second),
                            name="reporter",
                        ),
                    ]
                    rest = [tasks.create_task(self._pipeline.run(), name="pipeline")]
                    rest.append(tasks.create_task(self._context.run(), name="context"))
                    rest.append(tasks.create_task(self._recorder.run(lambda: self.caught_up), name="recorder"))
                    rest.append(tasks.create_task(_fail_with(relay), name="relay guard"))
                    await self._stopping.wait()
                    _log.info("stopping")
                    for task in sources:
                        task.cancel()
                    await asyncio.wait(sources)
                    self._operator.flush()
                    drained = await self._drain()
                    await self._relay.drained(DELIVER_S)
                    for task in rest:
                        task.cancel()
                if drained:
                    await self._recorder.finish(self._pipeline.engine)
            except BaseExceptionGroup as group:
                error = first_of(group)
                if not isinstance(error, TapewatchError | asyncio.CancelledError):
                    relayed = None if relay.done() else self._relay
                    await last_words(error, self._operator, self._ledger, self._executor, relayed)
                raise error from None

    @property
    def caught_up(self) -> bool:
        """Whether every watched symbol's windows are complete."""
        complete, watched = self._feed.progress
        return watched > 0 and complete == watched

    def exchange_now_ms(self) -> int:
        """The exchange's time."""
        return self._feed.clock.now_ms()

    def stop(self) -> None:
        """Ask the run to end."""
        self._stopping.set()

    async def delivered(self, within_s: float) -> bool:
        """Whether everything accepted so far was stored, and delivered or given up, before `within_s` have passed."""
        await self._pipeline.drained()
        return await self._relay.drained(within_s)

    @asynccontextmanager
    async def _delivering(self) -> AsyncIterator[asyncio.Task[None]]:
        """The relay, from the first moment to the last; then the ledger is closed."""
        self._look_at_outbox()
        relay = asyncio.create_task(self._relay.run(), name="relay")
        try:
            yield relay
        finally:
            self._relay.stop()
            with suppress(Exception):  # what made the relay fail was raised by its guard
                await relay
            self._executor.shutdown()
            self._recorder.close()
            self._ledger.close()
            self._lease.release()

    def _look_at_outbox(self) -> None:
        for channel, counts in self._ledger.outbox.counts().items():
            queued = counts.get("queued", 0) + counts.get("sending", 0)
            if queued and channel not in self._config.channels:
                _log.warning("messages_without_channel", channel=channel, queued=queued)

    async def _serve_health(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._reporter.connected_once.wait(), WEB_DELAY_S)
        web, never = self._config.web, asyncio.Event()
        await self._serve_health_with()(
            self.health,
            self._metrics,
            web.host,
            web.port,
            now_ms=wall_ms,
            on_bound=lambda port: _log.info("health_served", url=f"http://{web.host}:{port}/health"),
            stop=never,
        )

    async def _recover(self) -> bool:
        """Give the pipeline its engine; False when stopped meanwhile."""
        recovery = await self._recoverer.recover()
        if recovery is None:
            return False
        self._metrics.watch_followed(recovery.engine.followed)
        self._recorder.started(recovery.begin)
        self._pipeline.resume(recovery.engine, recovery.leftover, repeated=recovery.repeated)
        if recovery.killed_ms is not None and self._config.alerts.operator.recovery:
            self._reporter.goes_on_after(wall_ms() - recovery.killed_ms)
        for key, subject, text in recovery.alerts:
            self._operator.alert(key, subject, text)
        return True

    async def _drain(self) -> bool:
        """Whether everything accepted was stored in time."""
        try:
            async with asyncio.timeout(DRAIN_S):
                await self._pipeline.drained()
        except TimeoutError:
            _log.error("stopped_with_a_step_not_stored", note="the next start stores it, or fetches those bars again")
            return False
        return True

    async def _choose_symbols(self) -> None:
        """Have the feed bring who is chosen, from where an earlier run left off, for as long as it runs."""
        await self._feed.ready()
        self._mutes.start()
        engine = self._pipeline.engine
        held, standings, listings = engine.symbols(), engine.standings(), engine.listings()
        history = history_of(self._config, self._reporter)
        async with paying(history, self._pipeline.take, engine.open_since, self._feed.clock.now_ms):
            await self._universe.run(self._feed, held, standings, listings)

    async def _begin(self, instruments: Sequence[Instrument], now_ms: int) -> list[SeriesPlan]:
        """What the feed must bring at the start: of whom the engine still holds only what is new."""
        positions, gone = resumed(self._pipeline.engine, (one.symbol for one in instruments), now_ms)
        if gone is not None:
            self._pipeline.take([gone])
        return await self._plan(instruments, now_ms, positions)

    async def _plan(
        self, instruments: Sequence[Instrument], now_ms: int, positions: Mapping[str, int] | None = None
    ) -> list[SeriesPlan]:
        """What the feed must bring of these; where their series start is stored before it does."""
        venue = self._config.exchange.venue

        def planned() -> list[SeriesPlan]:
            known = self._ledger.series_states(venue)
            plans = plan_series(instruments, self._strategies, known, now_ms, positions, self._makeup.market)
            self._ledger.commit_step(Step(venue, series=states_of(plans, positions)))
            return plans

        return await asyncio.get_running_loop().run_in_executor(self._executor, planned)

    def _unwritten(self, what: str, error: str) -> None:
        """Tell the operator; called from the thread that writes messages."""
        text = f"The {what} could not be made: {error}. Alerts go out without it, by the built-in templates."
        self._loop.call_soon_threadsafe(self._operator.alert, f"writing/{what}", f"The {what} failed", text)

    def _connections(self) -> list[dict[str, Any]]:
        """The stream-to-connection map, as health and metrics show it."""
        states: list[dict[str, Any]] = msgspec.to_builtins(self._feed.connections())
        return states

    def _stepped(self, report: StepReport) -> None:
        if report.messages:
            self._relay.wake()
        self._reporter.stepped(report)
        self._watchers.on_step(report)

    def _attempted(self, attempt: Attempt) -> None:
        self._reporter.attempted(attempt)
        self._watchers.on_attempt(attempt)


async def _fail_with(relay: asyncio.Task[None]) -> NoReturn:
    """Fails when the relay does; it is not supposed to end while anything else runs."""
    await asyncio.wait([relay])
    await relay
    raise RuntimeError("the relay ended by itself")
