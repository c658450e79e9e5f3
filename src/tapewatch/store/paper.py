"""The paper book in the ledger: positions, fills, funding, the account and its days."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import groupby
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, Table, and_, func, or_, select

from tapewatch.model import (
    AccountState,
    BookSaved,
    DayDone,
    Effect,
    Fill,
    FundingPaid,
    Leg,
    Position,
    decimal_text,
)
from tapewatch.store import schema
from tapewatch.store.database import Database, Upsert
from tapewatch.store.dates import own_columns
from tapewatch.store.records import Step
from tapewatch.store.rows import Row

#: States of a position that nothing follows.
FINAL = ("closed", "skipped")
LIVE = ("pending", "open")
_NOT_SHOWN = ("saved",)


class PaperTables:
    """What a ledger holds of paper trading. Every method raises StoreError, which leaves the ledger unchanged."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._written: dict[type[Any], tuple[Table, Upsert]] = {
            Position: (schema.trades, _newest(database, schema.trades, "trade_id")),
            Fill: (schema.fills, database.upsert(schema.fills).on_conflict_do_nothing()),
            FundingPaid: (schema.funding_paid, database.upsert(schema.funding_paid).on_conflict_do_nothing()),
            AccountState: (schema.paper_accounts, _newest(database, schema.paper_accounts, "venue")),
            DayDone: (schema.account_days, database.upsert(schema.account_days).on_conflict_do_nothing()),
        }

    def statements(self, step: Step) -> list[tuple[Upsert, list[Row]]]:
        """What stores a step's effects, and what again would change nothing: the newest state of a position stays."""
        found: dict[type[Any], list[Effect]] = {}
        for effect in step.effects:
            if type(effect) in self._written:
                found.setdefault(type(effect), []).append(effect)
        return [
            (statement, _rows(step.venue, table, found[kind]))
            for kind, (table, statement) in self._written.items()
            if kind in found
        ]

    def book(self, venue: str) -> BookSaved | None:
        """What a fresh engine goes on from; None where there is no account yet."""
        accounts, trades = schema.paper_accounts, schema.trades
        positions = select(trades.c.saved).where(trades.c.venue == venue, trades.c.state.in_(LIVE))
        with self._database.read() as connection:
            account = connection.scalar(select(accounts.c.saved).where(accounts.c.venue == venue))
            saved = list(connection.scalars(positions.order_by(trades.c.decided_ms, trades.c.trade_id)))
        if account is None:
            return None
        return BookSaved(msgspec.json.decode(account), [msgspec.json.decode(one) for one in saved])

    def account(self, venue: str) -> Row | None:
        """The account as it was said last, None where there is none."""
        table = schema.paper_accounts
        with self._database.read() as connection:
            query = select(*own_columns(table)).where(table.c.venue == venue)
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else _shown(row)

    def standing(self, venue: str) -> Row | None:
        """The account with its `open_risk`: what all that is held would lose at its stops."""
        account = self.account(venue)
        if account is not None:
            held = self.positions(venue, states=("open",))
            account["open_risk"] = f"{sum((max(Decimal(row['risk']), Decimal(0)) for row in held), Decimal(0)):f}"
        return account

    def results(self, venue: str) -> list[tuple[int, float]]:
        """When each closed position was closed, and what it brought, in order."""
        table = schema.trades.c
        query = select(table.closed_ms, table.gross, table.fees, table.funding)
        query = query.where(table.venue == venue, table.state == "closed").order_by(table.closed_ms, table.trade_id)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [(ms, float(Decimal(gross) - Decimal(fees) - Decimal(funding))) for ms, gross, fees, funding in rows]

    def positions(
        self,
        venue: str | None = None,
        *,
        states: Sequence[str] = LIVE,
        symbols: Sequence[str] = (),
        strategies: Sequence[str] = (),
        signal_ids: Sequence[str] = (),
        limit: int | None = None,
    ) -> list[Row]:
        """Positions by decision, then id, with their `fills`; an empty filter lets everything through.

        `net` is what they have brought, `unrealised` what is held would bring at the last close without costs, and
        `risk` how much less at the stop.

        Args:
            venue: of this one.
            states: in these.
            symbols: of these.
            strategies: of these.
            signal_ids: of these.
            limit: only the newest so many.
        """
        table = schema.trades
        query = select(*own_columns(table))
        query = query.where(table.c.venue == venue) if venue is not None else query
        chosen = {
            table.c.state: states, table.c.symbol: symbols, table.c.strategy: strategies, table.c.signal_id: signal_ids
        }  # fmt: skip
        for column, values in chosen.items():
            query = query.where(column.in_(values)) if values else query
        query = query.order_by(table.c.decided_ms.desc(), table.c.trade_id.desc()).limit(limit)
        with self._database.read() as connection:
            rows = found(connection, query)
        return [with_derived(row) for row in rows[::-1]]

    def trades(self, connection: Connection, venue: str) -> dict[str, Row]:
        """Every position of a venue by id with its `fills`, as of the moment of a connection."""
        table = schema.trades
        query = select(*own_columns(table)).where(table.c.venue == venue)
        return {str(row["trade_id"]): row for row in found(connection, query)}

    def funding(self, trade_ids: Sequence[str]) -> list[Row]:
        """What these positions paid and received, in order."""
        table = schema.funding_paid
        query = (
            select(*own_columns(table)).where(table.c.trade_id.in_(trade_ids)).order_by(table.c.trade_id, table.c.ms)
        )
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def skipped(self, venue: str) -> dict[str, int]:
        """Why signals led to no position, with counts."""
        table = schema.trades
        query = select(table.c.reason, func.count()).where(table.c.venue == venue, table.c.state == "skipped")
        with self._database.read() as connection:
            return dict(connection.execute(query.group_by(table.c.reason).order_by(table.c.reason)).all())

    def days(self, venue: str) -> list[Row]:
        """What each day brought, oldest first."""
        table = schema.account_days
        query = select(*own_columns(table)).where(table.c.venue == venue).order_by(table.c.day_ms)
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]


def told_row(venue: str, position: Position, fills: Sequence[Fill]) -> Row:
    """A position with its fills as the ledger would give them back."""
    row = _shown({"venue": venue} | {name: _sql(value) for name, value in msgspec.structs.asdict(position).items()})
    row["targets"] = msgspec.json.decode(row["targets"])
    values = [{name: _sql(value) for name, value in msgspec.structs.asdict(one).items()} for one in fills]
    row["fills"] = [{name: value for name, value in one.items() if name != "trade_id"} for one in values]
    return row


def found(connection: Connection, query: Select[Any]) -> list[Row]:
    """The positions of a query with their `fills`."""
    rows = [_shown(row) for row in connection.execute(query).mappings()]
    fills = _fills_of(connection, query)
    for row in rows:
        row["targets"] = msgspec.json.decode(row["targets"])
        row["fills"] = fills.get(row["trade_id"], [])
    return rows


def _newest(database: Database, table: Table, key: str) -> Upsert:
    """An upsert by which neither an older state comes over a newer one, nor an open position over a closed one.

    Steps come in order, also those left over by a crash; a journal that lost its end is what makes an engine say again
    what it was before.
    """
    insert = database.upsert(table)
    newer = table.c.at_ms <= insert.excluded.at_ms
    if "state" in table.c:
        known, said = table.c.state, insert.excluded.state
        newer = and_(newer, or_(and_(*(known != one for one in FINAL)), *(said == one for one in FINAL)))
    values = {one.name: insert.excluded[one.name] for one in own_columns(table) if one.name != key}
    return insert.on_conflict_do_update(index_elements=[key], set_=values, where=newer)


def _rows(venue: str, table: Table, effects: Iterable[Effect]) -> list[Row]:
    """A row for each; of what is said of the same thing the last one."""
    own = {"venue": venue} if "venue" in table.c else {}
    keys = [column.name for column in table.primary_key]
    rows: dict[tuple[Any, ...], Row] = {}
    for effect in effects:
        row = own | {name: _sql(value) for name, value in msgspec.structs.asdict(effect).items()}
        rows[tuple(row[key] for key in keys)] = row
    return list(rows.values())


def _sql(value: Any) -> Any:
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, Leg):
        return {"price": decimal_text(value.price), "quantity": decimal_text(value.quantity)}
    if isinstance(value, tuple):
        return msgspec.json.encode([_sql(one) for one in value]).decode()
    if isinstance(value, list):
        return msgspec.json.encode(value).decode()
    return value


def with_derived(row: Row) -> Row:
    """A position with what follows from it; see `PaperTables.positions`."""
    net = Decimal(row["gross"]) - Decimal(row["fees"]) - Decimal(row["funding"])
    derived = {"net": decimal_text(net), "unrealised": "0", "risk": "0"}
    if row["state"] == "open" and row["mark"] is not None:
        held = Decimal(row["held"]) * (1 if row["side"] == "long" else -1)
        mark, entry, stop = (Decimal(row[name]) for name in ("mark", "entry", "stop"))
        derived |= {"unrealised": decimal_text((mark - entry) * held), "risk": decimal_text((mark - stop) * held)}
    return row | derived


def _shown(row: Mapping[Any, Any]) -> Row:
    return {str(name): value for name, value in row.items() if name not in _NOT_SHOWN}


def _fills_of(connection: Connection, trades: Select[Any]) -> dict[str, list[Row]]:
    table = schema.fills
    query = select(*own_columns(table)).where(table.c.trade_id.in_(select(trades.subquery().c.trade_id)))
    rows = connection.execute(query.order_by(table.c.trade_id, table.c.number)).mappings()
    found: dict[str, list[Row]] = {}
    for trade_id, group in groupby(rows, key=lambda row: str(row["trade_id"])):
        found[trade_id] = [{str(name): value for name, value in row.items() if name != "trade_id"} for row in group]
    return found
