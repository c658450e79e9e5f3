"""The file channel: one JSON line for each message, on disk when `send` returns."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tapewatch.channels.port import DeliveryError, Outgoing, Style
from tapewatch.channels.thread import OwnThread
from tapewatch.disk import append_line

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
            await self._thread.run(append_line, self._path, line)
        except OSError as error:
            raise DeliveryError(f"file {self._path}: {error.strerror or error}", whole_channel=True) from error
