"""What a ledger need not keep for good, table by table, and what stays because something still needs it.

All of paper trading stays, and so does what is under way: messages that wait, signals that are followed or whose
position is open, and the newest signal, after which the next one is numbered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, delete, func, or_, select, true, tuple_
from sqlalchemy.sql.selectable import NamedFromClause

from tapewatch.store import forgotten, market, schema
from tapewatch.store.database import Database
from tapewatch.store.moments import NO_SIGNAL

#: Rows of one transaction, and how long others may write before the next.
BATCH, PAUSE_S = 200, 0.05
_ALERTS, _MESSAGES = schema.alerts, schema.messages
#: The tables that something goes from.
TABLES = (
    "alerts", "messages", "attempts", "signals", "market_data", "market_snapshots", "outcomes", "daily_metrics",
    "figures", "corrections", "configurations",
)  # fmt: skip
#: States of a message that nobody has yet.
_WAITING = ("queued", "sending")


def prune(
    database: Database,
    keep: Mapping[str, int | None],
    now_ms: int,
    *,
    dry_run: bool = False,
    stopping: Callable[[], bool] = lambda: False,
) -> dict[str, int]:
    """Remove what is older than may be kept, in transactions so short that a run need not wait for them.

    Args:
        database: the ledger's, with tables of this version.
        keep: how long, in ms, what stays: the keys of `ledger.keep`. What is None or missing stays for good.
        now_ms: the time by the wall clock; a row's age is counted from the newest of its kind where that is older, so
            that a clock that is wrong removes nothing.
        dry_run: whether nothing is removed.
        stopping: asked between transactions whether to leave the rest for the next time.

    Returns:
        How many rows of each table went, or would go.

    Raises:
        StoreError: the ledger cannot be read or written; what was removed before stays so.
    """
    gone = dict.fromkeys(TABLES, 0)
    with database.read() as connection:
        going = _found(connection, keep, now_ms)
        if dry_run:
            _count(connection, going, gone)
            return gone
    for some in _batches(going.alerts, stopping):
        with database.write() as connection:
            # Somebody may have put one into the outbox again.
            free = select(_ALERTS.c.alert_id).where(_ALERTS.c.alert_id.in_(some), _free(_ALERTS))
            _remove(connection, _rows_of(connection, list(connection.scalars(free))), gone)
    for some in _batches(going.signals, stopping):
        with database.write() as connection:
            forgotten.keep_checks(connection, some)
            _remove(connection, forgotten.rows_of(connection, some), gone)
    for table, keys in going.aged.items():
        for some in _batches(keys, stopping):
            with database.write() as connection:
                _remove(connection, [(table, tuple_(*table.primary_key).in_(some))], gone)
    return gone


class _Going(NamedTuple):
    """The ids of alerts and signals that go with what belongs to them, and by table the keys of rows that go alone."""

    alerts: list[str]
    signals: list[str]
    aged: dict[Table, list[tuple[Any, ...]]]


def _found(connection: Connection, keep: Mapping[str, int | None], now_ms: int) -> _Going:
    alerts, signals = (
        [] if (keep_ms := keep.get(key)) is None else list(connection.scalars(of(connection, keep_ms, now_ms)))
        for key, of in (("alerts", _over), ("signals", _done))
    )
    aged = {
        table: _aged(connection, table, keep_ms, now_ms, which)
        for table, (key, which) in _by_age().items()
        if (keep_ms := keep.get(key)) is not None
    }
    return _Going(alerts, signals, aged)


def _by_age() -> dict[Table, tuple[str, tuple[ColumnElement[int], ColumnElement[bool]]]]:
    """Tables whose rows go by their age alone: the key that says when, their time, and which of them."""
    configurations, snapshots = schema.configurations, market.market_snapshots
    newest = select(func.max(configurations.c.number)).scalar_subquery()
    # A signal without one is followed, as long as it is there.
    of_signal = select(schema.signals.c.id).where(schema.signals.c.id == schema.outcomes.c.signal_id)
    return {
        schema.outcomes: ("outcomes", (schema.outcomes.c.close_ms, ~of_signal.exists())),
        snapshots: ("snapshots", (snapshots.c.at_ms, snapshots.c.signal_id == NO_SIGNAL)),
        schema.figures: ("figures", (schema.figures.c.at_ms, true())),
        market.daily_metrics: ("metrics", (market.daily_metrics.c.day_ms, true())),
        schema.corrections: ("corrections", (schema.corrections.c.recv_ms, true())),
        configurations: ("configurations", (configurations.c.last_ms, configurations.c.number < newest)),
    }


def _aged(
    connection: Connection,
    table: Table,
    keep_ms: int,
    now_ms: int,
    which: tuple[ColumnElement[int], ColumnElement[bool]],
) -> list[tuple[Any, ...]]:
    """The keys of rows that are older than may be kept."""
    column, chosen = which
    query = select(*table.primary_key).where(column < _cutoff_ms(connection, column, keep_ms, now_ms), chosen)
    return [tuple(row) for row in connection.execute(query.order_by(column))]


def _done(connection: Connection, keep_ms: int, now_ms: int) -> Select[Any]:
    """The ids of signals that are old enough and that nothing needs, the oldest first."""
    signals = schema.signals.c
    cutoff_ms = _cutoff_ms(connection, signals.close_ms, keep_ms, now_ms)
    query = select(signals.id).where(signals.close_ms < cutoff_ms, *forgotten.needless())
    return query.order_by(signals.close_ms, signals.id)


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


def _rows_of(_connection: Connection, alert_ids: Sequence[str]) -> list[forgotten.Rows]:
    """What belongs to these alerts, in the order in which it can be removed."""
    messages = select(_MESSAGES.c.message_id).where(_MESSAGES.c.alert_id.in_(alert_ids))
    return [
        (schema.attempts, schema.attempts.c.message_id.in_(messages)),
        (_MESSAGES, _MESSAGES.c.alert_id.in_(alert_ids)),
        (_ALERTS, _ALERTS.c.alert_id.in_(alert_ids)),
    ]


def _remove(connection: Connection, rows: Iterable[forgotten.Rows], gone: dict[str, int]) -> None:
    for table, chosen in rows:
        gone[table.name] += connection.execute(delete(table).where(chosen)).rowcount


def _count(connection: Connection, going: _Going, gone: dict[str, int]) -> None:
    for ids, rows_of in ((going.alerts, _rows_of), (going.signals, forgotten.rows_of)):
        for first in range(0, len(ids), BATCH):
            for table, chosen in rows_of(connection, ids[first : first + BATCH]):
                gone[table.name] += connection.scalar(select(func.count()).select_from(table).where(chosen)) or 0
    for table, keys in going.aged.items():
        gone[table.name] += len(keys)


def _batches(rows: Sequence[Any], stopping: Callable[[], bool]) -> Iterable[Sequence[Any]]:
    for first in range(0, len(rows), BATCH):
        if stopping():
            return
        if first:
            time.sleep(PAUSE_S)
        yield rows[first : first + BATCH]
