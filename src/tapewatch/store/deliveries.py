"""How delivery went, and what was told with alerts beside what came: out of the ledger, for a report."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, func, select

from tapewatch.store import schema
from tapewatch.store.database import Database
from tapewatch.store.rows import Row, record_of


class DeliveryTables:
    """Messages and the records that alerts carried. Every method raises StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def messages(self, from_ms: int | None = None, to_ms: int | None = None) -> list[Row]:
        """`channel state created_ms sent_ms` of messages that were raised in [from, to), in that order."""
        table = schema.messages
        names = ("channel", "state", "created_ms", "sent_ms")
        query = select(*(table.c[name] for name in names)).where(*_within(table.c.created_ms, from_ms, to_ms))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(table.c.created_ms, table.c.message_id)).mappings()
            return [dict(row) for row in rows]

    def attempts(self, from_ms: int | None = None, to_ms: int | None = None) -> dict[tuple[str, str], int]:
        """How many attempts of messages that were raised in [from, to) had each outcome, by channel and outcome."""
        table, messages = schema.attempts, schema.messages
        query = select(messages.c.channel, table.c.outcome, func.count())
        query = query.join_from(table, messages, messages.c.message_id == table.c.message_id)
        query = query.where(table.c.outcome.is_not(None), *_within(messages.c.created_ms, from_ms, to_ms))
        query = query.group_by(messages.c.channel, table.c.outcome).order_by(messages.c.channel, table.c.outcome)
        with self._database.read() as connection:
            return {(channel, outcome): count for channel, outcome, count in connection.execute(query)}

    def told(self, venue: str, from_ms: int | None = None, to_ms: int | None = None) -> list[Row]:
        """Of alerts raised in [from, to) whose end is known, in order: the `record` they carried, `hit` and `net_r`."""
        alerts, ends = schema.alerts, schema.outcomes
        query = select(alerts.c.record, ends.c.result, ends.c.net_r)
        leads = alerts.c.signal_ids.startswith('["' + ends.c.signal_id + '"')
        signals = schema.signals
        query = query.join_from(alerts, signals, signals.c.alert_id == alerts.c.alert_id)
        query = query.join(ends, ends.c.signal_id == signals.c.id)
        query = query.where(ends.c.venue == venue, alerts.c.record.is_not(None), leads)
        query = query.where(*_within(alerts.c.created_ms, from_ms, to_ms))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(alerts.c.created_ms, alerts.c.alert_id)).all()
        return [{"record": record_of(row.record), "hit": row.result == "target", "net_r": row.net_r} for row in rows]


def _within(column: ColumnElement[Any], from_ms: int | None, to_ms: int | None) -> list[ColumnElement[bool]]:
    found = [column >= from_ms] if from_ms is not None else []
    return [*found, column < to_ms] if to_ms is not None else found
