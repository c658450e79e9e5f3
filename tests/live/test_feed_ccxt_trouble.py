"""What the feed through CCXT does when the exchange misbehaves or goes away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web
from ccxt_run import IDS, running
from feed_exchange import START_MS, Exchange, Notes, Sink, candle, frame, quick

from tapewatch.errors import SetupError
from tapewatch.feeds import SeriesPlan
from tapewatch.feeds.ccxt import CcxtFeed
from tapewatch.feeds.ccxt_exchange import CcxtSettings
from tapewatch.feeds.ccxt_final import figures
from tapewatch.model import MINUTE_MS


async def test_a_silent_stream_is_made_anew_and_rest_brings_the_bars_meanwhile() -> None:
    """Nothing comes over a connection that stands: it is closed and replaced; no bar is missing."""
    async with running(silence_s=0.8, emergency_after_s=0.3) as run:
        await run.minute()
        await run.until(run.live)
        before = len(run.exchange.received)
        await run.until(lambda: run.notes.count("disconnected") == 1)
        await run.until(lambda: run.notes.count("emergency_began") == 1)
        assert run.feed.emergency
        assert run.feed.connections()[0].state in {"down", "connecting"}
        await run.until(lambda: len(run.exchange.received) > before)
        await run.heard()
        bar = await run.minute()
        await run.until(lambda: len(run.live()) == 2)
        assert run.live()[-1] == figures(bar)
        await run.until(lambda: run.notes.count("emergency_ended") == 1)
        assert run.notes.count("connected") == 2
        assert run.feed.connections()[0].reconnects == 1


async def test_frames_that_make_no_sense_do_no_harm() -> None:
    """Garbage, halves and candles of nobody may end the library's reading, and REST brings the bars all the same."""
    async with running(silence_s=1.0) as run:
        bars = [await run.minute()]
        await run.until(run.live)
        whole = frame(candle("BTCUSDT", START_MS), START_MS + 1, closed=False, combined=False)
        for text in ("", "{", whole[: len(whole) // 2], "[1, 2]", "null", '{"e":"kline"}', whole.replace("BTC", "XYZ")):
            await run.exchange.send(text)
            await asyncio.sleep(0.02)
        for number in (2, 3):
            bars.append(await run.minute(late_ms=2_000))
            await run.feed._rest.sync_clock()  # the stream may not tell the time any more
            await run.until(lambda wanted=number: len(run.live()) == wanted)
        assert run.live() == [figures(bar) for bar in bars]


async def test_answers_that_make_no_sense_are_asked_for_again() -> None:
    """HTML, halves, other shapes, errors of every kind, a hang: each is outlived, and every bar comes once."""
    bad: list[Any] = [
        web.Response(text="<html>busy</html>", content_type="text/html"),
        web.Response(text='[[1,"2'),
        web.Response(text="{}"),
        web.Response(text="null"),
        web.Response(text="7"),
        web.Response(status=500, text="oh"),
        web.Response(status=403, text="firewall"),
        web.Response(status=429, text='{"code":-1003,"msg":"weight"}', headers={"Retry-After": "0"}),
        web.Response(status=418, text='{"code":-1003,"msg":"banned"}', headers={"Retry-After": "0"}),
        web.Response(status=400, text='{"code":-1008,"msg":"busy"}'),
        "hang",
    ]

    async def trouble(request: web.Request) -> web.Response | None:
        if not bad or "klines" not in request.path:
            return None
        answer = bad.pop(0)
        if answer == "hang":
            await asyncio.sleep(1.0)
            return None
        return answer

    async with running(request_timeout_s=0.5) as run:
        run.exchange.before_rest = trouble
        bars = []
        for number in range(4):
            bars.append(await run.minute())
            await run.until(lambda wanted=number + 1: len(run.live()) == wanted)
        await run.until(lambda: not bad)
        assert run.live() == [figures(bar) for bar in bars]
        assert run.notes.count("connection_lost")


async def test_rows_that_make_no_sense_are_left_out_and_told() -> None:
    """A row with a hole in it is malformed, one whose high is below its low refused; the others count."""

    async def rows(request: web.Request) -> web.Response | None:
        if "klines" not in request.path:
            return None
        found = run.exchange._klines(request.query)
        for one in found:
            if one[0] == START_MS:
                one[5] = None
            if one[0] == START_MS + MINUTE_MS:
                one[2], one[3] = one[3], one[2]
        return web.json_response(found)

    async with running(streams=False) as run:
        run.exchange.before_rest = rows
        run.exchange.set_time(START_MS + 4 * MINUTE_MS)
        await run.feed._rest.sync_clock()
        wanted = START_MS + 2 * MINUTE_MS
        await run.until(lambda: wanted in [bar.open_ms for bar in run.sink.live("BTC/USDT")])
        assert run.sink.live("BTC/USDT")[0].open_ms == wanted
        assert run.notes.count("malformed")
        assert {(symbol, open_ms) for symbol, open_ms, _ in run.notes.of("refused")} == {
            ("BTC/USDT", START_MS + MINUTE_MS)
        }


@pytest.mark.parametrize(
    ("status", "text"),
    [(451, "Unavailable For Legal Reasons"), (403, '{"code":0,"msg":"Service from a restricted location"}')],
)
async def test_a_region_that_is_refused_ends_the_run(status: int, text: str) -> None:
    """It says so, naming the key; trying again would not help."""
    exchange = Exchange(["BTCUSDT"])
    await exchange.start()

    async def refuse(_request: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    exchange.before_rest = refuse
    api = {"public": f"http://127.0.0.1:{exchange.port}/api/v3"}
    feed = CcxtFeed(CcxtSettings("binance", urls={"api": api}), quick(exchange.port), Sink(), Notes())
    with pytest.raises(SetupError, match=r"exchange\.ccxt: the exchange refuses this region"):
        await asyncio.wait_for(feed.run(), 20)
    await exchange.stop()


async def test_one_symbol_that_never_answers_does_not_hold_up_the_others() -> None:
    """While others get their candles, one that fails each time is put off, and comes when it can be had."""

    async def fail(request: web.Request) -> web.Response | None:
        return web.Response(status=500) if request.query.get("symbol") == "ETHUSDT" else None

    async with running(("BTC/USDT", "ETH/USDT"), start=False, recheck_s=(0.2,)) as run:
        run.exchange.before_rest = fail
        now_ms = await run.feed.ready()
        await run.feed.instruments()
        base_ms = now_ms // MINUTE_MS * MINUTE_MS - 5 * MINUTE_MS
        run.feed.watch([SeriesPlan(symbol, base_ms) for symbol in IDS])
        await run.until(lambda: run.feed.progress == (1, 2))
        for number in range(3):
            await run.minute()
            await run.until(lambda wanted=number + 1: len(run.live()) == wanted)
        assert not run.sink.events.get("ETH/USDT")
        run.exchange.before_rest = None
        await run.until(lambda: run.feed.progress == (2, 2))
        assert run.sink.events["ETH/USDT"][0].bar.open_ms == base_ms


async def test_an_exchange_that_goes_away_and_comes_back() -> None:
    """Nothing listens for a while: attempts are told, somebody is alerted, and afterwards every bar has come once."""
    async with running(("BTC/USDT", "ETH/USDT"), backoff_s=(0.05, 0.1)) as run:
        bars = [await run.minute()]
        await run.push("ETHUSDT", candle("ETHUSDT", START_MS))
        await run.until(run.live)
        port = run.exchange.port
        await run.exchange.stop()
        await run.until(lambda: run.notes.count("attempt") >= 5 and run.notes.count("connection_lost"))
        assert run.notes.count("disconnected") == 1
        bars += [candle("BTCUSDT", START_MS + number * MINUTE_MS) for number in (1, 2)]
        run.minute_ms += 2 * MINUTE_MS
        run.exchange.set_time(run.minute_ms + 2_000)
        await run.exchange.start(port)
        await run.until(lambda: run.exchange.sockets)
        await run.heard()
        bars.append(await run.minute())
        await run.until(lambda: len(run.live()) == 4)
        await run.until(lambda: len(run.live("ETH/USDT")) >= 3)
        assert run.live() == [figures(bar) for bar in bars]
        assert run.notes.count("connected") == 2
