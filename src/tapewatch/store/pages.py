"""What a ledger holds a page at a time, the newest first; a page says where the next one begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, and_, func, literal, select, tuple_

from tapewatch.store import schema
from tapewatch.store.database import Database
from tapewatch.store.dates import own_columns
from tapewatch.store.outcomes import SHOWN
from tapewatch.store.paper import found, with_derived
from tapewatch.store.rows import Row

#: Further than any time that a database can hold as it is stored.
_LATEST_MS = 2**62
_ORDER = ("close_ms", "symbol", "strategy", "timeframe", "side")
_TRIED = ("alert_id", "channel", "state", "attempts", "sent_ms", "last_error")


class Page(NamedTuple):
    """Some rows, and what the next page comes after; None at the end."""

    rows: list[Row]
    after: list[Any] | None


class Filter(NamedTuple):
    """What is asked for; None lets everything through. Times are [from, to)."""

    symbol: str | None = None
    strategy: str | None = None
    side: str | None = None
    state: str | None = None
    timeframe: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None


class WrongCursorError(ValueError):
    """What a page was to begin after is none that its list gave; whoever asked is told."""


class Pages:
    """Reads lists a page at a time. Every method raises StoreError.

    `after` is that of the page before; of another list it is refused by a WrongCursorError.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def signals(self, venue: str, chosen: Filter, limit: int, after: Sequence[Any] | None = None) -> Page:
        """Signals as `Ledger.stored_signals` has them, with their `deliveries`."""
        table = schema.signals.c
        query = _signals().where(table.venue == venue, *_matching(schema.signals.c, chosen, "close_ms"))
        if after is not None:
            ends = [literal(one) for one in _checked(after, (int, str, str, str, str))]
            query = query.where(tuple_(*(table[name] for name in _ORDER)) < tuple_(*ends))
        query = query.order_by(*(table[name].desc() for name in _ORDER)).limit(limit + 1)
        with self._database.read() as connection:
            rows = [_signal(row) for row in connection.execute(query).mappings()]
            more, rows = len(rows) > limit, rows[:limit]
            tried = _deliveries(connection, [row["alert_id"] for row in rows if row["alert_id"] is not None])
        rows = [row | {"deliveries": tried.get(row["alert_id"], [])} for row in rows]
        return Page(rows, [rows[-1][name] for name in _ORDER] if more else None)

    def last_signals(self, venue: str) -> dict[str, Row]:
        """Symbol -> its last signal: `id`, `side`, `strategy`, `ms` (the close) and `state`."""
        table = schema.signals.c
        newest = select(table.symbol, func.max(table.close_ms).label("ms")).where(table.venue == venue)
        last = newest.group_by(table.symbol).subquery()
        names = (table.symbol, table.id, table.side, table.strategy, table.close_ms.label("ms"), table.state)
        joined = and_(table.symbol == last.c.symbol, table.close_ms == last.c.ms, table.venue == venue)
        query = select(*names).join(last, joined).order_by(table.state, table.id)
        with self._database.read() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        return {row.pop("symbol"): row for row in rows}  # of several of one bar one that passed counts

    def alerts(
        self,
        limit: int,
        after: Sequence[Any] | None = None,
        *,
        symbol: str | None = None,
        channel: str | None = None,
        state: str | None = None,
    ) -> Page:
        """Alerts with their leading signal's `symbol`, `strategy`, `side` and `timeframe`, and `deliveries`."""
        table, lead = schema.alerts.c, schema.signals.c
        names = ("alert_id", "kind", "created_ms", "late", "subject", "text", "record", "signal_ids")
        query = select(*(table[name] for name in names))
        if after is not None:
            ends = [literal(one) for one in _checked(after, (int, str))]
            query = query.where(tuple_(table.created_ms, table.alert_id) < tuple_(*ends))
        if symbol is not None:
            ids = select(lead.alert_id).where(lead.symbol == symbol, lead.alert_id.is_not(None))
            query = query.where(table.alert_id.in_(ids))
        messages = schema.messages.c
        chosen = [messages[name] == one for name, one in (("channel", channel), ("state", state)) if one is not None]
        if chosen:
            query = query.where(table.alert_id.in_(select(messages.alert_id).where(*chosen)))
        query = query.order_by(table.created_ms.desc(), table.alert_id.desc()).limit(limit + 1)
        with self._database.read() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
            more, rows = len(rows) > limit, rows[:limit]
            tried = _deliveries(connection, [row["alert_id"] for row in rows])
            leads = _leads(connection, rows)
        for row in rows:
            row["record"] = None if row["record"] is None else msgspec.json.decode(row["record"])
            row["deliveries"] = tried.get(row["alert_id"], [])
            row.update(leads.get(row["alert_id"], dict.fromkeys(_LEAD)))
        return Page(rows, [rows[-1]["created_ms"], rows[-1]["alert_id"]] if more else None)

    def trades(self, venue: str, chosen: Filter, limit: int, after: Sequence[Any] | None = None) -> Page:
        """Closed paper positions as `PaperTables.positions` has them, the last closed first."""
        table = schema.trades.c
        query = select(*own_columns(schema.trades)).where(table.venue == venue, table.state == "closed")
        query = query.where(*_matching(table, chosen, "closed_ms"))
        if after is not None:
            ends = [literal(one) for one in _checked(after, (int, str))]
            query = query.where(tuple_(table.closed_ms, table.trade_id) < tuple_(*ends))
        query = query.order_by(table.closed_ms.desc(), table.trade_id.desc()).limit(limit + 1)
        with self._database.read() as connection:
            rows = [with_derived(row) for row in found(connection, query)]
        more, rows = len(rows) > limit, rows[:limit]
        return Page(rows, [rows[-1]["closed_ms"], rows[-1]["trade_id"]] if more else None)

    def outbox(self) -> list[Row]:
        """By channel and state, how many messages there are and since when the oldest is."""
        table = schema.messages.c
        query = select(table.channel, table.state, func.count().label("count"), func.min(table.created_ms))
        query = query.group_by(table.channel, table.state).order_by(table.channel, table.state)
        names = ("channel", "state", "count", "oldest_ms")
        with self._database.read() as connection:
            return [dict(zip(names, row, strict=True)) for row in connection.execute(query)]


_LEAD = ("symbol", "strategy", "side", "timeframe")


def _signals() -> Select[Any]:
    table, ended = schema.signals, schema.outcomes
    ends = [ended.c[name].label(f"outcome_{name}") for name in SHOWN]
    query = select(table.c.body, table.c.state, table.c.late, table.c.recv_ms, table.c.alert_id, *ends)
    return query.outerjoin_from(table, ended, ended.c.signal_id == table.c.id)


def _signal(row: Any) -> Row:
    stored = dict(row)
    end = {name: stored.pop(f"outcome_{name}") for name in SHOWN}
    body: Row = msgspec.json.decode(stored.pop("body"))
    return body | stored | {"outcome": None if end["result"] is None else end}


def _matching(columns: Any, chosen: Filter, time: str) -> list[ColumnElement[bool]]:
    equal = ("symbol", "strategy", "side", "state", "timeframe")
    asked = [columns[name] == value for name in equal if (value := getattr(chosen, name)) is not None]
    if chosen.from_ms is not None:
        asked.append(columns[time] >= chosen.from_ms)
    if chosen.to_ms is not None:
        asked.append(columns[time] < chosen.to_ms)
    return asked


def _checked(after: Sequence[Any], types: tuple[type, ...]) -> Sequence[Any]:
    fits = len(after) == len(types) and all(type(one) is kind for one, kind in zip(after, types, strict=True))
    if not fits or any(abs(one) > _LATEST_MS if isinstance(one, int) else "\0" in one for one in after):
        raise WrongCursorError("the cursor is not one of this list")
    return after


def _deliveries(connection: Connection, alert_ids: Sequence[str]) -> dict[str, list[Row]]:
    """By alert what became of its messages."""
    table = schema.messages.c
    query = select(*(table[name] for name in _TRIED)).where(table.alert_id.in_(alert_ids)).order_by(table.channel)
    tried: dict[str, list[Row]] = {}
    for row in connection.execute(query).mappings() if alert_ids else ():
        told = dict(row)
        error = told.pop("last_error")
        tried.setdefault(told.pop("alert_id"), []).append(told | {"error": error})
    return tried


def _leads(connection: Connection, alerts: Sequence[Row]) -> dict[str, Row]:
    """By alert what its leading signal is of; takes `signal_ids` out of them."""
    ids = {alert["alert_id"]: msgspec.json.decode(alert.pop("signal_ids")) for alert in alerts}
    first = {named[0]: alert_id for alert_id, named in ids.items() if named}
    table = schema.signals.c
    query = select(table.id, *(table[name] for name in _LEAD)).where(table.id.in_(list(first)))
    rows = connection.execute(query).mappings() if first else ()
    return {first[row["id"]]: {name: row[name] for name in _LEAD} for row in rows}
