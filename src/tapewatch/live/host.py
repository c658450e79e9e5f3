"""What every process of a run has, whatever its role: the ledger, the operator's desk, health, figures and a clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any, Protocol

from tapewatch.config import Config
from tapewatch.live.figures import keeping
from tapewatch.live.heartbeat import beating, heartbeat_of
from tapewatch.live.ledgerwatch import looking
from tapewatch.live.onlookers import Onlookers
from tapewatch.live.operator import OperatorDesk
from tapewatch.live.reporter import Reporter
from tapewatch.live.roles import RIGHTS, Role
from tapewatch.live.troubles import HOUR_MS
from tapewatch.live.turns import work_until
from tapewatch.live.watch import Clocks, Watch, limits_of
from tapewatch.network import http_url
from tapewatch.store import Ledger, Step
from tapewatch.telemetry import get_logger
from tapewatch.telemetry.health import Health
from tapewatch.telemetry.metrics import Metrics

_log = get_logger("live")

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
        scene: Onlookers | None,
        token: str | None,
    ) -> Awaitable[None]: ...


class Host:
    """The common ground of one process.

    Args:
        config: the process's own; see `roles.apart`.
        role: which rights on the ledger it takes.
        submit: stores a step of what the operator is told.

    Raises:
        SetupError: another process has one of the rights.
        StoreError: the ledger cannot be opened.
    """

    def __init__(self, config: Config, role: Role, submit: Callable[[Step], None]) -> None:
        self.config, self.role = config, role
        with ExitStack() as opened:
            self.ledger = Ledger.open(config.ledger.address, role=role)
            opened.callback(self.ledger.close)
            for right in RIGHTS[role]:
                opened.callback(self.ledger.lease(right).release)
            self.executor = ThreadPoolExecutor(1, thread_name_prefix="ledger")
            self._opened = opened.pop_all()
        #: What pages show; None where there are none.
        self.onlookers = Onlookers(lambda: self.config, role) if config.web.enabled else None
        self.metrics = Metrics()
        self.health = Health(wall_ms(), [], _mailing(config), role=role)
        told = self.ledger.operation
        self.operator = OperatorDesk(
            config.alerts.operator, submit, wall_ms, config.exchange.venue, list(config.channels)
        )
        self.operator.resume(told.troubles(), told.told_since(wall_ms() - HOUR_MS), told.maintenance())
        data_errors = config.alerts.operator.data_errors_per_hour
        self.reporter = Reporter(self.metrics, self.health, self.operator, data_errors, wall_ms)
        self._heartbeat = heartbeat_of(config, self.health, self.operator, self.metrics, wall_ms)
        self._changed = asyncio.Event()
        #: The exchange's clock, where it is known.
        self.exchange_ms: Callable[[], int | None] = lambda: None
        self.watch = Watch(
            self.operator,
            self.health,
            limits_of(config),
            Clocks(wall_ms),
            lambda: self.exchange_ms(),  # noqa: PLW0108  (it is known later)
            self.ledger,
            self.executor,
        )

    def tasks(self, serve: Callable[[], ServeHealth]) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """What runs in every process, by name, until it is cancelled."""
        yield "health", self._serve_health(serve)
        yield "watch", self.watch.run()
        yield "heartbeat", self._beat()
        yield "ledger watch", looking(self.health, self.ledger, self.executor)
        yield "figures", keeping(self.metrics, self.ledger, self.executor, wall_ms)
        yield "reporter", self._report()

    def change(self, config: Config) -> None:
        """Go on with another configuration. Raises SetupError, and changes nothing, where it cannot work."""
        asked = config.telemetry.heartbeat
        self._heartbeat = heartbeat_of(config, self.health, self.operator, self.metrics, wall_ms)
        self.config = config
        self.health.heartbeat_every_ms = None if asked is None else asked.every
        self.health.email_channels = _mailing(config)
        self.operator.change(config.alerts.operator, list(config.channels))
        self.reporter.data_errors_per_hour = config.alerts.operator.data_errors_per_hour
        self.watch.change(limits_of(config))
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _beat(self) -> None:
        while True:
            await work_until(self._changed, beating(self._heartbeat))

    async def _report(self) -> None:
        while True:
            every_s = self.config.telemetry.health_every / 1000
            await work_until(self._changed, self.reporter.run(every_s, self.watch.each_second))

    def close(self) -> None:
        """Let another process have the ledger; the executor is done with its work."""
        self._opened.close()

    async def _serve_health(self, serve: Callable[[], ServeHealth]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(WEB_DELAY_S):
                await self.reporter.connected_once.wait()
        web, never = self.config.web, asyncio.Event()

        def bound(port: int) -> None:
            url = http_url(web.host, port)
            _log.info("health_served", url=f"{url}/health")
            if self.onlookers is not None:
                _log.info("dashboard_served", url=f"{url}/")

        await serve()(
            self.health,
            self.metrics,
            web.host,
            web.port,
            now_ms=wall_ms,
            on_bound=bound,
            stop=never,
            scene=self.onlookers,
            token=None if web.token is None else web.token.get_secret_value(),
        )


def _mailing(config: Config) -> list[str]:
    return [name for name, spec in config.channels.items() if spec.type == "email"]
