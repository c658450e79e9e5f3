"""Connections and transactions of the ledger, and what its errors mean to the user."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Engine, Table, event, exc
from sqlalchemy.dialects import postgresql, sqlite

from tapewatch.errors import SetupError, StoreError

Upsert = sqlite.Insert | postgresql.Insert

_SQLITE_ADVICE = {
    "SQLITE_BUSY": "is locked by another process; close what holds it (a backup, a database browser, another run)",
    "SQLITE_LOCKED": "is locked by another process; close what holds it (a backup, a database browser, another run)",
    "SQLITE_FULL": "cannot grow: the disk is full; free some space and it goes on",
    "SQLITE_IOERR": "cannot be written or read; check the disk's free space, its quota and its health",
    "SQLITE_READONLY": "is read-only; check the permissions of the file and of its folder",
    "SQLITE_CANTOPEN": "cannot be opened; check that its folder exists and may be written",
    "SQLITE_NOTADB": "is not a SQLite database; name another file in ledger.url",
    "SQLITE_CORRUPT": "is damaged; restore a backup or name another file in ledger.url",
}


class Database:
    """An engine on a SQLite file or another database by URL.

    Args:
        url: a SQLAlchemy URL.
        create: whether a SQLite file that does not exist is created.
        busy_timeout_ms: how long to wait for another process that writes.

    Raises:
        SetupError: the URL makes no sense, its driver is not installed, or there is no such file and it is not made.
    """

    def __init__(self, url: str, *, create: bool, busy_timeout_ms: int) -> None:
        try:
            parsed = sqlalchemy.make_url(url)
        except exc.ArgumentError:
            raise SetupError("ledger.url is not a database URL; an example is sqlite:///tapewatch.db") from None
        kind = parsed.get_backend_name()
        if kind not in {"sqlite", "postgresql"}:
            raise SetupError(f"ledger.url names {kind}, but the ledger is kept in sqlite or postgresql")
        self.name = f"ledger {parsed.database if kind == 'sqlite' else parsed.render_as_string()}"
        if kind == "sqlite":
            if not parsed.database or parsed.database == ":memory:":
                raise SetupError("ledger.url must name a file, as sqlite:///tapewatch.db does")
            self._prepare_file(Path(parsed.database), create=create)
        self._engine = self._connectable(url)
        if self._engine.dialect.name == "sqlite":
            _tune_sqlite(self._engine, busy_timeout_ms)
        self._reader = self._engine.execution_options(begin="BEGIN")

    @property
    def file(self) -> Path:
        """Where a SQLite database is."""
        assert self._engine.url.database is not None, "no other kind of database is configured yet"
        return Path(self._engine.url.database)

    def _prepare_file(self, path: Path, *, create: bool) -> None:
        if path.exists():
            return
        if not create:
            raise SetupError(f"ledger.url: {path} does not exist; `tapewatch run` creates it")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.name}: its folder cannot be created: {error.strerror}") from error

    def _connectable(self, url: str) -> Engine:
        try:
            return sqlalchemy.create_engine(url, hide_parameters=True, pool_pre_ping=not url.startswith("sqlite"))
        except (ImportError, exc.NoSuchModuleError) as error:
            raise SetupError(f"ledger.url needs a database driver that is not installed: {error}") from None

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A connection in a transaction that holds the write lock; commits at the end, leaves nothing on an error."""
        with self._errors(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection in a transaction that sees one state of the database and takes no lock."""
        with self._errors(), self._reader.connect() as connection:
            yield connection

    def upsert(self, table: Table) -> Upsert:
        """An INSERT into `table` that can be given an ON CONFLICT clause."""
        return sqlite.insert(table) if self._engine.dialect.name == "sqlite" else postgresql.insert(table)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (exc.IntegrityError, exc.ProgrammingError, exc.DataError):
            raise  # our own mistake: waiting would not help
        except exc.DBAPIError as error:
            raise StoreError(f"{self.name} {self._advice(error.orig)}") from error

    @staticmethod
    def _advice(error: BaseException | None) -> str:
        code = error.sqlite_errorname if isinstance(error, sqlite3.Error) else ""
        for name, advice in _SQLITE_ADVICE.items():
            if code == name or code.startswith(name + "_"):
                return f"{advice} ({error})"
        return f"failed: {error}"


class Many:
    """A statement for many rows, whose text is made once: SQLAlchemy looks at each value of each row every time.

    Args:
        statement: without values of its own; the types of its columns need no conversion.
    """

    def __init__(self, statement: Upsert) -> None:
        self._statement = statement
        self._text = ""
        self._names: tuple[str, ...] = ()

    def execute(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute it for these rows, at least one, which have the same names in every call."""
        if not self._text:
            compiled = self._statement.compile(dialect=connection.dialect, column_keys=list(rows[0]))
            self._text, self._names = str(compiled), tuple(compiled.positiontup or ())
        values = list(map(itemgetter(*self._names), rows)) if self._names else [dict(row) for row in rows]
        connection.exec_driver_sql(self._text, values)


def _tune_sqlite(engine: Engine, busy_timeout_ms: int) -> None:
    def connected(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun by `begun`, not guessed by the driver
        for pragma in (f"busy_timeout={busy_timeout_ms}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    def begun(connection: Connection) -> None:
        # A plain BEGIN takes the write lock at the first write, where waiting for it can fail on a stale view.
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN IMMEDIATE"))

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)
