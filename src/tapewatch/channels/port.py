"""What a channel is: one method that delivers one message, and two errors that say whether to try again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import msgspec

from tapewatch.errors import EdgeError


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A message ready to be delivered.

    `created_ms` and `sent_ms` are by the wall clock, when it was queued and when this attempt began. `signal` is the
    leading signal as `signals --json` prints it, None for messages to the operator. `delivered_to` are recipients
    that have the message from an earlier attempt and must not get it again.

    `text` is plain; `body` says the same in the channel's style. `severity` is low, normal, high or critical; `side` is
    the leading signal's; `chart_url` leads to the chart; `image` is a PNG of it; `record` is what became of alerts
    like it. `members` are the ids of the alerts that a digest names.
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
    body: str = ""
    severity: str = "normal"
    side: str | None = None
    chart_url: str | None = None
    image: bytes | None = None
    record: dict[str, Any] | None = None
    members: tuple[str, ...] = ()


Style = Literal["plain", "html", "markdown", "telegram", "json"]


class DeliveryError(EdgeError):
    """A message was not, or not to everybody, delivered; the relay tries again later.

    Args:
        message: why, for the user; never with a secret.
        retry_after_s: how long the peer asked to be left alone.
        delivered_to: every recipient that has the message, those of earlier attempts too.
        maybe_delivered: whether it may have arrived all the same, so that the next attempt is a possible repeat.
        whole_channel: whether the channel as such is in trouble, so that its other messages need not be tried either.
        disable: whether the channel must not be used again before the configuration is looked at.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        delivered_to: Sequence[str] = (),
        maybe_delivered: bool = False,
        whole_channel: bool = False,
        disable: bool = False,
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.delivered_to = tuple(delivered_to)
        self.maybe_delivered = maybe_delivered
        self.whole_channel = whole_channel
        self.disable = disable


class RejectedError(DeliveryError):
    """Trying again would not help; the relay gives the message up and `alerts dead` lists it."""


class Channel(Protocol):
    """A way to the user.

    `send` returns when the other side has taken the message, raises DeliveryError or RejectedError otherwise, and ends
    within a bounded time. What it returns is how many seconds the other side wants to be left alone now, None where it
    said nothing of that.
    """

    @property
    def name(self) -> str:
        """The name in the configuration."""
        ...

    @property
    def style(self) -> Style:
        """How `Outgoing.body` is written for it."""
        ...

    @property
    def room(self) -> int | None:
        """Most characters of a body, in UTF-16 units; None where there is no such limit."""
        ...

    async def send(self, outgoing: Outgoing) -> float | None:
        """Deliver one message; seconds to wait before the next one."""
        ...
