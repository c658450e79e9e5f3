"""The feed at its edges: TLS, wrong hosts, bad rows, a simulated clock, and an end that leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import ssl
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from feed_exchange import START_MS, Exchange, Notes, Sink, candle, frame, quick, serve, silent, until, watching

from tapewatch.errors import SetupError
from tapewatch.feeds import BinanceFeed, FeedObserver, FeedSettings, SeriesPlan
from tapewatch.model import MINUTE_MS, BarClosed, Event

PLAN = [SeriesPlan("BTCUSDT", START_MS - 5 * MINUTE_MS)]


async def test_tls_with_a_private_authority(tmp_path: Path) -> None:
    """With `ca_file` the feed runs over TLS; both sides of it are checked."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    exchange = Exchange(["BTCUSDT"])
    await exchange.start(context=context)
    notes, sink = Notes(), Sink()
    settings = quick(
        exchange.port,
        rest_url=f"https://127.0.0.1:{exchange.port}",
        ws_url=f"wss://127.0.0.1:{exchange.port}",
        ca_file=str(tmp_path / "ca.pem"),
    )
    feed = BinanceFeed(settings, sink, notes)
    task = watching(feed, PLAN)
    await until(lambda: notes.count("caught_up"))
    await exchange.close_minute(START_MS + MINUTE_MS)
    await until(lambda: sink.live("BTCUSDT"))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await exchange.stop()
    assert sink.live("BTCUSDT") == [candle("BTCUSDT", START_MS)]


async def test_a_bad_row_costs_only_itself(exchange: Exchange) -> None:
    """A malformed row and a senseless candle in history are counted and left out; the rest comes."""

    async def answer(request: web.Request) -> web.Response | None:
        if "klines" not in request.path:
            return None
        rows = exchange._klines(request.query)
        if len(rows) > 4:
            rows[2] = rows[2][:3]
            rows[3][2] = "0.00000001"  # high below low
        return web.json_response(rows)

    exchange.before_rest = answer
    exchange.set_time(START_MS + 30_000)
    notes, sink = Notes(), Sink()
    feed = BinanceFeed(quick(exchange.port), sink, notes)
    task = watching(feed, PLAN)
    await until(lambda: notes.count("caught_up"))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    whole = exchange.expected("BTCUSDT", PLAN[0].base_start_ms, START_MS)
    assert sink.history("BTCUSDT") == [whole[0], whole[1], whole[4]]
    assert notes.count("malformed") == 1
    assert notes.of("refused")[0][2].startswith("high below low")


async def test_a_simulated_clock_is_told_when_to_go_on(exchange: Exchange) -> None:
    """Where a rate is stated each boundary is acknowledged once its bars are worked off, and not before."""
    exchange.headers = {"X-Tapewatch-Rate": "60.0"}
    may_go = asyncio.Event()
    notes, sink = Notes(), Sink()

    async def drained() -> None:
        if notes.count("caught_up"):
            await may_go.wait()

    plans = [SeriesPlan(symbol, START_MS - 5 * MINUTE_MS) for symbol in exchange.symbols]
    feed = BinanceFeed(quick(exchange.port), sink, notes, drained=drained)
    task = watching(feed, plans)

    def paces() -> list[int]:
        return [message["params"][0] for message in exchange.received if message["method"] == "TAPEWATCH_PACE"]

    await until(lambda: notes.count("connected"))
    await until(paces)
    assert paces() == [START_MS]
    await until(lambda: notes.count("caught_up"), 15)
    await exchange.close_minute(START_MS + MINUTE_MS)
    await until(lambda: len(sink.live("ETHUSDT")) == 1)
    await asyncio.sleep(0.05)
    assert paces() == [START_MS]
    may_go.set()
    await until(lambda: START_MS + MINUTE_MS in paces())
    exchange.cut()
    await until(lambda: notes.count("connected") == 2)
    await until(lambda: paces().count(START_MS + MINUTE_MS) >= 2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_bug_in_the_sink_is_not_swallowed(exchange: Exchange) -> None:
    """What the sink raises on a live bar ends the feed; it is no connection trouble to be retried."""

    def sink(events: list[Event]) -> None:
        if isinstance(events[-1], BarClosed) and events[-1].bar.open_ms >= START_MS:
            raise ZeroDivisionError

    notes = Notes()
    feed = BinanceFeed(quick(exchange.port), sink, notes)
    task = watching(feed, PLAN)
    await until(lambda: notes.count("caught_up"))
    await exchange.close_minute(START_MS + MINUTE_MS, ["BTCUSDT"])
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(task, 60)


@pytest.mark.parametrize("after_s", [0.0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3])
async def test_a_stop_at_any_moment_leaves_nothing_behind(exchange: Exchange, after_s: float) -> None:
    """Cancelled while asking, connecting, subscribing or running, the feed leaves no task and no open socket."""
    feed = BinanceFeed(quick(exchange.port), Sink(), FeedObserver())
    task = watching(feed, PLAN)
    await asyncio.sleep(after_s)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not exchange.sockets)
    names = [str(left.get_coro()) for left in asyncio.all_tasks() if left is not asyncio.current_task()]
    assert not [name for name in names if "feeds" in name or "picows" in name]
    del feed, task
    gc.collect()  # a socket left open would warn here, and warnings are errors


async def test_a_stop_while_the_exchange_is_silent(exchange: Exchange) -> None:
    """Cancelled during a handshake that nobody answers, the feed ends at once."""
    server, port = await serve(silent)
    settings = quick(exchange.port, ws_url=f"ws://127.0.0.1:{port}", connect_timeout_s=120.0)
    feed = BinanceFeed(settings, Sink(), FeedObserver())
    task = watching(feed, PLAN)
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 60)
    server.close()
    await asyncio.sleep(0.05)
    gc.collect()


async def test_hosts_are_checked_before_anything_is_sent() -> None:
    """Unencrypted hosts beyond loopback are refused, for REST and for the stream."""
    with pytest.raises(SetupError, match="rest_url"):
        BinanceFeed(FeedSettings(rest_url="http://api.example.com"), Sink(), FeedObserver())
    with pytest.raises(SetupError, match="ws_url"):
        BinanceFeed(FeedSettings(ws_url="ws://stream.example.com"), Sink(), FeedObserver())


async def test_frames_of_before_the_windows_are_kept(exchange: Exchange) -> None:
    """Bars that close while history is still being fetched come after it, none lost."""
    release = asyncio.Event()

    async def slow(request: web.Request) -> web.Response | None:
        if "klines" in request.path:
            await release.wait()
        return None

    exchange.before_rest = slow
    notes, sink = Notes(), Sink()
    feed = BinanceFeed(quick(exchange.port, request_timeout_s=10.0), sink, notes)
    task = watching(feed, PLAN)
    await until(lambda: notes.count("connected"))
    for minute in (1, 2, 3):
        await exchange.close_minute(START_MS + minute * MINUTE_MS, ["BTCUSDT"])
    await exchange.send(
        frame(candle("BTCUSDT", START_MS + 3 * MINUTE_MS), START_MS + 3 * MINUTE_MS + 500, closed=False)
    )
    await until(lambda: feed.counts.running)
    assert sink.events == {}
    release.set()
    await until(lambda: len(sink.live("BTCUSDT")) == 3)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert sink.history("BTCUSDT") == exchange.expected("BTCUSDT", START_MS - 5 * MINUTE_MS, START_MS)
    assert sink.live("BTCUSDT") == exchange.expected("BTCUSDT", START_MS, START_MS + 3 * MINUTE_MS)
