"""What becomes of messages: the channels of a configuration, and the relay that serves them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NoReturn

from tapewatch.channels import Channel
from tapewatch.channels.writer import Writer
from tapewatch.live.delivery import DeliveryWatch
from tapewatch.live.host import Host, wall_ms
from tapewatch.live.pace import rules_of
from tapewatch.live.relay import Attempt, Pace, Relay
from tapewatch.telemetry import get_logger

_log = get_logger("live")


class Dispatch:
    """Delivers the messages of one ledger by the channels of one configuration.

    Args:
        host: of the same process.
        channels: as configured.
        writer: writes what is sent.
        on_attempt: told of each attempt.
    """

    def __init__(
        self, host: Host, channels: Sequence[Channel], writer: Writer, on_attempt: Callable[[Attempt], None]
    ) -> None:
        self._host, self._on_attempt = host, on_attempt
        self._relaying: asyncio.Task[None] | None = None
        self.relay = self._relay_of(channels, writer)

    def renew(self, channels: Sequence[Channel], writer: Writer) -> None:
        """Deliver by these from now on; the relay of the others finishes what is under way first."""
        before, self.relay = self.relay, self._relay_of(channels, writer)
        self._look_at_outbox()
        before.stop()

    def _relay_of(self, channels: Sequence[Channel], writer: Writer) -> Relay:
        host, config = self._host, self._host.config
        self._watch = DeliveryWatch(
            host.metrics, host.health, host.operator, config.channels, wall_ms, self._on_attempt
        )
        return Relay(
            host.ledger.outbox,
            channels,
            host.executor,
            writer=writer,
            now_ms=wall_ms,
            pace=Pace(useful_s=config.alerts.expiry / 1000),
            rules=rules_of(config),
            observer=self._watch,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        """The relay, which delivers while this lasts; then it finishes what is under way."""
        self._look_at_outbox()
        relay = self._relaying = asyncio.create_task(self._relay(), name="relay")
        try:
            yield relay
        finally:
            self.relay.stop()
            with suppress(Exception):  # what made the relay fail was raised by its guard
                await relay

    async def _relay(self) -> None:
        """One relay after the other, until the last one is stopped."""
        while True:
            relay, watch = self.relay, self._watch
            await relay.run()
            if relay is self.relay:
                return
            watch.ended(self._host.config.channels)

    @property
    def over(self) -> bool:
        """Whether the relay has ended, or never began."""
        return self._relaying is None or self._relaying.done()

    def _look_at_outbox(self) -> None:
        for channel, counts in self._host.ledger.outbox.counts().items():
            queued = counts.get("queued", 0) + counts.get("sending", 0)
            if queued and channel not in self._host.config.channels:
                _log.warning("messages_without_channel", channel=channel, queued=queued)


async def fail_with(relay: asyncio.Task[None]) -> NoReturn:
    """Fails when the relay does; it is not supposed to end while anything else runs."""
    await asyncio.wait([relay])
    await relay
    raise RuntimeError("the relay ended by itself")
