"""Alerts as they were stored, with their signals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, bindparam, select

from tapewatch.store import schema
from tapewatch.store.records import MessageState, StoredAlert
from tapewatch.store.rows import candles_of, record_of, signal_of

#: Built once: every delivery asks for these.
_ALERTS = select(schema.alerts).where(schema.alerts.c.alert_id.in_(bindparam("ids", expanding=True)))
_BODIES = select(schema.signals.c.id, schema.signals.c.body).where(
    schema.signals.c.id.in_(bindparam("ids", expanding=True))
)


def stored_alerts(connection: Connection, alert_ids: Sequence[str]) -> list[StoredAlert]:
    """These alerts, in this order."""
    if not alert_ids:
        return []
    rows = {row.alert_id: row for row in connection.execute(_ALERTS, {"ids": list(alert_ids)})}
    named = {identity: _signal_ids(row) for identity, row in rows.items()}
    wanted = [one for ids in named.values() for one in ids]
    signals = {row.id: signal_of(row.body) for row in connection.execute(_BODIES, {"ids": wanted})} if wanted else {}
    return [
        StoredAlert(
            alert_id=row.alert_id,
            kind=row.kind,
            created_ms=row.created_ms,
            late=row.late,
            subject=row.subject,
            text=row.text,
            signals=tuple(signals[one] for one in named[row.alert_id]),
            record=record_of(row.record),
            candles=candles_of(row.candles),
        )
        for row in (rows[identity] for identity in alert_ids)
    ]


def newest_alert(connection: Connection, strategy: str) -> StoredAlert | None:
    """The newest alert that a signal of a strategy leads, None where there is none."""
    signals, alerts = schema.signals, schema.alerts
    query = select(alerts.c.alert_id).join(signals, signals.c.alert_id == alerts.c.alert_id)
    leads = alerts.c.signal_ids.startswith('["' + signals.c.id + '"')
    query = query.where(signals.c.strategy == strategy, leads, alerts.c.kind == "signal")
    found = connection.scalars(query.order_by(alerts.c.created_ms.desc(), alerts.c.alert_id).limit(1)).all()
    return next(iter(stored_alerts(connection, found)), None)


def newest_alerts(limit: int | None, state: MessageState | None) -> Select[Any]:
    """The newest so many alerts, the newest first; only those with a message in a state where one is named."""
    table, messages = schema.alerts, schema.messages
    query = select(
        table.c.alert_id, table.c.signal_ids, table.c.kind, table.c.created_ms, table.c.late, table.c.subject
    )
    if state is not None:
        query = query.where(table.c.alert_id.in_(select(messages.c.alert_id).where(messages.c.state == state)))
    return query.order_by(table.c.created_ms.desc(), table.c.alert_id.desc()).limit(limit)


def messages_of(connection: Connection, alerts: Select[Any]) -> Mapping[str, list[dict[str, Any]]]:
    """The messages of the alerts of a query, as `alerts ls --json` prints them, by alert."""
    table = schema.messages
    names = (
        "message_id", "channel", "state", "attempts", "sent_ms", "possible_repeat", "digest_id", "last_error",
        "fallback_of",
    )  # fmt: skip
    query = select(table.c.alert_id, *(table.c[name] for name in names))
    query = query.where(table.c.alert_id.in_(select(alerts.subquery().c.alert_id)))
    rows = connection.execute(query.order_by(table.c.alert_id, table.c.channel)).mappings()
    found: dict[str, list[dict[str, Any]]] = {}
    for alert_id, group in groupby(rows, key=lambda row: str(row["alert_id"])):
        found[alert_id] = [{name: row[name] for name in names} for row in group]
    return found


def _signal_ids(row: Row[Any]) -> list[str]:
    ids: list[str] = msgspec.json.decode(row.signal_ids) if row.kind == "signal" else []
    return ids
