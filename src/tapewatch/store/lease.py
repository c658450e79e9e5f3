"""The right to run on a ledger, or to deliver from it: one process at a time, given back however that process ends."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Self

import sqlalchemy

from tapewatch.errors import SetupError, StoreError


class Lease:
    """Held from its making until `release`, or until the process is gone.

    It is a lock on a file beside the SQLite file, which holds the process's id and stays when the lock is released:
    removing it could take it from under the next one. Commands that only look at a ledger, or queue a message again,
    need no lease.
    """

    def __init__(self, handle: int) -> None:
        self._handle = handle

    @classmethod
    def to_run(cls, url: str) -> Self:
        """The right to run on the ledger at a URL, whose folder exists.

        Raises:
            SetupError: another process has it.
            StoreError: the file cannot be written.
        """
        database = sqlalchemy.make_url(url).database
        assert database is not None, "a ledger that was opened has a file"
        path = Path(f"{database}-lock")
        handle = _locked(path)
        if handle is None:
            holder = path.read_text(errors="replace").strip()
            raise SetupError(
                f"ledger.url: {database} is in use by another run, process {holder or 'unknown'}; stop that one, or "
                "give this one a ledger of its own"
            )
        return cls(handle)

    @classmethod
    def to_deliver(cls, database: Path) -> Self | None:
        """The right to take messages from a ledger's outbox; None while another relay has it.

        Raises:
            StoreError: the file cannot be written.
        """
        handle = _locked(database.with_name(f"{database.name}-relay-lock"))
        return None if handle is None else cls(handle)

    def release(self) -> None:
        """Let another process have it."""
        os.close(self._handle)


def _locked(path: Path) -> int | None:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    with suppress(OSError):  # the id is for people; the lock holds on a full disk too
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return handle
