"""What a ledger is on, tried without leaving anything: can it be written, how fast, by whom is it used."""

from __future__ import annotations

import sqlite3
import statistics
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from tapewatch.disk import sync_ms
from tapewatch.errors import StoreError
from tapewatch.store.database import Database
from tapewatch.store.lease import held, holders
from tapewatch.store.migrate import stored_revision

#: Attempts; the middle one counts.
ROUNDS = 3
BUSY_MS = 2_000
#: A record in the server's log of changes that changes nothing: a commit waits for the disk as with any other.
_NOTHING = text("SELECT pg_logical_emit_message(true, 'tapewatch', 'check')")


@dataclass(frozen=True, slots=True)
class Trial:
    """How it went.

    Attributes:
        server: SQLite or PostgreSQL with its version.
        revision: of the tables, None where there are none of ours yet.
        write_ms: how long a small write took until it lasts.
        rights: who has each right now, None where nobody does.
    """

    server: str
    revision: str | None
    write_ms: float
    rights: dict[str, str | None]


def try_out(url: str) -> Trial:
    """How a ledger does that is there.

    Raises:
        SetupError: it cannot be one.
        StoreError: it cannot be read or written.
    """
    database = Database(url, create=False, busy_timeout_ms=BUSY_MS)
    with closing(database):
        if database.file is not None:
            return _file(database, database.file)
        write_ms = statistics.median(_commit_ms(database) for _ in range(ROUNDS))
        with database.read() as connection:
            version = str(connection.scalar(text("SHOW server_version"))).split()[0]
        return _told(database, f"PostgreSQL {version}", write_ms)


def _commit_ms(database: Database) -> float:
    with database.write() as connection:
        began = time.perf_counter()
        connection.execute(_NOTHING)
    return (time.perf_counter() - began) * 1000


def _file(database: Database, path: Path) -> Trial:
    """Of a file the write lock is taken and given back; what a write takes to last is tried beside it."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_MS / 1e3)) as file:
            file.isolation_level = None
            file.execute("BEGIN IMMEDIATE")
            ours = file.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
            file.execute("ROLLBACK")
        write_ms = sync_ms(path.parent)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(str(error)) from None
    server = f"SQLite {sqlite3.sqlite_version}"
    return Trial(server, None, write_ms, {}) if ours is None else _told(database, server, write_ms)


def _told(database: Database, server: str, write_ms: float) -> Trial:
    with database.read() as connection:
        revision, by = stored_revision(connection), holders(connection)
    rights = {str(name): by.get(name, "unknown") if now else None for name, now in held(database).items()}
    return Trial(server, revision, write_ms, rights)
