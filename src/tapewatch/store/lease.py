"""The right to run on a ledger: one process at a time, given back by the system however that process ends."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

import sqlalchemy

from tapewatch.errors import SetupError, StoreError


class Lease:
    """Held from its making until `release`, or until the process is gone.

    It is a lock on a file beside the SQLite file, which holds the process's id and stays when the lock is released:
    removing it could take it from under the next one. Commands that only look at a ledger, or queue a message again,
    need no lease.

    Args:
        url: the ledger's; its folder exists.

    Raises:
        SetupError: another process holds it.
        StoreError: the file cannot be written.
    """

    def __init__(self, url: str) -> None:
        database = sqlalchemy.make_url(url).database
        assert database is not None, "a ledger that was opened has a file"
        path = Path(f"{database}-lock")
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._handle, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._handle)
            raise SetupError(
                f"ledger.url: {database} is in use by another run, process {holder}; stop that one, or give this one "
                "a ledger of its own"
            ) from None
        with suppress(OSError):  # the id is for people; the lock holds on a full disk too
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another process have it."""
        os.close(self._handle)
