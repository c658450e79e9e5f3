"""Keeps one connection standing: opens it, watches it, and replaces it before it goes or when it went."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tapewatch.errors import EdgeError
from tapewatch.feeds.clock import ExchangeClock
from tapewatch.feeds.network import backoff, check_url, tls_context
from tapewatch.feeds.observer import FeedObserver, FrameCounts
from tapewatch.feeds.settings import FeedSettings
from tapewatch.feeds.stream import MessageLimit, Stream
from tapewatch.feeds.wire import KlineEvent

#: How often silence and age are looked at.
WATCH_S = 1.0


class Link:
    """One subscription that outlives its connections.

    A connection that goes is followed by another after 1, 2, 4, 8, 16 s and so on for ever; one that is to be replaced
    (age, `serverShutdown`, silence) stays until its successor is subscribed, and the overlap brings bars twice.

    Args:
        names: streams, at most 1,024.
        on_closed_bar: called with each kline event that closes a bar, from any connection.
        on_connected: called when a connection took over; what was missed meanwhile has to be fetched.
    """

    def __init__(
        self,
        settings: FeedSettings,
        clock: ExchangeClock,
        counts: FrameCounts,
        observer: FeedObserver,
        names: list[str],
        on_closed_bar: Callable[[KlineEvent], None],
        on_connected: Callable[[], None],
    ) -> None:
        self._url = check_url(settings.ws_url, ("ws", "wss"), "exchange.ws_url")
        self._context = tls_context(settings.ca_file)
        self._settings = settings
        self._clock = clock
        self._counts = counts
        self._observer = observer
        self._names = names
        self._on_closed_bar = on_closed_bar
        self._on_connected = on_connected
        self._limit = MessageLimit(clock.wall_s)
        self._current: Stream | None = None
        self._replace: asyncio.Future[str] | None = None
        self._paced_ms: int | None = None

    async def run(self) -> None:
        """Runs until cancelled; an exception of `on_closed_bar` comes out here."""
        failures = waits = 0
        reason = ""
        try:
            while True:
                try:
                    fresh = await self._open()
                except EdgeError as error:
                    failures, waits = failures + 1, waits + 1
                    await self._pause(failures, waits, str(error))
                    continue
                await self._take_over(fresh, reason)
                reason = await self._until_due(fresh)
                if fresh.closed.done():
                    await fresh.close()
                # An acknowledgement is no proof of data: a connection that brought none was one more failure.
                failures = 0 if fresh.frames else failures + 1
                waits = 0 if fresh.frames else waits
                if fresh.closed.done() or failures:
                    waits += 1
                    await self._pause(failures, waits, reason)
        finally:
            current, self._current = self._current, None
            if current is not None:
                await current.close()

    def replace(self, reason: str) -> None:
        """Asks for a new connection in place of the current one."""
        if self._replace is not None and not self._replace.done():
            self._replace.set_result(reason)

    def suspect(self, close_ms: int) -> None:
        """REST has a bar that closed at `close_ms`: the connection is replaced if it has been silent since before."""
        stream = self._current
        if stream is not None and stream.subscribed_ms < close_ms and stream.event_ms < close_ms:
            self.replace("silent: REST has bars that the stream did not bring")

    def pace(self, close_ms: int) -> None:
        """Tells a simulator that every bar that closes up to `close_ms` is processed, now and on later connections."""
        self._paced_ms = close_ms
        self._clock.acknowledged(close_ms)
        if self._current is not None:
            self._current.pace(close_ms)

    async def _open(self) -> Stream:
        def on_shutdown() -> None:
            if stream is self._current:
                self.replace("the exchange announced its shutdown")

        stream = Stream(self._settings, self._clock, self._counts, self._observer, self._on_closed_bar, on_shutdown)
        await stream.open(self._url, self._context, self._names, self._limit)
        return stream

    async def _take_over(self, fresh: Stream, reason: str) -> None:
        old, self._current = self._current, fresh
        self._replace = asyncio.get_running_loop().create_future()
        fresh.closed.add_done_callback(lambda _: self._ended(fresh))
        if self._paced_ms is not None:
            fresh.pace(self._paced_ms)
        if old is None:
            self._observer.connected(len(self._names))
        else:
            self._observer.replaced(reason)
            await old.close()
        self._on_connected()

    def _ended(self, stream: Stream) -> None:
        if stream is self._current and stream.closed.exception() is None:
            self._current = None
            self._observer.disconnected(stream.closed.result())

    async def _until_due(self, stream: Stream) -> str:
        """Why the connection is over or has to be replaced."""
        assert self._replace is not None
        opened_s = heard_s = self._clock.wall_s()
        frames = 0
        while True:
            await asyncio.wait(
                (stream.closed, self._replace),
                timeout=min(WATCH_S, self._settings.silence_s / 4),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if stream.closed.done():
                return stream.closed.result()
            if self._replace.done():
                return self._replace.result()
            now_s = self._clock.wall_s()
            if stream.frames != frames:
                frames, heard_s = stream.frames, now_s
            if now_s - heard_s > self._settings.silence_s:
                return f"silent for {now_s - heard_s:.0f} s"
            if now_s - opened_s > self._settings.max_age_s:
                return f"{now_s - opened_s:.0f} s old"

    async def _pause(self, failures: int, waits: int, error: str) -> None:
        wait_s = backoff(waits, self._settings.backoff_s)
        self._observer.attempt(failures + 1, wait_s, error)
        if failures == self._settings.alert_after:
            self._observer.connection_lost(failures, error)
        await asyncio.sleep(wait_s)
