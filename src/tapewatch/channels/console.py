"""The console channel: a readable block for each message."""

from __future__ import annotations

from typing import TextIO

from tapewatch.channels.port import DeliveryError, Outgoing, Style
from tapewatch.channels.thread import OwnThread

_RULE = "-" * 60


class ConsoleChannel:
    """Prints messages on `stream`, in a thread of its own, since a terminal or pipe can block for good."""

    style: Style = "plain"
    room: int | None = None

    def __init__(self, name: str, stream: TextIO) -> None:
        self.name = name
        self._stream = stream
        self._thread = OwnThread()

    async def send(self, outgoing: Outgoing) -> None:
        """Print one message and flush."""
        block = f"{_RULE}\n{outgoing.subject}\n{_RULE}\n{outgoing.text.rstrip()}\n\n"
        try:
            await self._thread.run(self._print, block)
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            raise DeliveryError(f"console: {error}", whole_channel=True) from error

    def _print(self, block: str) -> None:
        encoding = self._stream.encoding or "utf-8"
        self._stream.write(block.encode(encoding, "backslashreplace").decode(encoding))
        self._stream.flush()
