"""How much is in a ledger, and who may write to it; its tables may be those of an earlier version."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, exc, func, select, text

from tapewatch.errors import StoreError
from tapewatch.store import schema
from tapewatch.store.database import Database
from tapewatch.store.lease import held, holders
from tapewatch.store.migrate import stored_revision

#: With their indexes.
_FILE_SIZES = text(
    "SELECT tbl_name, sum(pgsize) FROM dbstat JOIN sqlite_master USING (name) WHERE aggregate = 1 GROUP BY tbl_name"
)
_SERVER_SIZES = text(
    "SELECT relname, pg_total_relation_size(oid) FROM pg_class WHERE relkind = 'r' AND relnamespace = "
    "current_schema()::regnamespace"
)


def contents(connection: Connection, name: str) -> dict[str, Any]:
    """Name, revision, rows by table and messages by state."""
    there = set(sqlalchemy.inspect(connection).get_table_names())
    tables = {known: table for known, table in schema.metadata.tables.items() if known in there}
    states = select(schema.messages.c.state, func.count()).group_by(schema.messages.c.state)
    return {
        "name": name,
        "revision": stored_revision(connection),
        "rows": {known: connection.scalar(select(func.count()).select_from(one)) for known, one in tables.items()},
        "messages": dict(connection.execute(states).all()) if schema.messages.name in tables else {},
    }


def overview(database: Database) -> dict[str, Any]:
    """What `db info` prints of the database itself; sizes that a database does not tell are missing.

    Raises:
        StoreError: it cannot be read.
    """
    with database.read() as connection:
        found = contents(connection, database.name)
        taken = holders(connection)
        sizes = _sizes(connection, found["rows"], on_server=database.file is None)
        whole = None if database.file else connection.scalar(text("SELECT pg_database_size(current_database())"))
    file = database.file
    return {
        "ledger": found["name"].removeprefix("ledger "),
        "kind": "postgresql" if file is None else "sqlite",
        "revision": found["revision"],
        "newest": schema.REVISION,
        "rows": found["rows"],
        "bytes": sizes,
        "messages": found["messages"],
        "database_bytes": whole if file is None else file_bytes([file]),
        "wal_bytes": None if file is None else file_bytes([file.with_name(f"{file.name}-wal")]),
        "rights": {name: {"held": now, "last": taken.get(name)} for name, now in held(database).items()},
    }


def condition(database: Database) -> tuple[str | None, int]:
    """The revision of its tables, and how many bytes it takes with its write-ahead log.

    Raises:
        StoreError: it cannot be read, or its file is gone.
    """
    file = database.file
    with database.read() as connection:
        revision = stored_revision(connection)
        if file is None:
            return revision, int(connection.scalar(text("SELECT pg_database_size(current_database())")))
    if not file.exists():
        raise StoreError(f"{database.name} is not where it was: what is written now is lost when the run ends")
    return revision, file_bytes([file, file.with_name(f"{file.name}-wal")])


def file_bytes(paths: Iterable[Path]) -> int:
    """The size of the files that are there."""
    total = 0
    for path in paths:
        with suppress(OSError):
            total += path.stat().st_size
    return total


def _sizes(connection: Connection, names: Iterable[str], *, on_server: bool) -> dict[str, int]:
    try:
        sizes: dict[str, int] = dict(connection.execute(_SERVER_SIZES if on_server else _FILE_SIZES).all())
    except exc.OperationalError:
        if on_server:
            raise
        return {}  # a SQLite that was built without the table that knows
    return {name: int(sizes[name]) for name in names if name in sizes}
