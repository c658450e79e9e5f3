"""What happens when: pushes within bars, closed frames at their ends, tickers, scripted faults, in order of time."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from itertools import count, product

from tapewatch.model import MINUTE_MS
from tapewatch.simulator.clock import Clock
from tapewatch.simulator.faults import Injector
from tapewatch.simulator.limits import Books
from tapewatch.simulator.script import FaultRule
from tapewatch.simulator.session import Session
from tapewatch.simulator.streams import (
    ALL_MINI_TICKERS,
    Frame,
    Stream,
    book_ticker_frame,
    kline_frame,
    mini_ticker_frame,
    mini_tickers_frame,
    parse,
)
from tapewatch.simulator.tape import Kline, Tape
from tapewatch.simulator.tapes import Tapes

#: A push that is later than this is not worth sending any more.
_STALE_MS = 2000
#: Up to these rates a bar without its close has this many pushes; above, none: closed frames must not wait for them.
_PUSHES = ((60.0, 4), (120.0, 2), (600.0, 1))
#: How often the tickers of all come: each second, and where there are no pushes less often than bars close.
_TICKERS_MS, _RARE_TICKERS_MS = 1000, 5 * MINUTE_MS
#: A minute is planned so long before it begins: when bars close there is enough to do.
_LEAD_MS = 5_000
#: When within a minute, and how closely, tapes that end soon are renewed.
_RENEWED_MS, _RENEWALS_MS = 15_000, 15
_NO_STREAMS: dict[str, Stream] = {}


class Conductor:
    """Plays the tape to whoever is subscribed.

    Args:
        tapes: give the tape of a symbol.
        symbols: all symbols of the market.
        act: carries out a fault on connections.
    """

    def __init__(
        self,
        clock: Clock,
        tapes: Tapes,
        symbols: Iterable[str],
        injector: Injector,
        books: Books,
        act: Callable[[FaultRule, int], Awaitable[None]],
    ) -> None:
        self._clock, self._tapes, self._injector, self._books, self._act = clock, tapes, injector, books, act
        self._symbols = {symbol.lower(): symbol for symbol in symbols}
        self._streams: dict[str, tuple[Stream, dict[Session, None]]] = {}
        self._by_symbol: dict[str, dict[str, Stream]] = {}
        self._start_ms = clock.now_ms()
        self._planned: dict[str, int] = {}
        self._agenda: list[tuple[int, int, Callable[[int], None]]] = []
        self._order = count()
        self._changed: dict[str, None] = {}
        self._slow: dict[Session, None] = {}
        self._pushes = next((pushes for rate, pushes in _PUSHES if clock.rate <= rate), 0)
        self._tickers_ms = _TICKERS_MS if self._pushes else _RARE_TICKERS_MS

    def subscribed(self, session: Session, names: Iterable[str]) -> None:
        """A connection wants these streams; the first subscription starts the clock."""
        wanted = list(names)
        now_ms = self._clock.now_ms()
        minutes_ms = dict.fromkeys(at_ms // MINUTE_MS * MINUTE_MS for at_ms in (now_ms, now_ms + _LEAD_MS))
        for name in wanted:
            stream = parse(name, self._symbols)
            if stream is None:
                continue
            self._streams.setdefault(name, (stream, {}))[1][session] = None
            if stream.kind == "miniTickers":
                for symbol, minute_ms in product(self._symbols.values(), minutes_ms):
                    self._plan(symbol, minute_ms, now_ms)
            else:
                self._by_symbol.setdefault(stream.symbol, {})[name] = stream
                for minute_ms in minutes_ms:
                    self._plan(stream.symbol, minute_ms, now_ms)
        if any("@" in name for name in wanted):  # some libraries put a plain number into the URL
            self._clock.begin()

    def unsubscribed(self, session: Session, names: Iterable[str]) -> None:
        """A connection wants these streams no more."""
        for name in names:
            if name not in self._streams:
                continue
            stream, sessions = self._streams[name]
            sessions.pop(session, None)
            if not sessions:
                del self._streams[name]
                self._by_symbol.get(stream.symbol, {}).pop(name, None)
                if not self._by_symbol.get(stream.symbol, True):
                    del self._by_symbol[stream.symbol]

    def symbol_of(self, name: str) -> str | None:
        """The symbol of a stream, None for one that is of no symbol."""
        return self._symbols.get(name.partition("@")[0])

    async def run(self) -> None:
        """Play until the clock's end."""
        self._at(self._clock.now_ms() // MINUTE_MS * MINUTE_MS + MINUTE_MS - _LEAD_MS, self._minute)
        while (now_ms := self._clock.now_ms()) < self._clock.end_ms:
            due_ms = min(self._agenda[0][0], self._injector.next_ms(), self._clock.end_ms)
            if now_ms < due_ms:
                await self._clock.wait(int(due_ms))
            else:
                await asyncio.sleep(0)  # let the connections send
            await self._play(self._clock.now_ms())
            await self._wait_for_slow_readers()

    def later(self, at_ms: int, what: Callable[[int], None]) -> None:
        """Do something at a simulated time."""
        self._at(at_ms, what)

    async def _play(self, now_ms: int) -> None:
        while True:
            fault_ms = self._injector.next_ms()
            if min(fault_ms, self._agenda[0][0]) > now_ms:
                return
            if fault_ms <= self._agenda[0][0]:
                for at_ms, rule in self._injector.fired(int(fault_ms)):
                    await self._act(rule, at_ms)
            else:
                at_ms, _, what = heapq.heappop(self._agenda)
                what(at_ms)

    def _at(self, at_ms: int, what: Callable[[int], None]) -> None:
        if self._agenda and at_ms < self._agenda[0][0]:
            self._clock.nudge()
        heapq.heappush(self._agenda, (at_ms, next(self._order), what))

    def _minute(self, at_ms: int) -> None:
        """A new minute is about to begin: plan it for every symbol that somebody listens to."""
        self._at(at_ms + MINUTE_MS, self._minute)
        everyone, now_ms = ALL_MINI_TICKERS in self._streams, self._clock.now_ms()
        for symbol in self._symbols.values() if everyone else list(self._by_symbol):
            self._plan(symbol, at_ms + _LEAD_MS, now_ms)
        for order, symbol in enumerate(self._tapes.fading(at_ms)):
            self._at(at_ms + _RENEWED_MS + order * _RENEWALS_MS, partial(self._tapes.renew, symbol))

    def _plan(self, symbol: str, minute_ms: int, now_ms: int) -> None:
        """Put a minute of a symbol on the agenda, once: its pushes, and the closes at its beginning and end."""
        planned_ms = self._planned.get(symbol, -1)
        if planned_ms >= minute_ms:
            return
        self._planned[symbol] = minute_ms
        tape = self._tapes.at(symbol, minute_ms)
        closes_ms = (
            [minute_ms + MINUTE_MS] if planned_ms == minute_ms - MINUTE_MS else [minute_ms, minute_ms + MINUTE_MS]
        )
        for close_ms in closes_ms:
            at_ms = close_ms + self._delay_ms(tape, close_ms)
            if at_ms >= now_ms and close_ms > self._start_ms:
                self._at(at_ms, partial(self._close, tape, close_ms))
        if not self._pushes:
            return
        for at_ms in tape.steps(minute_ms - minute_ms % tape.base.interval_ms, self._pushes):
            if max(now_ms, minute_ms) <= at_ms < minute_ms + MINUTE_MS:
                self._at(at_ms, partial(self._push, tape))

    def _delay_ms(self, tape: Tape, close_ms: int) -> int:
        return 1 + (tape.salt ^ (close_ms // MINUTE_MS * 2_654_435_761)) % self._books.limits.close_delay_ms

    def _close(self, tape: Tape, close_ms: int, at_ms: int) -> None:
        """The bars of a symbol that end at `close_ms` are closed."""
        length_ms = tape.base.interval_ms
        base = tape.closed(length_ms, 0, close_ms)
        for stream in list(self._by_symbol.get(tape.base.symbol, _NO_STREAMS).values()):
            if stream.kind != "kline" or (close_ms + stream.offset_ms) % stream.interval_ms:
                continue
            same = stream.interval_ms == length_ms
            kline = base if same else tape.closed(stream.interval_ms, stream.offset_ms, close_ms)
            if kline is None or (not kline.trades and self._omitted(tape, close_ms)):
                continue
            frame = kline_frame(stream, kline, event_ms=at_ms, closed=True)
            again = partial(self._again, stream, at_ms)
            sent, later = self._injector.closing(frame, kline, again, at_ms)
            for altered in sent:
                self._emit(altered, at_ms)
            if later is not None:
                self._at(later[0], partial(self._emit, later[1]))
        if base is not None:
            self._tickers(tape, at_ms)

    def _again(self, stream: Stream, at_ms: int, kline: Kline) -> Frame:
        return kline_frame(stream, kline, event_ms=at_ms, closed=True)

    def _omitted(self, tape: Tape, close_ms: int) -> bool:
        return (
            self._delay_ms(tape, close_ms + 1) / self._books.limits.close_delay_ms
            <= self._books.limits.quiet_close_omitted
        )

    def _push(self, tape: Tape, at_ms: int) -> None:
        """The running bars of a symbol have changed."""
        if self._clock.now_ms() - at_ms > _STALE_MS:
            return
        for stream in list(self._by_symbol.get(tape.base.symbol, {}).values()):
            if stream.kind == "kline" and tape.serves(stream.interval_ms):
                kline = tape.running(stream.interval_ms, stream.offset_ms, at_ms)
                if kline is not None:
                    self._emit(kline_frame(stream, kline, event_ms=at_ms, closed=False), at_ms)
        self._tickers(tape, at_ms)

    def _tickers(self, tape: Tape, at_ms: int) -> None:
        for stream in self._by_symbol.get(tape.base.symbol, _NO_STREAMS).values():
            if stream.kind == "miniTicker":
                self._emit(mini_ticker_frame(stream, tape.day(at_ms), at_ms), at_ms)
            elif stream.kind == "bookTicker":
                self._emit(book_ticker_frame(stream, tape, at_ms), at_ms)
        if ALL_MINI_TICKERS in self._streams:
            if not self._changed:
                self._at(at_ms - at_ms % self._tickers_ms + self._tickers_ms, self._all_tickers)
            self._changed[tape.base.symbol] = None

    def _all_tickers(self, at_ms: int) -> None:
        changed, self._changed = self._changed, {}
        if ALL_MINI_TICKERS in self._streams:
            stream = self._streams[ALL_MINI_TICKERS][0]
            days = {symbol: self._tapes.at(symbol, at_ms).day(at_ms) for symbol in changed}
            self._emit(mini_tickers_frame(stream, days, at_ms), at_ms)

    def _emit(self, frame: Frame, at_ms: int) -> None:
        listening = self._streams.get(frame.stream)
        if listening is None:
            return
        for piece in (frame,) if self._injector.idle else self._injector.after(frame, at_ms):
            for session in listening[1]:
                if session.offer(piece, at_ms):
                    self._books.frames[piece.kind] += 1
                    if session.full:
                        self._slow[session] = None

    async def _wait_for_slow_readers(self) -> None:
        """Simulated time waits for a reader that cannot keep up; one that stands still is cut."""
        slow, self._slow = self._slow, {}
        for session in slow:
            if not await session.drained(self._books.limits.patience_s):
                self._books.breach(session.client, "slow")
                session.reset()
