"""Rows of a ledger that only tests read as they are."""

from __future__ import annotations

from sqlalchemy import Table, select

from tapewatch.store import Ledger, schema
from tapewatch.store.rows import Row


def rows_of(ledger: Ledger, table: Table, *order: str) -> list[Row]:
    """All of a table."""
    with ledger._database.read() as connection:
        found = connection.execute(select(table).order_by(*(table.c[name] for name in order)))
        return [dict(row) for row in found.mappings()]


def outcomes_of(ledger: Ledger) -> list[Row]:
    """What became of signals, by close."""
    return rows_of(ledger, schema.outcomes, "close_ms", "signal_id")


def baseline_sums(ledger: Ledger) -> list[Row]:
    """Sums of random entries."""
    return rows_of(ledger, schema.baselines, "symbol", "side", "hour", "source")
