"""What the exchange's JSON becomes, its oddities included, and that real recordings are read."""

from __future__ import annotations

import gzip
import json
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.errors import DataError
from tapewatch.feeds.port import Ticker
from tapewatch.feeds.wire import (
    CONTROL_BYTES,
    ExchangeInfo,
    KlineEvent,
    Other,
    Reply,
    Shutdown,
    Tickers,
    bar_of,
    chunk_streams,
    control,
    decode,
    decode_rows,
    kline_stream,
)
from tapewatch.model import MINUTE_MS, Bar, fault_of

EVENT = (
    b'{"e":"kline","E":1767225660027,"s":"BTCUSDT","k":{"t":1767225600000,"T":1767225659999,"s":"BTCUSDT","i":"1m",'
    b'"f":4000000000,"L":4000000099,"o":"87640.00000000","c":"87655.10000000","h":"87660.00000000",'
    b'"l":"87640.00000000","v":"2.00000000","n":100,"x":true,"q":"175300.50000000","V":"1.25000000",'
    b'"Q":"109563.75000000","B":"0"}}'
)
COMBINED = b'{"stream":"btcusdt@kline_1m","data":' + EVENT + b"}"
BAR = Bar(
    "BTCUSDT", MINUTE_MS, 1767225600000, 87640.0, 87660.0, 87640.0, 87655.1, 2.0, 175300.5, 100.0, 1.25
)  # fmt: skip


@pytest.mark.parametrize("payload", [EVENT, COMBINED, COMBINED.replace(b'"B":"0"', b'"B":"0","new":[{"a":null}]')])
def test_kline_event_becomes_a_bar(payload: bytes) -> None:
    """The documented example is read in raw and combined form, members unknown to us included."""
    event = decode(payload)
    assert isinstance(event, KlineEvent)
    assert event.E == 1767225660027
    assert event.k.x
    assert bar_of(event.k) == BAR


def test_running_kline_is_not_closed() -> None:
    """`x` is what says whether a bar is closed."""
    event = decode(COMBINED.replace(b'"x":true', b'"x":false'))
    assert isinstance(event, KlineEvent)
    assert not event.k.x


@given(st.decimals(min_value="0.00000001", max_value=10**12, places=8))
def test_decimal_strings_become_the_nearest_double(price: object) -> None:
    """A price read from the stream has the same bits as Python's own reading of the string."""
    event = decode(COMBINED.replace(b'"87655.10000000"', f'"{price}"'.encode()))
    assert isinstance(event, KlineEvent)
    assert event.k.c == float(str(price))


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"result":null,"id":7}', Reply(7, None, b"null")),
        (b'{"result":["a@kline_1m"],"id":"x1"}', Reply("x1", None, b'["a@kline_1m"]')),
        (b'{"code":2,"msg":"Invalid request","id":3}', Reply(3, "2 Invalid request", b"", 2)),
        (b'{"error":{"code":4,"msg":"Too many subscriptions"},"id":19}', Reply(19, "4 Too many subscriptions", b"", 4)),
        (b'{"code":3,"msg":"Invalid JSON"}', Reply(None, "3 Invalid JSON", b"", 3)),
        (b'{"e":"serverShutdown","E":1770123456789}', Shutdown()),
        (b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}', Shutdown()),
        (b'{"stream":"!miniTicker@arr","data":[{"e":"24hrMiniTicker"}]}', Other("!miniTicker@arr")),
        (b'{"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT"}}', Other("btcusdt@bookTicker")),
        (b'{"e":"24hrTicker","s":"BTCUSDT","x":"1.0"}', Other("24hrTicker")),
        (b'{"u":400900217,"s":"BNBUSDT","b":"25.35","B":"31.21","a":"25.36","A":"40.66"}', Other("")),
        (b"{}", Other("")),
        (b'{"id":4}', Other("")),
    ],
)
def test_other_frames_are_told_apart(payload: bytes, expected: object) -> None:
    """Replies, both shapes of errors, the shutdown notice and events nobody asked for are each recognised."""
    assert decode(payload) == expected


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"{", b"null", b"[]", b"17", b"\xff\xfe", COMBINED[:-40],
        COMBINED.replace(b'"t":1767225600000', b'"t":"soon"'),
        COMBINED.replace(b'"c":"87655.10000000",', b""),
        COMBINED.replace(b'"87655.10000000"', b'"eighty"'),
        COMBINED.replace(b'"x":true', b'"x":"closed"'),
        EVENT.replace(b'"E":1767225660027,', b""),
    ],
)  # fmt: skip
def test_malformed_frames_are_refused(payload: bytes) -> None:
    """A frame that cannot be understood is a datum to refuse, whatever is wrong with it."""
    with pytest.raises(DataError):
        decode(payload)


@given(st.binary(max_size=400))
def test_no_bytes_crash_the_decoder(payload: bytes) -> None:
    """Any bytes give a frame or a DataError."""
    with suppress(DataError):
        decode(payload)


@given(st.integers(0, len(COMBINED) - 1), st.binary(min_size=1, max_size=3))
def test_no_damage_crashes_the_decoder(at: int, damage: bytes) -> None:
    """A damaged kline frame gives a frame or a DataError."""
    with suppress(DataError):
        decode(COMBINED[:at] + damage + COMBINED[at + len(damage) :])


def test_unknown_interval_is_refused() -> None:
    """An interval that is not built here is no bar."""
    event = decode(COMBINED.replace(b'"1m"', b'"1w"'))
    assert isinstance(event, KlineEvent)
    with pytest.raises(DataError, match="1w"):
        bar_of(event.k)


ROW = b'[1499040000000,"0.01634790","0.80000000","0.01575800","0.01577100","148976.11427815",1499040059999,"2434.19055334",308,"1756.87402397","28.46694368","0"]'  # noqa: E501


def test_rest_rows_become_bars() -> None:
    """The documented row is read in its order: open, high, low, close."""
    rows, bad = decode_rows(b"[" + ROW + b"]")
    assert bad == 0
    assert rows[0].bar("ETHBTC", MINUTE_MS) == Bar(
        "ETHBTC", MINUTE_MS, 1499040000000, 0.0163479, 0.8, 0.015758, 0.015771, 148976.11427815,
        2434.19055334, 308.0, 1756.87402397,
    )  # fmt: skip


def test_malformed_rows_are_left_out_and_counted() -> None:
    """One bad row does not cost the page."""
    rows, bad = decode_rows(b"[" + b",".join([ROW, b"[1,2]", b'{"a":1}', b"null", ROW]) + b"]")
    assert (len(rows), bad) == (2, 3)


@pytest.mark.parametrize("body", [b"", b"{}", b"[[1", b'"x"', b"\xff"])
def test_an_answer_that_is_no_list_is_refused(body: bytes) -> None:
    """Anything but a JSON array is no page of rows."""
    with pytest.raises(DataError):
        decode_rows(body)


def test_subscriptions_stay_below_the_size_limit() -> None:
    """Any number of names, long and non-ASCII ones included, is split so that each message stays small, in order."""
    names = [kline_stream(f"币安{n}USDT" if n % 7 == 0 else f"S{n}USDT", MINUTE_MS) for n in range(1024)]
    chunks = chunk_streams(names)
    assert [name for chunk in chunks for name in chunk] == names
    assert all(len(control("SUBSCRIBE", chunk, 2**31)) <= CONTROL_BYTES for chunk in chunks)
    assert len(chunks) <= 8
    assert chunk_streams([]) == []


def _frames(path: Path) -> list[bytes]:
    return [line.split(": ", 1)[1].encode() for line in path.read_text().splitlines()[1:] if line]


@pytest.mark.parametrize(
    ("name", "klines", "closed"), [("binance_spot_2021-10-12.txt", 2, 0), ("binance_usdm_2021-07-22.txt", 67, 4)]
)
def test_recorded_frames_are_read(market_data: Path, name: str, klines: int, closed: int) -> None:
    """Every frame of a real recording is a kline event or one nobody asked for; the values are the recording's."""
    read = 0
    shut = 0
    for payload in _frames(market_data / "raw/ws" / name):
        event = decode(payload)
        raw = json.loads(payload)
        if "@kline_" not in raw["stream"]:
            assert event == Other(raw["stream"])
            continue
        assert isinstance(event, KlineEvent)
        kline = raw["data"]["k"]
        bar = bar_of(event.k)
        assert (bar.symbol, bar.open_ms, bar.close_ms - 1) == (kline["s"], kline["t"], kline["T"])
        assert (bar.open, bar.high, bar.low, bar.close) == tuple(float(kline[key]) for key in "ohlc")
        assert (bar.volume, bar.quote_volume, bar.taker_buy) == tuple(float(kline[key]) for key in "vqV")
        assert (bar.trades, event.k.x) == (kline["n"], kline["x"])
        assert fault_of(bar) is None
        read += 1
        shut += event.k.x
    assert (read, shut) == (klines, closed)


def test_recorded_frames_of_2024_are_read(market_data: Path) -> None:
    """Frames of other streams are recognised as not asked for."""
    with gzip.open(market_data / "raw/ws/binance_spot_btcusdt_20240808.gz", "rb") as lines:
        names = {decode(line.split(b" ", 1)[1].strip()) for line in lines}
    streams = {Other(f"btcusdt@{kind}") for kind in ("depth@100ms", "bookTicker", "trade")}
    assert names == streams | {Other("")}  # one line is a depth snapshot of REST


@pytest.mark.parametrize(
    ("name", "weight"),
    [("binance_spot_exchangeInfo_2021-10-12.txt.gz", 1200), ("binance_usdm_exchangeInfo_2021-07-21.txt.gz", 2400)],
)
def test_recorded_exchange_info_is_read(market_data: Path, name: str, weight: int) -> None:
    """A real exchangeInfo gives its symbols, their states and the weight limit."""
    with gzip.open(market_data / "raw/http" / name, "rt") as lines:
        body = next(iter(lines)).split(": ", 1)[1]
    info = msgspec.json.decode(body, type=ExchangeInfo)
    raw = json.loads(body)
    assert [(symbol.symbol, symbol.status) for symbol in info.symbols] == [
        (symbol["symbol"], symbol["status"]) for symbol in raw["symbols"]
    ]
    assert info.weight_per_minute() == weight
    assert ExchangeInfo([]).weight_per_minute() is None


TICKER = (
    b'{"e":"24hrMiniTicker","E":1767225661000,"s":"%s","c":"0.5","o":"0.4","h":"0.6","l":"0.3","v":"10","q":"5.25"}'
)


def test_the_ticker_of_the_whole_market() -> None:
    """An array of tickers is read whole, non-ASCII symbols included; a bad element costs only itself."""
    rows = [TICKER % name for name in (b"BTCUSDT", "币安人生USDT".encode(), b"1000SATSUSDT")]
    frame = b'{"stream":"!miniTicker@arr","data":[' + b",".join(rows) + b"]}"
    expected = [Ticker(name, 0.5, 5.25, 1767225661000) for name in ("BTCUSDT", "币安人生USDT", "1000SATSUSDT")]
    assert decode(frame) == Tickers(expected)
    swapped = b'{"data":[' + b",".join(rows) + b'],"new":1,"stream":"!miniTicker@arr"}'
    assert decode(swapped) == Tickers(expected)
    assert decode(frame.replace(b'"c":"0.5"', b'"c":"x"', 1)) == Tickers(expected[1:], 1)
    assert decode(b'{"stream":"!miniTicker@arr","data":[]}') == Tickers([])
