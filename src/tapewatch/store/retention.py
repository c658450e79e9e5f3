"""What a ledger need not keep for good: how alerts were delivered, and corrections.

Signals, outcomes, random entries and all of paper trading stay: records are made of them, and replays compare them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, delete, func, or_, select, tuple_
from sqlalchemy.sql.selectable import NamedFromClause

from tapewatch.store import schema
from tapewatch.store.database import Database

#: Rows of one transaction, and how long others may write before the next.
BATCH, PAUSE_S = 200, 0.05
_ALERTS, _MESSAGES, _CORRECTIONS = schema.alerts, schema.messages, schema.corrections
#: States of a message that nobody has yet.
_WAITING = ("queued", "sending")


def prune(
    database: Database,
    keep: Mapping[str, int],
    now_ms: int,
    *,
    dry_run: bool = False,
    stopping: Callable[[], bool] = lambda: False,
) -> dict[str, int]:
    """Remove what is older than may be kept, in transactions so short that a run need not wait for them.

    Args:
        database: the ledger's, with tables of this version.
        keep: how long, in ms, `alerts` with their messages and attempts stay, and `corrections`.
        now_ms: the time by the wall clock; a row's age is counted from the newest of its kind where that is older, so
            that a clock that is wrong removes nothing.
        dry_run: whether nothing is removed.
        stopping: asked between transactions whether to leave the rest for the next time.

    Returns:
        How many rows of each table went, or would go.

    Raises:
        StoreError: the ledger cannot be read or written; what was removed before stays so.
    """
    with database.read() as connection:
        alerts = list(connection.scalars(_over(connection, keep["alerts"], now_ms)))
        cutoff_ms = _cutoff_ms(connection, _CORRECTIONS.c.recv_ms, keep["corrections"], now_ms)
        key = tuple(_CORRECTIONS.primary_key)
        corrections = [tuple(row) for row in connection.execute(select(*key).where(_CORRECTIONS.c.recv_ms < cutoff_ms))]
        if dry_run:
            return {**_counts(connection, alerts), _CORRECTIONS.name: len(corrections)}
    gone = dict.fromkeys((_ALERTS.name, _MESSAGES.name, schema.attempts.name, _CORRECTIONS.name), 0)
    for some in _batches(alerts, stopping):
        with database.write() as connection:
            # Somebody may have put one into the outbox again.
            ids = list(
                connection.scalars(select(_ALERTS.c.alert_id).where(_ALERTS.c.alert_id.in_(some), _free(_ALERTS)))
            )
            for table, chosen in _rows_of(ids):
                gone[table.name] += connection.execute(delete(table).where(chosen)).rowcount
    for some in _batches(corrections, stopping):
        with database.write() as connection:
            gone[_CORRECTIONS.name] += connection.execute(delete(_CORRECTIONS).where(tuple_(*key).in_(some))).rowcount
    return gone


def _over(connection: Connection, keep_ms: int, now_ms: int) -> Select[Any]:
    """The ids of alerts that are old enough and that nothing waits for, the oldest first."""
    messages = _MESSAGES.c
    sent_ms = _cutoff_ms(connection, messages.created_ms, keep_ms, now_ms)
    # An alert is dated by the exchange's clock, its messages by this machine's.
    of_signals = _ALERTS.c.created_ms
    newest = connection.scalar(select(func.max(of_signals)).where(_ALERTS.c.kind == "signal")) or 0
    told = select(messages.message_id).where(messages.alert_id == _ALERTS.c.alert_id)
    old = or_(
        and_(told.exists(), ~told.where(messages.created_ms >= sent_ms).exists()),
        and_(~told.exists(), of_signals < min(now_ms, newest) - keep_ms),
    )
    members, of = _MESSAGES.alias(), _ALERTS.alias()
    bound = select(members.c.message_id).join(of, of.c.alert_id == members.c.alert_id)
    bound = bound.where(members.c.digest_id == _ALERTS.c.alert_id, ~_free(of))
    query = select(_ALERTS.c.alert_id).where(old, _free(_ALERTS), ~bound.exists())
    return query.order_by(_ALERTS.c.created_ms, _ALERTS.c.alert_id)


def _free(alerts: Table | NamedFromClause) -> ColumnElement[bool]:
    """Whether no message of an alert waits, nor a digest that it is in."""
    own, digests = _MESSAGES.alias(), _MESSAGES.alias()
    waits = select(own.c.message_id).join(
        digests, and_(digests.c.alert_id == own.c.digest_id, digests.c.channel == own.c.channel), isouter=True
    )
    waits = waits.where(own.c.alert_id == alerts.c.alert_id)
    return ~waits.where(or_(own.c.state.in_(_WAITING), digests.c.state.in_(_WAITING))).exists()


def _cutoff_ms(connection: Connection, column: ColumnElement[int], keep_ms: int, now_ms: int) -> int:
    newest = connection.scalar(select(func.max(column)))
    return min(now_ms, newest or 0) - keep_ms


def _rows_of(alert_ids: Sequence[str]) -> list[tuple[Table, ColumnElement[bool]]]:
    """What belongs to these alerts, in the order in which it can be removed."""
    messages = select(_MESSAGES.c.message_id).where(_MESSAGES.c.alert_id.in_(alert_ids))
    return [
        (schema.attempts, schema.attempts.c.message_id.in_(messages)),
        (_MESSAGES, _MESSAGES.c.alert_id.in_(alert_ids)),
        (_ALERTS, _ALERTS.c.alert_id.in_(alert_ids)),
    ]


def _counts(connection: Connection, alert_ids: Sequence[str]) -> dict[str, int]:
    counts = dict.fromkeys((_ALERTS.name, _MESSAGES.name, schema.attempts.name), 0)
    for first in range(0, len(alert_ids), BATCH):
        for table, chosen in _rows_of(alert_ids[first : first + BATCH]):
            counts[table.name] += connection.scalar(select(func.count()).select_from(table).where(chosen)) or 0
    return counts


def _batches(rows: Sequence[Any], stopping: Callable[[], bool]) -> Iterable[Sequence[Any]]:
    for first in range(0, len(rows), BATCH):
        if stopping():
            return
        if first:
            time.sleep(PAUSE_S)
        yield rows[first : first + BATCH]
