"""The ledger as a SQLite file: how it is opened, and what its errors mean to the user."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import sqlalchemy
from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.dialects import sqlite

from tapewatch.errors import NoLedgerError, SetupError, StoreError
from tapewatch.store.dates import UPDATED

#: The log of what was written is moved into the file by a commit where it has so many pages (16 MB); a run does so
#: before, between commits. Where a reader kept it from that for long, its file is made as small as this again.
LOG_PAGES, PAGE_BYTES = 4_096, 4_096

_ADVICE = {
    "SQLITE_BUSY": "is locked by another process; close what holds it (a backup, a database browser, another run)",
    "SQLITE_LOCKED": "is locked by another process; close what holds it (a backup, a database browser, another run)",
    "SQLITE_FULL": "cannot grow: the disk is full; free some space and it goes on",
    "SQLITE_IOERR": "cannot be written or read; check the disk's free space, its quota and its health",
    "SQLITE_READONLY": "is read-only; check the permissions of the file and of its folder",
    "SQLITE_CANTOPEN": "cannot be opened; check that its folder exists and may be written",
    "SQLITE_NOTADB": "is not a SQLite database; name another file in ledger.url",
    "SQLITE_CORRUPT": "is damaged; restore a backup or name another file in ledger.url",
}


def connectable(url: URL, name: str, *, create: bool, busy_timeout_ms: int) -> Engine:
    """An engine for a file, whose folder is made if the file may be.

    Raises:
        SetupError: no file is named.
        NoLedgerError: there is none and it is not to be made.
        StoreError: its folder cannot be made.
    """
    if not url.database or url.database == ":memory:":
        raise SetupError("ledger.url must name a file, as sqlite:///tapewatch.db does")
    path = Path(url.database)
    if not path.exists():
        if not create:
            raise NoLedgerError(f"ledger.url: {path} does not exist; `tapewatch run` creates it")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{name}: its folder cannot be created: {error.strerror}") from error
    engine = sqlalchemy.create_engine(url, hide_parameters=True)
    _tune(engine, busy_timeout_ms)
    return engine


def _tune(engine: Engine, busy_timeout_ms: int) -> None:
    def connected(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun by `begun`, not guessed by the driver
        for pragma in (
            f"busy_timeout={busy_timeout_ms}",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"wal_autocheckpoint={LOG_PAGES}",
            f"journal_size_limit={LOG_PAGES * PAGE_BYTES}",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    def begun(connection: Connection) -> None:
        # A plain BEGIN takes the write lock at the first write, where waiting for it can fail on a stale view.
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN IMMEDIATE"))

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)


class Upsert(sqlite.Insert):
    """An INSERT whose ON CONFLICT clause dates the rows that it changes."""

    inherit_cache = True

    def on_conflict_do_update(self, *, set_: Mapping[str, Any], **options: Any) -> Self:  # type: ignore[override]
        """See there."""
        dated = {**set_, UPDATED: self.excluded[UPDATED]}
        return super().on_conflict_do_update(set_=dated, **options)


def reading(engine: Engine) -> Engine:
    """The same engine for transactions that only read."""
    return engine.execution_options(begin="BEGIN")


def advice(error: BaseException | None) -> str:
    """What is wrong, and what to do."""
    code = error.sqlite_errorname if isinstance(error, sqlite3.Error) else ""
    for name, text in _ADVICE.items():
        if code == name or code.startswith(name + "_"):
            return f"{text} ({error})"
    return f"failed: {error}"
