"""What a channel is given to send: a message as it was stored, in words."""

from __future__ import annotations

import msgspec

from tapewatch.channels.escape import units
from tapewatch.channels.port import Channel, Outgoing, Style
from tapewatch.channels.writer import Rendered, Writer
from tapewatch.live.messages import PRIORITY_OPERATOR
from tapewatch.model import Signal
from tapewatch.store import Due, StoredAlert

#: Kinds that are of use for a while only; a digest is, unless it is the operator's.
_TIMELY = frozenset({"signal", "entry", "partial", "exit", "paused", "resumed", "follow_up", "digest"})


#: As much as may be said in a digest beside its lines.
_LONG_ID, _LONG_LATE = "digest/" + "x" * 64, "these alerts waited up to 100000 min before they could be delivered."


class Words:
    """Writes messages.

    Args:
        writer: of their words.
        useful_s: a message that waited longer is late.
    """

    def __init__(self, writer: Writer, useful_s: float) -> None:
        self._writer = writer
        self._useful_ms = useful_s * 1000

    def past_use(self, due: Due, now_ms: int) -> bool:
        """Whether a message waited longer than it is of use."""
        message = due.message
        timely = message.kind in _TIMELY and message.priority != PRIORITY_OPERATOR
        return timely and now_ms - message.created_ms > self._useful_ms

    def late(self, due: Due, now_ms: int) -> str | None:
        """Why a message comes late, None when it does not."""
        if self.past_use(due, now_ms):
            minutes = (now_ms - due.message.created_ms) / 60_000
            if due.members:
                return f"these alerts waited up to {minutes:.0f} min before they could be delivered."
            return f"this alert waited {minutes:.0f} min before it could be delivered."
        return "the candle it is about arrived late." if due.alert.late and due.alert.signals else None

    def line(self, alert: StoredAlert, style: Style) -> str:
        """One line that names an alert in a digest."""
        return self._writer.line(alert, style)

    def fitting(self, alerts: list[StoredAlert], channel: Channel, why: str) -> list[StoredAlert]:
        """As many of the first of these as a digest for the channel has room for, by its own template too."""
        while len(alerts) > 2 and channel.room is not None:
            written = self._writer.digest(
                alerts,
                channel.style,
                why=why,
                identity=_LONG_ID,
                created_ms=alerts[0].created_ms,
                channel=channel.name,
                late=_LONG_LATE,
                repeat=True,
            )
            if units(written.body) <= channel.room:
                break
            alerts = alerts[: len(alerts) * 9 // 10]
        return alerts

    def outgoing(self, due: Due, channel: Channel, now_ms: int) -> Outgoing:
        """A message ready for its channel, in an attempt that begins now."""
        late, alert, message = self.late(due, now_ms), due.alert, due.message
        written, lead = self._written(due, channel, late), lead_of(due)
        return Outgoing(
            message_id=message.message_id,
            alert_id=alert.alert_id,
            kind=message.kind,
            subject=written.subject,
            text=written.text,
            html=written.html,
            signal=msgspec.json.decode(msgspec.json.encode(lead)),
            created_ms=message.created_ms,
            sent_ms=now_ms,
            possible_repeat=due.possible_repeat,
            late=late is not None or alert.late,
            delivered_to=due.delivered_to,
            body=written.body,
            severity=message.severity,
            side=None if lead is None else lead.side,
            chart_url=written.chart_url,
            image=written.image,
            record=msgspec.json.decode(msgspec.json.encode(written.record)),
            members=tuple(member.alert_id for member in due.members),
        )

    def _written(self, due: Due, channel: Channel, late: str | None) -> Rendered:
        alert, repeat, style, name = due.alert, due.possible_repeat, channel.style, channel.name
        if not due.members:
            return self._writer.write(alert, style, channel=name, late=late, repeat=repeat)
        return self._writer.digest(
            due.members,
            style,
            why=alert.text or "",
            identity=alert.alert_id,
            created_ms=alert.created_ms,
            channel=name,
            late=late,
            repeat=repeat,
        )


def lead_of(due: Due) -> Signal | None:
    """The signal a message is about, the first of several."""
    return due.alert.signals[0] if due.alert.signals else None
