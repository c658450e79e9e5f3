"""Digests: messages whose place another one takes, which names all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, select, update

from tapewatch.store import schema
from tapewatch.store.records import Notice

_messages = schema.messages.c


def store_notice(connection: Connection, notice: Notice, message: dict[str, Any]) -> None:
    """Store an alert in words and its message."""
    signal_ids = msgspec.json.encode(notice.signal_ids).decode()
    connection.execute(schema.alerts.insert(), msgspec.structs.asdict(notice) | {"signal_ids": signal_ids})
    connection.execute(schema.messages.insert(), message)


def fold(connection: Connection, digest: Notice, message: dict[str, Any], message_ids: Sequence[str]) -> bool:
    """Store a digest's alert and message, and that these messages are in it; whether all of them were still queued."""
    folded = update(schema.messages).where(_messages.message_id.in_(message_ids), _messages.state == "queued")
    store_notice(connection, digest, message)
    done = connection.execute(folded.values(state="digested", digest_id=digest.alert_id)).rowcount
    return bool(done == len(message_ids))


def members(connection: Connection, channel: str, digest_id: str) -> list[str]:
    """The ids of the alerts that a digest names, in its order."""
    query = select(_messages.alert_id).where(_messages.digest_id == digest_id, _messages.channel == channel)
    order = (_messages.priority, _messages.rank, _messages.created_ms, _messages.message_id)
    return list(connection.scalars(query.order_by(*order)))
