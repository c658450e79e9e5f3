"""What each day's signals came to: counted from signals, outcomes and paper trades, again when more is known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, case, func, select

from tapewatch.model import DAY_MS, decimal_text
from tapewatch.store import schema
from tapewatch.store.database import Database
from tapewatch.store.dates import own_columns
from tapewatch.store.market import daily_metrics
from tapewatch.store.rows import Row

#: What was written so long before the last time is looked at again: clocks are set, and writers overlap.
_OVERLAP_MS = 3_600_000
_SIGNALS, _ENDS, _TRADES = schema.signals.c, schema.outcomes.c, schema.trades.c
_KIND = (_SIGNALS.strategy, _SIGNALS.side, _SIGNALS.timeframe)
_DAY = (_SIGNALS.close_ms - _SIGNALS.close_ms % DAY_MS).label("day_ms")
_RESULTS = {"targets": "target", "stops": "stop", "timeouts": "time"}

_Kind = tuple[str, str, str]
_Day = tuple[str, int]


class MetricTables:
    """The daily metrics of a ledger. Every method raises StoreError, which leaves the ledger unchanged."""

    def __init__(self, database: Database) -> None:
        self._database = database
        table, upsert = daily_metrics, database.upsert(daily_metrics)
        values = {one.name: upsert.excluded[one.name] for one in own_columns(table) if not one.primary_key}
        # Of a day whose signals have begun to go, what was counted stays.
        self._upsert = upsert.on_conflict_do_update(
            index_elements=[one.name for one in table.primary_key],
            set_=values,
            where=table.c.signals <= upsert.excluded.signals,
        )

    def update(self) -> int:
        """Count the days of which something is new since the last time; returns how many there were."""
        with self._database.read() as connection:
            days = sorted(_new(connection))
            rows = [row for venue, day_ms in days for row in _rows(connection, venue, day_ms)]
        for first in range(0, len(rows), 500):
            with self._database.write() as connection:
                connection.execute(self._upsert, rows[first : first + 500])
        return len(days)

    def between(
        self, from_ms: int | None = None, to_ms: int | None = None, strategies: Sequence[str] = ()
    ) -> Iterator[Row]:
        """The metrics of days that begin in [from, to), by day, venue, strategy, side and timeframe."""
        table = daily_metrics
        query = select(*own_columns(table)).order_by(table.c.day_ms, *table.primary_key)
        query = query.where(table.c.day_ms >= from_ms) if from_ms is not None else query
        query = query.where(table.c.day_ms < to_ms) if to_ms is not None else query
        query = query.where(table.c.strategy.in_(strategies)) if strategies else query
        with self._database.read() as connection:
            for row in connection.execution_options(yield_per=500).execute(query).mappings():
                yield dict(row)


def _new(connection: Connection) -> set[_Day]:
    """Venue and day of signals that are new, or of which something became known."""
    days = select(_SIGNALS.venue, _DAY).distinct()
    counted_ms = connection.scalar(select(func.max(daily_metrics.c.updated_ms)))
    if counted_ms is None:
        return {(venue, day_ms) for venue, day_ms in connection.execute(days)}
    since_ms = counted_ms - _OVERLAP_MS
    # Numbers are in the order of storing: only what is new is looked at.
    older = select(_SIGNALS.number).where(func.coalesce(_SIGNALS.created_ms, 0) < since_ms)
    last = connection.scalar(older.order_by(_SIGNALS.number.desc()).limit(1)) or 0
    found = [
        days.where(_SIGNALS.number > last),
        days.join(schema.outcomes, _ENDS.signal_id == _SIGNALS.id).where(_ENDS.updated_ms >= since_ms),
        days.join(schema.trades, _TRADES.signal_id == _SIGNALS.id).where(_TRADES.updated_ms >= since_ms),
    ]
    return {(venue, day_ms) for query in found for venue, day_ms in connection.execute(query)}


def _rows(connection: Connection, venue: str, day_ms: int) -> Iterator[Row]:
    """Rows of `daily_metrics` of one day."""
    ends, trades = _ended(connection, venue, day_ms), _traded(connection, venue, day_ms)
    passed = case((_SIGNALS.state == "passed", 1), else_=0)
    counts = select(*_KIND, func.count(), func.sum(passed), func.count(_SIGNALS.alert_id.distinct()))
    counts = counts.where(*_within(venue, day_ms)).group_by(*_KIND).order_by(*_KIND)
    for *key, signals, passing, alerts in connection.execute(counts):
        kind = (key[0], key[1], key[2])
        yield {
            "venue": venue,
            "day_ms": day_ms,
            **dict(zip(("strategy", "side", "timeframe"), kind, strict=True)),
            "signals": signals,
            "passed": int(passing),
            "alerts": alerts,
            **ends.get(kind, _NO_ENDS),
            **trades.get(kind, _NO_TRADES),
        }


_NO_ENDS: Row = dict.fromkeys((*_RESULTS, "ambiguous"), 0) | dict.fromkeys(
    ("win_rate", "expectancy_r", "gross_r", "net_r")
)
_NO_TRADES: Row = {"trades": 0, "trades_won": 0, "trades_net": "0"}


def _ended(connection: Connection, venue: str, day_ms: int) -> dict[_Kind, Row]:
    """What became of the signals of a day that passed, by kind."""
    results = [func.sum(case((_ENDS.result == result, 1), else_=0)) for result in _RESULTS.values()]
    ambiguous = func.sum(case((_ENDS.ambiguous, 1), else_=0))
    net_pct = func.sum(_ENDS.net_r * _ENDS.risk_pct)
    query = select(
        *_KIND, func.count(), *results, ambiguous, func.avg(_ENDS.net_r), func.sum(_ENDS.gross_pct), net_pct,
        func.sum(_ENDS.risk_pct),
    )  # fmt: skip
    query = query.join(schema.outcomes, _ENDS.signal_id == _SIGNALS.id)
    query = query.where(*_within(venue, day_ms), _SIGNALS.state == "passed").group_by(*_KIND)
    found: dict[_Kind, Row] = {}
    for strategy, side, timeframe, n, targets, stops, timeouts, both, mean, gross, net, risk in connection.execute(
        query
    ):
        found[strategy, side, timeframe] = {
            "targets": int(targets),
            "stops": int(stops),
            "timeouts": int(timeouts),
            "ambiguous": int(both),
            "win_rate": int(targets) / n,
            "expectancy_r": mean,
            "gross_r": gross / risk if risk and gross is not None else None,
            "net_r": net / risk if risk and net is not None else None,
        }
    return found


def _traded(connection: Connection, venue: str, day_ms: int) -> dict[_Kind, Row]:
    """What the closed paper positions of a day's signals brought, by kind."""
    query = select(*_KIND, _TRADES.gross, _TRADES.fees, _TRADES.funding)
    query = query.join(schema.trades, _TRADES.signal_id == _SIGNALS.id)
    query = query.where(*_within(venue, day_ms), _TRADES.state == "closed")
    nets: defaultdict[_Kind, list[Decimal]] = defaultdict(list)
    for strategy, side, timeframe, gross, fees, funding in connection.execute(query):
        nets[strategy, side, timeframe].append(Decimal(gross) - Decimal(fees) - Decimal(funding))
    return {
        kind: {
            "trades": len(of),
            "trades_won": sum(one > 0 for one in of),
            "trades_net": decimal_text(sum(of, Decimal())),
        }
        for kind, of in nets.items()
    }


def _within(venue: str, day_ms: int) -> tuple[Any, ...]:
    return _SIGNALS.venue == venue, _SIGNALS.close_ms >= day_ms, _SIGNALS.close_ms < day_ms + DAY_MS
