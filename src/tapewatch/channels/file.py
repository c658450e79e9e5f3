"""The file channel: one JSON line for each message, on disk when `send` returns."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

import msgspec

from tapewatch.channels.port import DeliveryError, Outgoing, Style
from tapewatch.channels.thread import OwnThread
from tapewatch.disk import sync_folder

_KEYS = ("message_id", "alert_id", "kind", "sent_ms", "possible_repeat", "subject", "text", "signal")


class FileChannel:
    """Appends messages to a file that several processes may append to.

    A line that a crash tore is ended, so that the next one starts clean; a write that fails leaves nothing behind.
    """

    style: Style = "plain"
    room: int | None = None

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self._path = path
        self._thread = OwnThread()

    async def send(self, outgoing: Outgoing) -> None:
        """Append one line and sync it to the disk."""
        line = msgspec.json.encode({key: getattr(outgoing, key) for key in _KEYS}) + b"\n"
        try:
            await self._thread.run(self._append, line)
        except OSError as error:
            raise DeliveryError(f"file {self._path}: {error.strerror or error}", whole_channel=True) from error

    def _append(self, line: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = not self._path.exists()
        handle = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):  # what a pipe or a device took could not be taken back
                raise OSError(errno.EINVAL, "is no regular file")
            fcntl.flock(handle, fcntl.LOCK_EX)
            _append_whole(handle, line)
        finally:
            os.close(handle)
        if new:
            sync_folder(self._path.parent)


def _append_whole(handle: int, line: bytes) -> None:
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
