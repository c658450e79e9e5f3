"""Bars over REST: polling when streams cannot be had, second looks, silent streams, and who is asked for first."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from aiohttp import web
from feed_exchange import START_MS, Exchange, Notes, Sink, candle, frame, quick, row, until, watching
from feed_run import SYMBOLS, running

from tapewatch.feeds import BinanceFeed, SeriesPlan
from tapewatch.model import MINUTE_MS, Bar

#: A feed that polls as soon as streams are down.
polling = partial(running, down_after_s=0.1, emergency_after_s=0.1)


async def test_polling_takes_over_and_gives_back() -> None:
    """Without streams bars come by polling, with them by stream again: none is lost and none comes twice."""
    async with polling(SYMBOLS) as run:
        await run.minute()
        await run.all_out()
        assert not run.feed.emergency
        run.exchange.streaming = False
        run.exchange.cut()
        await until(lambda: run.notes.count("emergency_began") == 1)
        assert run.feed.emergency
        gaps = run.notes.count("gap")
        for _ in range(4):
            await run.minute()
            await run.all_out()
            assert run.sources(run.minute_ms) == {"rest"}
        assert run.notes.count("gap") == gaps  # that polling brings bars is no news
        run.exchange.streaming = True
        await until(lambda: run.notes.count("emergency_ended") == 1)
        assert not run.feed.emergency
        await run.minute()
        await run.all_out()
        assert run.sources(run.minute_ms) == {"ws"}
        assert run.notes.count("emergency_began") == 1
        assert run.notes.count("silent") == 0


async def test_a_start_without_streams_polls() -> None:
    """Streams that cannot be had from the beginning delay the windows a little, and live bars come over REST."""
    async with polling(SYMBOLS, streaming=False) as run:
        await until(lambda: run.feed.emergency)
        for _ in range(2):
            await run.minute()
            await run.all_out()
        assert run.notes.count("connected") == 0
        for symbol in SYMBOLS:
            assert run.sink.history(symbol) == run.exchange.expected(symbol, START_MS - 5 * MINUTE_MS, START_MS)


async def test_a_connection_that_comes_and_goes_is_one_emergency_at_a_time() -> None:
    """Each loss that lasts is told, each return too, in turn."""
    async with polling(["BTCUSDT"]) as run:
        for time in (1, 2):
            run.exchange.streaming = False
            run.exchange.cut()
            await until(lambda n=time: run.notes.count("emergency_began") == n)
            await run.minute()
            await run.all_out()
            run.exchange.streaming = True
            await until(lambda n=time: run.notes.count("emergency_ended") == n)
            await run.minute()
            await run.all_out()


def altered(bar: Bar, trades: int) -> list[Any]:
    """The bar's row with another number of trades."""
    values = row(bar)
    values[8] = trades
    return values


def answering(rows: Callable[[str], dict[int, int]], exchange: Exchange) -> Callable[[web.Request], Any]:
    """Klines in which some bars have another number of trades: open -> trades."""

    async def answer(request: web.Request) -> web.Response | None:
        if "klines" not in request.path:
            return None
        symbol = request.query["symbol"]
        changed = rows(symbol)
        found = exchange._klines(request.query)
        return web.json_response(
            [altered(candle(symbol, one[0]), changed[one[0]]) if one[0] in changed else one for one in found]
        )

    return answer


async def test_a_bar_of_rest_that_changes_is_a_correction() -> None:
    """What REST first said goes out once; what it says later is told as a correction, and told once."""
    async with polling(["BTCUSDT", "ETHUSDT"], recheck_ms=(900, 1_800)) as run:
        wrong = {START_MS: 7777}
        run.exchange.before_rest = answering(lambda s: wrong if s == "ETHUSDT" else {}, run.exchange)
        await run.minute(["BTCUSDT"])
        await run.told_time()
        await until(lambda: run.sink.live("ETHUSDT"))
        asked = run.looks()
        wrong.clear()
        await until(lambda: run.sink.corrections)
        await asyncio.sleep(2.0)
        [correction] = run.sink.corrections
        assert correction.before == run.sink.live("ETHUSDT")[0]
        assert correction.before.trades == 7777
        assert correction.after == candle("ETHUSDT", START_MS)
        assert correction.recv_ms >= run.minute_ms
        assert run.notes.of("correction") == [("ETHUSDT", START_MS)]
        assert run.feed.counts.corrections == 1
        assert len(run.sink.live("ETHUSDT")) == 1
        assert run.looks() == asked + 2  # one at each time, of the one bar that came over REST


async def test_a_bar_that_stays_is_looked_at_and_nothing_said() -> None:
    """The second look at a bar that did not change brings nothing, and ends."""
    async with polling(["BTCUSDT"], recheck_ms=(700,)) as run:
        await run.minute([])
        await run.all_out()
        asked = run.looks()
        await until(lambda: run.looks() > asked)
        await asyncio.sleep(1.2)
        assert run.looks() == asked + 1
        assert run.sink.corrections == []


async def test_no_second_look_where_none_is_wanted() -> None:
    """With an empty list bars of REST stand as they came."""
    async with polling(["BTCUSDT"], recheck_ms=()) as run:
        await run.minute([])
        await run.all_out()
        asked = run.looks()
        await asyncio.sleep(1.2)
        assert run.looks() == asked


async def test_a_silent_stream_is_subscribed_to_anew() -> None:
    """A symbol whose last three bars came over REST, while others streamed, is asked for again; nobody else is."""
    async with polling(SYMBOLS) as run:
        before = len(run.exchange.received)
        for _ in range(3):
            await run.minute(["BTCUSDT", "SOLUSDT"])
            await run.all_out()
        await until(lambda: len(run.exchange.received) > before)
        assert run.notes.of("silent") == [("ETHUSDT",)]
        await until(lambda: run.exchange.received[-1]["method"] == "SUBSCRIBE")
        asked = {name for message in run.exchange.received[before:] for name in message["params"]}
        assert asked == {"ethusdt@kline_1m"}
        await run.minute()
        await run.all_out()


async def test_a_stream_without_trades_is_not_silent() -> None:
    """Of a bar in which nothing was traded the exchange may never tell; that is no fault of the stream."""
    async with polling(["BTCUSDT", "ETHUSDT"]) as run:
        quiet = {START_MS + minute * MINUTE_MS: 0 for minute in range(9)}
        run.exchange.before_rest = answering(lambda s: quiet if s == "ETHUSDT" else {}, run.exchange)
        for minute in range(1, 6):
            await run.minute(["BTCUSDT"])
            await run.told_time()
            await until(lambda n=minute: len(run.sink.live("ETHUSDT")) == n)
        assert run.notes.count("silent") == 0


async def test_bars_that_waited_behind_a_hole_do_not_speak_against_their_stream() -> None:
    """One bar did not come by stream; that those after it had to wait until REST brought it is not the stream's."""
    async with running(SYMBOLS) as run:
        free = asyncio.Event()

        async def hold(request: web.Request) -> None:
            if request.query.get("symbol") == "ETHUSDT":
                await free.wait()

        run.exchange.before_rest = hold
        await run.minute(["BTCUSDT", "SOLUSDT"])
        for _ in range(4):
            await run.minute()
        free.set()
        await run.all_out()
        assert run.notes.count("silent") == 0


async def test_the_streams_of_a_connection_that_is_behind_are_not_silent() -> None:
    """Another connection brought its bars, and REST had all of them: a busy program has not read this one so far."""
    async with running([*SYMBOLS, "XRPUSDT"], streams_per_connection=2) as run:
        await run.minute()  # all on one of the connections
        await run.all_out()
        read = next(set(one.symbols) for one in run.feed.connections() if one.frames)
        for _ in range(5):
            run.minute_ms += MINUTE_MS
            run.exchange.set_time(run.minute_ms + 150)
            for symbol in read:
                await run.exchange.send(frame(candle(symbol, run.minute_ms - MINUTE_MS), run.minute_ms + 100))
        await run.feed._rest.sync_clock()
        await run.all_out()
        assert run.notes.count("silent") == 0


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_the_most_traded_symbols_are_live_first(concurrency: int) -> None:
    """First windows come by volume, each symbol wholly before the next, whatever the order of the plans."""
    symbols = [f"S{n}USDT" for n in range(8)]
    exchange = Exchange(symbols)
    exchange.set_time(START_MS + 10_000)
    await exchange.start()
    notes, sink = Notes(), Sink()
    feed = BinanceFeed(quick(exchange.port, concurrency=concurrency), sink, notes)
    larger = {5 * MINUTE_MS: START_MS - 100 * MINUTE_MS, 60 * MINUTE_MS: START_MS - 600 * MINUTE_MS}
    plans = [SeriesPlan(s, START_MS - 5 * MINUTE_MS, larger, None, float(n)) for n, s in enumerate(symbols)]
    task = watching(feed, plans)
    await until(lambda: notes.count("caught_up"))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    asked = [request.split("symbol=")[1].split("&")[0] for request in exchange.requests if "klines" in request]
    await exchange.stop()
    first = list(dict.fromkeys(asked))
    if concurrency == 1:
        assert first == symbols[::-1]
        assert asked == sorted(asked, reverse=True)
    else:
        assert all(abs(first.index(s) - (7 - n)) <= 1 for n, s in enumerate(symbols))
    progress = notes.of("progress")
    assert [complete for complete, _ in progress] == list(range(9))
    assert {watched for _, watched in progress} == {8}


async def test_volumes_follow_the_ticker() -> None:
    """The all-market ticker moves a symbol up in the queues, and is handed on."""
    exchange = Exchange(["BTCUSDT", "ETHUSDT"])
    await exchange.start()
    taken: list[Any] = []
    notes = Notes()
    feed = BinanceFeed(quick(exchange.port), Sink(), notes, on_tickers=taken.extend)
    task = watching(feed, [SeriesPlan(s, START_MS - MINUTE_MS, {}, None, 5.0) for s in exchange.symbols])
    await until(lambda: notes.count("caught_up"))
    assert any("!miniTicker@arr" in message["params"] for message in exchange.received)
    ticker = {"e": "24hrMiniTicker", "E": START_MS, "s": "ETHUSDT", "c": "2.5", "o": "2", "h": "3", "l": "2",
              "v": "10", "q": "99.5"}  # fmt: skip
    await exchange.send(json.dumps({"stream": "!miniTicker@arr", "data": [ticker]}))
    await until(lambda: taken)
    assert (taken[0].symbol, taken[0].close, taken[0].quote_volume_24h) == ("ETHUSDT", 2.5, 99.5)
    assert feed._series["ETHUSDT"].volume == 99.5
    assert feed._series["BTCUSDT"].volume == 5.0
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await exchange.stop()
