"""Changes of the market by script: outages, listings, halts and volume, alike on streams and in REST."""

from typing import Any

import numpy as np
from simulated import START_MS, TableMarket, closed, connected, eventually, get, serving

from tapewatch.model import MINUTE_MS
from tapewatch.simulator import FaultRule

MINUTE = MINUTE_MS
BOTH = "/stream?streams=btcusdt@kline_1m/ethusdt@kline_1m/btcusdt@kline_5m/!miniTicker@arr"


def rule(**keys: Any) -> FaultRule:
    """A rule as the script would give it."""
    return FaultRule.model_validate(keys)


async def played(*rules: FaultRule, minutes: int = 10, seed: int = 0) -> tuple[list[Any], list[Any], Any, list[Any]]:
    """Closed bars and tickers that a client saw, the simulator standing at the end, and what it reported."""
    reported: list[dict[str, Any]] = []
    market = TableMarket(minutes=minutes)
    options: dict[str, Any] = {"faults": rules, "on_fault": reported.append, "seed": seed, "rate": 600.0}
    async with serving(market, **options) as simulator, connected(simulator, BOTH) as client:
        frames = await client.rest()
    tickers = [ticker for frame in frames if isinstance(frame["data"], list) for ticker in frame["data"]]
    return closed([frame for frame in frames if not isinstance(frame["data"], list)]), tickers, simulator, reported


def minutes(bars: list[Any], symbol: str, interval: str = "1m") -> list[int]:
    """The bars of a symbol, as minutes from the start."""
    return [(bar["t"] - START_MS) // MINUTE for bar in bars if (bar["s"], bar["i"]) == (symbol, interval)]


async def rows_of(simulator: Any, symbol: str, interval: str = "1m") -> list[int]:
    """REST's bars from the start on, as minutes from it."""
    _, rows, _ = await get(simulator, f"klines?symbol={symbol}&interval={interval}&startTime={START_MS}")
    return [(row[0] - START_MS) // MINUTE for row in rows]


async def test_an_outage_is_absent_from_streams_and_rest() -> None:
    """From the next minute on, for whole minutes; larger bars are built from what exists."""
    faults = [rule(kind="outage", at="90s", **{"for": "150s"})]
    async with (
        serving(TableMarket(), faults=faults, at_end="hold") as simulator,
        connected(simulator, BOTH) as client,
    ):
        await simulator.wait_ended()
        for symbol in ("BTCUSDT", "ETHUSDT"):
            assert await rows_of(simulator, symbol) == [0, 1, 5, 6, 7, 8, 9]
        _, (five, *_), _ = await get(simulator, f"klines?symbol=BTCUSDT&interval=5m&startTime={START_MS}")
        bars: list[Any] = []
        while len(bars) < 16:
            bars += closed([frame for frame in [await client.hear()] if isinstance(frame["data"], dict)])
    assert minutes(bars, "BTCUSDT") == minutes(bars, "ETHUSDT") == [0, 1, 5, 6, 7, 8, 9]
    first = list(simulator.market.candles("BTCUSDT").slice(START_MS, START_MS + 5 * MINUTE).bars())
    assert len(first) == 2
    assert (float(five[4]), float(five[5])) == (first[-1].close, round(sum(bar.volume for bar in first), 8))


async def test_an_outage_of_a_symbol_leaves_the_others_and_is_reported_once() -> None:
    """With its minutes; again and again with `every`, by chance with `probability`."""
    bars, _, _, reported = await played(rule(kind="outage", at="60s", every="4m", symbols=["ETHUSDT"], **{"for": "1m"}))
    assert minutes(bars, "BTCUSDT") == list(range(10))
    assert minutes(bars, "ETHUSDT") == [0, 2, 3, 4, 6, 7, 8]
    assert [fault["from_ms"] for fault in reported] == [START_MS + minute * MINUTE for minute in (1, 5, 9)]
    assert reported[0] == {
        "fault": "outage", "at_ms": START_MS + MINUTE, "from_ms": START_MS + MINUTE, "to_ms": START_MS + 2 * MINUTE,
        "symbols": ["ETHUSDT"],
    }  # fmt: skip
    chance = rule(kind="outage", every="1m", probability=0.5, **{"for": "1m"})
    some, _, _, told = await played(chance, minutes=20, seed=1)
    again, _, _, _ = await played(chance, minutes=20, seed=1)
    assert minutes(some, "BTCUSDT") == minutes(again, "BTCUSDT")
    assert len(minutes(some, "BTCUSDT")) == 20 - len(told)
    assert 2 < len(told) < 18


async def test_a_symbol_is_listed_while_others_trade() -> None:
    """Before that nobody knows it; then it has no history, and comes on the stream of who waited for it."""
    reported: list[dict[str, Any]] = []
    faults = [rule(kind="list", at="150s", symbols=["ETHUSDT"])]
    async with (
        serving(TableMarket(), faults=faults, at_end="hold", rate=300.0, on_fault=reported.append) as simulator,
        connected(simulator, BOTH) as client,
    ):
        _, before, _ = await get(simulator, "exchangeInfo")
        status, body, _ = await get(simulator, "klines?symbol=ETHUSDT&interval=1m")
        _, tickers, _ = await get(simulator, "ticker/24hr")
        await eventually(lambda: simulator.clock.now_ms() > START_MS + 5 * MINUTE)
        _, after, _ = await get(simulator, "exchangeInfo")
        _, (first, *_), _ = await get(simulator, "klines?symbol=ETHUSDT&interval=1m")
        _, ticker, _ = await get(simulator, "ticker/24hr?symbol=ETHUSDT&type=MINI")
        frame = await client.until(lambda frame: frame["stream"] == "ethusdt@kline_1m" and frame["data"]["k"]["x"])
    assert [listed["symbol"] for listed in before["symbols"]] == ["BTCUSDT"]
    assert (status, body["code"]) == (400, -1121)
    assert [ticker["symbol"] for ticker in tickers] == ["BTCUSDT"]
    assert [listed["symbol"] for listed in after["symbols"]] == ["BTCUSDT", "ETHUSDT"]
    assert first[0] == frame["data"]["k"]["t"] == START_MS + 3 * MINUTE
    assert 0 < float(ticker["volume"]) < 100
    assert reported == [
        {"fault": "list", "at_ms": START_MS + 150_000, "from_ms": START_MS + 180_000, "symbols": ["ETHUSDT"]}
    ]


async def test_a_symbol_is_delisted() -> None:
    """Its streams stop, and REST knows it no more."""
    faults = [rule(kind="delist", at="150s", symbols=["ETHUSDT"])]
    async with (
        serving(TableMarket(), faults=faults, at_end="hold", rate=600.0) as simulator,
        connected(simulator, BOTH) as client,
    ):
        _, before, _ = await get(simulator, "exchangeInfo")
        await simulator.wait_ended()
        _, after, _ = await get(simulator, "exchangeInfo")
        status, body, _ = await get(simulator, "klines?symbol=ETHUSDT&interval=1m")
        both, _, _ = await get(simulator, 'ticker/24hr?symbols=["BTCUSDT","ETHUSDT"]')
        frames = []
        while len(minutes(frames, "BTCUSDT")) < 10:
            frames += closed([frame for frame in [await client.hear()] if isinstance(frame["data"], dict)])
    assert [listed["symbol"] for listed in before["symbols"]] == ["BTCUSDT", "ETHUSDT"]
    assert [listed["symbol"] for listed in after["symbols"]] == ["BTCUSDT"]
    assert (status, body["code"], both) == (400, -1121, 400)
    assert minutes(frames, "ETHUSDT") == [0, 1, 2]


async def test_a_symbol_is_halted_for_a_while() -> None:
    """Its status says so, its bars stop in streams and REST, and go on afterwards."""
    faults = [rule(kind="halt", at="150s", symbols=["ETHUSDT"], **{"for": "4m"})]
    market = TableMarket(minutes=20)
    async with (
        serving(market, faults=faults, at_end="hold", rate=300.0) as simulator,
        connected(simulator, BOTH),
    ):
        await eventually(lambda: simulator.clock.now_ms() > START_MS + 4 * MINUTE)
        _, info, _ = await get(simulator, "exchangeInfo")
        _, halted, _ = await get(simulator, "exchangeInfo?symbolStatus=HALT")
        refused, body, _ = await get(simulator, "ticker/24hr?symbol=ETHUSDT&symbolStatus=TRADING")
        _, trading, _ = await get(simulator, "ticker/24hr?type=MINI&symbolStatus=TRADING")
        during = await rows_of(simulator, "ETHUSDT")
        await eventually(lambda: simulator.clock.now_ms() > START_MS + 10 * MINUTE)
        _, later, _ = await get(simulator, "exchangeInfo?symbol=ETHUSDT")
        after = await rows_of(simulator, "ETHUSDT")
    assert {one["symbol"]: one["status"] for one in info["symbols"]} == {"BTCUSDT": "TRADING", "ETHUSDT": "HALT"}
    assert [one["symbol"] for one in halted["symbols"]] == ["ETHUSDT"]
    assert (refused, body["code"]) == (400, -1220)
    assert [ticker["symbol"] for ticker in trading] == ["BTCUSDT"]
    assert during == [0, 1, 2]
    assert after[:5] == [0, 1, 2, 7, 8]
    assert later["symbols"][0]["status"] == "TRADING"


async def test_volume_surges_and_dries_up() -> None:
    """Prices stay; tickers have the new sums."""
    plain = TableMarket(minutes=10)
    surge = rule(kind="volume", at="3m", symbols=["ETHUSDT"], factor=50, **{"for": "2m"})
    drought = rule(kind="volume", at="6m", symbols=["ETHUSDT"], factor=0.001)
    bars, tickers, simulator, reported = await played(surge, drought)
    before, after = (one.candles("ETHUSDT").slice(START_MS) for one in (plain, simulator.market))
    ratio = after.volume / before.volume
    assert np.allclose(ratio[:3], 1)
    assert np.allclose(ratio[3:5], 50)
    assert ratio[5] == 1
    assert np.allclose(ratio[6:], 0.001, atol=1e-5)
    assert np.array_equal(after.close, before.close)
    assert np.allclose(after.quote_volume / before.quote_volume, ratio, rtol=0.01)
    mine = [bar for bar in bars if bar["s"] == "ETHUSDT"]
    assert [float(bar["v"]) for bar in mine] == after.volume.tolist()
    assert all(float(bar["V"]) <= float(bar["v"]) and bar["n"] > 0 for bar in mine)
    volumes = [float(ticker["q"]) for ticker in tickers if ticker["s"] == "ETHUSDT"]
    assert max(volumes) > volumes[0] + 40 * float(before.quote_volume[3])
    assert [(fault["fault"], fault["factor"]) for fault in reported] == [("volume", 50.0), ("volume", 0.001)]


async def test_quotes_are_further_apart_for_a_while() -> None:
    """In REST and on the stream; candles stay as they are."""
    faults = [rule(kind="spread", at="2m", symbols=["ETHUSDT"], factor=40, **{"for": "3m"})]
    market = TableMarket(minutes=8)
    path = "/ws/ethusdt@bookTicker"
    async with (
        serving(market, faults=faults, at_end="hold", rate=300.0) as simulator,
        connected(simulator, path) as client,
    ):
        quotes = {}
        for minute in (1, 4, 7):
            await eventually(lambda at_ms=START_MS + minute * MINUTE: simulator.clock.now_ms() >= at_ms)
            _, quotes[minute], _ = await get(simulator, "ticker/bookTicker?symbol=ETHUSDT")
        _, other, _ = await get(simulator, "ticker/bookTicker?symbol=BTCUSDT")
        await simulator.wait_ended()
        frames = [await client.hear() for _ in range(10)]
    apart = {minute: round((float(one["askPrice"]) - float(one["bidPrice"])) * 100) for minute, one in quotes.items()}
    assert apart == {1: 1, 4: 40, 7: 1}
    assert round((float(other["askPrice"]) - float(other["bidPrice"])) * 100) == 1
    assert {round((float(frame["a"]) - float(frame["b"])) * 100) for frame in frames} == {1, 40}
    assert simulator.market.candles("ETHUSDT").close.tobytes() == market.candles("ETHUSDT").close.tobytes()


async def test_a_market_has_names_in_any_script() -> None:
    """In streams, REST and tickers, percent-encoded where it is a URL."""
    market = TableMarket(("BTCUSDT", "币安人生USDT"), minutes=2)
    path = "/stream?streams=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9Fusdt@kline_1m/!miniTicker@arr"
    async with serving(market, at_end="hold", rate=300.0) as simulator, connected(simulator, path) as client:
        event = (await client.until(lambda frame: "@kline_1m" in frame["stream"] and frame["data"]["k"]["x"]))["data"]
        array = await client.until(lambda frame: frame["stream"] == "!miniTicker@arr" and len(frame["data"]) == 2)
        _, info, _ = await get(simulator, "exchangeInfo")
        status, rows, _ = await get(simulator, "klines?symbol=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT&interval=1m")
    assert (event["s"], event["k"]["s"]) == ("币安人生USDT",) * 2
    assert {ticker["s"] for ticker in array["data"]} == {"BTCUSDT", "币安人生USDT"}
    assert [(one["symbol"], one["baseAsset"]) for one in info["symbols"]][1] == ("币安人生USDT", "币安人生")
    assert (status, len(rows)) == (200, 500)
