"""Keeps one connection of the pool standing, with the streams that are its share."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tapewatch.errors import EdgeError
from tapewatch.feeds.attempts import Attempts
from tapewatch.feeds.clock import ExchangeClock
from tapewatch.feeds.observer import FeedObserver, FrameCounts
from tapewatch.feeds.port import Connection, ConnectionState, Ticker
from tapewatch.feeds.settings import FeedSettings
from tapewatch.feeds.share import Share
from tapewatch.feeds.stream import MessageLimit, Stream
from tapewatch.feeds.wire import KlineEvent

#: How often silence and age are looked at.
WATCH_S = 1.0
#: A connection that brings nothing while others do may have only sleeping symbols: it is replaced ever more rarely.
PATIENCE = 16
#: Connections made together reach their age apart: each lives this part of the allowed age, or longer.
YOUNGEST = 0.75


@dataclass(frozen=True, slots=True)
class Common:
    """What all connections of a pool share.

    Args:
        on_closed_bar: called with each kline event that closes a bar, from any connection.
        on_tickers: called with each all-market ticker.
        on_started: called with streams that were just acknowledged; what they missed before has to be fetched.
        on_full: called with streams that the exchange allows a connection no more, and with its words.
        is_down: whether no connection works.
        symbol_of: the symbol of a stream, None for one that is of no symbol.
    """

    settings: FeedSettings
    url: str
    context: ssl.SSLContext | None
    clock: ExchangeClock
    counts: FrameCounts
    observer: FeedObserver
    attempts: Attempts
    on_closed_bar: Callable[[KlineEvent], None]
    on_tickers: Callable[[list[Ticker]], None]
    on_started: Callable[[frozenset[str]], None]
    on_full: Callable[[Shard, list[str], str], None]
    is_down: Callable[[], bool]
    symbol_of: Callable[[str], str | None]


class Shard:
    """A share of the streams on one connection that outlives its sockets.

    The names may change at any time: what is wanted is compared with what the exchange has acknowledged, and the
    difference is sent, in as few messages as the limits ask for. A connection that goes is followed by another after
    1, 2, 4, 8, 16 s and so on for ever; one that is to be replaced (age, `serverShutdown`, silence) stays until its
    successor is subscribed, and the overlap brings bars twice.
    """

    def __init__(self, name: str, common: Common) -> None:
        self.name = name
        self.share = Share(
            common.settings.streams_per_connection,
            MessageLimit(common.clock.wall_s),
            common.on_started,
            lambda excess, error: common.on_full(self, excess, error),
        )
        self._common = common
        self._current: Stream | None = None
        self._opening: Stream | None = None
        self._replace: asyncio.Future[str] | None = None
        self._changed = asyncio.Event()
        self._paced_ms: int | None = None
        self._replacing = False
        self._failures = self._waits = 0
        self._patience = 1
        self._opened = self._frames = 0
        self._made_s = self._born_s = self._lost_s = self.changed_s = common.clock.wall_s()
        self._heard_s: float | None = None

    async def run(self) -> None:
        """Runs until cancelled; an exception of a callback comes out, in a group."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_names())
                await self._keep_connected()
        finally:
            current, self._current = self._current, None
            if current is not None:
                await current.close()

    def add(self, names: Iterable[str]) -> None:
        """Carry these streams too."""
        self.share.names.update(dict.fromkeys(names))
        self._change()

    def remove(self, names: Iterable[str]) -> None:
        """Carry these streams no more."""
        for name in names:
            self.share.names.pop(name, None)
        self._change()

    def again(self, name: str) -> None:
        """Subscribe to a stream anew that stands and brings nothing."""
        if self._current is not None and name in self._current.names:
            self._current.stale.add(name)
            self._change()

    def carries(self, name: str) -> bool:
        """Whether the exchange has acknowledged the stream, and nothing is about to change that."""
        stream = self._current
        return stream is not None and name in stream.names and name not in stream.stale

    def replace(self, reason: str) -> None:
        """Asks for a new connection in place of the current one."""
        if self._replace is not None and not self._replace.done():
            self._replace.set_result(reason)

    def suspect(self, close_ms: int) -> None:
        """REST has a bar that closed at `close_ms`: the connection is replaced if it has been silent since before."""
        stream = self._current
        if stream is not None and stream.subscribed_ms < close_ms and stream.event_ms < close_ms:
            self.replace("silent: REST has bars that the stream did not bring")

    def heard(self, close_ms: int) -> bool:
        """Whether it has brought events of that time or later: what was sent on it before has been read then."""
        return self._current is not None and self._current.event_ms >= close_ms

    def pace(self, close_ms: int) -> None:
        """Tells a simulator that every bar that closes up to `close_ms` is processed, now and on later connections."""
        self._paced_ms = close_ms
        for stream in (self._current, self._opening):
            if stream is not None:
                stream.pace(close_ms)

    @property
    def worked_s(self) -> float:
        """The wall time until which the connection worked: now, while it stands and brought data not long ago."""
        until_s = self._common.clock.wall_s() if self._current is not None else self._lost_s
        heard_s = self._made_s if self._heard_s is None else self._heard_s
        return min(until_s, heard_s + self._common.settings.silence_s)

    def state(self) -> Connection:
        """The connection as it is now."""
        now_s = self._common.clock.wall_s()
        current = self._current
        state: ConnectionState = "replacing" if self._replacing else "live"
        if current is None:
            state = "down" if self._failures else "connecting"
        return Connection(
            name=self.name,
            state=state,
            streams=len(self.share.names),
            symbols=tuple(filter(None, map(self._common.symbol_of, self.share.names))),
            age_s=now_s - self._born_s if current is not None else 0.0,
            last_frame_s_ago=None if self._heard_s is None else now_s - self._heard_s,
            frames=self._frames + (current.data_frames if current is not None else 0),
            reconnects=max(0, self._opened - 1),
        )

    def _change(self) -> None:
        self.changed_s = self._common.clock.wall_s()
        self._changed.set()

    # The streams.

    async def _keep_names(self) -> None:
        """Tells the exchange of changes on the current connection."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            stream = self._current
            if stream is None:
                continue  # the next connection asks for what is wanted then
            try:
                await self.share.settle(stream)
            except EdgeError as error:
                if stream is self._current:
                    self.replace(str(error))

    # The connection.

    async def _keep_connected(self) -> None:
        attempts = self._common.attempts
        reason = ""
        while True:
            try:
                async with attempts.one():
                    fresh = await self._open()
            except EdgeError as error:
                self._failures, self._waits = self._failures + 1, self._waits + 1
                await asyncio.sleep(attempts.pause(self.name, self._failures, self._waits, str(error)))
                continue
            await self._take_over(fresh, reason)
            reason = await self._until_due(fresh)
            self._replacing = not fresh.closed.done()
            if fresh.closed.done():
                await fresh.close()
            # An acknowledgement is no proof of data: a connection that brought none was one more failure.
            if fresh.data_frames == 0 and self.share.names:
                self._patience = min(PATIENCE, 2 * self._patience)
                if fresh.closed.done() or self._common.is_down():
                    self._failures += 1
            if fresh.closed.done() or self._failures:
                self._waits += 1
                await asyncio.sleep(attempts.pause(self.name, self._failures, self._waits, reason))

    async def _open(self) -> Stream:
        def on_shutdown() -> None:
            if stream is self._current:
                self.replace("the exchange announced its shutdown")
            else:
                stream.abort()  # before it was ready: another attempt follows

        common = self._common
        stream = Stream(
            common.settings,
            common.clock,
            common.counts,
            common.observer,
            common.on_closed_bar,
            on_shutdown,
            common.on_tickers,
        )
        await stream.open(common.url, common.context, [], self.share.limit)
        if self._paced_ms is not None:
            stream.pace(self._paced_ms)  # before the first subscription starts its clock
        self._opening = stream
        try:
            await self.share.settle(stream)
        except EdgeError:
            await stream.close()
            raise
        except BaseException:
            stream.abort()
            await asyncio.sleep(0.01)  # two turns of the loop, in which the socket is closed
            raise
        finally:
            self._opening = None
        stream.subscribed_ms = common.clock.now_ms()
        return stream

    async def _take_over(self, fresh: Stream, reason: str) -> None:
        old, self._current = self._current, fresh
        self._born_s = self._common.clock.wall_s()
        self._opened += 1
        self._replacing = False
        self._replace = asyncio.get_running_loop().create_future()
        fresh.closed.add_done_callback(lambda _: self._ended(fresh))
        self._changed.set()
        if old is None:
            self._common.observer.connected(len(fresh.names), self.name)
        else:
            self._common.observer.replaced(reason, self.name)
            self._frames += old.data_frames
            await old.close()

    def _ended(self, stream: Stream) -> None:
        if stream is self._current and stream.closed.exception() is None:
            self._current = None
            self._frames += stream.data_frames
            self._lost_s = self._common.clock.wall_s()
            self._common.observer.disconnected(stream.closed.result(), self.name)

    def _hear(self, now_s: float) -> None:
        """Data came: whatever failed before is over."""
        self._heard_s = now_s
        if self._failures:
            self._common.attempts.recovered()
        self._failures = self._waits = 0
        self._patience = 1

    async def _until_due(self, stream: Stream) -> str:
        """Why the connection is over or has to be replaced."""
        assert self._replace is not None
        settings = self._common.settings
        age_s = settings.max_age_s * random.uniform(YOUNGEST, 1.0)
        silent_s, frames, proof = self._common.clock.wall_s(), 0, 0
        while True:
            await asyncio.wait(
                (stream.closed, self._replace),
                timeout=min(WATCH_S, settings.silence_s / 4),
                return_when=asyncio.FIRST_COMPLETED,
            )
            now_s = self._common.clock.wall_s()
            if stream.data_frames != frames:
                frames = stream.data_frames
                self._hear(now_s)
            # The ticker of the whole market proves nothing about the bars of these symbols.
            proving = stream.frames if self.share.has_bars else frames
            if proving != proof or not self.share.names:
                proof, silent_s = proving, now_s
            if stream.closed.done():
                return stream.closed.result()
            if self._replace.done():
                return self._replace.result()
            if now_s - silent_s > settings.silence_s * (1 if self._common.is_down() else self._patience):
                return f"silent for {now_s - silent_s:.0f} s"
            if now_s - self._born_s > age_s:
                return f"{now_s - self._born_s:.0f} s old"
