"""How the feed starts: windows, then live bars, on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from feed_exchange import START_MS, Exchange, Notes, Sink, candle, quick, until

from tapewatch.errors import SetupError
from tapewatch.feeds import BinanceFeed, SeriesPlan
from tapewatch.model import MINUTE_MS, BarClosed, History


@pytest.fixture
async def exchange() -> AsyncIterator[Exchange]:
    """An exchange of two symbols, standing at a boundary."""
    exchange = Exchange(["BTCUSDT", "ETHUSDT"])
    await exchange.start()
    yield exchange
    await exchange.stop()


async def test_history_comes_before_live_bars(exchange: Exchange) -> None:
    """A first start gives everything closed before it as history, in order, and what follows as live bars."""
    notes, sink = Notes(), Sink()
    base_ms = START_MS - 100 * MINUTE_MS
    feed = BinanceFeed(quick(exchange.port), lambda _: [SeriesPlan(s, base_ms) for s in exchange.symbols], sink, notes)
    task = asyncio.create_task(feed.run())
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


async def test_restart_continues_after_the_last_decided_bar(exchange: Exchange) -> None:
    """Bars up to the one an earlier run decided are history; those missed since are live bars, received now."""
    notes, sink = Notes(), Sink()
    base_ms, last_ms = START_MS - 50 * MINUTE_MS, START_MS - 10 * MINUTE_MS
    exchange.set_time(START_MS + 20_000)
    feed = BinanceFeed(
        quick(exchange.port), lambda _: [SeriesPlan("BTCUSDT", base_ms, last_open_ms=last_ms)], sink, notes
    )
    task = asyncio.create_task(feed.run())
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
    feed = BinanceFeed(quick(exchange.port), lambda _: [SeriesPlan("BTCUSDT", base_ms, larger)], sink, notes)
    task = asyncio.create_task(feed.run())
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
    feed = BinanceFeed(quick(exchange.port), lambda _: [SeriesPlan("BTCUSDT", base_ms)], sink, notes)
    task = asyncio.create_task(feed.run())
    await until(lambda: notes.count("caught_up"))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert sink.history("BTCUSDT") == exchange.expected("BTCUSDT", base_ms, START_MS)
    assert notes.count("outage") == 0


async def test_unknown_symbols_are_named_and_left_out(exchange: Exchange) -> None:
    """A symbol that is unknown or does not trade is named in a warning; the others are watched."""
    notes, sink = Notes(), Sink()
    plans = [SeriesPlan(symbol, START_MS - 5 * MINUTE_MS) for symbol in ("BTCUSDT", "NOPEUSDT", "OLDUSDT")]
    feed = BinanceFeed(quick(exchange.port), lambda _: plans, sink, notes)
    task = asyncio.create_task(feed.run())
    await until(lambda: notes.count("caught_up"))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    [(text,)] = notes.of("warning")
    assert "NOPEUSDT (unknown)" in text
    assert "OLDUSDT (BREAK)" in text
    assert exchange.received[0]["params"] == ["btcusdt@kline_1m"]
    assert sink.history("BTCUSDT")[-1] == candle("BTCUSDT", START_MS - MINUTE_MS)


async def test_no_symbol_left_is_a_wrong_setup(exchange: Exchange) -> None:
    """When none of the symbols trades the feed ends with an error that names them."""
    feed = BinanceFeed(quick(exchange.port), lambda _: [SeriesPlan("NOPEUSDT", START_MS)], Sink(), Notes())
    with pytest.raises(SetupError, match="NOPEUSDT"):
        await feed.run()


async def test_unreachable_exchange_is_retried_and_said(exchange: Exchange) -> None:
    """With nobody listening at start the feed tries on, says so, and starts when the exchange is there."""
    port = exchange.port
    await exchange.stop()
    notes, sink = Notes(), Sink()
    feed = BinanceFeed(quick(port), lambda _: [SeriesPlan("BTCUSDT", START_MS - 5 * MINUTE_MS)], sink, notes)
    task = asyncio.create_task(feed.run())
    await until(lambda: notes.count("attempt") >= 6)
    assert notes.count("connection_lost") == 1
    assert notes.count("caught_up") == 0
    await exchange.start(port)
    await until(lambda: notes.count("caught_up"))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(sink.history("BTCUSDT")) == 5
