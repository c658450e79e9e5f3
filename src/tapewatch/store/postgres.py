"""The ledger in PostgreSQL: how it is reached, and what its errors mean to the user. Loads the driver."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Self

import psycopg
import sqlalchemy
from psycopg import errors
from sqlalchemy import URL, Connection, Engine, Table, exc, text
from sqlalchemy.dialects import postgresql

from tapewatch.errors import LedgerLostError, SetupError
from tapewatch.network import is_loopback
from tapewatch.store.dates import UPDATED

#: A server that does not answer within these is in trouble: connecting, a statement, data nobody acknowledged.
CONNECT_S, STATEMENT_MS, SILENT_MS = 10, 60_000, 15_000
#: The right to write: what SQLite's lock on the whole file is. Two numbers that mean nothing to anybody else.
_WRITE = text(
    "SELECT CAST(pg_current_xact_id() AS text) FROM pg_advisory_xact_lock(hashtext('tapewatch'), "
    "hashtext(current_schema()))"
)
_HOLD = text("SELECT pg_try_advisory_lock(hashtext('tapewatch/' || :name), hashtext(current_schema()))")
_HELD = text(
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND database = (SELECT oid "
    "FROM pg_database WHERE datname = current_database()) AND CAST(classid AS bigint) = (CAST(hashtext('tapewatch/' || "
    ":name) AS bigint) & 4294967295) AND CAST(objid AS bigint) = (CAST(hashtext(current_schema()) AS bigint) & "
    "4294967295)"
)
_STATUS = text("SELECT pg_xact_status(CAST(:id AS xid8))")
#: How long a server that went away in the middle of a COMMIT is waited for.
UNSURE_S = 60.0

_ADVICE: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((errors.LockNotAvailable,), "is locked by another process that writes for long"),
    ((errors.QueryCanceled,), "did not answer in time"),
    ((errors.InvalidPassword, errors.InvalidAuthorizationSpecification), "refuses the user or the password"),
    ((errors.InvalidCatalogName,), "does not exist; create it with `createdb`"),
    ((errors.InsufficientPrivilege,), "does not let this user do what is needed; make it the database's owner"),
    ((errors.DiskFull, errors.OutOfMemory, errors.TooManyConnections), "lacks something"),
    ((errors.ReadOnlySqlTransaction,), "is read-only, as a standby is"),
    ((errors.OperationalError,), "cannot be reached"),
)


def connectable(url: URL, *, busy_timeout_ms: int) -> Engine:
    """An engine for a database of a server. TLS is checked unless the server is on this machine or the URL says so.

    Raises:
        SetupError: the URL names no database or no schema that can be used.
    """
    if not url.database:
        raise SetupError("ledger.url must name a database, as postgresql://tapewatch@127.0.0.1/tapewatch does")
    query: dict[str, Any] = dict(url.query)
    if "sslmode" not in query and not _is_here(url, query):
        query |= {"sslmode": "verify-full", "sslrootcert": query.get("sslrootcert", "system")}
    options = f"-c statement_timeout={STATEMENT_MS} -c lock_timeout={busy_timeout_ms} {query.pop('options', '')}"
    return sqlalchemy.create_engine(
        url.set(drivername="postgresql+psycopg", query=query),
        hide_parameters=True,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": CONNECT_S,
            "tcp_user_timeout": SILENT_MS,
            "keepalives_idle": 30,
            "application_name": "tapewatch",
            "client_encoding": "utf8",  # a database without an encoding of its own would answer in bytes
            "options": options.strip(),
        },
    )


def _is_here(url: URL, query: dict[str, Any]) -> bool:
    host = url.host or str(query.get("host", ""))
    return not host or host.startswith("/") or is_loopback(host)


class _Upsert(postgresql.Insert):
    """An INSERT whose ON CONFLICT clause dates the rows that it changes."""

    inherit_cache = True

    def on_conflict_do_update(self, *, set_: Mapping[str, Any], **options: Any) -> Self:  # type: ignore[override]
        """See there."""
        dated = {**set_, UPDATED: self.excluded[UPDATED]}
        return super().on_conflict_do_update(set_=dated, **options)


def upsert(table: Table) -> postgresql.Insert:
    """An INSERT into `table` that can be given an ON CONFLICT clause, which dates the rows that it changes."""
    return _Upsert(table)


def reading(engine: Engine) -> Engine:
    """The same engine for transactions that only read, and see one state of the database."""
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def lock(connection: Connection) -> str:
    """Wait until no other process writes to this ledger, to the end of the transaction; the transaction's id."""
    return str(connection.scalar(_WRITE))


def hold(connection: Connection, name: str) -> bool:
    """Take the right of this name for as long as the connection lasts; whether nobody else has it."""
    return bool(connection.scalar(_HOLD, {"name": name}))


def is_held(connection: Connection, name: str) -> bool:
    """Whether anybody has the right of this name now."""
    return bool(connection.scalar(_HELD, {"name": name}))


def committed(engine: Engine, transaction_id: str) -> bool:
    """Whether a transaction whose connection was lost during its COMMIT stands.

    Raises:
        LedgerLostError: the server does not come back to say so.
    """
    until_s = time.monotonic() + UNSURE_S
    while time.monotonic() < until_s:
        with suppress(exc.DBAPIError), engine.connect() as connection:
            status = connection.scalar(_STATUS, {"id": transaction_id})
            if status != "in progress":
                return bool(status == "committed")
        time.sleep(0.5)
    raise LedgerLostError(
        f"the ledger's server went away in the middle of a commit and did not come back within {UNSURE_S:.0f} s; what "
        "it stored is found out by the next start"
    )


def advice(error: BaseException | None) -> str:
    """What is wrong, and what to do."""
    for kinds, words in _ADVICE:
        if isinstance(error, kinds):
            return f"{words} ({_line(error)})"
    return f"failed: {_line(error)}"


def is_ours(error: BaseException | None) -> bool:
    """Whether an error comes from what we asked, not from the server's state or from what its owner allows."""
    kinds = (psycopg.IntegrityError, psycopg.ProgrammingError, psycopg.DataError)
    return isinstance(error, kinds) and not isinstance(error, errors.InsufficientPrivilege | errors.InvalidCatalogName)


def _line(error: BaseException | None) -> str:
    return " ".join(str(error).split())
