"""The figures of runs, minute by minute."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from sqlalchemy import select

from tapewatch.store import schema
from tapewatch.store.database import Database
from tapewatch.store.dates import own_columns


class FigureTables:
    """Samples of what a run counts and measures, in a role. Every method raises StoreError and then changed nothing."""

    def __init__(self, database: Database, role: str = "all") -> None:
        self._database, self._role = database, role
        self._insert = database.upsert(schema.figures).on_conflict_do_nothing()

    def keep(self, at_ms: int, started_ms: int, figures: Mapping[str, float]) -> None:
        """Store a sample of the run that started then."""
        body = zlib.compress(msgspec.json.encode(figures))
        with self._database.write() as connection:
            row = {"at_ms": at_ms, "started_ms": started_ms, "role": self._role, "body": body}
            connection.execute(self._insert, row)

    def between(self, from_ms: int | None, to_ms: int | None) -> Iterator[dict[str, Any]]:
        """Samples of [from, to), oldest first: `at_ms`, `started_ms` and the `figures` by name."""
        table = schema.figures
        query = select(*own_columns(table)).order_by(table.c.at_ms, table.c.started_ms, table.c.role)
        query = query.where(table.c.at_ms >= from_ms) if from_ms is not None else query
        query = query.where(table.c.at_ms < to_ms) if to_ms is not None else query
        with self._database.read() as connection:
            for row in connection.execution_options(yield_per=500).execute(query):
                figures = msgspec.json.decode(zlib.decompress(row.body))
                yield {"at_ms": row.at_ms, "started_ms": row.started_ms, "figures": figures}
