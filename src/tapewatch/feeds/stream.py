"""One WebSocket connection to Binance: opened, subscribed, read."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import msgspec
from picows import WSCloseCode, WSError, WSFrame, WSListener, WSMsgType, WSParsedURL, WSTransport, ws_connect
from python_socks import ProxyError

from tapewatch.errors import DataError, EdgeError
from tapewatch.feeds.clock import ExchangeClock
from tapewatch.feeds.network import dial
from tapewatch.feeds.observer import FeedObserver, FrameCounts
from tapewatch.feeds.port import Ticker
from tapewatch.feeds.settings import FeedSettings
from tapewatch.feeds.wire import KlineEvent, Reply, ServerTime, Shutdown, Tickers, chunk_streams, control, decode
from tapewatch.network import proxy_for, told

#: Control messages in any second; the exchange closes the connection at more than 5, pongs included.
MESSAGES_PER_S = 3
#: The ticker of the whole market takes some 200 bytes a symbol; nothing else comes near.
FRAME_BYTES = 2 << 20
CLOSE_S = 1.0

_TEXT = WSMsgType.TEXT
_CONTINUATION = WSMsgType.CONTINUATION
_CLOSE = WSMsgType.CLOSE
_BINARY = WSMsgType.BINARY

_served = msgspec.json.Decoder(ServerTime).decode


def _ignore(_: list[Ticker]) -> None:
    """Tickers are of no interest."""


class MessageLimit:
    """A rolling window over control messages; shared by successive connections, since the exchange counts on."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._sent_s: deque[float] = deque(maxlen=MESSAGES_PER_S)

    async def wait(self) -> None:
        """Returns when another message may go, and counts it."""
        await self.free()
        self.note()

    async def free(self) -> None:
        """Returns when another message may go, which is true until something else waits."""
        while len(self._sent_s) == self._sent_s.maxlen:
            # A little over a second: the window is the exchange's, and the network squeezes.
            wait_s = self._sent_s[0] + 1.1 - self._wall()
            if wait_s <= 0:
                break
            await asyncio.sleep(wait_s)

    def note(self) -> None:
        """Counts a message that goes now."""
        self._sent_s.append(self._wall())


class RefusalError(EdgeError):
    """The exchange answered a control message with an error, whose number is `code`."""

    def __init__(self, text: str, code: int | None) -> None:
        super().__init__(text)
        self.code = code


class Stream(WSListener):
    """A connection's life from `open` until `closed` has a result: why it ended.

    An exception raised by `on_closed_bar` is a bug of ours: it becomes the exception of `closed`.

    Args:
        on_closed_bar: called with each kline event that closes a bar.
        on_shutdown: called when the exchange announces that this connection will go.
        on_tickers: called with each all-market ticker.
    """

    # The frames of a whole market come through here: attributes in slots are read in half the time.
    __slots__ = (
        "_clock",
        "_counts",
        "_fragments",
        "_identity",
        "_observer",
        "_on_closed_bar",
        "_on_shutdown",
        "_on_tickers",
        "_paces",
        "_replies",
        "_settings",
        "_socket",
        "_transport",
        "closed",
        "event_ms",
        "frames",
        "names",
        "stale",
        "subscribed_ms",
        "tickers",
    )

    def __init__(
        self,
        settings: FeedSettings,
        clock: ExchangeClock,
        counts: FrameCounts,
        observer: FeedObserver,
        on_closed_bar: Callable[[KlineEvent], None],
        on_shutdown: Callable[[], None],
        on_tickers: Callable[[list[Ticker]], None] = _ignore,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._counts = counts
        self._observer = observer
        self._on_closed_bar = on_closed_bar
        self._on_shutdown = on_shutdown
        self._on_tickers = on_tickers
        self._transport: WSTransport | None = None
        self._socket: socket.socket | None = None
        self._fragments: list[bytes] = []
        self._identity = 0
        self._replies: dict[int, asyncio.Future[Reply]] = {}
        self._paces: dict[int, float] = {}
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        #: The streams that the exchange has acknowledged, and those among them that are to be subscribed to anew.
        self.names: dict[str, None] = {}
        self.stale: set[str] = set()
        #: Kline frames received, the newest event time among them, and all-market tickers.
        self.frames = 0
        self.event_ms = 0
        self.tickers = 0
        #: The exchange's time when the streams had been acknowledged.
        self.subscribed_ms = 0

    @property
    def data_frames(self) -> int:
        """Frames that brought data; pings and answers are none."""
        return self.frames + self.tickers

    async def open(self, url: str, context: ssl.SSLContext | None, names: list[str], limit: MessageLimit) -> None:
        """Connects and subscribes; returns when every name is acknowledged, which is no proof that data will come.

        Raises:
            EdgeError: no connection, or the exchange refused.
        """
        seconds = self._settings.connect_timeout_s
        try:
            async with asyncio.timeout(2 * seconds):
                self._transport, _ = await ws_connect(
                    lambda: self,
                    f"{url}/stream",
                    ssl_context=context if url.startswith("wss") else None,
                    websocket_handshake_timeout=seconds,
                    max_frame_size=FRAME_BYTES,
                    max_redirects=0,
                    proxy=proxy_for(url),
                    socket_factory=self._dial,
                )
            for chunk in chunk_streams(names):
                await limit.wait()
                await self.request("SUBSCRIBE", chunk)
        except EdgeError:
            await self.close()
            raise
        except (OSError, WSError, ProxyError, TimeoutError) as error:
            await self.close()
            raise EdgeError(f"{url}: {told(error)}") from None
        except BaseException:
            self.abort()
            await asyncio.sleep(0.01)  # two turns of the loop, in which the socket is closed
            raise
        self.subscribed_ms = self._clock.now_ms()

    async def request(self, method: str, names: list[str]) -> None:
        """Subscribes to streams or unsubscribes from them, in one message; returns when that is acknowledged.

        Raises:
            RefusalError: the exchange answered with an error.
            EdgeError: it did not answer, or the connection went.
        """
        assert self._transport is not None
        self._identity += 1
        identity, seconds = self._identity, self._settings.connect_timeout_s
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._replies[identity] = reply
        try:
            self._transport.send(_TEXT, control(method, names, identity))
            await asyncio.wait((reply, self.closed), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        except (OSError, WSError) as error:
            raise EdgeError(f"{method}: {error or type(error).__name__}") from None
        finally:
            self._replies.pop(identity, None)
        if not reply.done():
            if self.closed.done():
                raise EdgeError(f"connection lost while subscribing: {self.closed.result()}")
            raise EdgeError(f"no answer to {method} within {seconds:.0f} s")
        if (error_text := reply.result().error) is not None:
            raise RefusalError(f"{method} was refused: {error_text}", reply.result().code)
        if method == "SUBSCRIBE":
            self.names.update(dict.fromkeys(names))
            return
        for name in names:
            self.names.pop(name, None)
            self.stale.discard(name)

    def pace(self, close_ms: int) -> None:
        """Tells a simulator that every bar that closes up to `close_ms` is processed; its answer sets the clock."""
        if self._transport is None or self._transport.is_disconnected:
            return
        self._identity += 1
        self._paces[self._identity] = self._clock.wall_s()
        self._transport.send(_TEXT, control("TAPEWATCH_PACE", [close_ms], self._identity))

    async def close(self) -> None:
        """Ends the connection politely, or after a second without; safe to call when it has ended."""
        if self._transport is None:
            return
        if not self._transport.is_disconnected:
            self._transport.send_close(WSCloseCode.OK)
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._transport.wait_disconnected()
        except TimeoutError:
            self.abort()
        except (WSError, OSError):
            pass  # `closed` has told that it ended
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Ends the connection at once."""
        if self._transport is not None:
            self._transport.disconnect(graceful=False)
        elif self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    async def _dial(self, url: WSParsedURL) -> socket.socket:
        # Kept, since picows forgets a connection whose handshake is cancelled.
        self._socket = await dial(url.host, url.port, self._settings.connect_timeout_s / 2)
        return self._socket

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Called by picows for each frame (pings it answers itself)."""
        try:
            if frame.msg_type == _TEXT and frame.fin:
                self._receive(frame.get_payload_as_bytes())
            else:
                self._receive_rare(transport, frame)
        except DataError as error:
            self._counts.malformed += 1
            self._observer.malformed(str(error))
        except BaseException as error:
            self._fail(error)  # picows would log it and go on; a bug must be seen

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Called by picows once, however the connection ended."""
        received = getattr(transport.close_handshake, "recv", None)  # there is no handshake after a reset
        reason = "connection reset"
        if received is not None:
            reason = f"closed by the exchange: {received.code.value} {received.reason or ''}".rstrip()
        if not self.closed.done():
            self.closed.set_result(reason)

    def _receive(self, payload: bytes) -> None:
        self._counts.frames += 1
        event = decode(payload)
        if type(event) is KlineEvent:
            self.frames += 1
            if event.E > self.event_ms:  # noqa: PLR1730, SIM300  (max() costs four times as much)
                self.event_ms = event.E  # a late frame bears an old time
            if event.k.x:
                self._on_closed_bar(event)
            else:
                self._counts.running += 1
        elif type(event) is Reply:
            self._receive_reply(event)
        elif type(event) is Tickers:
            self.tickers += 1
            self._counts.malformed += event.malformed
            self._on_tickers(event.tickers)
        elif type(event) is Shutdown:
            self._on_shutdown()
        else:
            self._counts.unexpected += 1

    def _receive_rare(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind == _CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        elif kind in {_TEXT, _CONTINUATION}:
            self._fragments.append(frame.get_payload_as_bytes())
            if sum(map(len, self._fragments)) > FRAME_BYTES:
                self._fragments.clear()
                raise DataError(f"a message of more than {FRAME_BYTES} bytes")
            if frame.fin:
                payload = b"".join(self._fragments)
                self._fragments.clear()
                self._receive(payload)
        elif kind == _BINARY:
            raise DataError(f"a binary frame of {frame.payload_size} bytes")

    def _receive_reply(self, reply: Reply) -> None:
        sent_s = self._paces.pop(reply.id, None) if isinstance(reply.id, int) else None
        if sent_s is not None and reply.error is None:
            try:
                served = _served(reply.result)
            except ValueError as error:
                raise DataError(f"malformed pace reply: {error}") from None
            self._clock.sync(served.server_time, sent_s, self._clock.wall_s(), served.rate)
            self._clock.seen(served.server_time)
            return
        waiting = self._replies.pop(reply.id, None) if isinstance(reply.id, int) else None
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)
        elif reply.error is not None:
            self._observer.warning(f"the exchange reports an error on the stream: {reply.error}")

    def _fail(self, error: BaseException) -> None:
        if not self.closed.done():
            self.closed.set_exception(error)
        self.abort()
