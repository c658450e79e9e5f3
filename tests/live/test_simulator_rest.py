"""The simulator's REST answers are the exchange's: rows, ranges, errors, weights."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from simulated import START_MS, TableMarket, connected, get, serving

from tapewatch.archive import resample
from tapewatch.model import INTERVALS_MS, MINUTE_MS
from tapewatch.simulator import Limits

MINUTE = MINUTE_MS


def opens(rows: list[list[Any]]) -> list[int]:
    """Minutes from the start at which the rows open."""
    return [(row[0] - START_MS) // MINUTE for row in rows]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", list(range(-499, 1))),
        ("&limit=3", [-2, -1, 0]),
        ("&limit=5000", list(range(-999, 1))),
        (f"&limit=2&startTime={START_MS - 10 * MINUTE}", [-10, -9]),
        (f"&startTime={START_MS - 2 * MINUTE}", [-2, -1, 0]),
        (f"&limit=2&endTime={START_MS - 10 * MINUTE}", [-11, -10]),
        (f"&endTime={START_MS - 10 * MINUTE - 1}&limit=1", [-11]),
        (f"&startTime={START_MS - 10 * MINUTE}&endTime={START_MS - 8 * MINUTE}", [-10, -9, -8]),
        (f"&startTime={START_MS - 10 * MINUTE + 1}&endTime={START_MS - 9 * MINUTE}", [-9]),
        (f"&startTime={START_MS * 1000 - 1}&limit=9", [0]),
        (f"&startTime={START_MS + MINUTE}", []),
        (f"&startTime={START_MS}&endTime={START_MS - MINUTE}", []),
        (f"&limit=2&startTime={START_MS - MINUTE}&endTime={START_MS * 1000}", [-1, 0]),
    ],
)
async def test_klines_take_ranges_as_the_exchange_does(query: str, expected: list[int]) -> None:
    """Bounds are inclusive, missing ones mean the newest or the oldest, the running bar is the newest row."""
    async with serving() as simulator:
        status, rows, _ = await get(simulator, f"klines?symbol=BTCUSDT&interval=1m{query}")
    assert status == 200
    assert opens(rows) == expected


async def test_a_row_has_the_twelve_fields_with_the_stored_bits() -> None:
    """Prices, volumes and counts, parsed, are what is stored."""
    market = TableMarket()
    async with serving(market) as simulator:
        _, rows, _ = await get(simulator, "klines?symbol=BTCUSDT&interval=1m&limit=1000")
    stored = list(market.candles("BTCUSDT").slice(to_ms=START_MS).bars())[-999:]
    for row, bar in zip(rows[:-1], stored, strict=True):
        assert [float(value) for value in row[1:6]] == [bar.open, bar.high, bar.low, bar.close, bar.volume]
        assert (row[0], row[6], row[8], row[11]) == (bar.open_ms, bar.close_ms - 1, int(bar.trades), "0")
        assert (float(row[7]), float(row[9])) == (bar.quote_volume, bar.taker_buy)
        assert 0 <= float(row[10]) <= float(row[7])


async def test_volumes_a_source_lacks_are_served_from_what_it_has() -> None:
    """Quote volume is volume x close, taker volume half the volume, and there is a trade where there is volume."""
    quiet = START_MS - 2 * MINUTE
    async with serving(TableMarket(sparse=True, quiet={("BTCUSDT", quiet)})) as simulator:
        _, rows, _ = await get(simulator, "klines?symbol=BTCUSDT&interval=1m&limit=3")
    silent, traded, _running = rows
    assert float(traded[7]) == float(traded[5]) * float(traded[4])
    assert float(traded[9]) == float(traded[5]) / 2
    assert traded[8] == 1
    assert silent[5] == silent[7] == silent[9] == silent[10] == "0"
    assert silent[8] == 0


@pytest.mark.parametrize("interval", ["5m", "15m", "1h", "4h"])
async def test_larger_klines_are_built_from_the_minutes(interval: str) -> None:
    """They equal what the archive builds, and the running one has begun at its boundary."""
    market = TableMarket(holes={("BTCUSDT", START_MS - 7 * MINUTE)})
    length = INTERVALS_MS[interval]
    async with serving(market, start_ms=START_MS + 2 * MINUTE) as simulator:
        _, rows, _ = await get(simulator, f"klines?symbol=BTCUSDT&interval={interval}&limit=7")
    built = list(resample.build(market.candles("BTCUSDT").slice(to_ms=START_MS + 2 * MINUTE), length).bars())[-6:]
    assert [row[0] for row in rows[:-1]] == [bar.open_ms for bar in built]
    assert [float(row[5]) for row in rows[:-1]] == [bar.volume for bar in built]
    assert [float(row[2]) for row in rows[:-1]] == [bar.high for bar in built]
    minutes = list(market.candles("BTCUSDT").slice(START_MS, START_MS + 2 * MINUTE).bars())
    running = rows[-1]
    assert running[0] == START_MS - START_MS % length
    assert float(running[2]) >= max(bar.high for bar in minutes)
    assert float(running[5]) >= round(sum(bar.volume for bar in minutes), 8) - 1e-9


async def test_a_day_follows_the_time_zone_asked_for() -> None:
    """With `timeZone=8` the running day began at 16:00 UTC; half hours are taken too."""
    async with serving() as simulator:
        _, eastern, _ = await get(simulator, "klines?symbol=BTCUSDT&interval=1d&timeZone=8&limit=1")
        _, india, _ = await get(simulator, "klines?symbol=BTCUSDT&interval=1h&timeZone=5:30&limit=1")
        _, west, _ = await get(simulator, "klines?symbol=BTCUSDT&interval=1d&timeZone=-1&limit=1")
    assert (START_MS - eastern[0][0]) // 3_600_000 == 20
    assert (START_MS - india[0][0]) // MINUTE == 30
    assert (START_MS - west[0][0]) // 3_600_000 == 11


async def test_microseconds_are_served_when_the_header_asks() -> None:
    """All times are in µs, a close time ends in 999,999; an unknown unit is refused."""
    headers = {"X-MBX-TIME-UNIT": "MICROSECOND"}
    async with serving() as simulator:
        _, rows, _ = await get(simulator, "klines?symbol=BTCUSDT&interval=1m&limit=1", headers=headers)
        _, time, _ = await get(simulator, "time", headers=headers)
        status, refused, _ = await get(simulator, "time", headers={"X-MBX-TIME-UNIT": "NANOSECOND"})
    assert (rows[0][0], rows[0][6]) == (START_MS * 1000, (START_MS + MINUTE) * 1000 - 1)
    assert time == {"serverTime": START_MS * 1000}
    assert (status, refused["code"]) == (400, -1194)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("klines?interval=1m", -1102),
        ("klines?symbol=BTCUSDT", -1102),
        ("klines?symbol=&interval=1m", -1105),
        ("klines?symbol=NOPE&interval=1m", -1121),
        ("klines?symbol=btcusdt&interval=1m", -1100),
        ("klines?symbol=BTC%20USDT&interval=1m", -1100),
        ("klines?symbol=BTCUSDT&interval=7m", -1120),
        ("klines?symbol=BTCUSDT&interval=1m&limit=abc", -1100),
        ("klines?symbol=BTCUSDT&interval=1m&limit=0", -1130),
        ("klines?symbol=BTCUSDT&interval=1m&startTime=1e12", -1100),
        ("klines?symbol=BTCUSDT&interval=1m&startTime=-5", -1100),
        ("klines?symbol=BTCUSDT&interval=1m&timeZone=15", -1130),
        ("klines?symbol=BTCUSDT&interval=1m&timeZone=x", -1130),
        ("klines?symbol=BTCUSDT&symbol=BTCUSDT&interval=1m", -1101),
        ("klines?symbol=BTCUSDT&interval=1m&depth=1", -1104),
        ("ping?x=1", -1104),
        ("ticker/24hr?symbol=BTCUSDT&symbols=[%22BTCUSDT%22]", -1128),
        ("ticker/24hr?symbols=[%22BTCUSDT", -1135),
        ("ticker/24hr?symbols=[]", -1130),
        ("ticker/24hr?symbols=[1]", -1130),
        ("ticker/24hr?symbols=[%22BTCUSDT%22,%22BTCUSDT%22]", -1151),
        ("ticker/24hr?symbols=[%22NOPE%22]", -1121),
        ("ticker/24hr?symbol=BTCUSDT&type=HUGE", -1139),
        ("ticker/bookTicker?symbolStatus=SLEEPING", -1122),
        ("ticker/bookTicker?symbol=BTCUSDT&symbolStatus=HALT", -1220),
        ("exchangeInfo?symbols=[%22BTCUSDT%22,%22NOPE%22]", -1121),
        ("exchangeInfo?symbol=BTCUSDT&permissions=SPOT", -1128),
        ("exchangeInfo?showPermissionSets=maybe", -1130),
    ],
)
async def test_a_bad_request_gets_the_exchanges_code(path: str, code: int) -> None:
    """Status 400 and `{code, msg}`."""
    async with serving() as simulator:
        status, body, _ = await get(simulator, path)
    assert status == 400
    assert body["code"] == code
    assert set(body) == {"code", "msg"}


async def test_an_unknown_path_is_404() -> None:
    """It costs weight too."""
    async with serving() as simulator:
        status, _, headers = await get(simulator, "trades?symbol=BTCUSDT")
    assert status == 404
    assert headers["X-MBX-USED-WEIGHT-1M"] == "1"


async def test_ping_time_and_the_rate_header() -> None:
    """Time stands at the start before the first subscription; every answer states the clock's rate."""
    async with serving(rate=60.0) as simulator:
        _, ping, headers = await get(simulator, "ping")
        _, time, _ = await get(simulator, "time")
    assert ping == {}
    assert time == {"serverTime": START_MS}
    assert float(headers["X-Tapewatch-Rate"]) == 60.0


@pytest.mark.parametrize(
    ("path", "weight"),
    [
        ("ping", 1),
        ("time", 1),
        ("exchangeInfo", 20),
        ("exchangeInfo?symbol=BTCUSDT", 20),
        ("klines?symbol=BTCUSDT&interval=1m", 2),
        ("ticker/24hr?symbol=BTCUSDT", 2),
        ("ticker/24hr?symbols=" + quote('["BTCUSDT","ETHUSDT"]'), 2),
        ("ticker/24hr?symbols=" + quote(json.dumps([f"S{n}" for n in range(21)])), 40),
        ("ticker/24hr?symbols=" + quote(json.dumps([f"S{n}" for n in range(101)])), 80),
        ("ticker/24hr", 80),
        ("ticker/bookTicker?symbol=BTCUSDT", 2),
        ("ticker/bookTicker", 4),
    ],
)
async def test_a_request_costs_the_documented_weight(path: str, weight: int) -> None:
    """Both used-weight headers say it."""
    async with serving() as simulator:
        _, _, headers = await get(simulator, path)
    assert headers["X-MBX-USED-WEIGHT-1M"] == headers["X-MBX-USED-WEIGHT"] == str(weight)


async def test_too_much_weight_is_refused_and_going_on_is_a_ban_that_grows() -> None:
    """429 with Retry-After and -1003, then 418 with the ban's end, and twice as long the next time."""
    limits = Limits(weight_per_minute=3, refusals_before_ban=2, ban_s=1, ban_max_s=3)
    async with serving(limits=limits) as simulator:
        statuses = []
        for _ in range(6):
            status, body, headers = await get(simulator, "klines?symbol=BTCUSDT&interval=1m&limit=1")
            statuses.append(status)
        meter = simulator.books.meter("127.0.0.1")
        assert statuses[0] == 200
        assert statuses[-1] == 418
        assert set(statuses[1:-1]) <= {429, 418}
        assert body["code"] == -1003
        assert "IP banned until" in body["msg"]
        assert 1 <= int(headers["Retry-After"]) <= 2
        assert simulator.books.breaches["127.0.0.1", "weight"] == 2
        assert simulator.books.breaches["127.0.0.1", "ban"] >= 1
        assert meter.used > 3


async def test_the_24_hour_ticker_covers_a_rolling_day() -> None:
    """Open, high, low, volumes and count are those of the last 1,440 minutes; MINI leaves out the rest."""
    market = TableMarket()
    async with serving(market) as simulator:
        _, full, _ = await get(simulator, "ticker/24hr?symbol=ETHUSDT")
        _, mini, _ = await get(simulator, "ticker/24hr?symbols=" + quote('["ETHUSDT"]') + "&type=MINI")
        _, everyone, _ = await get(simulator, "ticker/24hr?symbolStatus=TRADING")
        _, nobody, _ = await get(simulator, "ticker/24hr?symbolStatus=BREAK")
    day = list(market.candles("ETHUSDT").slice(START_MS - 1440 * MINUTE, START_MS).bars())
    begun = market.candles("ETHUSDT").slice(START_MS, START_MS + MINUTE).open.item()  # the running bar's only trade
    assert float(full["openPrice"]) == day[0].open
    assert float(full["highPrice"]) == max(begun, *(bar.high for bar in day))
    assert float(full["lowPrice"]) == min(begun, *(bar.low for bar in day))
    assert float(full["lastPrice"]) == begun == day[-1].close
    assert float(full["volume"]) == round(sum(bar.volume for bar in day), 8)
    assert full["count"] == sum(int(bar.trades) for bar in day) == full["lastId"] - full["firstId"] + 1
    assert float(full["priceChange"]) == round(begun - day[0].open, 8)
    assert (full["openTime"], full["closeTime"]) == (START_MS - 86_400_000, START_MS)
    assert float(full["askPrice"]) > float(full["bidPrice"]) > 0
    assert list(mini[0]) == [
        "symbol", "openPrice", "highPrice", "lowPrice", "lastPrice", "volume", "quoteVolume", "openTime", "closeTime",
        "firstId", "lastId", "count",
    ]  # fmt: skip
    assert mini[0].items() <= full.items()
    assert [row["symbol"] for row in everyone] == ["BTCUSDT", "ETHUSDT"]
    assert nobody == []


async def test_book_tickers_and_exchange_info_agree_on_ticks() -> None:
    """Ask and bid are a tick apart, on the tick that `PRICE_FILTER` states."""
    async with serving() as simulator:
        _, books, _ = await get(simulator, "ticker/bookTicker")
        _, info, _ = await get(simulator, "exchangeInfo")
        _, one, _ = await get(simulator, "exchangeInfo?symbol=ETHUSDT&showPermissionSets=false")
        _, none, _ = await get(simulator, "exchangeInfo?permissions=LEVERAGED")
    assert [book["symbol"] for book in books] == ["BTCUSDT", "ETHUSDT"]
    for book, instrument in zip(books, info["symbols"], strict=True):
        tick = next(each["tickSize"] for each in instrument["filters"] if each["filterType"] == "PRICE_FILTER")
        assert tick == "0.01"
        assert round(float(book["askPrice"]) - float(book["bidPrice"]), 8) == float(tick)
        assert (instrument["status"], instrument["quoteAsset"], instrument["permissions"]) == ("TRADING", "USDT", [])
    assert info["serverTime"] == START_MS
    assert {limit["rateLimitType"] for limit in info["rateLimits"]} == {"REQUEST_WEIGHT", "RAW_REQUESTS"}
    assert [(each["symbol"], each["permissionSets"]) for each in one["symbols"]] == [("ETHUSDT", [])]
    assert none["symbols"] == []


async def test_symbols_of_any_script_are_served() -> None:
    """Percent-encoded in the query, plain UTF-8 in answers and frames."""
    async with serving(TableMarket(("币安人生USDT",), minutes=1)) as simulator:
        _, rows, _ = await get(simulator, "klines?symbol=" + quote("币安人生USDT") + "&interval=1m&limit=2")
        _, info, _ = await get(simulator, "exchangeInfo")
        async with connected(simulator, "/ws/" + quote("币安人生usdt@kline_1m")) as client:
            frame = await client.hear()
    assert len(rows) == 2
    assert info["symbols"][0]["baseAsset"] == "币安人生"
    assert frame["s"] == "币安人生USDT"


async def test_rest_lags_behind_the_streams_by_the_settling_time() -> None:
    """Just after a close the newest row is still that bar, unfinished; once settled it is final."""
    market = TableMarket(minutes=2)
    limits = Limits(settle_ms=900, patience_s=30)
    async with serving(market, limits=limits, at_end="hold") as simulator, connected(simulator) as client:
        await client.ask("TAPEWATCH_PACE", START_MS)
        await client.ask("SUBSCRIBE", "btcusdt@kline_1m")
        await client.until(lambda frame: frame.get("e") == "kline")  # held at a second after the close
        _, rows, _ = await get(simulator, "klines?symbol=BTCUSDT&interval=1m&limit=2")
        _, time, _ = await get(simulator, "time")
    assert time["serverTime"] == START_MS + MINUTE + 1000
    assert opens(rows) == [0, 1]
    first = next(market.candles("BTCUSDT").slice(START_MS).bars())
    assert float(rows[0][5]) == first.volume
    limits = Limits(settle_ms=2000, patience_s=30)
    async with serving(market, limits=limits, at_end="hold") as simulator, connected(simulator) as client:
        await client.ask("TAPEWATCH_PACE", START_MS)
        await client.ask("SUBSCRIBE", "btcusdt@kline_1m")
        await client.until(lambda frame: frame.get("e") == "kline")
        _, rows, _ = await get(simulator, "klines?symbol=BTCUSDT&interval=1m&limit=2")
    assert opens(rows) == [-1, 0]
    assert float(rows[1][5]) < first.volume
