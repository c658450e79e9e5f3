"""The ledger: what the engine decided, stored so that nothing accepted is lost and nothing is written twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Executable, Select, and_, delete, func, insert, or_, select

from tapewatch.errors import SetupError
from tapewatch.model import LastPassed, Rest
from tapewatch.store import retention, schema
from tapewatch.store.alerts import messages_of, newest_alert, newest_alerts
from tapewatch.store.configurations import ConfigurationTable
from tapewatch.store.database import Database, Many
from tapewatch.store.dates import own_columns
from tapewatch.store.deliveries import DeliveryTables
from tapewatch.store.figures import FigureTables
from tapewatch.store.handed import HandedSignals
from tapewatch.store.lease import Lease, Right, holder
from tapewatch.store.metrics import MetricTables
from tapewatch.store.migrate import ensure_schema
from tapewatch.store.moments import MarketTables
from tapewatch.store.operation import OperationTables
from tapewatch.store.outbox import Outbox, message_rows
from tapewatch.store.outcomes import SHOWN, OutcomeTables
from tapewatch.store.overview import condition, contents
from tapewatch.store.pages import Pages
from tapewatch.store.paper import PaperTables
from tapewatch.store.records import MessageState, SeriesState, Step, StoredAlert
from tapewatch.store.rows import (
    DECISION,
    Row,
    alert_rows,
    bar_rows,
    correction_rows,
    digest,
    gate_rows,
    journal_rows,
    series_rows,
    signal_rows,
)
from tapewatch.store.scores import ScoreTables
from tapewatch.store.trace import Traces


class Ledger:
    """The tables of one run. Every method is synchronous and raises StoreError, which leaves the ledger unchanged.

    The messages waiting to be sent are in `outbox`, paper trading is in `paper`, the market in `market`, what became of
    signals in `outcomes` (and in `scores`, as records read it, and in `metrics` by day), what the operator was told,
    and when not, in `operation`, what runs counted and measured in `figures`, what they were configured with in
    `configurations`, what one process hands to another in `handed`, lists a page at a time in `pages`, and `traces`
    finds the way of one alert through all of them.
    """

    def __init__(self, database: Database, role: str = "all") -> None:
        self._database, self._role = database, role
        self._upserts = _Upserts(database)
        self.outbox = Outbox(database)
        self.paper = PaperTables(database)
        self.operation = OperationTables(database, role)
        self.outcomes = OutcomeTables(database)
        self.scores = ScoreTables(database)
        self.traces = Traces(database)
        self.deliveries = DeliveryTables(database)
        self.figures = FigureTables(database, role)
        self.market = MarketTables(database)
        self.metrics = MetricTables(database)
        self.configurations = ConfigurationTable(database)
        self.handed = HandedSignals(database)
        self.pages = Pages(database)

    @classmethod
    def open(cls, url: str, *, create: bool = True, busy_timeout_ms: int = 5_000, role: str = "all") -> Ledger:
        """The ledger at `url` with its tables at this version's revision.

        Args:
            url: `sqlite:///file`, or a PostgreSQL database with the password if one is needed.
            create: whether a SQLite file that does not exist is created, and tables where there are none.
            busy_timeout_ms: how long a write waits for another process's.
            role: of the process, whose troubles and figures these are.

        Raises:
            SetupError: the URL makes no sense or its driver is not installed.
            NoLedgerError: there is none, and it is not to be created.
            StoreError: the database cannot be used.
        """
        database = Database(url, create=create, busy_timeout_ms=busy_timeout_ms)
        try:
            ensure_schema(database, create=create)
        except BaseException:
            database.close()
            raise
        return cls(database, role)

    def close(self) -> None:
        """Close the connections; the ledger cannot be used afterwards."""
        self._database.close()

    def lease(self, right: Right = "scanner") -> Lease:
        """The right to write some of this ledger.

        Raises:
            SetupError: another process has it.
            StoreError: it cannot be taken.
        """
        lease = Lease.take(self._database, right)
        if lease is None:
            with self._database.read() as connection:
                by = holder(connection, right)
            kind = "another run" if right == "scanner" else f"another run that does its {right}"
            raise SetupError(
                f"ledger.url: {self._database.name} is in use by {kind}, {by}; stop that one, or give this one a "
                "ledger of its own"
            )
        return lease

    def commit_step(self, step: Step) -> None:
        """Store a step in one transaction. Ids are derived, so storing it again changes nothing.

        What is the scanner's is left to it where positions have a process of their own, which sees the same bars.
        """
        upserts, signals = self._upserts, signal_rows(step)
        of_scanner = [
            (upserts.series, series_rows(step)),
            (upserts.bars, bar_rows(step)),
            (upserts.gate, gate_rows(step)),
            (upserts.signals, signals),
            (upserts.corrections, correction_rows(step)),
        ]
        work: list[tuple[Many | Executable, list[Row]]] = [
            *(() if self._role == "positions" else of_scanner),
            *self.paper.statements(step),
            (upserts.alerts, alert_rows(step)),
            (upserts.messages, message_rows(step.messages)),
            *self.operation.statements(step),
            (upserts.journals, journal_rows(step)),
        ]
        with self._database.write() as connection:
            self.outcomes.write(connection, step)  # before the journal's position, by which it knows a repeated step
            if signals:
                _number(connection, signals)
            for statement, rows in work:
                if not rows:
                    continue
                if isinstance(statement, Many):
                    statement.execute(connection, rows)
                else:
                    connection.execute(statement, rows)

    def journal_position(self, journal_id: str) -> int | None:
        """Up to where the effects of a journal's events are stored; None where it is not this ledger's."""
        table = schema.journals
        query = select(table.c.position).where(table.c.journal_id == journal_id)
        with self._database.read() as connection:
            position: int | None = connection.scalar(query)
            return position

    def corrections(self) -> list[dict[str, Any]]:
        """Bars that the exchange corrected after they were decided on, oldest first: `before` and `after`."""
        table = schema.corrections
        query = select(*own_columns(table)).order_by(table.c.recv_ms, table.c.symbol, table.c.open_ms)
        with self._database.read() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        return [row | {key: msgspec.json.decode(row[key]) for key in ("before", "after")} for row in rows]

    def series_states(self, venue: str) -> list[SeriesState]:
        """Where each series of a venue starts and how far it was processed."""
        table = schema.series
        query = select(table.c.symbol, table.c.interval_ms, table.c.history_start_ms, table.c.last_open_ms)
        query = query.where(table.c.venue == venue).order_by(table.c.symbol, table.c.interval_ms)
        with self._database.read() as connection:
            return [SeriesState(*row) for row in connection.execute(query)]

    def gate_passed(self, venue: str) -> list[LastPassed]:
        """The gate's saved state: the last signal that passed under each key."""
        table = schema.gate_passed
        columns = [table.c[name] for name in LastPassed.__struct_fields__]
        query = select(*columns).where(table.c.venue == venue).order_by(*columns[:4])
        with self._database.read() as connection:
            return [LastPassed(*row) for row in connection.execute(query)]

    def gate_stopped(self, venue: str, base_ms: int) -> list[Rest]:
        """Of the signals of `gate_passed` those that a run has seen touch their stop, on bars of that interval."""
        gate, ended = schema.gate_passed, schema.outcomes
        key = ("venue", "symbol", "strategy", "timeframe", "side", "close_ms")
        query = select(gate.c.symbol, gate.c.strategy, gate.c.close_ms, ended.c.ms + base_ms)
        query = query.join(ended, and_(*(ended.c[name] == gate.c[name] for name in key)))
        query = query.where(gate.c.venue == venue, ended.c.source == "live")
        query = query.where(ended.c.state == "passed", ended.c.result == "stop").order_by(*gate.primary_key)
        with self._database.read() as connection:
            return [Rest(*row) for row in connection.execute(query)]

    def passed_since(self, venue: str, since_ms: int) -> list[LastPassed]:
        """Every signal that passed on a bar which closed after `since_ms`; checks that count them start from these."""
        table = schema.signals
        columns = [table.c[name] for name in LastPassed.__struct_fields__]
        query = select(*columns).where(table.c.venue == venue, table.c.state == "passed", table.c.close_ms > since_ms)
        with self._database.read() as connection:
            return [LastPassed(*row) for row in connection.execute(query)]

    def decisions(
        self, venue: str, from_ms: int | None, to_ms: int | None
    ) -> tuple[dict[str, int], dict[str, Row], dict[str, Row], dict[str, Row]]:
        """The journals' positions and, by id, every signal of bars that close in [from, to), as of one moment.

        Of a signal its symbol, `close_ms`, and a digest of all that was decided; then every paper position by id, and
        by signal id every outcome that a run has seen.
        """
        table = schema.signals
        query = select(*(table.c[name] for name in ("symbol", "close_ms", "id", *DECISION)))
        query = query.where(table.c.venue == venue)
        query = query.where(table.c.close_ms >= from_ms) if from_ms is not None else query
        query = query.where(table.c.close_ms < to_ms) if to_ms is not None else query
        journals = select(schema.journals.c.journal_id, schema.journals.c.position)
        with self._database.read() as connection:
            positions = dict(connection.execute(journals.where(schema.journals.c.venue == venue)).all())
            found = {}
            for row in connection.execution_options(yield_per=500).execute(query).mappings():
                found[str(row["id"])] = {
                    "symbol": row["symbol"], "close_ms": row["close_ms"], "digest": digest(dict(row))
                }  # fmt: skip
            trades, outcomes = self.paper.trades(connection, venue), self.outcomes.seen(connection, venue)
        return positions, found, trades, outcomes

    def decision(self, signal_id: str) -> Row:
        """A signal's row."""
        query = select(schema.signals).where(schema.signals.c.id == signal_id)
        with self._database.read() as connection:
            return dict(connection.execute(query).mappings().one())

    def last_signals(self, venue: str) -> dict[str, int]:
        """Symbol -> close of the last bar with a stored signal."""
        table = schema.signals
        query = select(table.c.symbol, func.max(table.c.close_ms)).where(table.c.venue == venue)
        with self._database.read() as connection:
            return dict(connection.execute(query.group_by(table.c.symbol)).all())

    def mute(self, target: str, until_ms: int) -> None:
        """Silence a symbol or strategy until a time of the wall clock; one that has passed ends it."""
        with self._database.write() as connection:
            connection.execute(delete(schema.mutes).where(schema.mutes.c.target == target))
            connection.execute(insert(schema.mutes).values(target=target, until_ms=until_ms))

    def mutes(self) -> dict[str, int]:
        """Muted symbols and strategies -> until when, by the wall clock; also those that are over."""
        with self._database.read() as connection:
            return {row.target: row.until_ms for row in connection.execute(select(schema.mutes))}

    def stored_signals(
        self,
        *,
        venue: str | None = None,
        symbols: Sequence[str] = (),
        strategies: Sequence[str] = (),
        timeframes: Sequence[str] = (),
        from_ms: int | None = None,
        to_ms: int | None = None,
        state: str | None = None,
        ids: Sequence[str] = (),
    ) -> Iterator[dict[str, Any]]:
        """Signals as `signals --stored` prints them, by close, symbol, strategy, timeframe and side.

        `outcome` is what became of one, None where that is not known.

        An empty filter lets everything through; `from_ms` and `to_ms` are on the bar's close, as [from, to).
        """
        table = schema.signals
        ends = [schema.outcomes.c[name].label(f"outcome_{name}") for name in SHOWN]
        query = select(table.c.body, table.c.state, table.c.late, table.c.recv_ms, table.c.alert_id, *ends)
        query = query.outerjoin_from(table, schema.outcomes, schema.outcomes.c.signal_id == table.c.id)
        query = query.order_by(*(table.c[name] for name in ("close_ms", "symbol", "strategy", "timeframe", "side")))
        chosen = {table.c.symbol: symbols, table.c.strategy: strategies, table.c.timeframe: timeframes, table.c.id: ids}
        for column, values in chosen.items():
            query = query.where(column.in_(values)) if values else query
        query = query.where(table.c.venue == venue) if venue is not None else query
        query = query.where(table.c.close_ms >= from_ms) if from_ms is not None else query
        query = query.where(table.c.close_ms < to_ms) if to_ms is not None else query
        query = query.where(table.c.state == state) if state is not None else query
        with self._database.read() as connection:
            for row in connection.execution_options(yield_per=500).execute(query).mappings():
                stored = dict(row)
                end = {name: stored.pop(f"outcome_{name}") for name in SHOWN}
                body = msgspec.json.decode(stored.pop("body"))
                yield body | stored | {"outcome": None if end["result"] is None else end}

    def around(self, symbol: str, close_ms: int) -> dict[str, dict[str, Any]]:
        """Signal id -> the signals of a symbol's bars that close then, with their `messages` and paper `trade`."""
        found = {one["id"]: one for one in self.stored_signals(symbols=[symbol], from_ms=close_ms, to_ms=close_ms + 1)}
        held = self.paper.positions(states=(), signal_ids=tuple(found)) if found else []
        trades = {one["signal_id"]: one for one in held}
        told = {one["alert_id"] for one in found.values() if one["alert_id"] is not None}
        alerts = {name: alert["messages"] for name in told if (alert := self.alert(name)) is not None}
        return {
            name: one | {"messages": alerts.get(one["alert_id"], []), "trade": trades.get(name)}
            for name, one in found.items()
        }

    def alert(self, alert_id: str) -> dict[str, Any] | None:
        """One alert as `alerts` has it."""
        query = newest_alerts(None, None).where(schema.alerts.c.alert_id == alert_id)
        return next(iter(self._alerts(query)), None)

    def alerts(self, *, limit: int | None = None, state: MessageState | None = None) -> list[dict[str, Any]]:
        """Alerts with their messages as `alerts ls --json` prints them, oldest first.

        Args:
            limit: only the newest so many.
            state: only alerts with a message in this state.
        """
        return self._alerts(newest_alerts(limit, state))[::-1]

    def _alerts(self, query: Select[Any]) -> list[dict[str, Any]]:
        with self._database.read() as connection:
            stored = [dict(row) for row in connection.execute(query).mappings()]
            messages = messages_of(connection, query)
        for alert in stored:
            alert["signal_ids"] = msgspec.json.decode(alert["signal_ids"])
            alert["messages"] = messages.get(alert["alert_id"], [])
        return stored

    def newest_alert(self, strategy: str) -> StoredAlert | None:
        """The newest alert that a signal of a strategy leads, None where there is none."""
        with self._database.read() as connection:
            return newest_alert(connection, strategy)

    def prune(self, keep: Mapping[str, int | None], now_ms: int, stopping: Callable[[], bool]) -> dict[str, int]:
        """Remove what is older than may be kept; see `retention.prune`."""
        return retention.prune(self._database, keep, now_ms, stopping=stopping)

    def move_log(self) -> None:
        """Between commits, so that they are short; see `Database.move_log`."""
        self._database.move_log()

    def condition(self) -> tuple[str | None, int]:
        """Its revision and size; see `overview.condition`."""
        return condition(self._database)

    def info(self) -> dict[str, Any]:
        """What the ledger is and how much is in it; see `overview.contents`."""
        with self._database.read() as connection:
            return contents(connection, self._database.name)


class _Upserts:
    """The statements of a step, built once."""

    def __init__(self, database: Database) -> None:
        series = database.upsert(schema.series)
        known = schema.series.c.last_open_ms
        self.series = Many(
            series.on_conflict_do_update(
                index_elements=["venue", "symbol", "interval_ms"],
                set_={
                    "history_start_ms": series.excluded.history_start_ms,
                    "last_open_ms": func.coalesce(series.excluded.last_open_ms, known),
                },
                where=or_(
                    known.is_(None), series.excluded.last_open_ms.is_(None), known <= series.excluded.last_open_ms
                ),
            )
        )
        self.bars = Many(
            series.on_conflict_do_update(
                index_elements=["venue", "symbol", "interval_ms"],
                set_={"last_open_ms": series.excluded.last_open_ms},
                where=or_(known.is_(None), known < series.excluded.last_open_ms),
            ),
            distinct=True,
        )
        gate = database.upsert(schema.gate_passed)
        self.gate = Many(
            gate.on_conflict_do_update(
                index_elements=["venue", "symbol", "strategy", "timeframe", "side"],
                set_={"close_ms": gate.excluded.close_ms, "entry": gate.excluded.entry},
                where=schema.gate_passed.c.close_ms < gate.excluded.close_ms,
            )
        )
        # One that is there is let be; a number that is taken would be our own mistake.
        self.signals = Many(database.upsert(schema.signals).on_conflict_do_nothing(index_elements=["id"]))
        self.alerts, self.messages, self.corrections = (
            Many(database.upsert(table).on_conflict_do_nothing())
            for table in (schema.alerts, schema.messages, schema.corrections)
        )
        journals = database.upsert(schema.journals)
        # Not the larger of the two: a journal that lost its end goes on from where that was.
        self.journals = Many(
            journals.on_conflict_do_update(index_elements=["journal_id"], set_={"position": journals.excluded.position})
        )


def _number(connection: Connection, signals: Sequence[Row]) -> None:
    """Give signals the numbers that follow; those of some that are stored already are left out."""
    last = connection.scalar(select(func.max(schema.signals.c.number))) or 0
    for number, row in enumerate(signals, start=last + 1):
        row["number"] = number
