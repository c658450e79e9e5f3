"""The outbox: messages that wait, are being sent, were sent or were given up, and each attempt to send them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, select, update

from tapewatch.store import schema
from tapewatch.store.database import Database
from tapewatch.store.records import Due, Message, StoredAlert
from tapewatch.store.rows import signal_of


def message_rows(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Rows of `messages` for new messages: queued and due at once."""
    fresh = {
        "state": "queued",
        "due_ms": 0,
        "attempts": 0,
        "failures": 0,
        "delivered_to": "[]",
    }
    return [msgspec.structs.asdict(message) | fresh | {"message_id": message.message_id} for message in messages]


class Outbox:
    """The messages of one ledger. One relay takes from it; every method raises StoreError and then changed nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due_messages(self, channel: str, now_ms: int, limit: int) -> list[Due]:
        """The queued messages of a channel whose time has come, by priority, then age."""
        table = schema.messages
        query = select(table).where(table.c.channel == channel, table.c.state == "queued", table.c.due_ms <= now_ms)
        query = query.order_by(table.c.priority, table.c.created_ms, table.c.message_id).limit(limit)
        with self._database.read() as connection:
            return [_due(row, _alert(connection, row.alert_id)) for row in connection.execute(query).all()]

    def mark_sending(self, message_id: str, now_ms: int) -> bool:
        """Claim a queued message and open an attempt; False when it is not queued any more."""
        table = schema.messages
        claim = update(table).where(table.c.message_id == message_id, table.c.state == "queued")
        claim = claim.values(state="sending", attempts=table.c.attempts + 1)
        with self._database.write() as connection:
            if connection.execute(claim).rowcount == 0:
                return False
            number = connection.scalar(select(table.c.attempts).where(table.c.message_id == message_id))
            attempt = {"message_id": message_id, "number": number, "started_ms": now_ms}
            connection.execute(schema.attempts.insert(), attempt)
        return True

    def mark_sent(self, message_id: str, sent_ms: int, *, late: bool = False) -> None:
        """The message was delivered, `late` when past its usefulness."""
        self._finish(
            message_id, sent_ms, "sent", {"state": "late" if late else "sent", "sent_ms": sent_ms, "last_error": None}
        )

    def mark_failed(
        self,
        message_id: str,
        now_ms: int,
        error: str,
        *,
        next_ms: int | None,
        delivered_to: Sequence[str] = (),
        maybe_delivered: bool = False,
    ) -> None:
        """The attempt failed: queue the message again for `next_ms`, or give it up when that is None.

        Args:
            message_id: the message.
            now_ms: the time by the wall clock.
            error: why, for the user.
            next_ms: when to try again.
            delivered_to: every recipient that has it, those of earlier attempts too.
            maybe_delivered: whether it may have arrived all the same; the next attempt is then a possible repeat.
        """
        values: dict[str, Any] = {
            "state": "dead" if next_ms is None else "queued",
            "failures": schema.messages.c.failures + 1,
            "last_error": error,
            "delivered_to": msgspec.json.encode(list(delivered_to)).decode(),
        }
        if next_ms is not None:
            values["due_ms"] = next_ms
        if maybe_delivered:
            values["possible_repeat"] = True
        self._finish(message_id, now_ms, "rejected" if next_ms is None else "failed", values, error)

    def recover(self, now_ms: int) -> int:
        """Queue again what an earlier run was sending when it ended, as possible repeats; returns how many."""
        table = schema.messages
        again = update(table).where(table.c.state == "sending")
        cut = update(schema.attempts).where(schema.attempts.c.outcome.is_(None))
        with self._database.write() as connection:
            connection.execute(cut.values(outcome="cut", ended_ms=now_ms))
            return connection.execute(again.values(state="queued", possible_repeat=True, due_ms=now_ms)).rowcount

    def resend(self, identity: str, now_ms: int) -> list[str]:
        """Queue given-up messages again; returns their ids.

        Args:
            identity: a message's id, or an alert's for all of its messages.
            now_ms: the time by the wall clock.
        """
        table = schema.messages
        chosen = (table.c.state == "dead") & ((table.c.message_id == identity) | (table.c.alert_id == identity))
        with self._database.write() as connection:
            found = list(connection.scalars(select(table.c.message_id).where(chosen).order_by(table.c.message_id)))
            connection.execute(update(table).where(chosen).values(state="queued", failures=0, due_ms=now_ms))
        return found

    def counts(self) -> dict[str, dict[str, int]]:
        """How many messages each channel has in each state."""
        table = schema.messages
        query = select(table.c.channel, table.c.state, func.count()).group_by(table.c.channel, table.c.state)
        found: dict[str, dict[str, int]] = {}
        with self._database.read() as connection:
            for channel, state, count in connection.execute(query):
                found.setdefault(channel, {})[state] = count
        return found

    def attempts(self, message_id: str) -> list[dict[str, Any]]:
        """Each attempt to send a message: `{number, started_ms, ended_ms, outcome, error}`, in order.

        Outcomes are `sent`, `failed`, `rejected`, `cut` (the run ended) and None while it is under way.
        """
        table = schema.attempts
        names = ("number", "started_ms", "ended_ms", "outcome", "error")
        query = select(*(table.c[name] for name in names)).where(table.c.message_id == message_id)
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(query.order_by(table.c.number)).mappings()]

    def _finish(
        self, message_id: str, now_ms: int, outcome: str, values: dict[str, Any], error: str | None = None
    ) -> None:
        table, attempts = schema.messages, schema.attempts
        ended = update(attempts).where(attempts.c.message_id == message_id, attempts.c.outcome.is_(None))
        with self._database.write() as connection:
            connection.execute(ended.values(ended_ms=now_ms, outcome=outcome, error=error))
            connection.execute(update(table).where(table.c.message_id == message_id).values(**values))


def _alert(connection: Connection, alert_id: str) -> StoredAlert:
    row = connection.execute(select(schema.alerts).where(schema.alerts.c.alert_id == alert_id)).one()
    ids: list[str] = msgspec.json.decode(row.signal_ids) if row.kind == "signal" else []
    query = select(schema.signals.c.id, schema.signals.c.body).where(schema.signals.c.id.in_(ids))
    bodies = dict(connection.execute(query).all())
    signals = tuple(signal_of(bodies[identity]) for identity in ids)
    return StoredAlert(row.alert_id, row.kind, row.created_ms, row.late, row.subject, row.text, signals)


def _due(row: Row[Any], alert: StoredAlert) -> Due:
    return Due(
        message=Message(row.alert_id, row.channel, row.created_ms, row.kind, row.priority, row.possible_repeat),
        alert=alert,
        attempts=row.attempts,
        failures=row.failures,
        delivered_to=tuple(msgspec.json.decode(row.delivered_to)),
    )
