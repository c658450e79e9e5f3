"""The figures of runs, minute by minute."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from sqlalchemy import delete, select

from tapewatch.store import schema
from tapewatch.store.database import Database

#: What is older goes.
KEPT_MS = 30 * 86_400_000
#: So many old samples go at a time: each new one makes room for more than itself.
_BATCH = 50


class FigureTables:
    """Samples of what a run counts and measures. Every method raises StoreError and then changed nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert = database.upsert(schema.figures).on_conflict_do_nothing()

    def keep(self, at_ms: int, started_ms: int, figures: Mapping[str, float]) -> None:
        """Store a sample of the run that started then, and drop some of those that are too old."""
        table = schema.figures
        old = select(table.c.at_ms).where(table.c.at_ms < at_ms - KEPT_MS).order_by(table.c.at_ms).limit(_BATCH)
        body = zlib.compress(msgspec.json.encode(figures))
        with self._database.write() as connection:
            connection.execute(self._insert, {"at_ms": at_ms, "started_ms": started_ms, "body": body})
            connection.execute(delete(table).where(table.c.at_ms.in_(old)))

    def between(self, from_ms: int | None, to_ms: int | None) -> Iterator[dict[str, Any]]:
        """Samples of [from, to), oldest first: `at_ms`, `started_ms` and the `figures` by name."""
        table = schema.figures
        query = select(table).order_by(table.c.at_ms, table.c.started_ms)
        query = query.where(table.c.at_ms >= from_ms) if from_ms is not None else query
        query = query.where(table.c.at_ms < to_ms) if to_ms is not None else query
        with self._database.read() as connection:
            for row in connection.execution_options(yield_per=500).execute(query):
                figures = msgspec.json.decode(zlib.decompress(row.body))
                yield {"at_ms": row.at_ms, "started_ms": row.started_ms, "figures": figures}
