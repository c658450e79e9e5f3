"""What became of signals and of random entries, in the ledger."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Connection, Table, and_, delete, exists, or_, select

from tapewatch.model import ControlDone, Outcome, Signal, State
from tapewatch.record import Drawn, Kind
from tapewatch.store import schema
from tapewatch.store.database import Database
from tapewatch.store.dates import own_columns
from tapewatch.store.records import Step
from tapewatch.store.rows import Row, signal_of

#: Followed by a run, or computed from an archive.
Source = Literal["live", "history"]
#: What is shown with a signal.
SHOWN = ("result", "ambiguous", "bars", "price", "ms", "mfe_r", "mae_r", "gross_r", "net_r")
HOUR_MS = 3_600_000
#: Rows that are written at a time where somebody else may write.
BATCH = 2_000
_SUMS = ("entries", "targets", "gross_pct", "risk_pct")


class OutcomeTables:
    """What a ledger holds of outcomes. Every method raises StoreError, which leaves the ledger unchanged."""

    def __init__(self, database: Database) -> None:
        self._database = database
        outcomes = database.upsert(schema.outcomes)
        names = [column.name for column in own_columns(schema.outcomes) if not column.primary_key]
        #: What a run has seen itself takes the place of what was computed, and stays.
        self._live = outcomes.on_conflict_do_update(
            index_elements=["signal_id"],
            set_={name: outcomes.excluded[name] for name in names},
            where=schema.outcomes.c.source != "live",
        )
        self._history = outcomes.on_conflict_do_update(
            index_elements=["signal_id"],
            set_={name: outcomes.excluded[name] for name in names},
            where=schema.outcomes.c.source == "history",
        )
        baselines = database.upsert(schema.baselines)
        self._baselines = baselines.on_conflict_do_update(
            index_elements=[column.name for column in schema.baselines.primary_key],
            set_={name: schema.baselines.c[name] + baselines.excluded[name] for name in _SUMS},
        )

    def write(self, connection: Connection, step: Step) -> None:
        """Store a step's outcomes, and count its random entries once, however often the step is stored."""
        ended = [outcome_row(step.venue, one) for one in step.effects if isinstance(one, Outcome)]
        if ended:
            connection.execute(self._live, _last(ended))
        controls = [one for one in step.effects if isinstance(one, ControlDone)]
        if controls and not _is_stored(connection, step):
            connection.execute(self._baselines, baseline_rows(step.venue, controls))

    def backfill(
        self, venue: str, outcomes: Sequence[Outcome], drawn: Drawn, checks: Mapping[str, Sequence[str]]
    ) -> None:
        """Store what was computed from an archive, in the place of what was computed before of the same.

        `drawn` says of which kinds and symbols all of it is: of others, what was computed before stays, and so does
        what a run has seen itself. It is written in parts, so that a run that is on need not wait; random entries come
        last. `checks` are those of the gate that blocked a signal, by its id.
        """
        found = {one.signal_id for one in outcomes}
        for kind, of_kind in drawn.items():
            self._drop(venue, kind, of_kind, found)
        for first in range(0, len(outcomes), BATCH):
            some = outcomes[first : first + BATCH]
            rows = [outcome_row(venue, one, "history", checks.get(one.signal_id, ())) for one in some]
            with self._database.write() as connection:
                connection.execute(self._history, rows)
        table = schema.baselines
        rows = history_rows(venue, drawn)
        with self._database.write() as connection:
            for kind, of_kind in drawn.items():
                chosen = table.c.symbol.in_(list(of_kind))
                connection.execute(delete(table).where(table.c.source == "history", *_of(table, venue, kind), chosen))
            if rows:
                connection.execute(self._baselines, rows)

    def _drop(self, venue: str, kind: Kind, symbols: Container[str], kept: set[str]) -> None:
        """Forget what was computed of a kind and symbols before, but for these signals."""
        table = schema.outcomes
        query = select(table.c.signal_id, table.c.symbol)
        query = query.where(table.c.source == "history", *_of(table, venue, kind))
        with self._database.read() as connection:
            before = connection.execute(query)
            gone = [identity for identity, symbol in before if symbol in symbols and identity not in kept]
        for first in range(0, len(gone), BATCH):
            with self._database.write() as connection:
                chosen = table.c.signal_id.in_(gone[first : first + BATCH])
                connection.execute(delete(table).where(table.c.source == "history", chosen))

    def seen(self, connection: Connection, venue: str) -> dict[str, Row]:
        """By signal id what a run has seen itself, as of the moment of a connection."""
        table = schema.outcomes
        query = select(*own_columns(table)).where(table.c.venue == venue, table.c.source == "live")
        return {str(row["signal_id"]): dict(row) for row in connection.execute(query).mappings()}

    def unknown(self, venue: str, now_ms: int, limits: Mapping[str, int]) -> list[tuple[Signal, State]]:
        """Signals of which nobody knows what became of them and whose time is not over by `now_ms`, by close.

        `limits` are the strategies' in bars.
        """
        if not limits:
            return []
        table = schema.signals
        interval_ms = table.c.close_ms - table.c.open_ms
        running = [
            and_(table.c.strategy == name, table.c.close_ms + limit * interval_ms > now_ms)
            for name, limit in limits.items()
        ]
        query = select(table.c.body, table.c.state).where(table.c.venue == venue, or_(*running))
        query = query.where(~exists().where(schema.outcomes.c.signal_id == table.c.id))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(table.c.close_ms, table.c.id))
            return [(signal_of(row.body), row.state) for row in rows]


def outcome_row(venue: str, outcome: Outcome, source: Source = "live", checks: Sequence[str] | None = None) -> Row:
    """A row of `outcomes`; of a run's, what blocked it is said by its signal."""
    names = None if checks is None else ",".join(checks)
    return {"venue": venue} | msgspec.structs.asdict(outcome) | {"source": source, "checks": names}


def baseline_rows(venue: str, controls: Iterable[ControlDone]) -> list[Row]:
    """Rows of `baselines`: sums by strategy, side, timeframe, symbol and hour."""
    rows: dict[tuple[Any, ...], Row] = {}
    for one in controls:
        hour = one.close_ms // HOUR_MS % 24
        kind = Kind(one.strategy, one.side, one.timeframe)
        key = {"venue": venue, **kind._asdict(), "symbol": one.symbol, "hour": hour}
        row = rows.setdefault(tuple(key.values()), key | {"source": "live"} | dict.fromkeys(_SUMS, 0))
        row["entries"] += 1
        row["targets"] += one.result == "target"
        row["gross_pct"] += one.gross_pct
        row["risk_pct"] += one.risk_pct
    return list(rows.values())


def history_rows(venue: str, drawn: Drawn) -> list[Row]:
    """Rows of `baselines` of what was computed from an archive, hours without any left out."""
    return [
        {"venue": venue, **kind._asdict(), "symbol": symbol, "hour": hour, "source": "history"}
        | {"entries": sums.n, "targets": sums.hits, "gross_pct": sums.gross_pct, "risk_pct": sums.risk_pct}
        for kind, of_kind in drawn.items()
        for symbol, baseline in of_kind.items()
        for hour, sums in enumerate(baseline.hours)
        if sums.n
    ]


def _of(table: Table, venue: str, kind: Kind) -> Iterator[ColumnElement[bool]]:
    """That a row is of a kind."""
    yield table.c.venue == venue
    for name, value in kind._asdict().items():
        yield table.c[name] == value


def _last(rows: Sequence[Row]) -> list[Row]:
    """Each signal once: of what is said twice of one, the first."""
    return list({row["signal_id"]: row for row in reversed(rows)}.values())[::-1]


def _is_stored(connection: Connection, step: Step) -> bool:
    """Whether the journal's events up to the end of this step have led to what is stored."""
    table = schema.journals
    stored = connection.scalar(select(table.c.position).where(table.c.journal_id == step.journal_id))
    return stored is not None and stored >= step.position
