"""The console channel: a readable block for each message."""

from __future__ import annotations

import asyncio
from typing import TextIO

from tapewatch.channels.port import DeliveryError, Outgoing

_RULE = "-" * 60


class ConsoleChannel:
    """Prints messages on `stream`, in a thread, since a terminal or pipe can block."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self.name = name
        self._stream = stream

    async def send(self, outgoing: Outgoing) -> None:
        """Print one message and flush."""
        block = f"{_RULE}\n{outgoing.subject}\n{_RULE}\n{outgoing.text.rstrip()}\n\n"
        try:
            await asyncio.to_thread(self._print, block)
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            raise DeliveryError(f"console: {error}") from error

    def _print(self, block: str) -> None:
        encoding = self._stream.encoding or "utf-8"
        self._stream.write(block.encode(encoding, "backslashreplace").decode(encoding))
        self._stream.flush()
