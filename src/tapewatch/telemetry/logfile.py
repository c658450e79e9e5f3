"""The rotating file that log lines go to."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count, takewhile
from pathlib import Path
from threading import Lock

from tapewatch.errors import SetupError

#: A file that could not be put aside is written on; that is tried again after so long.
AGAIN_S = 60.0


def utc_day() -> int:
    """The number of this day, UTC."""
    return datetime.now(UTC).toordinal()


class LineFile:
    """A file of lines that starts anew each day (UTC) and when it is full; `keep` old ones stay, as `.1`, `.2` and on.

    A disk or folder in trouble costs lines at most, never the work that is logged: `trouble` says what it is, and it
    ends by itself. A file that somebody else moved or removed is made again. Threads and processes may share one.

    Args:
        path: the file.
        keep: so many old ones stay.
        max_bytes: it is full before it is larger.
        today: the number of this day.

    Raises:
        SetupError: the file cannot be opened.
    """

    def __init__(self, path: Path, keep: int, max_bytes: int, today: Callable[[], int] = utc_day) -> None:
        self._path = path.absolute()
        self._keep = keep
        self._max_bytes = max_bytes
        self._today = today
        self._lock = Lock()
        self._rest_s = 0.0
        self._descriptor: int | None = None
        #: What is wrong, None while all is well; and how many lines that has cost.
        self.trouble: str | None = None
        self.lost = 0
        try:
            self._open()
        except OSError as error:
            raise SetupError(f"logging.file: {path} cannot be written: {error.strerror}") from None

    def write(self, line: str) -> bool:
        """Append one line; whether `trouble` began or ended with it."""
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        with self._lock:
            before, trouble = self.trouble, None
            try:
                trouble = self._make_room(len(data))
                self._append(data)
            except OSError as error:
                trouble = f"cannot be written: {error.strerror}"
                self.lost += 1
            self.trouble = trouble
            return (before is None) != (trouble is None)

    def close(self) -> None:
        """Close the file."""
        with self._lock, suppress(OSError):  # a full disk shows here once more
            self._close()

    def _open(self) -> None:
        self._close()
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        found = os.fstat(self._descriptor)
        written = datetime.fromtimestamp(found.st_mtime, UTC).toordinal()
        self._day = written if found.st_size else self._today()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _make_room(self, needed: int) -> str | None:
        """Have the right file open, with room for so many bytes; why it could not be put aside where it should be."""
        if self._descriptor is None or not self._is_there(self._descriptor):
            self._open()
        assert self._descriptor is not None
        size = os.fstat(self._descriptor).st_size
        full = self._max_bytes < size + needed
        if not ((self._is_of_another_day() or full) and size):
            return None
        if time.monotonic() < self._rest_s:
            return self.trouble
        try:
            self._put_aside(self._descriptor)
        except OSError as error:
            self._rest_s = time.monotonic() + AGAIN_S
            return f"cannot be put aside, and grows: {error.strerror}"
        self._open()
        return None

    def _is_there(self, descriptor: int) -> bool:
        """Whether the path still names the file that is open."""
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(named, os.fstat(descriptor))

    def _is_of_another_day(self) -> bool:
        """Whether the file is of a day that is over.

        A clock that is put back over midnight goes on in the file of the day after; one that is put back by more was
        wrong before.
        """
        today = self._today()
        if today in (self._day, self._day - 1):
            return False
        if today < self._day:
            self._day = today
            return False
        return True

    def _put_aside(self, descriptor: int) -> None:
        """Rename the file, unless another process has done so just now, and those that were put aside before."""
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            if self._is_there(descriptor):
                self._rename()
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)

    def _rename(self) -> None:
        taken = [self._old(number) for number in takewhile(lambda one: self._old(one).exists(), count(1))]
        for old in taken[self._keep :]:  # more were kept before
            old.unlink()
        newest = [self._path, *taken][: self._keep]
        for number, file in reversed(list(enumerate(newest, 1))):
            file.replace(self._old(number))

    def _old(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _append(self, data: bytes) -> None:
        """Write all of it, or nothing that would be half a line."""
        assert self._descriptor is not None
        size = os.fstat(self._descriptor).st_size
        written = os.write(self._descriptor, data)
        while written < len(data):
            try:
                written += os.write(self._descriptor, data[written:])
            except OSError:
                if os.fstat(self._descriptor).st_size == size + written:  # nobody else has written since
                    os.ftruncate(self._descriptor, size)
                raise
