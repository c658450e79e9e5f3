"""Other people's Binance clients work against the simulator, over real sockets, plain and TLS."""

import asyncio
import ssl
import warnings
from pathlib import Path
from typing import Any

import aiohttp
import ccxt.async_support
import ccxt.pro
import pytest
import trustme
from simulated import START_MS, TableMarket, closed, connected, eventually, get, serving

from tapewatch.model import DAY_MS, MINUTE_MS
from tapewatch.simulator import FaultRule, Simulator


def pointed(exchange: Any, simulator: Simulator) -> Any:
    """A ccxt exchange that talks to the simulator, spot only."""
    exchange.urls["api"]["public"] = f"{simulator.rest_url}/api/v3"
    exchange.options["fetchMarkets"] = {"types": ["spot"]}
    exchange.options["fetchCurrencies"] = False
    exchange.has["fetchCurrencies"] = False
    if "ws" in exchange.urls["api"]:
        exchange.urls["api"]["ws"]["spot"] = f"{simulator.ws_url}/ws"
    return exchange


async def test_ccxt_reads_candles_and_tickers_over_rest() -> None:
    """`fetch_ohlcv` gives the stored numbers, `fetch_ticker` the day, `fetch_order_book` the book."""
    market = TableMarket()
    async with serving(market) as simulator:
        exchange = pointed(ccxt.async_support.binance(), simulator)
        try:
            rows = await exchange.fetch_ohlcv("BTC/USDT", "1m", since=START_MS - 3 * MINUTE_MS, limit=3)
            ticker = await exchange.fetch_ticker("ETH/USDT")
            time_ms = await exchange.fetch_time()
            book = await exchange.fetch_order_book("BTC/USDT", 20)
        finally:
            await exchange.close()
    bars = list(market.candles("BTCUSDT").slice(START_MS - 3 * MINUTE_MS, START_MS).bars())
    assert rows == [[bar.open_ms, bar.open, bar.high, bar.low, bar.close, bar.volume] for bar in bars]
    assert ticker["last"] == market.candles("ETHUSDT").slice(to_ms=START_MS).close[-1]
    assert time_ms == START_MS
    assert [len(book[side]) for side in ("bids", "asks")] == [20, 20]
    assert book["bids"][0][0] == bars[-1].close < book["asks"][0][0]


async def test_ccxt_pro_watches_candles_over_the_socket() -> None:
    """`watch_ohlcv` sees bars grow and the next one begin."""
    market = TableMarket(minutes=3)
    async with serving(market, rate=60.0, at_end="hold") as simulator:
        exchange = pointed(ccxt.pro.binance(), simulator)
        seen: dict[int, list[float]] = {}
        try:
            async with asyncio.timeout(20):
                while START_MS + 2 * MINUTE_MS not in seen:
                    for row in await exchange.watch_ohlcv("BTC/USDT", "1m"):
                        seen[row[0]] = row
        finally:
            await exchange.close()
    bars = {bar.open_ms: bar for bar in market.candles("BTCUSDT").slice(START_MS).bars()}
    for open_ms in (START_MS, START_MS + MINUTE_MS):
        bar = bars[open_ms]
        assert seen[open_ms] == [open_ms, bar.open, bar.high, bar.low, bar.close, bar.volume]


async def test_python_binance_reads_rest_and_its_kline_socket() -> None:
    """`get_klines`, `get_order_book`, and every closed bar over `kline_socket`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own deprecations
        from binance import AsyncClient, BinanceSocketManager
    market = TableMarket(minutes=200)
    async with serving(market, rate=600.0) as simulator:
        client = AsyncClient()
        client.API_URL = client.API_URL.replace("https://api.binance.{}/api", f"{simulator.rest_url}/api")
        client._create_api_uri = lambda path, *_args, **_kwargs: f"{simulator.rest_url}/api/v3/{path}"
        try:
            rows = await client.get_klines(symbol="BTCUSDT", interval="1m", limit=2)
            book = await client.get_order_book(symbol="BTCUSDT", limit=5)
            manager = BinanceSocketManager(client)
            manager.STREAM_URL = f"{simulator.ws_url}/"
            frames = []
            async with asyncio.timeout(20), manager.kline_socket("BTCUSDT", "1m") as socket:
                while len(closed(frames)) < 5:
                    frames.append(await socket.recv())
        finally:
            await client.close_connection()
    bars = list(market.candles("BTCUSDT").slice(START_MS, START_MS + 5 * MINUTE_MS).bars())
    assert [row[0] for row in rows] == [START_MS - MINUTE_MS, START_MS]
    assert [len(book[side]) for side in ("bids", "asks")] == [5, 5]
    assert float(book["bids"][0][0]) < float(book["asks"][0][0])
    assert [(kline["t"], float(kline["c"])) for kline in closed(frames)] == [(bar.open_ms, bar.close) for bar in bars]


#: As long as the exchange's own names usually are: 200 streams of them fit into one message of a client.
MANY = tuple(f"{first}{second}TUSDT" for first in "ABCDEFGHIJ" for second in "ABCDEFGHIJKLMNOPQRST")


async def test_ccxt_pro_watches_two_hundred_streams() -> None:
    """On its connection it sees every symbol's bars, and the last state of each is what is stored."""
    market = TableMarket(MANY, minutes=5)
    async with serving(market, rate=30.0, at_end="hold") as simulator:
        exchange = pointed(ccxt.pro.binance(), simulator)
        wanted = [[f"{symbol.removesuffix('USDT')}/USDT", "1m"] for symbol in MANY]
        try:
            async with asyncio.timeout(60):
                while True:
                    await exchange.watch_ohlcv_for_symbols(wanted)
                    kept = {symbol: {row[0]: row for row in rows["1m"]} for symbol, rows in exchange.ohlcvs.items()}
                    if sum(START_MS + 2 * MINUTE_MS in rows for rows in kept.values()) == len(MANY):
                        break
        finally:
            await exchange.close()
        assert simulator.books.breaches == {}
    for symbol in MANY:
        (bar,) = market.candles(symbol).slice(START_MS + MINUTE_MS, START_MS + 2 * MINUTE_MS).bars()
        row = kept[f"{symbol.removesuffix('USDT')}/USDT"][bar.open_ms]
        assert row == [bar.open_ms, bar.open, bar.high, bar.low, bar.close, bar.volume]


async def test_python_binance_hears_two_hundred_streams() -> None:
    """Every symbol's closed bars over one multiplexed socket, each once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own deprecations
        from binance import AsyncClient, BinanceSocketManager
    market = TableMarket(MANY, minutes=3)
    async with serving(market, rate=30.0, at_end="hold") as simulator:
        client = AsyncClient()
        client._create_api_uri = lambda path, *_args, **_kwargs: f"{simulator.rest_url}/api/v3/{path}"
        try:
            manager = BinanceSocketManager(client, max_queue_size=10_000)
            manager.STREAM_URL = f"{simulator.ws_url}/"
            bars: list[dict[str, Any]] = []
            streams = [f"{symbol.lower()}@kline_1m" for symbol in MANY]
            async with asyncio.timeout(60), manager.multiplex_socket(streams) as socket:
                while len(bars) < 2 * len(MANY):
                    bars += closed([await socket.recv()])
        finally:
            await client.close_connection()
        assert simulator.books.breaches == {}
    assert {(bar["s"], bar["t"]) for bar in bars} == {
        (symbol, START_MS + minute * MINUTE_MS) for symbol in MANY for minute in (0, 1)
    }
    stored = {symbol: next(market.candles(symbol).slice(START_MS).bars()) for symbol in MANY}
    first = [bar for bar in bars if bar["t"] == START_MS]
    assert all(float(bar["c"]) == stored[bar["s"]].close for bar in first)


async def test_ccxt_reads_the_listing_and_tickers_of_a_whole_market() -> None:
    """Markets, statuses and 24 hour volumes of 200 symbols, one of them halted."""
    market = TableMarket(MANY, minutes=3)
    rules = [FaultRule.model_validate({"kind": "halt", "at": "0s", "symbols": [MANY[3]]})]
    async with serving(market, faults=rules) as simulator:
        exchange = pointed(ccxt.async_support.binance(), simulator)
        try:
            markets = await exchange.load_markets()
            tickers = await exchange.fetch_tickers()
            books = await exchange.fetch_bids_asks()
        finally:
            await exchange.close()
    assert len(markets) == len(tickers) == len(books) == 200
    assert [name for name, one in markets.items() if not one["active"]] == ["ADT/USDT"]
    day = market.candles("AATUSDT").slice(START_MS - DAY_MS, START_MS)
    assert tickers["AAT/USDT"]["quoteVolume"] == pytest.approx(day.quote_volume.sum())
    assert books["AAT/USDT"]["bid"] == day.close[-1] < books["AAT/USDT"]["ask"]


async def test_tls_serves_https_and_wss(tmp_path: Path) -> None:
    """With a certificate the same port speaks TLS, and URLs say so."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    async with serving(TableMarket(minutes=2), ssl_context=server) as simulator:
        assert simulator.rest_url.startswith("https://127.0.0.1:")
        assert simulator.ws_url.startswith("wss://127.0.0.1:")
        status, body, _ = await get(simulator, "time", ssl=client)
        async with connected(simulator, "/ws/btcusdt@kline_1m", ssl=client) as connection:
            frames = await connection.rest()
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await get(simulator, "time")
    assert (status, body) == (200, {"serverTime": START_MS})
    assert len(closed(frames)) == 2


async def test_at_the_end_hold_stands_still_and_serves() -> None:
    """Connections stay, REST answers, the clock stands five seconds after the last close."""
    async with (
        serving(TableMarket(minutes=2), at_end="hold") as simulator,
        connected(simulator, "/ws/btcusdt@kline_1m") as client,
    ):
        await simulator.wait_ended()
        assert len([await client.hear(), await client.hear()]) == 2
        assert await client.silent(0.1)
        _, time, _ = await get(simulator, "time")
        _, rows, _ = await get(simulator, "klines?symbol=BTCUSDT&interval=1m&limit=2")
    assert time["serverTime"] == simulator.market.last_ms + 5000
    assert rows[-1][6] == simulator.market.last_ms - 1


async def test_at_the_end_stop_waits_for_a_paced_client_then_closes() -> None:
    """The last bar can still be processed before the connection goes."""
    async with serving(TableMarket(minutes=1)) as simulator, connected(simulator) as client:
        await client.ask("TAPEWATCH_PACE", START_MS)
        await client.ask("SUBSCRIBE", "btcusdt@kline_1m")
        assert (await client.hear())["k"]["x"]
        assert await client.silent(0.2)


async def test_a_port_that_is_taken_is_an_error() -> None:
    """Starting raises, and leaves nothing behind."""
    async with serving() as simulator:
        port = int(simulator.rest_url.rpartition(":")[2])
        second = Simulator(TableMarket(), rate=1.0, start_ms=START_MS, port=port)
        with pytest.raises(OSError, match="address already in use"):
            await second.start()
        await second.stop()
        await eventually(lambda: simulator.clock.now_ms() == START_MS)
