"""How the feed starts: windows, then live bars, on a real socket."""

from __future__ import annotations

import asyncio
import math

from aiohttp import web
from feed_exchange import START_MS, Exchange, Notes, Sink, quick, until, watching

from tapewatch.feeds import BinanceFeed, Instrument, Quote, SeriesPlan
from tapewatch.model import MINUTE_MS, BarClosed, History


async def test_history_comes_before_live_bars(exchange: Exchange) -> None:
    """A first start gives everything closed before it as history, in order, and what follows as live bars."""
    notes, sink = Notes(), Sink()
    base_ms = START_MS - 100 * MINUTE_MS
    feed = BinanceFeed(quick(exchange.port), sink, notes)
    task = watching(feed, [SeriesPlan(s, base_ms) for s in exchange.symbols])
    await until(lambda: notes.count("caught_up"))
    for minute in range(1, 6):
        await exchange.close_minute(START_MS + minute * MINUTE_MS)
    await until(lambda: len(sink.live("ETHUSDT")) == 5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    for symbol in exchange.symbols:
        assert sink.history(symbol) == exchange.expected(symbol, base_ms, START_MS)
        assert sink.live(symbol) == exchange.expected(symbol, START_MS, START_MS + 5 * MINUTE_MS)
    assert notes.count("connected") == 1
    assert notes.count("gap") == 0


async def test_a_symbol_whose_capitals_are_other_letters_keeps_its_name() -> None:
    """Streams have names in small letters; what is shown of a connection are symbols."""
    exchange = Exchange(["ßUSDT", "币安人生USDT"])
    await exchange.start()
    notes, sink = Notes(), Sink()
    feed = BinanceFeed(quick(exchange.port), sink, notes, on_tickers=lambda _: None)
    task = watching(feed, [SeriesPlan(s, START_MS - MINUTE_MS) for s in exchange.symbols])
    await until(lambda: notes.count("caught_up"))
    assert [set(one.symbols) for one in feed.connections()] == [set(exchange.symbols)]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await exchange.stop()


async def test_restart_continues_after_the_last_decided_bar(exchange: Exchange) -> None:
    """Bars up to the one an earlier run decided are history; those missed since are live bars, received now."""
    notes, sink = Notes(), Sink()
    base_ms, last_ms = START_MS - 50 * MINUTE_MS, START_MS - 10 * MINUTE_MS
    exchange.set_time(START_MS + 20_000)
    feed = BinanceFeed(quick(exchange.port), sink, notes)
    task = watching(feed, [SeriesPlan("BTCUSDT", base_ms, last_open_ms=last_ms)])
    await until(lambda: notes.count("caught_up"))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert sink.history("BTCUSDT") == exchange.expected("BTCUSDT", base_ms, last_ms + MINUTE_MS)
    assert sink.live("BTCUSDT") == exchange.expected("BTCUSDT", last_ms + MINUTE_MS, START_MS)
    late = [event for event in sink.events["BTCUSDT"] if isinstance(event, BarClosed)]
    assert all(START_MS + 20_000 <= event.recv_ms < START_MS + 30_000 for event in late)


async def test_larger_windows_come_in_order_of_close(exchange: Exchange) -> None:
    """Bars of larger intervals reach to the first bucket base bars cover; each precedes the base bar it closes with."""
    hour_ms = 60 * MINUTE_MS
    start_ms = START_MS // hour_ms * hour_ms + 2 * hour_ms
    exchange.set_time(start_ms + 10_000)
    exchange.first_ms = start_ms - 40 * hour_ms
    base_ms = start_ms - hour_ms - 7 * MINUTE_MS
    larger = {hour_ms: start_ms - 30 * hour_ms, 5 * MINUTE_MS: start_ms - 3 * hour_ms}
    notes, sink = Notes(), Sink()
    feed = BinanceFeed(quick(exchange.port), sink, notes)
    task = watching(feed, [SeriesPlan("BTCUSDT", base_ms, larger)])
    await until(lambda: notes.count("caught_up"))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    bars = sink.history("BTCUSDT")
    assert bars == sorted(bars, key=lambda bar: (bar.close_ms, -bar.interval_ms))
    hours = [bar.open_ms for bar in bars if bar.interval_ms == hour_ms]
    assert hours == list(range(start_ms - 30 * hour_ms, start_ms - hour_ms, hour_ms))
    fives = [bar.open_ms for bar in bars if bar.interval_ms == 5 * MINUTE_MS]
    assert fives == list(range(start_ms - 3 * hour_ms, base_ms + 2 * MINUTE_MS, 5 * MINUTE_MS))
    assert [bar for bar in bars if bar.interval_ms == MINUTE_MS] == exchange.expected("BTCUSDT", base_ms, start_ms)
    assert all(isinstance(event, History) for event in sink.events["BTCUSDT"])


async def test_long_history_is_paged(exchange: Exchange) -> None:
    """A window of several pages arrives whole, its holes confirmed by the rows around them."""
    exchange.first_ms = START_MS - 2500 * MINUTE_MS
    exchange.holes = {("BTCUSDT", START_MS - minute * MINUTE_MS) for minute in range(700, 850)}
    notes, sink = Notes(), Sink()
    base_ms = exchange.first_ms - 300 * MINUTE_MS  # before its listing
    feed = BinanceFeed(quick(exchange.port), sink, notes)
    task = watching(feed, [SeriesPlan("BTCUSDT", base_ms)])
    await until(lambda: notes.count("caught_up"))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert sink.history("BTCUSDT") == exchange.expected("BTCUSDT", base_ms, START_MS)
    assert notes.count("outage") == 0


async def test_instruments_and_quotes(exchange: Exchange) -> None:
    """What the exchange has is told with states, assets and volumes; quotes leave out whom it does not know."""
    feed = BinanceFeed(quick(exchange.port), Sink(), Notes())
    task = asyncio.create_task(feed.run())
    assert START_MS <= await feed.ready() < START_MS + 10_000
    instruments = {instrument.symbol: instrument for instrument in await feed.instruments()}
    assert instruments["ETHUSDT"] == Instrument("ETHUSDT", "ETH", "USDT", "TRADING", True, 2000.0)
    assert not instruments["OLDUSDT"].trading
    assert math.isnan(instruments["OLDUSDT"].quote_volume_24h)
    assert await feed.quotes(["ETHUSDT", "NOPEUSDT"]) == {"ETHUSDT": Quote("ETHUSDT", 99.5, 100.5)}
    assert await feed.quotes([]) == {}
    many = [f"NO{n}" for n in range(200)]
    assert set(await feed.quotes(["BTCUSDT", *many])) == {"BTCUSDT"}
    assert max(map(len, exchange.requests)) < 200
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_symbols_come_and_go_while_it_runs(exchange: Exchange) -> None:
    """A symbol watched later gets its windows and its bars; one that is watched no more brings nothing further."""
    notes, sink = Notes(), Sink()
    base_ms = START_MS - 10 * MINUTE_MS
    feed = BinanceFeed(quick(exchange.port), sink, notes)
    task = watching(feed, [SeriesPlan("BTCUSDT", base_ms)])
    await until(lambda: notes.count("caught_up") == 1)
    assert feed.progress == (1, 1)
    await exchange.close_minute(START_MS + MINUTE_MS)
    await until(lambda: len(sink.live("BTCUSDT")) == 1)
    feed.watch([SeriesPlan("ETHUSDT", base_ms), SeriesPlan("BTCUSDT", 0)])
    await until(lambda: notes.count("caught_up") == 2)
    await until(lambda: {name for c in feed.connections() for name in c.symbols} == {"BTCUSDT", "ETHUSDT"})
    await exchange.close_minute(START_MS + 2 * MINUTE_MS)
    await until(lambda: len(sink.live("ETHUSDT")) == 1 and len(sink.live("BTCUSDT")) == 2)
    feed.unwatch(["BTCUSDT", "NOPEUSDT"])
    assert feed.progress == (1, 1)
    await until(lambda: {name for c in feed.connections() for name in c.symbols} == {"ETHUSDT"})
    await exchange.close_minute(START_MS + 3 * MINUTE_MS)
    await until(lambda: len(sink.live("ETHUSDT")) == 2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert sink.history("ETHUSDT") == exchange.expected("ETHUSDT", base_ms, START_MS + MINUTE_MS)
    assert sink.live("ETHUSDT") == exchange.expected("ETHUSDT", START_MS + MINUTE_MS, START_MS + 3 * MINUTE_MS)
    assert sink.live("BTCUSDT") == exchange.expected("BTCUSDT", START_MS, START_MS + 2 * MINUTE_MS)


async def test_a_symbol_dropped_while_its_windows_come_sends_nothing(exchange: Exchange) -> None:
    """What was asked for before `unwatch` is not sent on after it, and the others are caught up without it."""
    release = asyncio.Event()

    async def slow(request: web.Request) -> web.Response | None:
        if request.query.get("symbol") == "ETHUSDT":
            await release.wait()
        return None

    exchange.before_rest = slow
    notes, sink = Notes(), Sink()
    feed = BinanceFeed(quick(exchange.port, request_timeout_s=10.0), sink, notes)
    task = watching(feed, [SeriesPlan(s, START_MS - 5 * MINUTE_MS) for s in exchange.symbols])
    await until(lambda: any("ETHUSDT" in request for request in exchange.requests))
    await until(lambda: sink.history("BTCUSDT"))
    assert notes.count("caught_up") == 0
    feed.unwatch(["ETHUSDT"])
    await until(lambda: notes.count("caught_up") == 1)
    release.set()
    await exchange.close_minute(START_MS + MINUTE_MS)
    await until(lambda: sink.live("BTCUSDT"))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert "ETHUSDT" not in sink.events


async def test_unreachable_exchange_is_retried_and_said(exchange: Exchange) -> None:
    """With nobody listening at start the feed tries on, says so, and starts when the exchange is there."""
    port = exchange.port
    await exchange.stop()
    notes, sink = Notes(), Sink()
    feed = BinanceFeed(quick(port), sink, notes)
    task = watching(feed, [SeriesPlan("BTCUSDT", START_MS - 5 * MINUTE_MS)])
    await until(lambda: notes.count("attempt") >= 6)
    assert notes.count("connection_lost") == 1
    assert notes.count("caught_up") == 0
    await exchange.start(port)
    await until(lambda: notes.count("caught_up"))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(sink.history("BTCUSDT")) == 5
