"""The rights to write a ledger's groups of tables: one process at a time, given back however that process ends."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, Protocol, Self

import sqlalchemy
from sqlalchemy import Connection, exc, select

from tapewatch.errors import LedgerLostError, SetupError, StoreError
from tapewatch.store import schema
from tapewatch.store.database import Database

_LEASES = schema.leases
#: To find signals, to keep the paper book, to deliver.
Right = Literal["scanner", "positions", "relay"]
#: Of the lock's file beside a SQLite file.
_SUFFIX: dict[Right, str] = {"scanner": "-lock", "positions": "-positions-lock", "relay": "-relay-lock"}


class _Lock(Protocol):
    """What the system takes back when its holder is gone."""

    def held(self, *, reconnected: bool) -> bool:
        """Whether it is this process's; when a connection was made anew it may have to be taken again first."""

    def release(self) -> None:
        """Let another process have it."""


class Lease:
    """Held from its taking until `release`, or until the process is gone.

    Each taking has a number, and every write of this process looks whether it is still the newest: a process that was
    cut off and came back late can change nothing. Commands that only look at a ledger, or queue a message again, need
    no lease.
    """

    def __init__(self, database: Database, name: Right, lock: _Lock) -> None:
        self._database, self._name, self._lock = database, name, lock
        upsert = database.upsert(_LEASES).values(name=name, number=1, holder=_here())
        upsert = upsert.on_conflict_do_update(
            index_elements=["name"], set_={"number": _LEASES.c.number + 1, "holder": upsert.excluded.holder}
        )
        with database.write() as connection:
            self._number = connection.scalar(upsert.returning(_LEASES.c.number))
        database.guard(self._guard)

    @classmethod
    def take(cls, database: Database, name: Right) -> Self | None:
        """The right; None while another process has it.

        Raises:
            StoreError: the ledger, or the lock's file beside it, cannot be written.
        """
        lock = _lock(database, name)
        if not lock.held(reconnected=False):
            lock.release()
            return None
        try:
            return cls(database, name, lock)
        except BaseException:
            lock.release()
            raise

    def release(self) -> None:
        """Let another process have it."""
        self._database.unguard(self._guard)
        self._lock.release()

    def _guard(self, connection: Connection, reconnected: bool) -> None:  # noqa: FBT001  (as a guard is called)
        number = connection.scalar(select(_LEASES.c.number).where(_LEASES.c.name == self._name))
        if number != self._number or not self._lock.held(reconnected=reconnected):
            raise LedgerLostError(
                f"another process has taken over the {self._database.name} ({holder(connection, self._name)}); "
                "this one stops"
            )


def holder(connection: Connection, name: str) -> str:
    """Who has taken a right last, as people are told."""
    return holders(connection).get(name, "unknown")


def holders(connection: Connection) -> dict[str, str]:
    """By right, who has taken it last; the tables may be those of an earlier version."""
    if not sqlalchemy.inspect(connection).has_table(_LEASES.name):
        return {}
    return dict(connection.execute(select(_LEASES.c.name, _LEASES.c.holder).order_by(_LEASES.c.name)).all())


def held(database: Database) -> dict[Right, bool]:
    """Whether a process has each right now, without taking it."""
    if database.file is None:
        return {name: database.is_held(name) for name in _SUFFIX}
    return {name: _FileLock.is_held(_path(database.file, name)) for name in _SUFFIX}


@contextmanager
def alone(database: Database) -> Iterator[None]:
    """Meanwhile no run begins on this ledger, in no role, whose tables may be those of an earlier version.

    Raises:
        SetupError: one is on.
        StoreError: that cannot be found out.
    """
    with ExitStack() as stack:
        for name in _SUFFIX:
            lock = _lock(database, name)
            stack.callback(lock.release)
            if not lock.held(reconnected=False):
                with database.read() as connection:
                    by = holder(connection, name)
                raise SetupError(f"ledger.url: {database.name} is in use by {by}; stop it first")
        yield


def _lock(database: Database, name: Right) -> _Lock:
    return _ServerLock(database, name) if database.file is None else _FileLock(_path(database.file, name))


def _path(file: Path, name: Right) -> Path:
    return file.with_name(f"{file.name}{_SUFFIX[name]}")


def _here() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


class _FileLock:
    """A lock on a file beside the SQLite file, which stays when it is released: removing it could take the next one's.

    Raises:
        StoreError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error.strerror}") from None

    def held(self, *, reconnected: bool) -> bool:  # noqa: ARG002  (a file needs no connection)
        """Whether it is this process's."""
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let another process have it."""
        os.close(self._handle)

    @staticmethod
    def is_held(path: Path) -> bool:
        """Whether a process has it now; a look takes microseconds, in which nobody else gets it."""
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False


class _ServerLock:
    """An advisory lock of the server, on a connection of its own: gone with it, and so with the process."""

    def __init__(self, database: Database, name: str) -> None:
        self._database, self._name = database, name
        self._connection: Connection | None = None

    def held(self, *, reconnected: bool) -> bool:
        """Whether it is this process's; when another connection was lost, this one may have been as well."""
        if self._connection is None or (reconnected and self._broken()):
            self.release()
            self._connection = self._database.holding(self._name)
        return self._connection is not None

    def release(self) -> None:
        """Let another process have it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _broken(self) -> bool:
        assert self._connection is not None
        try:
            self._connection.exec_driver_sql("SELECT 1")
        except exc.DBAPIError:
            return True
        return False
