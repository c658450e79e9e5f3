"""The values that go into the ledger and come out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from tapewatch.model import Effect, Record, Signal

#: What an alert is about: a signal, tapewatch itself, a paper position, the paper account, what became of a signal, or
#: other alerts.
Kind = Literal[
    "signal", "operator", "test", "entry", "partial", "exit", "summary", "paused", "resumed", "follow_up", "digest"
]  # fmt: skip
MessageState = Literal["queued", "sending", "sent", "superseded", "digested", "late", "dead"]


ChannelCondition = Literal["ok", "held", "disabled"]


class SeriesState(msgspec.Struct, frozen=True):
    """Where one series of bars starts, and the last bar of it the engine has processed (None: none yet)."""

    symbol: str
    interval_ms: int
    history_start_ms: int
    last_open_ms: int | None = None


class Message(msgspec.Struct, frozen=True):
    """One alert for one channel.

    `created_ms` is by the wall clock; of those due the lowest `priority` goes first, of these the highest `strength`;
    `possible_repeat` says that the channel may have it already.
    """

    alert_id: str
    channel: str
    created_ms: int
    kind: Kind = "signal"
    priority: int = 0
    possible_repeat: bool = False
    strength: float = 0.0
    severity: str = "normal"

    @property
    def message_id(self) -> str:
        """The derived id: an alert reaches a channel once."""
        return f"{self.alert_id}@{self.channel}"


class Notice(msgspec.Struct, frozen=True):
    """An alert in words: to the operator, or of what became of a signal; `signal_ids` are those it is about."""

    alert_id: str
    subject: str
    text: str
    created_ms: int
    kind: Kind = "operator"
    late: bool = False
    signal_ids: tuple[str, ...] = ()


class Trouble(msgspec.Struct):
    """What is known of one thing the operator is told of, under its key.

    Times are by the wall clock. `open`: it has begun and is not over; what just happens is never open.

    Attributes:
        since_ms, last_ms: when it began, and when it happened last or ended.
        told_ms: when the operator was told last, 0 before that.
        told: how often, since it began.
        count: how often it happened, since it began.
        held: how often since the operator was told last.
    """

    key: str
    subject: str
    since_ms: int
    last_ms: int
    told_ms: int = 0
    told: int = 0
    count: int = 0
    held: int = 0
    open: bool = False


class Maintenance(msgspec.Struct, frozen=True):
    """A time in which the operator is told nothing, [from_ms, until_ms) of the wall clock; `name` is its own."""

    name: str
    from_ms: int
    until_ms: int
    reason: str | None = None


class Step(msgspec.Struct, frozen=True):
    """What one step of the engine leaves behind; stored as a whole or not at all.

    `position` is that of the journal after its events, where it has any. `maintained` are windows of maintenance that
    are told of and go. `records` are those of alerts, by the alert's id.
    """

    venue: str
    effects: Sequence[Effect] = ()
    messages: Sequence[Message] = ()
    series: Sequence[SeriesState] = ()
    notices: Sequence[Notice] = ()
    troubles: Sequence[Trouble] = ()
    maintained: Sequence[Maintenance] = ()
    journal_id: str = ""
    position: int = 0
    records: Mapping[str, Record] = {}


class StoredAlert(msgspec.Struct, frozen=True):
    """An alert as the relay needs it to write its message: of kind `signal` with its signals, else in words.

    `record` is what had become of alerts like it so far; `candles` are open, high, low and close up to its bar.
    """

    alert_id: str
    kind: Kind
    created_ms: int
    late: bool
    subject: str | None
    text: str | None
    signals: tuple[Signal, ...]
    record: Record | None = None
    candles: tuple[tuple[float, float, float, float], ...] = ()


class Waiting(msgspec.Struct, frozen=True):
    """A queued message without what it says."""

    message_id: str
    alert_id: str
    kind: Kind
    priority: int
    strength: float
    severity: str
    created_ms: int
    possible_repeat: bool


class Due(msgspec.Struct, frozen=True):
    """A message that is about to be sent, with what it says.

    `attempts` is how often it was tried before, `failures` how often since it was last put in the queue;
    `delivered_to` are the recipients that have it already; `members` are the alerts that a digest names.
    """

    message: Message
    alert: StoredAlert
    attempts: int
    failures: int
    delivered_to: tuple[str, ...]
    members: tuple[StoredAlert, ...] = ()

    @property
    def possible_repeat(self) -> bool:
        """Whether the channel may have it already."""
        return self.message.possible_repeat


class Marked(NamedTuple):
    """A message was marked as sent.

    Attributes:
        superseded: by channel, how many messages are superseded now.
        following: the channel's next message, claimed, where that was asked for and there is one.
    """

    superseded: Mapping[str, int]
    following: Due | None = None


class ChannelState(msgspec.Struct, frozen=True):
    """Whether a channel may be used: `held` until a time of the wall clock, `disabled` until the next start.

    `failures` is how often it failed as a whole since it last worked.
    """

    channel: str
    state: ChannelCondition = "ok"
    until_ms: int = 0
    failures: int = 0
    reason: str | None = None
    changed_ms: int = 0
