"""The streams that are one connection's share, and the exchange being told of them within its limits."""

from __future__ import annotations

from collections.abc import Callable

from tapewatch.feeds.stream import MessageLimit, RefusalError, Stream
from tapewatch.feeds.wire import TOO_MANY, chunk_streams

Message = tuple[str, list[str]]


class Share:
    """What a connection is to carry. It may change at any time; the difference to what is carried is sent.

    The window over messages belongs to the share and not to a socket: it outlives reconnects, and two sockets that
    overlap have one window.

    Args:
        room: how many streams it may be; less after the exchange refused some.
        limit: the window over messages.
        on_started: called with streams that were just acknowledged.
        on_full: called with the streams that the exchange allows here no more, and with its words.
    """

    def __init__(
        self,
        room: int,
        limit: MessageLimit,
        on_started: Callable[[frozenset[str]], None],
        on_full: Callable[[list[str], str], None],
    ) -> None:
        self.names: dict[str, None] = {}
        self.room = room
        self.limit = limit
        self._on_started = on_started
        self._on_full = on_full

    @property
    def has_bars(self) -> bool:
        """Whether any stream is of one symbol; those of the whole market begin with an exclamation mark."""
        return any(not name.startswith("!") for name in self.names)

    async def settle(self, stream: Stream) -> None:
        """Subscribes and unsubscribes until the exchange has acknowledged what is wanted, no more and no less.

        Raises:
            EdgeError: it refused, did not answer, or the connection went.
        """
        while self._next_message(stream) is not None:
            await self.limit.free()
            message = self._next_message(stream)  # what is wanted may have changed meanwhile
            if message is None:
                return
            self.limit.note()
            method, names = message
            try:
                await stream.request(method, names)
            except RefusalError as refused:
                if refused.code != TOO_MANY or not stream.names:
                    raise
                self._shrink(stream, str(refused))
            else:
                if method == "SUBSCRIBE":
                    self._on_started(frozenset(names))

    def _next_message(self, stream: Stream) -> Message | None:
        """What to send first to bring the exchange's view to ours; what it has to forget makes room."""
        extra = [name for name in stream.names if name not in self.names or name in stream.stale]
        if extra:
            return "UNSUBSCRIBE", chunk_streams(extra)[0]
        missing = [name for name in self.names if name not in stream.names]
        return ("SUBSCRIBE", chunk_streams(missing)[0]) if missing else None

    def _shrink(self, stream: Stream, error: str) -> None:
        """The exchange allows fewer streams than was thought: the rest goes elsewhere."""
        self.room = len(stream.names)
        excess = [name for name in self.names if name not in stream.names]
        for name in excess:
            del self.names[name]
        self._on_full(excess, error)
