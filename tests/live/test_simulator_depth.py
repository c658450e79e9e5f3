"""The simulator's order books, as a client sees them, in thin markets and through faults too."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from simulated import START_MS, TableMarket, connected, eventually, get, serving

from tapewatch.model import MINUTE_MS
from tapewatch.simulator import FaultRule

BTC = "depth?symbol=BTCUSDT"


def rule(**keys: Any) -> FaultRule:
    """A rule as the script would give it."""
    return FaultRule.model_validate(keys)


def sides(body: dict[str, Any]) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Bids and asks as numbers."""
    bids, asks = ([(float(price), float(size)) for price, size in body[side]] for side in ("bids", "asks"))
    return bids, asks


def quote_units(levels: list[tuple[float, float]]) -> float:
    """What a side holds."""
    return sum(price * size for price, size in levels)


async def test_a_book_is_ordered_on_ticks_and_begins_with_the_quote() -> None:
    """Best first, each price once, strings on the tick; the best bid and ask are those of `bookTicker`."""
    async with serving() as simulator:
        status, body, _ = await get(simulator, BTC)
        _, best, _ = await get(simulator, "ticker/bookTicker?symbol=BTCUSDT")
    bids, asks = sides(body)
    assert status == 200
    assert set(body) == {"lastUpdateId", "bids", "asks"}
    assert body["bids"][0] == [best["bidPrice"], best["bidQty"]]
    assert body["asks"][0] == [best["askPrice"], best["askQty"]]
    assert len(bids) == len(asks) == 100
    assert bids == sorted(set(bids), reverse=True)
    assert asks == sorted(set(asks))
    assert asks[0][0] > bids[0][0]
    assert all(size > 0 and round(price, 2) == price for price, size in [*bids, *asks])
    for levels in (bids, asks):
        assert quote_units(levels[50:]) > 1.5 * quote_units(levels[:50])


@pytest.mark.parametrize(
    ("query", "levels", "weight"),
    [("", 100, 5), ("&limit=5", 5, 5), ("&limit=101", 101, 25), ("&limit=501", 501, 50), ("&limit=9999", 5_000, 250)],
)
async def test_a_book_has_so_many_levels_and_costs_by_them(query: str, levels: int, weight: int) -> None:
    """More than 5,000 are cut down without a word, and fewer are the beginning of more."""
    async with serving() as simulator:
        _, body, headers = await get(simulator, BTC + query)
        _, whole, _ = await get(simulator, BTC + "&limit=5000")
    assert len(body["asks"]) == levels
    assert headers["X-MBX-USED-WEIGHT-1M"] == str(weight)
    assert body["asks"] == whole["asks"][:levels]
    assert body["bids"] == whole["bids"][:levels]


@pytest.mark.parametrize(
    ("query", "code"),
    [("depth", -1102), ("depth?symbol=NOPE", -1121), (BTC + "&limit=0", -1130), (BTC + "&limit=x", -1100)],
)
async def test_a_bad_request_gets_the_exchanges_code(query: str, code: int) -> None:
    """As of every endpoint."""
    async with serving() as simulator:
        status, body, _ = await get(simulator, query)
    assert (status, body["code"]) == (400, code)


async def test_books_are_the_same_again_and_lean_to_either_side() -> None:
    """A second simulator answers the same; over symbols and minutes now the one side holds more, now the other."""
    names = tuple(f"A{number}USDT" for number in range(40))
    found = []
    for _ in range(2):
        async with serving(TableMarket(names, minutes=1)) as simulator:
            found.append([(await get(simulator, f"depth?symbol={name}"))[1] for name in names])
    assert found[0] == found[1]
    shares = [quote_units(bids) / (quote_units(bids) + quote_units(asks)) for bids, asks in map(sides, found[0])]
    assert min(shares) < 0.4
    assert max(shares) > 0.6


async def test_a_thin_market_has_a_wide_spread_and_little_in_its_book() -> None:
    """For as long as the script says, of the symbols it names; the quote says the same."""
    faults = [
        rule(kind="spread", at="2m", symbols=["ETHUSDT"], factor=40, **{"for": "3m"}),
        rule(kind="depth", at="2m", symbols=["ETHUSDT"], factor=0.01, **{"for": "3m"}),
    ]
    books, quotes = {}, {}
    async with (
        serving(TableMarket(minutes=8), faults=faults, at_end="hold", rate=300.0) as simulator,
        connected(simulator, "/ws/ethusdt@kline_1m"),
    ):
        for minute in (1, 4, 7):
            await eventually(lambda at_ms=START_MS + minute * MINUTE_MS: simulator.clock.now_ms() >= at_ms)
            _, body, _ = await get(simulator, "depth?symbol=ETHUSDT")
            books[minute] = sides(body)
            _, quotes[minute], _ = await get(simulator, "ticker/bookTicker?symbol=ETHUSDT")
        _, body, _ = await get(simulator, BTC)
    apart = {minute: round((asks[0][0] - bids[0][0]) * 100) for minute, (bids, asks) in books.items()}
    held = {minute: quote_units(bids) + quote_units(asks) for minute, (bids, asks) in books.items()}
    assert apart == {1: 1, 4: 40, 7: 1}
    assert held[4] < 0.05 * min(held[1], held[7])
    assert float(quotes[4]["bidQty"]) < 0.02 * 997
    assert round((sides(body)[1][0][0] - sides(body)[0][0][0]) * 100) == 1


@pytest.mark.alone
async def test_a_slow_endpoint_is_slow_alone() -> None:
    """`http_slow` delays the named endpoints by wall time; others answer at once, and its answer is right."""
    faults = [rule(kind="http_slow", at="1s", delay="400ms", endpoints=["depth"], **{"for": "1h"})]
    async with (
        serving(TableMarket(minutes=3), faults=faults, at_end="hold") as simulator,
        connected(simulator, "/ws/btcusdt@kline_1m"),
    ):
        await simulator.wait_ended()
        began_s = time.monotonic()
        await get(simulator, "ticker/bookTicker")
        quick_s = time.monotonic() - began_s
        status, body, _ = await get(simulator, BTC)
        slow_s = time.monotonic() - began_s - quick_s
        assert simulator.books.faults == {"http_slow": 1}
    assert (status, len(body["bids"])) == (200, 100)
    assert quick_s < 0.4 <= slow_s


async def test_an_endpoint_that_hangs_holds_up_no_end() -> None:
    """A client that gives up, and a simulator that is stopped, wait for no answer."""
    faults = [rule(kind="http_slow", at="1s", delay="1h", endpoints=["depth", "premiumIndex"], **{"for": "1h"})]
    began_s = time.monotonic()
    async with (
        serving(TableMarket(minutes=3), faults=faults, at_end="hold") as simulator,
        connected(simulator, "/ws/btcusdt@kline_1m"),
        aiohttp.ClientSession() as session,
    ):
        await simulator.wait_ended()
        for path in ("/api/v3/" + BTC, "/fapi/v1/premiumIndex"):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2), session.get(simulator.rest_url + path):
                    pass
    assert time.monotonic() - began_s < 30


async def test_a_fault_of_an_endpoint_waits_for_a_request_of_it() -> None:
    """Errors too are of the named endpoints alone."""
    faults = [rule(kind="http_busy", at="1s", endpoints=["depth"])]
    async with (
        serving(TableMarket(minutes=3), faults=faults, at_end="hold") as simulator,
        connected(simulator, "/ws/btcusdt@kline_1m"),
    ):
        await simulator.wait_ended()
        statuses = [(await get(simulator, path))[0] for path in ("time", "ticker/bookTicker", BTC, BTC)]
    assert statuses == [200, 200, 503, 200]


async def test_a_book_of_a_symbol_in_any_script() -> None:
    """Percent-encoded in the query."""
    async with serving(TableMarket(("币安人生USDT",), minutes=1)) as simulator:
        status, body, _ = await get(simulator, "depth?symbol=" + quote("币安人生USDT"))
    assert (status, len(body["asks"])) == (200, 100)
