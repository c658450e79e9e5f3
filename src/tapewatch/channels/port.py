"""What a channel is: one method that delivers one message, and two errors that say whether to try again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from tapewatch.errors import EdgeError


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A message ready to be delivered.

    `created_ms` and `sent_ms` are by the wall clock, when it was queued and when this attempt began. `signal` is the
    leading signal as `signals --json` prints it, None for messages to the operator. `delivered_to` are recipients
    that have the message from an earlier attempt and must not get it again.
    """

    message_id: str
    alert_id: str
    kind: str
    subject: str
    text: str
    html: str | None
    signal: dict[str, Any] | None
    created_ms: int
    sent_ms: int
    possible_repeat: bool = False
    late: bool = False
    delivered_to: tuple[str, ...] = ()


class DeliveryError(EdgeError):
    """A message was not, or not to everybody, delivered; the relay tries again later.

    Args:
        message: why, for the user; never with a secret.
        retry_after_s: how long the peer asked to be left alone.
        delivered_to: every recipient that has the message, those of earlier attempts too.
        maybe_delivered: whether it may have arrived all the same, so that the next attempt is a possible repeat.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        delivered_to: Sequence[str] = (),
        maybe_delivered: bool = False,
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.delivered_to = tuple(delivered_to)
        self.maybe_delivered = maybe_delivered


class RejectedError(DeliveryError):
    """Trying again would not help; the relay gives the message up and `alerts dead` lists it."""


class Channel(Protocol):
    """A way to the user.

    `send` returns when the other side has taken the message, raises DeliveryError or RejectedError otherwise, and ends
    within a bounded time.
    """

    @property
    def name(self) -> str:
        """The name in the configuration."""
        ...

    async def send(self, outgoing: Outgoing) -> None:
        """Deliver one message."""
        ...
