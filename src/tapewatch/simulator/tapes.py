"""The tapes of a whole market, without holding all of its candles at once.

A small market is held whole. Of a large one each symbol has the hours around the simulated time, which is what streams
and tickers need, and the whole of a symbol is read again for those who ask REST for its history.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict

from tapewatch.model import DAY_MS, MINUTE_MS
from tapewatch.simulator.changes import ChangedMarket
from tapewatch.simulator.market import Market
from tapewatch.simulator.tape import Tape

_HOUR_MS = 60 * MINUTE_MS
#: Rows of a minute each that may be held whole; one is about 100 bytes.
_ROWS = 1_500_000
#: Before the time a tape has as much as a ticker and a bar of a day look back; after it, this much and up to twice.
_BEHIND_MS = DAY_MS + 2 * _HOUR_MS
_AHEAD_MS = 4 * _HOUR_MS
#: A tape that ends within this is made anew before it is needed.
_RENEWAL_MS = _HOUR_MS


class Tapes:
    """Gives the tape of a symbol; how much of it is held depends on how large the market is.

    Args:
        rows: how many rows may be held whole.
    """

    def __init__(self, market: Market, rows: int = _ROWS) -> None:
        self._market = market
        self._lock = threading.Lock()  # files of the archive are packed in a thread
        each = max(1, (market.last_ms - market.first_ms) // MINUTE_MS)
        self._room = max(8, rows // each)
        self._in_parts = len(market.symbols) > self._room
        self._wholes: OrderedDict[str, Tape] = OrderedDict()
        self._parts: dict[str, tuple[int, int, Tape]] = {}

    def whole(self, symbol: str) -> Tape:
        """All there is of a symbol."""
        with self._lock:
            tape = self._wholes.get(symbol)
            if tape is None:
                tape = self._wholes[symbol] = self._made(symbol)
                if len(self._wholes) > self._room:
                    self._wholes.popitem(last=False)
            elif self._in_parts:
                self._wholes.move_to_end(symbol)
            return tape

    def at(self, symbol: str, now_ms: int) -> Tape:
        """A tape that knows the day before `now_ms` and some time after it."""
        if not self._in_parts:
            return self.whole(symbol)
        part = self._parts.get(symbol)
        if part is None or now_ms >= part[1] - MINUTE_MS:
            part = self._parts[symbol] = self._cut(symbol, now_ms)
        return part[2]

    def since(self, symbol: str, from_ms: int, now_ms: int) -> Tape:
        """A tape that knows everything from `from_ms` to `now_ms`."""
        part = self._parts.get(symbol)
        if part is not None and part[0] <= from_ms and now_ms < part[1]:
            return part[2]
        return self.whole(symbol)

    def places(self, symbol: str) -> tuple[int, int]:
        """Decimals of its prices and quantities; the market may know them without its candles."""
        told = self._told(symbol)
        if told is not None:
            return told
        part = self._parts.get(symbol)
        tape = part[2] if part else self.whole(symbol)
        return tape.price_places, tape.quantity_places

    async def prepare(self, now_ms: int) -> None:
        """Make all parts, before anybody has to wait for them."""
        for symbol in self._market.symbols if self._in_parts else ():
            self.at(symbol, now_ms)
            await asyncio.sleep(0)

    def fading(self, now_ms: int) -> list[str]:
        """The symbols whose tapes end soon, to be asked for with `renew` while nothing else is due."""
        return [symbol for symbol, (_, to_ms, _) in self._parts.items() if to_ms - now_ms < _RENEWAL_MS]

    def renew(self, symbol: str, now_ms: int) -> None:
        """Make a tape that ends soon anew."""
        if symbol in self._parts:
            self._parts[symbol] = self._cut(symbol, now_ms)

    def _made(self, symbol: str) -> Tape:
        tape = Tape(self._market.candles(symbol), self._told(symbol))
        if isinstance(self._market, ChangedMarket):
            tape.spreads = self._market.stretches("spread", symbol)
            tape.depths = self._market.stretches("depth", symbol)
        return tape

    def _told(self, symbol: str) -> tuple[int, int] | None:
        ask = getattr(self._market, "places", None)
        return None if ask is None else ask(symbol)

    def _cut(self, symbol: str, now_ms: int) -> tuple[int, int, Tape]:
        whole = self.whole(symbol)
        from_ms = (now_ms - _BEHIND_MS) // _HOUR_MS * _HOUR_MS
        ahead_ms = _AHEAD_MS + whole.salt % _AHEAD_MS  # so that not all end at the same time
        to_ms = (now_ms + ahead_ms) // MINUTE_MS * MINUTE_MS
        return from_ms, to_ms, whole.part(from_ms, to_ms)
