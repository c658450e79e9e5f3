"""The feed through CCXT, against an exchange whose every frame and answer is decided here."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from aiohttp import web
from ccxt_run import Run, running
from feed_exchange import START_MS, candle, row

from tapewatch.feeds.ccxt_backfill import EARLY_MISSES
from tapewatch.feeds.ccxt_final import UNLIKE, figures
from tapewatch.model import MINUTE_MS, Bar

#: REST's candles have settled so late that only what the stream ended can be out before.
LATE_MS = 40_000


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
        began_ms = time.time() * 1000
        now_ms = await run.feed._rest.sync_clock()
        assert began_ms - 2_000 < now_ms < time.time() * 1000 + 2_000
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
