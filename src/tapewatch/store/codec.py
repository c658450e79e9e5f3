"""Events as bytes and back, to the last bit: bars by columns, because those compress, all else as MessagePack."""

from __future__ import annotations

import sys
import zlib
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from tapewatch.errors import DataError
from tapewatch.model import Bar, BarClosed, Event, History

#: Payloads larger than this are compressed.
COMPRESS_BYTES = 2_048
#: What a payload may grow to when it is read: a damaged length must not eat the memory.
MAX_PAYLOAD = 1 << 30

_HISTORY, _CLOSED, _OTHER = 0, 1, 2
_VALUES = ("open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy")
_PLAIN, _ZLIB = b"\0", b"\1"


class _Columns(msgspec.Struct, array_like=True):
    """A batch of events. `kinds` has a byte for each; bars are in the columns in their order, the rest in `others`."""

    kinds: bytes
    symbols: list[str]
    symbol: bytes
    interval_ms: bytes
    open_ms: bytes
    recv_ms: bytes
    values: list[bytes]
    others: list[Event]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Columns)


def encode(events: Sequence[Event]) -> bytes:
    """A batch of events as bytes."""
    kinds = bytes(
        _CLOSED if type(event) is BarClosed else _HISTORY if type(event) is History else _OTHER for event in events
    )
    closed = [event for event in events if type(event) is BarClosed]
    bars: list[Bar] = [event.bar for event in events if type(event) is BarClosed or type(event) is History]
    symbols = list(dict.fromkeys(bar.symbol for bar in bars))
    place = {symbol: number for number, symbol in enumerate(symbols)}
    columns = _Columns(
        kinds,
        symbols,
        _packed("q", [place[bar.symbol] for bar in bars]),
        _packed("q", [bar.interval_ms for bar in bars]),
        _packed("q", [bar.open_ms for bar in bars]),
        _packed("q", [event.recv_ms for event in closed]),
        [_packed("d", [getattr(bar, name) for bar in bars]) for name in _VALUES],
        [event for event in events if type(event) is not BarClosed and type(event) is not History],
    )
    return squeeze(_encoder.encode(columns))


def decode(payload: bytes) -> list[Event]:
    """The events of a batch.

    Raises:
        DataError: these bytes are no batch.
    """
    try:
        return _events(_decoder.decode(stretch(payload)))
    except (msgspec.MsgspecError, ValueError, IndexError, StopIteration, TypeError) as error:
        raise DataError(f"is no batch of events: {error}") from None


def bars_of(payload: bytes, symbol: str) -> list[Bar]:
    """The bars of one symbol in a batch, whatever they were for; the others are not made.

    Raises:
        DataError: these bytes are no batch.
    """
    try:
        columns = _decoder.decode(stretch(payload))
        if symbol not in columns.symbols:
            return []
        place, count = columns.symbols.index(symbol), len(columns.symbol) // 8
        mine = [row for row, number in enumerate(_unpacked("q", columns.symbol, count)) if number == place]
        numbers = [_unpacked("q", raw, count) for raw in (columns.interval_ms, columns.open_ms)]
        numbers += [_unpacked("d", raw, count) for raw in columns.values]
        return [Bar(symbol, *(column[row] for column in numbers)) for row in mine]
    except (msgspec.MsgspecError, ValueError, IndexError, TypeError) as error:
        raise DataError(f"is no batch of events: {error}") from None


def _events(columns: _Columns) -> list[Event]:
    kinds = columns.kinds
    bars = kinds.count(_HISTORY) + kinds.count(_CLOSED)
    names = columns.symbols
    rows = zip(
        [names[number] for number in _unpacked("q", columns.symbol, bars)],
        _unpacked("q", columns.interval_ms, bars),
        _unpacked("q", columns.open_ms, bars),
        *(_unpacked("d", values, bars) for values in columns.values),
        strict=True,
    )
    made = iter([Bar(*row) for row in rows])
    received = iter(_unpacked("q", columns.recv_ms, kinds.count(_CLOSED)))
    others = iter(columns.others)
    if len(columns.others) != len(kinds) - bars or len(columns.values) != len(_VALUES):
        raise ValueError("its columns do not fit together")
    events: list[Event] = []
    for kind in kinds:
        if kind == _CLOSED:
            events.append(BarClosed(next(made), next(received)))
        elif kind == _HISTORY:
            events.append(History(next(made)))
        else:
            events.append(next(others))
    return events


def _packed(code: str, values: Iterable[Any]) -> bytes:
    """Numbers of 8 bytes, first the lowest byte of all, then the next: neighbours are alike and compress."""
    column = array(code, values)
    if sys.byteorder == "big":
        column.byteswap()
    raw = column.tobytes()
    return b"".join(raw[place::8] for place in range(8))


def _unpacked(code: str, packed: bytes, count: int) -> array[Any]:
    if len(packed) != 8 * count:
        raise ValueError("a column is too long or too short")
    raw = bytearray(len(packed))
    for place in range(8):
        raw[place::8] = packed[place * count : (place + 1) * count]
    column = array(code, bytes(raw))
    if sys.byteorder == "big":
        column.byteswap()
    return column


def squeeze(raw: bytes) -> bytes:
    """Bytes, compressed where that is worth it, with a mark which."""
    return _ZLIB + zlib.compress(raw, 1) if len(raw) > COMPRESS_BYTES else _PLAIN + raw


def stretch(squeezed: bytes) -> bytes:
    """What was squeezed. Raises DataError where that cannot be said."""
    mark, rest = squeezed[:1], squeezed[1:]
    if mark == _PLAIN:
        return rest
    if mark != _ZLIB:
        raise DataError("is marked neither as plain nor as compressed")
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(rest, MAX_PAYLOAD)
    except zlib.error as error:
        raise DataError(f"cannot be decompressed: {error}") from None
    if not inflater.eof:
        raise DataError("is compressed and not whole")
    return raw
