"""Stream names, and the frames that streams carry."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from tapewatch.model import INTERVALS_MS
from tapewatch.simulator.decimals import text
from tapewatch.simulator.tape import Day, Kline, Tape
from tapewatch.simulator.wire import framed

Kind = Literal["kline", "miniTicker", "bookTicker", "miniTickers"]

ALL_MINI_TICKERS = "!miniTicker@arr"
#: `<symbol>@kline_<interval>@+08:00`: bars that follow the day of UTC+8.
_EASTERN = ("@+08:00", 8 * 3_600_000)


@dataclass(frozen=True)
class Stream:
    """One stream that has data; `symbol` is empty for the array of all."""

    name: str
    kind: Kind
    symbol: str = ""
    interval: str = ""
    offset_ms: int = 0

    @property
    def interval_ms(self) -> int:
        """Length of a kline stream's bars."""
        return INTERVALS_MS[self.interval]


def parse(name: str, symbols: Mapping[str, str]) -> Stream | None:
    """The stream of that name, None for one that has no data (`symbols`: lower case name to symbol)."""
    if name == ALL_MINI_TICKERS:
        return Stream(name, "miniTickers")
    lower, _, rest = name.partition("@")
    symbol = symbols.get(lower)
    if symbol is None:
        return None
    if rest == "miniTicker":
        return Stream(name, "miniTicker", symbol)
    if rest == "bookTicker":
        return Stream(name, "bookTicker", symbol)
    bare = rest.removesuffix(_EASTERN[0])
    interval = bare.removeprefix("kline_")
    if bare == interval or interval not in INTERVALS_MS:
        return None
    return Stream(name, "kline", symbol, interval, _EASTERN[1] if bare != rest else 0)


class Frame:
    """One event of one stream; encoded when the first connection wants it, once for each form that is wanted.

    Attributes:
        stream: its name.
        kind: what the books count it as: `closed push miniTicker bookTicker miniTickers`.
        symbol: the symbol, empty for the array of all.
        open_ms: the bar of a kline frame.
    """

    __slots__ = ("_encode", "_forms", "kind", "open_ms", "stream", "symbol")

    def __init__(self, stream: Stream, kind: str, encode: Callable[[int], str], open_ms: int = 0) -> None:
        self.stream, self.kind, self.symbol, self.open_ms = stream.name, kind, stream.symbol, open_ms
        self._encode = encode
        self._forms: dict[tuple[bool, int], bytes] = {}

    def wire(self, *, combined: bool, unit: int) -> bytes:
        """The frame as it is sent; `unit` is 1 for times in milliseconds, 1000 for microseconds."""
        key = (combined, unit)
        form = self._forms.get(key)
        if form is None:
            body = self._encode(unit)
            wrapped = f'{{"stream":{_string(self.stream)},"data":{body}}}' if combined else body
            form = self._forms[key] = framed("text", wrapped.encode())
        return form

    def altered(self, change: Callable[[str], str]) -> Frame:
        """A copy with another body."""
        copy = Frame.__new__(Frame)
        copy.stream, copy.kind, copy.symbol, copy.open_ms = self.stream, self.kind, self.symbol, self.open_ms
        copy._encode, copy._forms = lambda unit: change(self._encode(unit)), {}  # noqa: SLF001
        return copy


def kline_frame(stream: Stream, kline: Kline, *, event_ms: int, closed: bool) -> Frame:
    """The kline event of one bar."""

    def encode(unit: int) -> str:
        bar = kline
        end = (bar.open_ms + bar.interval_ms) * unit - 1
        last_id, symbol = bar.last_id, _string(stream.symbol)
        return (
            f'{{"e":"kline","E":{event_ms * unit},"s":{symbol},"k":{{"t":{bar.open_ms * unit},"T":{end},'
            f'"s":{symbol},"i":"{stream.interval}","f":{bar.first_id},"L":{last_id},'
            f'"o":"{text(bar.open)}","c":"{text(bar.close)}","h":"{text(bar.high)}","l":"{text(bar.low)}",'
            f'"v":"{text(bar.volume)}","n":{bar.trades},"x":{"true" if closed else "false"},'
            f'"q":"{text(bar.quote_volume)}","V":"{text(bar.taker_buy)}","Q":"{text(bar.taker_quote)}","B":"0"}}}}'
        )

    return Frame(stream, "closed" if closed else "push", encode, kline.open_ms)


def mini_ticker_frame(stream: Stream, day: Day, event_ms: int) -> Frame:
    """The rolling 24 hours of one symbol."""
    return Frame(stream, "miniTicker", lambda unit: _mini(stream.symbol, day, event_ms * unit))


def mini_tickers_frame(stream: Stream, days: Mapping[str, Day], event_ms: int) -> Frame:
    """The rolling 24 hours of the symbols that changed."""
    listed = dict(days)

    def encode(unit: int) -> str:
        return "[" + ",".join(_mini(symbol, day, event_ms * unit) for symbol, day in listed.items()) + "]"

    return Frame(stream, "miniTickers", encode)


def book_ticker_frame(stream: Stream, tape: Tape, now_ms: int) -> Frame:
    """Best bid and ask; it carries no event type and no time, as on the exchange."""
    bid, bid_quantity, ask, ask_quantity = tape.quote(now_ms)
    body = (
        f'{{"u":{now_ms},"s":{_string(stream.symbol)},"b":"{text(bid)}","B":"{text(bid_quantity)}",'
        f'"a":"{text(ask)}","A":"{text(ask_quantity)}"}}'
    )
    return Frame(stream, "bookTicker", lambda _unit: body)


def shutdown_text(now_ms: int, *, combined: bool, unit: int) -> bytes:
    """The notice that the server is about to go."""
    body = f'{{"e":"serverShutdown","E":{now_ms * unit}}}'
    return (f'{{"stream":"!serverShutdown","data":{body}}}' if combined else body).encode()


def _mini(symbol: str, day: Day, event: int) -> str:
    span = day.span
    return (
        f'{{"e":"24hrMiniTicker","E":{event},"s":{_string(symbol)},"c":"{text(span.close)}","o":"{text(span.open)}",'
        f'"h":"{text(span.high)}","l":"{text(span.low)}","v":"{text(span.volume)}","q":"{text(span.quote_volume)}"}}'
    )


@functools.cache
def _string(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
