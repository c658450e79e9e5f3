"""A sign of life to somebody else, so that a machine that is dead, or a run that only looks alive, is noticed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from tapewatch.channels.http import Connection, Service
from tapewatch.config import Config
from tapewatch.errors import EdgeError
from tapewatch.live.operator import OperatorDesk
from tapewatch.telemetry import get_logger
from tapewatch.telemetry.health import Health
from tapewatch.telemetry.metrics import Metrics

_log = get_logger("telemetry")

TIMEOUT_S = 10.0


def heartbeat_of(
    config: Config, health: Health, desk: OperatorDesk, metrics: Metrics, now_ms: Callable[[], int]
) -> Heartbeat | None:
    """As configured, None where it is not. Raises SetupError as `Heartbeat` does."""
    asked, channels = config.telemetry.heartbeat, set(config.channels)

    def more() -> list[str]:  # nobody would hear of anything
        return ["no channel delivers"] if channels and channels <= desk.failing else []

    if asked is None:
        return None
    return Heartbeat(asked.url.get_secret_value(), asked.every / 1000, health, more, metrics, now_ms)


async def beating(heartbeat: Heartbeat | None) -> None:
    """Beat until cancelled, where there is a heartbeat."""
    if heartbeat is not None:
        await heartbeat.run()


class Heartbeat:
    """Asks a URL by GET every so often, and only while the run does its work.

    Args:
        url: the address, which is a secret.
        every_s: how often.
        health: says whether it does its work; is told of each beat.
        more: further reasons why it does not.
        metrics: counts beats.
        now_ms: the wall clock.

    Raises:
        SetupError: the URL is none, or the proxy that the environment names is none.
    """

    def __init__(
        self,
        url: str,
        every_s: float,
        health: Health,
        more: Callable[[], Sequence[str]],
        metrics: Metrics,
        now_ms: Callable[[], int],
    ) -> None:
        self._service = Service("heartbeat", url, Connection(TIMEOUT_S), key="telemetry.heartbeat.url")
        self._every_s = every_s
        self._health = health
        self._more = more
        self._metrics = metrics
        self._now_ms = now_ms
        self._said = ""
        health.heartbeat_every_ms = round(every_s * 1000)

    async def run(self) -> None:
        """Beat until cancelled; nothing that goes wrong with it matters to anything else."""
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            await self._turn()
            # While it is withheld, its end is not waited for longer than need be.
            rest_s = self._every_s if not self._said else min(self._every_s, TIMEOUT_S)
            await asyncio.sleep(max(0.0, began_s + rest_s - loop.time()))

    async def _turn(self) -> None:
        reasons = [*self._health.ready(self._now_ms()).reasons, *self._more()]
        if reasons:
            self._metrics.heartbeats.labels("withheld").inc()
            self._say("heartbeat_withheld", "; ".join(reasons))
            return
        try:
            answer = await self._service.ask("GET")
            if not answer.good:
                raise self._service.failure(answer)
        except EdgeError as error:
            self._metrics.heartbeats.labels("failed").inc()
            self._say("heartbeat_failed", str(error))
        else:
            self._metrics.heartbeats.labels("sent").inc()
            self._health.heartbeat_ms = self._now_ms()
            if self._said:
                _log.info("heartbeat_again")
            self._said = ""

    def _say(self, event: str, reason: str) -> None:
        """Once, until it changes: the seconds in a reason change all the time."""
        first, self._said = event != self._said, event
        if first and event == "heartbeat_failed":
            _log.warning("heartbeat_failed", error=reason)
        elif first:
            _log.warning("heartbeat_withheld", reason=reason)
