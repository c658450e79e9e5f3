"""The simulator's streams carry the exchange's events: what is sent, when, and in which form."""

import itertools
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from simulated import FAST, START_MS, TableMarket, closed, connected, get, serving

from tapewatch.model import MINUTE_MS
from tapewatch.simulator import Limits

MINUTE = MINUTE_MS


async def test_every_closed_bar_comes_once_in_order_with_the_stored_bits() -> None:
    """Each closed frame is sent 1 to 300 ms after the bar's end and parses to the stored values."""
    market = TableMarket()
    async with serving(market) as simulator, connected(simulator, "/stream?streams=btcusdt@kline_1m") as client:
        frames = await client.rest()
        await simulator.wait_ended()
    bars = list(market.candles("BTCUSDT").slice(START_MS).bars())
    assert [kline["t"] for kline in closed(frames)] == [bar.open_ms for bar in bars]
    for frame, bar in zip(frames, bars, strict=True):
        kline = frame["data"]["k"]
        assert 1 <= frame["data"]["E"] - bar.close_ms <= 300
        values = [float(kline[name]) for name in "ohlcvqV"]
        assert values == [bar.open, bar.high, bar.low, bar.close, bar.volume, bar.quote_volume, bar.taker_buy]
        assert (kline["T"], kline["n"], kline["i"], kline["s"]) == (bar.close_ms - 1, int(bar.trades), "1m", "BTCUSDT")
        assert kline["n"] == kline["L"] - kline["f"] + 1
    assert simulator.books.frames["closed"] == len(bars) == 10


async def test_larger_intervals_close_at_their_boundaries() -> None:
    """5m closes twice in ten minutes, each bar the sum of its minutes; a day in UTC+8 closes at 16:00 UTC."""
    market = TableMarket(minutes=4 * 60 + 1)
    streams = "btcusdt@kline_5m/btcusdt@kline_1d@+08:00/btcusdt@kline_1d"
    async with serving(market) as simulator, connected(simulator, "/stream?streams=" + quote(streams)) as client:
        frames = await client.rest()
    by_stream: dict[str, list[Any]] = {}
    for frame in frames:
        by_stream.setdefault(frame["stream"], []).append(frame["data"]["k"])
    fives = by_stream["btcusdt@kline_5m"]
    assert [kline["t"] for kline in fives] == [START_MS + n * 5 * MINUTE for n in range(48)]
    minutes = list(market.candles("BTCUSDT").slice(START_MS, START_MS + 5 * MINUTE).bars())
    assert float(fives[0]["v"]) == round(sum(bar.volume for bar in minutes), 8)
    assert (float(fives[0]["o"]), float(fives[0]["c"])) == (minutes[0].open, minutes[-1].close)
    assert [kline["T"] + 1 for kline in by_stream["btcusdt@kline_1d@+08:00"]] == [START_MS + 4 * 60 * MINUTE]
    assert "btcusdt@kline_1d" not in by_stream


async def test_a_bar_without_trades_closes_flat() -> None:
    """F and L are -1, n and volume 0, and nothing is pushed while it runs."""
    quiet = START_MS + MINUTE
    market = TableMarket(minutes=3, quiet={("BTCUSDT", quiet)})
    async with serving(market, rate=50.0) as simulator, connected(simulator, "/ws/btcusdt@kline_1m") as client:
        frames = [frame["k"] for frame in await client.rest()]
    (silent,) = [kline for kline in frames if kline["t"] == quiet]
    assert silent["x"]
    assert (silent["f"], silent["L"], silent["n"]) == (-1, -1, 0)
    assert len({silent[name] for name in "ohlc"}) == 1
    assert [silent[name] for name in "vqVQ"] == ["0", "0", "0", "0"]


async def test_the_close_of_a_bar_without_trades_may_be_left_out() -> None:
    """With that probability at one it never comes, while REST has the bar."""
    quiet = START_MS + MINUTE
    limits = Limits(quiet_close_omitted=1.0)
    market = TableMarket(minutes=3, quiet={("BTCUSDT", quiet)})
    async with serving(market, limits=limits, at_end="hold") as simulator:
        async with connected(simulator, "/ws/btcusdt@kline_1m") as client:
            opens = [(await client.hear())["k"]["t"] for _ in range(2)]
        _, rows, _ = await get(simulator, f"klines?symbol=BTCUSDT&interval=1m&startTime={quiet}&limit=1")
    assert quiet not in opens
    assert rows[0][0] == quiet


async def test_an_absent_bar_has_no_frame() -> None:
    """A hole in the data is a hole on the stream, and larger bars are built from what exists."""
    hole = START_MS + 4 * MINUTE
    market = TableMarket(holes={("BTCUSDT", hole)})
    async with (
        serving(market) as simulator,
        connected(simulator, "/ws/btcusdt@kline_1m/btcusdt@kline_5m") as client,
    ):
        bars = closed(await client.rest())
    assert hole not in [kline["t"] for kline in bars if kline["i"] == "1m"]
    assert [kline["t"] for kline in bars if kline["i"] == "5m"] == [START_MS, START_MS + 5 * MINUTE]


async def test_running_bars_are_pushed_at_most_every_two_seconds_and_grow() -> None:
    """X is false, volume, high and low only widen, and the closed frame has the whole bar."""
    async with (
        serving(TableMarket(minutes=2), rate=50.0) as simulator,
        connected(simulator, "/stream?streams=btcusdt@kline_1m/btcusdt@kline_5m") as client,
    ):
        events = [frame["data"] for frame in await client.rest()]
    minutes = [event for event in events if event["k"]["i"] == "1m"]
    assert [event["k"]["x"] for event in minutes] == [False] * 4 + [True] + [False] * 4 + [True]
    times = [event["E"] for event in minutes]
    assert all(later - earlier >= 2000 for earlier, later in itertools.pairwise(times[:4]))
    bar = [event["k"] for event in minutes[:5]]
    for earlier, later in itertools.pairwise(bar):
        assert float(earlier["v"]) < float(later["v"])
        assert float(earlier["h"]) <= float(later["h"])
        assert float(earlier["l"]) >= float(later["l"])
        assert earlier["n"] <= later["n"]
    running = [event["k"] for event in events if event["k"]["i"] == "5m"]
    assert [kline["x"] for kline in running] == [False] * 8
    assert float(running[4]["v"]) > float(bar[-1]["v"])


async def test_a_fast_clock_sends_only_closed_frames() -> None:
    """Where the wall does not allow pushes they are left out; closed frames never are."""
    async with serving(TableMarket(minutes=60)) as simulator, connected(simulator, "/ws/btcusdt@kline_1m") as client:
        frames = await client.rest()
    assert len(frames) == len(closed(frames)) == 60


async def test_mini_tickers_come_for_one_symbol_and_for_all_that_changed() -> None:
    """An object on the symbol's stream, an array of the changed symbols on the other."""
    market = TableMarket(minutes=2, quiet={("ETHUSDT", START_MS), ("ETHUSDT", START_MS + MINUTE)})
    streams = "/stream?streams=btcusdt@miniTicker/!miniTicker@arr"
    async with serving(market, rate=50.0) as simulator, connected(simulator, streams) as client:
        frames = await client.rest()
    single = [frame["data"] for frame in frames if frame["stream"] == "btcusdt@miniTicker"]
    arrays = [frame["data"] for frame in frames if frame["stream"] == "!miniTicker@arr"]
    assert len(single) == 10
    assert list(single[0]) == ["e", "E", "s", "c", "o", "h", "l", "v", "q"]
    assert {ticker["s"] for ticker in arrays[0]} == {"BTCUSDT"}
    assert {ticker["s"] for ticker in arrays[4]} == {"BTCUSDT", "ETHUSDT"}
    assert all(ticker["e"] == "24hrMiniTicker" and ticker["E"] % 1000 == 0 for array in arrays for ticker in array)


async def test_book_tickers_have_no_type_and_no_time() -> None:
    """U s b B a A, ids that grow, ask above bid."""
    async with (
        serving(TableMarket(minutes=2), rate=50.0) as simulator,
        connected(simulator, "/ws/btcusdt@bookTicker") as client,
    ):
        books = await client.rest()
    assert all(list(book) == ["u", "s", "b", "B", "a", "A"] for book in books)
    assert [book["u"] for book in books] == sorted({book["u"] for book in books})
    assert all(float(book["a"]) > float(book["b"]) for book in books)


async def test_microseconds_multiply_every_time() -> None:
    """E, t and T are in µs, T ends one µs before the next bar; a bad unit is refused."""
    path = "/stream?streams=btcusdt@kline_1m&timeUnit=MICROSECOND"
    async with serving(TableMarket(minutes=1)) as simulator, connected(simulator, path) as client:
        event = (await client.hear())["data"]
    assert event["k"]["t"] == START_MS * 1000
    assert event["k"]["T"] == (START_MS + MINUTE) * 1000 - 1
    assert START_MS + MINUTE < event["E"] / 1000 <= START_MS + MINUTE + 300
    async with serving() as simulator:
        with pytest.raises(Exception, match="400"):
            async with connected(simulator, "/ws?timeUnit=HOUR"):
                pass


@pytest.mark.parametrize(
    "stream", ["nopeusdt@kline_1m", "BTCUSDT@kline_1m", "btcusdt@kline_7m", "btcusdt@trade", "!ticker@arr", "btcusdt"]
)
async def test_an_unknown_stream_is_acknowledged_and_silent(stream: str) -> None:
    """The reply is null and it is listed, but no data ever comes."""
    async with serving(TableMarket(minutes=3), rate=600.0) as simulator, connected(simulator) as client:
        await client.say({"method": "SUBSCRIBE", "params": [stream, "btcusdt@kline_3m"], "id": 1})
        await client.say({"method": "LIST_SUBSCRIPTIONS", "id": 2})  # at once: the market ends soon
        frames = await client.rest()
    replies = [frame for frame in frames if "id" in frame]
    assert replies == [{"result": None, "id": 1}, {"result": [stream, "btcusdt@kline_3m"], "id": 2}]
    assert {frame["k"]["i"] for frame in frames if frame not in replies} == {"3m"}


async def test_frames_have_the_fields_of_recorded_ones(market_data: Path) -> None:
    """Key sets, order and value types equal the exchange's own frames, combined kline and book ticker."""
    text = (market_data / "raw/ws/binance_spot_2021-10-12.txt").read_text()
    recorded = [json.loads(line.split(": ", 1)[1]) for line in text.splitlines() if re.match(r"\d+\.\d+: ", line)]
    klines = [frame["data"] for frame in recorded if "@kline_1m" in frame["stream"]]
    books = [frame["data"] for frame in recorded if "@bookTicker" in frame["stream"]]
    streams = "/stream?streams=btcusdt@kline_1m/btcusdt@bookTicker"
    async with serving(TableMarket(minutes=1), rate=FAST) as simulator, connected(simulator, streams) as client:
        ours = {frame["stream"]: frame["data"] for frame in await client.rest()}
    kline, book = ours["btcusdt@kline_1m"], ours["btcusdt@bookTicker"]
    assert [set(kline), set(kline["k"])] == [set(klines[0]), set(klines[0]["k"])]
    assert {name: type(value) for name, value in kline["k"].items()} == {
        name: type(value) for name, value in klines[0]["k"].items()
    }
    assert {name: type(value) for name, value in book.items()} == {
        name: type(value) for name, value in books[0].items()
    }
