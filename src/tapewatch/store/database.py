"""Connections and transactions of the ledger, in SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import sqlalchemy
from sqlalchemy import Connection, Dialect, Engine, Table, event, exc

from tapewatch.errors import SetupError, StoreError
from tapewatch.store import sqlite as files
from tapewatch.store.dates import wall_ms

if TYPE_CHECKING:  # what PostgreSQL needs is not loaded for a file
    from sqlalchemy.dialects import postgresql, sqlite

Upsert: TypeAlias = "sqlite.Insert | postgresql.Insert"
#: Raises LedgerLostError when this process may not write any more; it is told whether a connection was made anew.
Guard = Callable[[Connection, bool], None]

#: A log of a file that is larger is worth moving.
LOG_BYTES = 1_000_000


class _Server(Protocol):
    """What `tapewatch.store.postgres` offers."""

    def upsert(self, table: Table) -> postgresql.Insert: ...
    def reading(self, engine: Engine) -> Engine: ...
    def lock(self, connection: Connection) -> str: ...
    def hold(self, connection: Connection, name: str) -> bool: ...
    def is_held(self, connection: Connection, name: str) -> bool: ...
    def committed(self, engine: Engine, transaction_id: str) -> bool: ...
    def advice(self, error: BaseException | None) -> str: ...
    def is_ours(self, error: BaseException | None) -> bool: ...


class Database:
    """An engine on a SQLite file or a PostgreSQL database.

    Args:
        url: a SQLAlchemy URL, with the password if one is needed.
        create: whether a SQLite file that does not exist is created.
        busy_timeout_ms: how long to wait for another process that writes.

    Raises:
        SetupError: the URL makes no sense, its driver is not installed, or there is no such file and it is not made.
        StoreError: the folder of a file cannot be made.
    """

    def __init__(self, url: str, *, create: bool, busy_timeout_ms: int) -> None:
        try:
            parsed = sqlalchemy.make_url(url)
        except exc.ArgumentError:
            raise SetupError("ledger.url is not a database URL; an example is sqlite:///tapewatch.db") from None
        kind = parsed.get_backend_name()
        if kind not in {"sqlite", "postgresql"}:
            raise SetupError(f"ledger.url names {kind}, but the ledger is kept in sqlite or postgresql")
        if parsed.drivername != kind:
            raise SetupError(f"ledger.url names a driver; write {kind}:// in place of {parsed.drivername}://")
        self.name = f"ledger {parsed.database if kind == 'sqlite' else parsed.set(query={}).render_as_string()}"
        self._server: _Server | None = None
        self._guards: list[Guard] = []
        self._connected = False
        if kind == "sqlite":
            self._engine = files.connectable(parsed, self.name, create=create, busy_timeout_ms=busy_timeout_ms)
            self._reader = files.reading(self._engine)
        else:
            try:
                from tapewatch.store import postgres
            except ImportError as error:
                raise SetupError(
                    f"ledger.url needs a database driver: pip install 'tapewatch[postgres]' ({error})"
                ) from None
            self._server = postgres
            self._engine = postgres.connectable(parsed, busy_timeout_ms=busy_timeout_ms)
            self._reader = postgres.reading(self._engine)
            event.listen(self._engine, "connect", self._has_connected)

    def _has_connected(self, _connection: object, _record: object) -> None:
        # Because there was none, or because one was lost: the connection that holds a lock may be lost as well.
        self._connected = True

    @property
    def file(self) -> Path | None:
        """Where a SQLite database is, None for one of a server."""
        return Path(str(self._engine.url.database)) if self._server is None else None

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A connection in a transaction that holds the write lock; commits at the end, leaves nothing on an error.

        Raises:
            StoreError: nothing was written.
            LedgerLostError: this process must not write any more.
        """
        transaction_id, whole = "", False
        with self._errors(), self._engine.connect() as connection:
            try:
                with connection.begin():
                    if self._server is not None:
                        transaction_id = self._server.lock(connection)
                    self._ask_guards(connection)
                    yield connection
                    whole = True
            except exc.DBAPIError:
                # The answer to a COMMIT can be lost with the connection, and the transaction stands all the same.
                if self._server is None or not whole or not self._server.committed(self._engine, transaction_id):
                    raise

    def _ask_guards(self, connection: Connection) -> None:
        connected, self._connected = self._connected, False
        try:
            for guard in self._guards:
                guard(connection, connected)
        except StoreError:
            self._connected = connected
            raise

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection in a transaction that sees one state of the database and takes no lock."""
        with self._errors(), self._reader.connect() as connection:
            yield connection

    def guard(self, guard: Guard) -> None:
        """From now on every write asks this first, after it has the write lock."""
        self._guards.append(guard)

    def unguard(self, guard: Guard) -> None:
        """It is not asked any more."""
        self._guards.remove(guard)

    def holding(self, name: str) -> Connection | None:
        """A connection that holds the server's right of this name until it is closed; None while another does."""
        assert self._server is not None, "a file is locked by the system"
        with self._errors():
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            connection.detach()
            if self._server.hold(connection, name):
                return connection
            connection.close()
            return None

    def is_held(self, name: str) -> bool:
        """Whether any connection holds the server's right of this name."""
        assert self._server is not None, "a file is locked by the system"
        with self.read() as connection:
            return self._server.is_held(connection, name)

    def upsert(self, table: Table) -> Upsert:
        """An INSERT into `table` that can be given an ON CONFLICT clause, which dates the rows that it changes."""
        return files.Upsert(table) if self._server is None else self._server.upsert(table)

    def vacuum(self) -> None:
        """Give the free space of a file back to the disk; it is written anew.

        Raises:
            StoreError: it cannot be, as while another process uses it.
        """
        with self._errors(), self._engine.execution_options(begin="-- not in one").connect() as connection:
            connection.exec_driver_sql("VACUUM")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").close()

    def move_log(self) -> None:
        """Move what a file's log holds into the file where it has grown, so that no commit has to; waits for nobody.

        Raises:
            StoreError: it cannot be written; a later commit does it.
        """
        if self.file is None or not _size_of(self.file.with_name(f"{self.file.name}-wal")) > LOG_BYTES:
            return
        with self._errors(), self._engine.execution_options(begin="-- not in one").connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").close()

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except exc.DBAPIError as error:
            if self._server is None:
                ours = isinstance(error, exc.IntegrityError | exc.ProgrammingError | exc.DataError)
                advice = files.advice(error.orig)
            else:
                ours, advice = self._server.is_ours(error.orig), self._server.advice(error.orig)
            if ours:
                raise  # our own mistake: waiting would not help
            raise StoreError(f"{self.name} {advice}") from error


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


class Many:
    """A statement for many rows, whose text is made once: SQLAlchemy looks at each value of each row every time.

    Args:
        statement: without values of its own; what it stores in SQLite needs no conversion.
        distinct: no two rows of a call have the same key; a server is sent all of them as one statement then.
    """

    def __init__(self, statement: Upsert, *, distinct: bool = False) -> None:
        self._statement, self._distinct = statement, distinct
        self._text = ""
        self._names: tuple[str, ...] = ()
        self._dates: list[str] = []
        self._conversions: dict[str, Callable[[Any], Any]] = {}

    def execute(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute it for these rows, at least one, which have the same names in every call."""
        if not self._text:
            self._prepare(connection.dialect, list(rows[0]))
        now_ms = wall_ms()
        if self._names:
            values, dates = itemgetter(*self._names), (now_ms,) * len(self._dates)
            connection.exec_driver_sql(self._text, [(*values(row), *dates) for row in rows])
            return
        dated = dict.fromkeys(self._dates, now_ms)
        if self._distinct:
            columns = {name: [row[name] for row in rows] for name in rows[0]}
            columns |= {name: list(map(convert, columns[name])) for name, convert in self._conversions.items()}
            connection.exec_driver_sql(self._text, columns | dated)
            return
        converted = ({name: convert(row[name]) for name, convert in self._conversions.items()} for row in rows)
        connection.exec_driver_sql(
            self._text, [{**row, **of, **dated} for row, of in zip(rows, converted, strict=True)]
        )

    def _prepare(self, dialect: Dialect, names: Sequence[str]) -> None:
        compiled = self._statement.compile(dialect=dialect, column_keys=names)
        self._dates = [str(column.name) for column in compiled.insert_prefetch]
        self._text, self._names = str(compiled), tuple(compiled.positiontup or ())[: -len(self._dates)]
        if not self._names:
            kinds = {name: self._statement.table.c[name].type.dialect_impl(dialect) for name in names}
            found = ((name, kind.bind_processor(dialect)) for name, kind in kinds.items())
            self._conversions = {name: convert for name, convert in found if convert is not None}
            if self._distinct:
                self._text = self._in_columns(dialect, names)

    def _in_columns(self, dialect: Dialect, names: Sequence[str]) -> str:
        """The statement with a column of values in place of each value, which costs a server's client far less."""
        table = self._statement.table
        casts = {name: table.c[name].type.dialect_impl(dialect).compile(dialect).partition(" ")[0] for name in names}
        columns = ", ".join(f"%({name})s::{cast}[]" for name, cast in casts.items())
        dates = ", ".join(f"%({name})s::BIGINT" for name in self._dates)
        into, conflict = self._text.partition(" (")[0], self._text[self._text.index(" ON CONFLICT ") :]
        into = f"{into} ({', '.join([*names, *self._dates])})"
        return f"{into} SELECT rows.*, {dates} FROM unnest({columns}) AS rows{conflict}"  # noqa: S608 - names of our own
