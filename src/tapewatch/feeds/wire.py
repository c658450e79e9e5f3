"""Binance's JSON, typed: what streams and REST send, and what they mean.

Prices and quantities arrive as decimal strings and become the nearest double. Unknown members are ignored everywhere:
the exchange adds some every few months.
"""

from __future__ import annotations

from decimal import InvalidOperation
from typing import Any

import msgspec

from tapewatch.errors import DataError
from tapewatch.feeds.port import Ticker
from tapewatch.model import INTERVAL_NAMES, INTERVALS_MS, Bar, Listing
from tapewatch.paper.instruments import instrument_of

#: A control message stays below this many bytes: above 4 KiB the exchange falls silent (binance-connector-rust#27).
CONTROL_BYTES = 4_000
#: The code of "Too many subscriptions".
TOO_MANY = 4
#: The stream of every symbol's rolling 24 hours, those that changed within the last second.
TICKERS = "!miniTicker@arr"


class Kline(msgspec.Struct, gc=False):
    """The `k` object of a kline event: `{"t":1767225600000,"s":"BTCUSDT","i":"1m","o":"87640.00000000",…,"x":true}`."""

    t: int
    s: str
    i: str
    o: float
    c: float
    h: float
    l: float  # noqa: E741  (the exchange's name)
    v: float
    n: int
    x: bool
    q: float
    V: float


class KlineEvent(msgspec.Struct, gc=False):
    """`{"e":"kline","E":1767225660027,"s":"BTCUSDT","k":{…}}`: `E` is when the exchange sent it."""

    E: int
    k: Kline


class _Combined(msgspec.Struct, gc=False):
    data: KlineEvent


_ABSENT = msgspec.Raw(b"")


class _Envelope(msgspec.Struct):
    """Every member by which a frame that is no kline can be told; `data` may be an object or an array.

    Absent raw members are empty.
    """

    stream: str | None = None
    data: msgspec.Raw = _ABSENT
    e: str | None = None
    id: int | str | None = None
    result: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT
    code: int | None = None
    msg: str | None = None


class _Fault(msgspec.Struct):
    code: int = 0
    msg: str = ""


class Reply(msgspec.Struct, frozen=True):
    """The answer to a control message; `error` is None when it was accepted, `result` the JSON that came with it.

    `code` is the number of the error.
    """

    id: int | str | None
    error: str | None
    result: bytes
    code: int | None = None


class Shutdown(msgspec.Struct, frozen=True):
    """`serverShutdown`: the server is about to go; a new connection is due."""


class Other(msgspec.Struct, frozen=True):
    """A well-formed frame of a kind that was not asked for."""

    name: str


class _AllTickers(msgspec.Struct):
    data: list[Ticker]


class Tickers(msgspec.Struct, frozen=True):
    """The all-market ticker: `{"stream":"!miniTicker@arr","data":[{…},…]}`; malformed ones were left out."""

    tickers: list[Ticker]
    malformed: int = 0


Frame = KlineEvent | Tickers | Reply | Shutdown | Other

_combined = msgspec.json.Decoder(_Combined, strict=False).decode
_raw = msgspec.json.Decoder(KlineEvent, strict=False).decode
_envelope = msgspec.json.Decoder(_Envelope).decode
_fault = msgspec.json.Decoder(_Fault).decode
_all_tickers = msgspec.json.Decoder(_AllTickers, strict=False).decode
_some_tickers = msgspec.json.Decoder(list[msgspec.Raw]).decode
_ticker = msgspec.json.Decoder(Ticker, strict=False).decode
_TICKERS_HEAD = f'{{"stream":"{TICKERS}"'.encode()


def decode(payload: bytes) -> Frame:
    """What one text frame says.

    Kline events in combined or raw form come back as `KlineEvent`; the common case costs half a microsecond. The
    ticker of the whole market takes half a microsecond for each symbol.

    Raises:
        DataError: the frame is no JSON object, or a kline event that lacks what it must have.
    """
    try:
        return _combined(payload).data
    except ValueError:  # msgspec's, or bytes that are no UTF-8
        pass
    if payload.startswith(_TICKERS_HEAD):
        try:
            return Tickers(_all_tickers(payload).data)
        except ValueError:
            pass  # one of them may be malformed
    return _decode_rare(payload)


def _decode_rare(payload: bytes) -> Frame:
    try:
        frame = _envelope(payload)
        data = bytes(frame.data)
        if frame.stream == TICKERS and data.startswith(b"["):
            return _sound_tickers(frame.stream, data)
        kind = _envelope(data).e if data.startswith(b"{") else frame.e
        if kind == "kline":
            return _raw(data or payload)
        if kind == "serverShutdown":
            return Shutdown()
        if frame.stream is not None or kind is not None:
            return Other(frame.stream or kind or "")
        return _reply(frame)
    except ValueError as error:
        raise DataError(f"malformed frame of {len(payload)} bytes: {error}; it begins {payload[:80]!r}") from None


def _sound_tickers(stream: str, data: bytes) -> Tickers | Other:
    """Those of the array that can be read; a bad one must not cost the others."""
    rows = _some_tickers(data)
    tickers = []
    for row in rows:
        try:
            tickers.append(_ticker(row))
        except ValueError:
            continue
    return Tickers(tickers, len(rows) - len(tickers)) if tickers or not rows else Other(stream)


def _reply(frame: _Envelope) -> Reply | Other:
    """Both shapes of errors exist: `{"code":2,"msg":"…","id":1}` and `{"error":{"code":4,"msg":"…"},"id":1}`."""
    if fault := bytes(frame.error):
        nested = _fault(fault)
        return Reply(frame.id, f"{nested.code} {nested.msg}".rstrip(), b"", nested.code)
    if frame.code is not None or frame.msg is not None:
        return Reply(frame.id, f"{frame.code or 0} {frame.msg or ''}".rstrip(), b"", frame.code or 0)
    result = bytes(frame.result)
    if frame.id is None or not result:
        return Other("")  # as raw bookTicker, which has no name in it
    return Reply(frame.id, None, result)


def bar_of(kline: Kline) -> Bar:
    """The bar of a closed kline.

    Raises:
        DataError: an interval that is not built here.
    """
    interval_ms = INTERVALS_MS.get(kline.i)
    if interval_ms is None:
        raise DataError(f"kline of unknown interval {kline.i!r}")
    return Bar(
        kline.s, interval_ms, kline.t, kline.o, kline.h, kline.l, kline.c, kline.v, kline.q, float(kline.n), kline.V
    )


class Row(msgspec.Struct, array_like=True, gc=False):
    """One row of `/api/v3/klines`: `[1499040000000,"0.01634790","0.80000000",…,"0"]`, open before high before low."""

    open_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    last_ms: int
    quote_volume: float
    trades: int
    taker_buy: float

    def bar(self, symbol: str, interval_ms: int) -> Bar:
        """The row as a bar of `symbol`."""
        return Bar(
            symbol,
            interval_ms,
            self.open_ms,
            self.open,
            self.high,
            self.low,
            self.close,
            self.volume,
            self.quote_volume,
            float(self.trades),
            self.taker_buy,
        )


_rows = msgspec.json.Decoder(list[Row], strict=False).decode
_raw_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode
_row = msgspec.json.Decoder(Row, strict=False).decode


def decode_rows(body: bytes) -> tuple[list[Row], int]:
    """The rows of a klines answer and how many malformed ones were left out.

    Raises:
        DataError: the body is no JSON array.
    """
    try:
        return _rows(body), 0
    except ValueError:
        pass
    try:
        raw = _raw_rows(body)
    except ValueError as error:
        raise DataError(f"malformed answer of {len(body)} bytes to klines: {error}") from None
    rows = []
    for one in raw:
        try:
            rows.append(_row(one))
        except ValueError:
            continue
    return rows, len(raw) - len(rows)


class RateLimit(msgspec.Struct, rename="camel"):
    """`{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":6000}`."""

    rate_limit_type: str
    interval: str
    interval_num: int
    limit: int


class SymbolInfo(msgspec.Struct, rename="camel"):
    """One symbol of `exchangeInfo`; only TRADING is live, unknown values of `status` are not."""

    symbol: str
    status: str
    base_asset: str = ""
    quote_asset: str = ""
    filters: list[dict[str, Any]] = []

    @property
    def listing(self) -> Listing | None:
        """In which pieces it is traded; None where that is not said, or makes no sense."""
        if not self.filters:
            return None
        try:
            found = instrument_of(self.filters)
        except (KeyError, TypeError, InvalidOperation):
            return None
        return Listing(self.symbol, found.tick, found.step, found.least_notional)


class Day(msgspec.Struct, rename="camel"):
    """One symbol of `ticker/24hr`, the part that is read here."""

    symbol: str
    quote_volume: float


class Book(msgspec.Struct, rename="camel"):
    """One symbol of `ticker/bookTicker`: `{"symbol":"BTCUSDT","bidPrice":"4.00","bidQty":"431.0",…}`."""

    symbol: str
    bid_price: float
    ask_price: float


class Depth(msgspec.Struct):
    """`depth`: `{"lastUpdateId":1027024,"bids":[["4.00000000","431.00000000"],…],"asks":…}`, the best first."""

    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]


class ExchangeInfo(msgspec.Struct, rename="camel"):
    """`/api/v3/exchangeInfo`, the part that is read here."""

    symbols: list[SymbolInfo]
    rate_limits: list[RateLimit] = []

    def weight_per_minute(self) -> int | None:
        """The request weight allowed a minute, or None when the answer does not say."""
        return self._limit("REQUEST_WEIGHT", 1)

    def requests_per_5m(self) -> int | None:
        """The requests allowed in five minutes, or None when the answer does not say."""
        return self._limit("RAW_REQUESTS", 5)

    def _limit(self, kind: str, minutes: int) -> int | None:
        for limit in self.rate_limits:
            if (limit.rate_limit_type, limit.interval, limit.interval_num) == (kind, "MINUTE", minutes):
                return limit.limit
        return None


class ServerTime(msgspec.Struct, rename="camel"):
    """`{"serverTime":1767225661000}`, from `/api/v3/time` or a pace reply (which adds the clock's `rate`)."""

    server_time: int
    rate: float = 1.0


class RestError(msgspec.Struct):
    """`{"code":-1121,"msg":"Invalid symbol."}`."""

    code: int = 0
    msg: str = ""


def control(method: str, params: list[str] | list[int], identity: int) -> bytes:
    """A control message as it goes over the wire."""
    return msgspec.json.encode({"method": method, "params": params, "id": identity})


def kline_stream(symbol: str, interval_ms: int) -> str:
    """The name of a symbol's kline stream; symbols are lower case there."""
    return f"{symbol.lower()}@kline_{INTERVAL_NAMES[interval_ms]}"


def chunk_streams(names: list[str]) -> list[list[str]]:
    """The names in as few groups as fit into control messages of at most `CONTROL_BYTES`."""
    overhead = len(control("UNSUBSCRIBE", [], 2**31))
    chunks: list[list[str]] = []
    room = 0
    for name in names:
        size = len(msgspec.json.encode(name)) + 1
        if size > room:
            chunks.append([])
            room = CONTROL_BYTES - overhead
        chunks[-1].append(name)
        room -= size
    return chunks
