"""Signals as one process hands them to another: by the numbers under which they were stored."""

from __future__ import annotations

from sqlalchemy import func, select

from tapewatch.model import Judged
from tapewatch.store import schema
from tapewatch.store.database import Database
from tapewatch.store.rows import signal_of

_SIGNALS, _TRADES = schema.signals, schema.trades


class HandedSignals:
    """The signals of one ledger that passed. Every method raises StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest(self, venue: str) -> tuple[int, int]:
        """The number of the newest signal of a venue, and of the newest that the paper book has heard of; 0 of none."""
        of_venue = select(func.max(_SIGNALS.c.number)).where(_SIGNALS.c.venue == venue)
        traded = of_venue.join_from(_SIGNALS, _TRADES, _TRADES.c.signal_id == _SIGNALS.c.id)
        with self._database.read() as connection:
            return connection.scalar(of_venue) or 0, connection.scalar(traded) or 0

    def after(self, venue: str, number: int, limit: int) -> list[tuple[int, Judged]]:
        """The first signals of a venue after this number that passed, in the order in which they were stored."""
        table = _SIGNALS
        query = select(table.c.number, table.c.body, table.c.late, table.c.recv_ms, table.c.alert_id)
        query = query.where(table.c.number > number, table.c.venue == venue, table.c.state == "passed")
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(table.c.number).limit(limit)).all()
        return [
            (row.number, Judged(signal_of(row.body), "passed", row.late, row.recv_ms, row.alert_id)) for row in rows
        ]
