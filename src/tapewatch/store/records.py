"""The values that go into the ledger and come out of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from tapewatch.model import Effect, Signal

#: What an alert is about: a signal, tapewatch itself, a paper position, the paper account, or what became of a signal.
Kind = Literal[
    "signal", "operator", "test", "entry", "partial", "exit", "summary", "paused", "resumed", "follow_up"
]  # fmt: skip
MessageState = Literal["queued", "sending", "sent", "superseded", "digested", "late", "dead"]


class SeriesState(msgspec.Struct, frozen=True):
    """Where one series of bars starts, and the last bar of it the engine has processed (None: none yet)."""

    symbol: str
    interval_ms: int
    history_start_ms: int
    last_open_ms: int | None = None


class Message(msgspec.Struct, frozen=True):
    """One alert for one channel.

    `created_ms` is by the wall clock; of those due the lowest `priority` goes first; `possible_repeat` says that the
    channel may have it already.
    """

    alert_id: str
    channel: str
    created_ms: int
    kind: Kind = "signal"
    priority: int = 0
    possible_repeat: bool = False

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


class Step(msgspec.Struct, frozen=True):
    """What one step of the engine leaves behind; stored as a whole or not at all.

    `position` is that of the journal after its events, where it has any.
    """

    venue: str
    effects: Sequence[Effect] = ()
    messages: Sequence[Message] = ()
    series: Sequence[SeriesState] = ()
    notices: Sequence[Notice] = ()
    journal_id: str = ""
    position: int = 0


class StoredAlert(msgspec.Struct, frozen=True):
    """An alert as the relay needs it to write its message: of kind `signal` with its signals, else in words."""

    alert_id: str
    kind: Kind
    created_ms: int
    late: bool
    subject: str | None
    text: str | None
    signals: tuple[Signal, ...]


class Due(msgspec.Struct, frozen=True):
    """A queued message whose time has come, with what it says.

    `attempts` is how often it was tried, `failures` how often since it was last put in the queue;
    `delivered_to` are the recipients that have it already.
    """

    message: Message
    alert: StoredAlert
    attempts: int
    failures: int
    delivered_to: tuple[str, ...]

    @property
    def possible_repeat(self) -> bool:
        """Whether the channel may have it already."""
        return self.message.possible_repeat
