"""What every part that writes files needs of the disk."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import statistics
import tempfile
import time
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make names that were made or changed in a folder last. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: Path, text: bytes, mode: int = 0o644) -> None:
    """Write a file so that nobody ever reads a part of it, private from its first byte on where `mode` says so.

    Raises:
        OSError: it cannot be written there; what was there before still is.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text)
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def append_line(path: Path, line: bytes) -> int:
    """Where in a file that several processes may append to a line is, now that it lasts; folders are made.

    A line that a crash tore is ended, so that the next one starts clean; a write that fails leaves nothing behind.

    Raises:
        OSError: it cannot be written there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):  # what a pipe or a device took could not be taken back
            raise OSError(errno.EINVAL, "is no regular file")
        fcntl.flock(handle, fcntl.LOCK_EX)
        place = _append_whole(handle, line)
    finally:
        os.close(handle)
    if new:
        sync_folder(path.parent)
    return place


def _append_whole(handle: int, line: bytes) -> int:
    size = os.fstat(handle).st_size
    torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
    rest = (b"\n" if torn else b"") + line
    try:
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    except OSError:
        os.ftruncate(handle, size)
        raise
    return size + torn


def sync_ms(folder: Path, rounds: int = 3) -> float:
    """How long a small file takes until it lasts, as the middle of some attempts; it has no name and is gone then.

    Raises:
        OSError: it cannot be written there.
    """
    found = []
    for _ in range(rounds):
        with tempfile.TemporaryFile(dir=folder) as file:
            began = time.perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            found.append((time.perf_counter() - began) * 1000)
    return statistics.median(found)
