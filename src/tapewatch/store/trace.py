"""The way of one alert through the ledger, found by any of the ids that stand for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

import msgspec
from sqlalchemy import Column, ColumnElement, Connection, and_, func, select, true

from tapewatch.store import schema
from tapewatch.store.database import Database
from tapewatch.store.records import Kind
from tapewatch.store.rows import Row

#: So many are named where an id's beginning is that of many, or where none is known.
NAMED = 5
#: Of so many signals and alerts, the newest, those whose id is near an unknown one are looked for.
_LOOKED_AT = 500
#: Sorts after whatever follows a beginning.
_LAST = "\U0010ffff"
_DIGITS = frozenset("0123456789abcdef")
#: Alerts about a signal, whose ids begin with its own: what one begins with is meant to be the signal's.
_ABOUT: tuple[Kind, ...] = ("entry", "partial", "exit", "follow_up")
_ATTEMPT = ("number", "started_ms", "ended_ms", "outcome", "error")
_MESSAGE = (
    "message_id", "channel", "state", "severity", "created_ms", "due_ms", "sent_ms", "possible_repeat", "fallback_of",
    "stand_in", "digest_id", "last_error",
)  # fmt: skip


class Traces:
    """Reads what became of an alert. Every method raises StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, identity: str) -> list[str]:
        """What an id stands for: alerts, and signals that led to none; a few where it is the beginning of many.

        Args:
            identity: an alert's, a signal's, a message's or a trace id, else how they begin.
        """
        traced = set(identity) <= _DIGITS  # no index has trace ids: every signal is looked at

        def begins(column: Column[Any]) -> ColumnElement[bool]:
            return and_(column >= identity, column < identity + _LAST)

        with self._database.read() as connection:
            return (
                _subjects(connection, lambda column: column == identity, traced=traced)
                or _subjects(connection, begins, traced=traced, but=_ABOUT)
                or _subjects(connection, begins, traced=traced)
            )

    def near(self, identity: str) -> list[str]:
        """Ids of the newest alerts and signals that an unknown one was perhaps meant to be."""
        signals, alerts = schema.signals.c, schema.alerts.c
        newest = select(signals.id, signals.trace_id).order_by(signals.close_ms.desc()).limit(_LOOKED_AT)
        with self._database.read() as connection:
            known = [one for row in connection.execute(newest) for one in row]
            known += connection.scalars(select(alerts.alert_id).order_by(alerts.created_ms.desc()).limit(_LOOKED_AT))
        return get_close_matches(identity, known, NAMED)

    def alert(self, alert_id: str) -> Row | None:
        """An alert with its `messages`, the `digests` that these went into, and the alerts it names if it is a digest.

        Each message has its `attempts`, in order, and each digest its own messages. None where there is no such alert.
        """
        with self._database.read() as connection:
            found = _alert(connection, alert_id)
            if found is None:
                return None
            ids = dict.fromkeys(one["digest_id"] for one in found["messages"] if one["digest_id"] is not None)
            digests = [_alert(connection, one) for one in ids]
            inside = select(schema.messages.c.alert_id).where(schema.messages.c.digest_id == alert_id)
            order = inside.distinct().order_by(schema.messages.c.alert_id)
            return found | {"digests": digests, "members": list(connection.scalars(order))}

    def told(self, signal_ids: Sequence[str]) -> list[Row]:
        """The alerts in words about these signals, as `alert` has them: their positions' fills, and follow-ups."""
        table = schema.alerts.c
        with self._database.read() as connection:
            found = []
            for one in signal_ids:
                about = select(table.alert_id).where(table.alert_id > f"{one}/", table.alert_id < f"{one}/{_LAST}")
                found += [_alert(connection, each) for each in connection.scalars(about.order_by(table.alert_id)).all()]
            return [one for one in found if one is not None]

    def ended_ms(self, signal_ids: Sequence[str]) -> dict[str, int]:
        """When the candle came by which each signal's end is known, of those whose is."""
        table = schema.outcomes.c
        with self._database.read() as connection:
            rows = connection.execute(select(table.signal_id, table.recv_ms).where(table.signal_id.in_(signal_ids)))
            return {row.signal_id: row.recv_ms for row in rows}


def _subjects(
    connection: Connection,
    fits: Callable[[Column[Any]], ColumnElement[bool]],
    *,
    traced: bool,
    but: Sequence[Kind] = (),
) -> list[str]:
    signals, alerts, messages = schema.signals.c, schema.alerts.c, schema.messages.c
    of_signal = func.coalesce(signals.alert_id, signals.id)
    found: dict[str, None] = {}
    asked = [
        (alerts.alert_id, alerts.alert_id, alerts.kind.not_in(but)),
        (messages.alert_id, messages.message_id, messages.kind.not_in(but)),
        (of_signal, signals.id, true()),
    ]
    for subject, column, more in [*asked, (of_signal, signals.trace_id, true())] if traced else asked:
        query = select(subject).where(fits(column), more).distinct().order_by(subject).limit(NAMED + 1)
        found |= dict.fromkeys(connection.scalars(query))
    return list(found)


def _alert(connection: Connection, alert_id: str) -> Row | None:
    table = schema.alerts
    names = ("alert_id", "kind", "created_ms", "late", "subject", "text", "signal_ids")
    query = select(*(table.c[name] for name in names)).where(table.c.alert_id == alert_id)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return None
    signal_ids = msgspec.json.decode(row["signal_ids"])
    return {**row, "signal_ids": signal_ids, "messages": _messages(connection, alert_id)}


def _messages(connection: Connection, alert_id: str) -> list[Row]:
    table, tries = schema.messages, schema.attempts
    query = select(*(table.c[name] for name in _MESSAGE)).where(table.c.alert_id == alert_id)
    found = [dict(row) for row in connection.execute(query.order_by(table.c.channel)).mappings()]
    ids = [one["message_id"] for one in found]
    attempts = select(tries).where(tries.c.message_id.in_(ids)).order_by(tries.c.message_id, tries.c.number)
    rows = connection.execute(attempts).mappings().all()
    for one in found:
        mine = (row for row in rows if row["message_id"] == one["message_id"])
        one["attempts"] = [{name: row[name] for name in _ATTEMPT} for row in mine]
    return found
