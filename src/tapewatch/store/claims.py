"""A message claimed, and an attempt ended: what happens once for each delivery, with statements that are built once."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, bindparam, insert, select, update

from tapewatch.store import schema
from tapewatch.store.alerts import stored_alerts
from tapewatch.store.digests import members
from tapewatch.store.records import Due, Message, StoredAlert

_messages, _attempts = schema.messages.c, schema.attempts.c
#: Of those due the first goes first.
ORDER = (_messages.priority, _messages.rank, _messages.created_ms, _messages.message_id)

_FIRST = (
    select(_messages.message_id)
    .where(
        _messages.channel == bindparam("its_channel"),
        _messages.state == "queued",
        _messages.due_ms <= bindparam("now_ms"),
    )
    .order_by(*ORDER)
    .limit(1)
)
_CLAIM = (
    update(schema.messages)
    .where(_messages.message_id == bindparam("its_id"), _messages.state == "queued")
    .values(state="sending", attempts=_messages.attempts + 1)
    .returning(*schema.messages.c)
)
_OPEN = insert(schema.attempts)
_CLOSE = (
    update(schema.attempts)
    .where(_attempts.message_id == bindparam("its_id"), _attempts.outcome.is_(None))
    .values(ended_ms=bindparam("its_end_ms"), outcome=bindparam("its_outcome"), error=bindparam("its_error"))
)
_SENT = (
    update(schema.messages)
    .where(_messages.message_id == bindparam("its_id"))
    .values(state=bindparam("its_state"), sent_ms=bindparam("its_end_ms"), last_error=None)
    .returning(_messages.alert_id, _messages.channel, _messages.kind)
)


def first_due(connection: Connection, channel: str, now_ms: int) -> str | None:
    """The id of the message of a channel that goes next, None where none is due."""
    found: str | None = connection.scalar(_FIRST, {"its_channel": channel, "now_ms": now_ms})
    return found


def claim(connection: Connection, message_id: str, now_ms: int) -> Due | None:
    """Claim a queued message and open an attempt; None when it is not queued any more."""
    row = connection.execute(_CLAIM, {"its_id": message_id}).one_or_none()
    if row is None:
        return None
    connection.execute(_OPEN, {"message_id": message_id, "number": row.attempts, "started_ms": now_ms})
    [alert] = stored_alerts(connection, [row.alert_id])
    named = members(connection, row.channel, row.alert_id) if row.kind == "digest" else []
    return _due(row, alert, stored_alerts(connection, named))


def close(connection: Connection, message_id: str, now_ms: int, outcome: str, error: str | None = None) -> None:
    """The attempt that is open is over."""
    values = {"its_id": message_id, "its_end_ms": now_ms, "its_outcome": outcome, "its_error": error}
    connection.execute(_CLOSE, values)


def mark(connection: Connection, message_id: str, sent_ms: int, *, late: bool) -> Row[Any]:
    """The message was delivered; returns its `alert_id`, `channel` and `kind`."""
    values = {"its_id": message_id, "its_end_ms": sent_ms, "its_state": "late" if late else "sent"}
    return connection.execute(_SENT, values).one()


def _due(row: Row[Any], alert: StoredAlert, named: list[StoredAlert]) -> Due:
    return Due(
        message=Message(
            row.alert_id, row.channel, row.created_ms, row.kind, row.priority, row.possible_repeat, -row.rank,
            row.severity,
        ),
        alert=alert,
        attempts=row.attempts - 1,
        failures=row.failures,
        delivered_to=tuple(msgspec.json.decode(row.delivered_to)),
        members=tuple(named),
    )  # fmt: skip
