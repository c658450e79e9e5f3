"""What perpetuals pay next, asked of Binance's futures and through the library."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import ccxt.async_support
import pytest
from feed_exchange import Notes, Sink
from simulated import START_MS, TableMarket, connected, serving

from tapewatch.errors import DataError, EdgeError
from tapewatch.feeds import BinanceFeed, FeedSettings
from tapewatch.feeds.ccxt import CcxtFeed
from tapewatch.feeds.ccxt_exchange import CcxtSettings
from tapewatch.feeds.ccxt_rest import CcxtRest
from tapewatch.feeds.clock import ExchangeClock
from tapewatch.feeds.history import EXCHANGES, History
from tapewatch.feeds.observer import FeedObserver
from tapewatch.model import MINUTE_MS
from tapewatch.simulator import FaultRule, Simulator

HOURS_8_MS = 8 * 60 * MINUTE_MS
SYMBOLS = ("BTCUSDT", "ETHUSDT")


@asynccontextmanager
async def futures(simulator: Simulator) -> AsyncIterator[History]:
    """A client of the simulator's futures."""
    settings = FeedSettings(rest_url=simulator.rest_url, rest_backoff_s=(0.01,))
    async with History(EXCHANGES["binance_usdm"], settings, FeedObserver()) as history:
        yield history


async def test_binances_futures_tell_all_rates_in_one_request() -> None:
    """With the time of the next payment; it weighs ten."""
    async with serving(TableMarket(SYMBOLS)) as simulator, futures(simulator) as history:
        rates = await history.rates()
        assert simulator.books.requests == {("fapi/premiumIndex", 200): 1}
        assert history._gateway.budget.used_weight == 10
    assert set(rates) == set(SYMBOLS)
    assert {rate.next_ms for rate in rates.values()} == {START_MS - START_MS % HOURS_8_MS + HOURS_8_MS}
    assert all(0 < abs(rate.rate) <= 0.0075 for rate in rates.values())


async def test_a_contract_that_ends_has_no_rate() -> None:
    """Delivery contracts have an empty one, and no next time."""
    body = b"""[
        {"symbol": "BTCUSDT_260925", "lastFundingRate": "", "nextFundingTime": 0},
        {"symbol": "ODDUSDT", "lastFundingRate": "nan", "nextFundingTime": 1700000000000},
        {"symbol": "BTCUSDT", "lastFundingRate": "-0.00031", "nextFundingTime": 1700000000000, "time": 1, "new": []}
    ]"""
    from aiohttp import web

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/fapi/v1/premiumIndex", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    settings = FeedSettings(rest_url=f"http://127.0.0.1:{runner.addresses[0][1]}")
    async with History(EXCHANGES["binance_usdm"], settings, FeedObserver()) as history:
        rates = await history.rates()
    await runner.cleanup()
    assert {symbol: (rate.rate, rate.next_ms) for symbol, rate in rates.items()} == {
        "BTCUSDT": (-0.00031, 1_700_000_000_000)
    }


async def test_trouble_with_rates_is_one_failed_request() -> None:
    """It is not asked again by itself, and nobody is told that a connection is lost."""
    rule = FaultRule.model_validate({"kind": "http_5xx", "at": "1s", "for": "1h", "endpoints": ["premiumIndex"]})
    async with (
        serving(TableMarket(SYMBOLS, minutes=3), faults=[rule], at_end="hold") as simulator,
        connected(simulator, "/ws/btcusdt@kline_1m"),
        futures(simulator) as history,
    ):
        await simulator.wait_ended()
        with pytest.raises(EdgeError):
            await history.rates()
        assert simulator.books.faults == {"http_5xx": 1}


async def test_the_library_tells_rates_of_perpetuals_and_of_their_spot_markets() -> None:
    """`BTC/USDT:USDT` is what a watcher of `BTC/USDT` asks about."""
    async with serving(TableMarket(SYMBOLS)) as simulator:
        exchange: Any = ccxt.async_support.binance({"options": {"fetchMarkets": {"types": ["spot", "linear"]}}})
        exchange.urls["api"]["public"] = f"{simulator.rest_url}/api/v3"
        exchange.urls["api"]["fapiPublic"] = f"{simulator.rest_url}/fapi/v1"
        exchange.has["fetchCurrencies"] = False
        async with (
            CcxtRest(exchange, FeedSettings(), ExchangeClock(), FeedObserver()) as rest,
            futures(simulator) as history,
        ):
            rates, own = await rest.rates(), await history.rates()
            exchange.has["fetchFundingRates"] = False
            with pytest.raises(DataError):
                await rest.rates()
    assert set(rates) == {"BTC/USDT", "BTC/USDT:USDT", "ETH/USDT", "ETH/USDT:USDT"}
    for base in ("BTC", "ETH"):
        assert rates[f"{base}/USDT"] == rates[f"{base}/USDT:USDT"]
        assert rates[f"{base}/USDT"].rate == own[f"{base}USDT"].rate
        assert rates[f"{base}/USDT"].next_ms == own[f"{base}USDT"].next_ms


async def test_without_a_host_for_them_there_are_none() -> None:
    """A simulated spot market, or the library with addresses replaced, asks nobody on the internet."""
    with pytest.raises(DataError):
        await BinanceFeed(FeedSettings(rest_url="http://127.0.0.1:1"), Sink(), Notes()).rates()
    settings = CcxtSettings("binance", urls={"api": {"public": "http://127.0.0.1:1/api/v3"}})
    feed = CcxtFeed(settings, FeedSettings(), Sink(), Notes())
    with pytest.raises(DataError):
        await feed.rates()
