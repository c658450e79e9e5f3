"""The feed through CCXT, against an exchange whose every frame and answer is decided here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

import msgspec
import pytest
from aiohttp import web
from feed_exchange import START_MS, Exchange, Notes, Sink, candle, frame, quick, row, until

from tapewatch.errors import SetupError
from tapewatch.feeds import SeriesPlan
from tapewatch.feeds.ccxt import CcxtFeed
from tapewatch.feeds.ccxt_backfill import EARLY_MISSES
from tapewatch.feeds.ccxt_exchange import CcxtSettings
from tapewatch.feeds.ccxt_final import UNLIKE, figures
from tapewatch.model import MINUTE_MS, Bar

IDS = {"BTC/USDT": "BTCUSDT", "ETH/USDT": "ETHUSDT"}
#: REST's candles have settled so late that only what the stream ended can be out before.
LATE_MS = 40_000


@dataclass
class Run:
    """A running feed, its exchange, and what came of it."""

    exchange: Exchange
    feed: CcxtFeed
    sink: Sink
    notes: Notes
    task: asyncio.Task[None]
    minute_ms: int = START_MS

    async def push(self, symbol: str, bar: Bar, at_ms: int | None = None) -> None:
        """The stream shows this candle, running."""
        told = msgspec.structs.replace(bar, symbol=symbol)
        await self.exchange.send(frame(told, at_ms or self.exchange.now_ms, closed=False, combined=False))

    async def minute(self, *, late_ms: int = 150) -> Bar:
        """The stream shows the end of a minute of BTC and the beginning of the next; that candle."""
        bar, self.minute_ms = candle("BTCUSDT", self.minute_ms), self.minute_ms + MINUTE_MS
        self.exchange.set_time(self.minute_ms + late_ms)
        await self.push("BTCUSDT", bar)
        await self.push("BTCUSDT", candle("BTCUSDT", self.minute_ms))
        return bar

    async def heard(self) -> None:
        """Wait until the stream is listened to: the running candle is shown until somebody has seen it."""

        def live() -> bool:
            return self.feed.connections()[0].state == "live"

        async with asyncio.timeout(20):
            while not live():
                await self.push("BTCUSDT", candle("BTCUSDT", self.minute_ms))
                await asyncio.sleep(0.02)

    def live(self, symbol: str = "BTC/USDT") -> list[tuple[float, ...]]:
        """The live bars that came."""
        return [figures(bar) for bar in self.sink.live(symbol)]

    async def until(self, condition: Callable[[], object], seconds: float = 20.0) -> None:
        """Wait; a feed that ends raises what ended it."""
        await until(lambda: self.task.done() or condition(), seconds)
        if self.task.done():
            self.task.result()


@asynccontextmanager
async def running(
    symbols: tuple[str, ...] = ("BTC/USDT",),
    *,
    start: bool = True,
    streams: bool = True,
    late_ms: int = 1_000,
    lacks: tuple[str, ...] = (),
    **changes: Any,
) -> AsyncIterator[Run]:
    """A feed of these symbols with its windows loaded and its streams standing."""
    exchange = Exchange([IDS[symbol] for symbol in symbols])
    exchange.set_time(START_MS + late_ms)
    await exchange.start()
    address = f"127.0.0.1:{exchange.port}"
    api = {"public": f"http://{address}/api/v3", "ws": {"spot": f"ws://{address}/ws"}}
    ccxt = CcxtSettings("binance", streams, {"fetchMarkets": {"types": ["spot"]}}, {"api": api})
    sink, notes = Sink(), Notes()
    feed = CcxtFeed(ccxt, quick(exchange.port, **changes), sink, notes)
    feed._exchange.has.update(dict.fromkeys(lacks, False))
    exchange.headers["Date"] = formatdate(exchange.now_ms / 1000, usegmt=True)
    run = Run(exchange, feed, sink, notes, asyncio.create_task(feed.run()))
    try:
        if start:
            await run.until(feed._ready.is_set)
            now_ms = await feed.ready()
            feed.watch([SeriesPlan(symbol, now_ms - 5 * MINUTE_MS) for symbol in symbols])
            await run.until(lambda: feed.progress == (len(symbols), len(symbols)))
            if streams:
                await run.heard()
        yield run
    finally:
        run.task.cancel()
        await asyncio.gather(run.task, return_exceptions=True)
        await exchange.stop()


async def test_what_stream_and_rest_agree_on_goes_out_before_it_has_settled() -> None:
    """The next candle has begun and REST says of the last what the stream said: it is final."""
    async with running(settle_ms=LATE_MS, late_ms=LATE_MS + 1_000) as run:
        bars = []
        for number in range(3):
            bars.append(await run.minute())
            await run.until(lambda wanted=number + 1: len(run.live()) == wanted, 5.0)
        assert run.live() == [figures(bar) for bar in bars]
        delays = [delay_ms for _, _, delay_ms in run.notes.of("released")]
        assert max(delays) < LATE_MS / 4


def behind(bar: Bar) -> Bar:
    """The candle as it was before its last trades."""
    return msgspec.structs.replace(bar, volume=bar.volume / 2, close=bar.low)


def decide(run: Run, change: Callable[[Bar], Bar | None]) -> None:
    """From now on REST's candles are these."""
    exchange = run.exchange

    async def answer(request: web.Request) -> web.Response | None:
        if "klines" not in request.path:
            return None
        query = request.query
        bars = exchange.expected(query["symbol"], int(query["startTime"]), exchange.now_ms)
        found = [after for bar in bars if (after := change(bar)) is not None]
        return web.json_response([row(bar) for bar in found[: int(query["limit"])]])

    exchange.before_rest = answer


async def test_a_rest_that_lags_is_waited_for() -> None:
    """While REST has less than the stream saw nothing goes out; what goes out is the candle's end."""
    async with running(settle_ms=1_000) as run:
        first = candle("BTCUSDT", START_MS)
        decide(run, lambda bar: behind(bar) if bar.open_ms == START_MS else bar)
        await run.minute()
        asked = len(run.exchange.requests)
        await run.until(lambda: len(run.exchange.requests) > asked)
        assert run.live() == []
        run.exchange.before_rest = None
        await run.until(run.live)
        assert run.live() == [figures(first)]
        assert run.sink.corrections == []


async def test_a_rest_that_insists_is_believed() -> None:
    """REST says twice after settling what the stream did not say: the stream was wrong, and it is out once."""
    async with running() as run:
        decide(run, lambda bar: behind(bar) if bar.open_ms == START_MS else bar)
        bar = await run.minute(late_ms=2_000)
        await run.until(run.live)
        assert run.live() == [figures(behind(bar))]
        asked = [url for url in run.exchange.requests if "klines" in url and f"={START_MS - 2 * MINUTE_MS}" in url]
        assert len(asked) >= 2


async def test_streams_of_other_figures_are_no_witness() -> None:
    """Where both sources differ always, REST alone counts from then on, and that is said once."""
    async with running(recheck_s=(0.05,)) as run:
        decide(run, behind)
        for number in range(UNLIKE + 2):
            await run.minute(late_ms=2_000)
            await run.until(lambda wanted=number + 1: len(run.live()) == wanted)
        said = [text for (text,) in run.notes.of("warning") if "other figures" in text]
        assert len(said) == 1
        assert run.live() == [figures(behind(candle("BTCUSDT", START_MS + n * MINUTE_MS))) for n in range(UNLIKE + 2)]


async def test_a_change_after_the_fact_is_a_correction() -> None:
    """A bar that went out and is another with the next one's answer is told once and not sent again."""
    async with running() as run:
        bar = await run.minute()
        await run.until(run.live)
        changed = msgspec.structs.replace(bar, volume=bar.volume + 1)
        decide(run, lambda one: changed if one.open_ms == bar.open_ms else one)
        for number in (2, 3):
            await run.minute()
            await run.until(lambda wanted=number: len(run.live()) == wanted)
        assert [(figures(one.before), figures(one.after)) for one in run.sink.corrections] == [
            (figures(bar), figures(changed))
        ]
        assert run.feed.counts.corrections == 1
        assert run.live()[0] == figures(bar)


async def test_early_questions_stop_where_they_are_in_vain() -> None:
    """An exchange whose REST never has a candle before it has settled is not asked twice for each for ever."""
    async with running(settle_ms=400) as run:
        run.feed._backfill._misses = EARLY_MISSES - 1
        decide(run, lambda bar: None if bar.close_ms > run.exchange.now_ms - 390 else bar)
        await run.minute()
        await run.until(lambda: run.feed._backfill._misses == EARLY_MISSES)
        await run.until(run.live)
        asked = sum("klines" in url for url in run.exchange.requests)
        await run.minute()
        await run.until(lambda: len(run.live()) == 2)
        assert sum("klines" in url for url in run.exchange.requests) == asked + 1


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


async def test_quotes_come_from_whatever_the_exchange_has() -> None:
    """Without best bids and asks of many, tickers or order books give them; without any the symbol is left out."""
    async with running() as run:
        exchange = run.feed._exchange
        exchange.has.update({"fetchBidsAsks": False, "fetchTickers": False, "fetchOrderBook": True})
        asked: list[str] = []

        async def book(request: web.Request) -> web.Response | None:
            if "depth" not in request.path:
                return None
            asked.append(request.query["symbol"])
            return web.json_response({"lastUpdateId": 1, "bids": [["99.5", "1"]], "asks": [["100.5", "1"]]})

        run.exchange.before_rest = book
        quotes = await run.feed.quotes(["BTC/USDT"])
        assert (quotes["BTC/USDT"].bid, quotes["BTC/USDT"].ask, asked) == (99.5, 100.5, ["BTCUSDT"])
        exchange.has["fetchOrderBook"] = False
        assert await run.feed.quotes(["BTC/USDT"]) == {}


async def test_tickers_are_brought_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Price and quote volume of all symbols, every so often."""
    monkeypatch.setattr("tapewatch.feeds.ccxt.TICKERS_S", 0.2)
    got: list[Any] = []
    async with running(start=False) as run:
        run.feed._on_tickers = got.append
        await run.until(lambda: len(got) >= 2)
    assert {one.symbol: one.quote_volume_24h for one in got[0]} == {"BTC/USDT": 1000.0}


async def test_an_exchange_that_does_not_tell_its_time() -> None:
    """The date of its answers is its time; without even that it is this machine's."""
    async with running(lacks=("fetchTime",), start=False) as run:
        assert abs(await run.feed.ready() - run.exchange.now_ms) < 2_000
        run.exchange.headers["Date"] = "soon"
        now_ms = await run.feed._rest.sync_clock()
        assert abs(now_ms - time.time() * 1000) < 2_000
        assert not [url for url in run.exchange.requests if url.endswith("/time")]


async def test_no_order_can_be_sent() -> None:
    """Nothing of the feed's own can trade, and what the library has refuses for want of a key."""
    import ccxt

    async with running() as run:
        assert not [name for name in dir(run.feed) if "order" in name.lower() or "balance" in name.lower()]
        exchange = run.feed._exchange
        assert not any((exchange.apiKey, exchange.secret, exchange.password, exchange.privateKey))
        for ask in (lambda: exchange.cancel_order("1", "BTC/USDT"), exchange.fetch_balance):
            with pytest.raises(ccxt.AuthenticationError):
                await ask()
        assert not [url for url in run.exchange.requests if "order" in url or "account" in url]


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
