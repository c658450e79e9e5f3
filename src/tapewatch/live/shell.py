"""`run`: feed, engine, ledger, relay and health in one process, supervised.

Any part that fails unexpectedly takes the process down: the operator is told, the exit code says so, and starting again
is recovery. A stop (SIGTERM, SIGINT) finishes what was accepted: events are processed, steps committed, deliveries
under way completed.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import NoReturn, Protocol, TextIO
from zoneinfo import ZoneInfo

from tapewatch import strategies
from tapewatch.channels import build
from tapewatch.config import Config
from tapewatch.engine import Engine
from tapewatch.errors import TapewatchError
from tapewatch.feeds import BinanceFeed, FeedSettings, SeriesPlan
from tapewatch.gate import GateSettings
from tapewatch.live.mutes import MuteWatch
from tapewatch.live.operator import OperatorDesk
from tapewatch.live.pipeline import Pipeline, StepReport
from tapewatch.live.plans import plan_series, states_of
from tapewatch.live.relay import Attempt, Pace, Relay
from tapewatch.live.reporter import Reporter
from tapewatch.model import LastPassed
from tapewatch.store import Ledger, Message, Notice, Step
from tapewatch.store.lease import Lease
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


class Live:
    """One run.

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
        self._strategies = strategies.configured(config.strategies)
        channels = [build(name, spec, console=console) for name, spec in config.channels.items()]
        self._ledger = Ledger.open(config.ledger.url)
        try:
            self._lease = Lease(config.ledger.url)
        except TapewatchError:
            self._ledger.close()
            raise
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._stopping = asyncio.Event()
        operator = config.alerts.operator
        mailing = [name for name, spec in config.channels.items() if spec.type == "email"]
        self._metrics, self._health = Metrics(), Health(wall_ms(), config.universe.include, mailing)
        self._operator = OperatorDesk(operator, self._notify, wall_ms)
        self._reporter = Reporter(self._metrics, self._health, self._operator, operator.data_errors_per_hour, wall_ms)
        venue = config.exchange.venue
        self._pipeline = Pipeline(
            engine=Engine(venue, self._strategies, _gate_settings(config), self._passed(venue)),
            ledger=self._ledger,
            executor=self._executor,
            routes=config.alerts.routes,
            now_ms=wall_ms,
            on_step=self._stepped,
            on_trouble=self._reporter.ledger_trouble,
            on_waiting=self._reporter.waiting,
        )
        self._relay = Relay(
            self._ledger.outbox,
            channels,
            self._executor,
            zone=ZoneInfo(config.alerts.time_zone),
            now_ms=wall_ms,
            pace=Pace(useful_s=config.alerts.expiry / 1000),
            observer=self._attempted,
        )
        self._feed = BinanceFeed(
            _feed_settings(config), self._plans, self._pipeline.take, self._reporter, drained=self._pipeline.drained
        )
        self._reporter.watch(self._feed.counts, self._feed.clock.now_ms)
        self._mutes = MuteWatch(self._ledger, self._executor, self._pipeline.take, wall_ms, self._feed.clock.now_ms)

    async def run(self) -> None:
        """Run until `stop`, then finish what was accepted. Raises what made it fail."""
        async with self._delivering() as relay:
            try:
                async with asyncio.TaskGroup() as tasks:
                    sources = [
                        tasks.create_task(self._feed.run(), name="feed"),
                        tasks.create_task(self._serve_health(), name="health"),
                        tasks.create_task(self._mutes.run(), name="mutes"),
                        tasks.create_task(
                            self._reporter.run(self._config.telemetry.health_every / 1000), name="reporter"
                        ),
                    ]
                    rest = [tasks.create_task(self._pipeline.run(), name="pipeline")]
                    rest.append(tasks.create_task(_fail_with(relay), name="relay guard"))
                    await self._stopping.wait()
                    _log.info("stopping")
                    for task in sources:
                        task.cancel()
                    await asyncio.wait(sources)
                    await self._drain()
                    await self._relay.drained(DELIVER_S)
                    for task in rest:
                        task.cancel()
            except BaseExceptionGroup as group:
                error = _first(group)
                if not isinstance(error, TapewatchError | asyncio.CancelledError):
                    await self._last_words(error, deliverable=not relay.done())
                raise error from None

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
            self._ledger.close()
            self._lease.release()

    def _look_at_outbox(self) -> None:
        for channel, counts in self._ledger.outbox.counts().items():
            queued = counts.get("queued", 0) + counts.get("sending", 0)
            self._health.outbox_queued += queued
            if queued and channel not in self._config.channels:
                _log.warning("messages_without_channel", channel=channel, queued=queued)

    async def _serve_health(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._reporter.connected_once.wait(), WEB_DELAY_S)
        web, never = self._config.web, asyncio.Event()
        await self._serve_health_with()(
            self._health,
            self._metrics,
            web.host,
            web.port,
            now_ms=wall_ms,
            on_bound=lambda port: _log.info("health_served", url=f"http://{web.host}:{port}/health"),
            stop=never,
        )

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(DRAIN_S):
                await self._pipeline.drained()
        except TimeoutError:
            _log.error("stopped_with_a_step_not_stored", note="the next start fetches those bars again")

    async def _last_words(self, error: BaseException, *, deliverable: bool) -> None:
        """Store an alert to the operator, and give a relay that works a moment for it; else the next start delivers."""
        _log.critical("crash", error=str(error), exc_info=error)
        text = "".join(traceback.format_exception_only(error)).strip()
        venue = self._config.exchange.venue
        step = self._operator.last_words(venue, "crash", "tapewatch stopped after an unexpected error", text)
        if step is not None:
            loop = asyncio.get_running_loop()
            with suppress(TapewatchError):
                await loop.run_in_executor(self._executor, self._ledger.commit_step, step)
                if deliverable:
                    self._relay.wake()
                    await self._relay.drained(10)

    def _plans(self, now_ms: int) -> list[SeriesPlan]:
        venue, symbols = self._config.exchange.venue, self._config.universe.include
        plans = plan_series(symbols, self._strategies, self._ledger.series_states(venue), now_ms)
        self._ledger.commit_step(Step(venue, series=states_of(plans)))
        self._mutes.start()
        return plans

    def _passed(self, venue: str) -> list[LastPassed]:
        """What the gate of the last run remembered."""
        windows_ms = [strategy.budget.window_ms for strategy in self._strategies if strategy.budget is not None]
        decided_ms = [state.last_open_ms for state in self._ledger.series_states(venue) if state.last_open_ms]
        counted = (
            self._ledger.passed_since(venue, max(decided_ms) - max(windows_ms)) if windows_ms and decided_ms else []
        )
        return [*self._ledger.gate_passed(venue), *counted]

    def _notify(self, notice: Notice, messages: Sequence[Message]) -> None:
        self._pipeline.notify(notice, messages)

    def _stepped(self, report: StepReport) -> None:
        if report.messages:
            self._relay.wake()
        self._reporter.stepped(report)
        self._watchers.on_step(report)

    def _attempted(self, attempt: Attempt) -> None:
        self._reporter.attempted(attempt)
        self._watchers.on_attempt(attempt)


def _gate_settings(config: Config) -> GateSettings:
    gate = config.gate
    return GateSettings(gate.late_after, gate.expiry, gate.history.size, gate.history.expire)


def _feed_settings(config: Config) -> FeedSettings:
    exchange, feeds = config.exchange, config.feeds
    return FeedSettings(
        rest_url=exchange.rest_url,
        ws_url=exchange.ws_url,
        ca_file=None if exchange.ca_file is None else str(exchange.ca_file),
        settle_ms=feeds.settle,
        silence_s=feeds.silence / 1000,
        connect_timeout_s=feeds.connect_timeout / 1000,
        request_timeout_s=feeds.request_timeout / 1000,
        weight_share=feeds.weight_share,
    )


async def _fail_with(relay: asyncio.Task[None]) -> NoReturn:
    """Fails when the relay does; it is not supposed to end while anything else runs."""
    await asyncio.wait([relay])
    await relay
    raise RuntimeError("the relay ended by itself")


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
