"""The messages that alerts become: one for each channel their routes name, with what decides which goes first."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tapewatch.channels.routing import Route, Severity, channels_for, severity_of
from tapewatch.model import Alert
from tapewatch.store import Message, Notice

#: Of the messages due on a channel the lowest goes first; of equal ones the strongest, then the oldest.
PRIORITY_SIGNAL, PRIORITY_BOOK, PRIORITY_OPERATOR, PRIORITY_LATE = 0, 5, 10, 20


def messages_for(alert: Alert, routes: Sequence[Route], now_ms: int, *, possible_repeat: bool = False) -> list[Message]:
    """The messages an alert becomes: one for each channel its routes name."""
    priority = PRIORITY_LATE if alert.late else PRIORITY_SIGNAL
    known = [signal.strength for signal in alert.signals if math.isfinite(signal.strength)]
    strength = max(known, default=0.0)
    severity = severity_of("signal", strength if known else None)
    channels = channels_for("signal", alert.signals, routes)
    return [
        Message(alert.alert_id, channel, now_ms, "signal", priority, possible_repeat, strength, severity)
        for channel in channels
    ]


def messages_of_notice(
    notice: Notice,
    channels: Sequence[str],
    now_ms: int,
    *,
    possible_repeat: bool = False,
    severity: Severity | None = None,
) -> list[Message]:
    """The messages an alert in words becomes: one for each of these channels; `severity` is that of its kind."""
    priority = PRIORITY_OPERATOR if notice.kind == "operator" else PRIORITY_LATE if notice.late else PRIORITY_BOOK
    named = severity or severity_of(notice.kind)
    return [
        Message(notice.alert_id, name, now_ms, notice.kind, priority, possible_repeat, severity=named)
        for name in dict.fromkeys(channels)
    ]
