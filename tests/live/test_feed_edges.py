"""The feed's connections themselves: TLS, proxies, pings, limits, pacing, and an end that leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from feed_exchange import START_MS, Exchange, Notes, Sink, candle, frame, quick, until, watching

from tapewatch.errors import DataError, EdgeError, SetupError
from tapewatch.feeds import BinanceFeed, ExchangeClock, FeedObserver, FeedSettings, FrameCounts, SeriesPlan
from tapewatch.feeds.budget import Urgency
from tapewatch.feeds.network import dial, tls_context
from tapewatch.feeds.rest import Rest
from tapewatch.feeds.stream import MessageLimit, Stream
from tapewatch.model import MINUTE_MS, BarClosed, Event

PLAN = [SeriesPlan("BTCUSDT", START_MS - 5 * MINUTE_MS)]


@pytest.fixture
async def exchange() -> AsyncIterator[Exchange]:
    """An exchange of two symbols."""
    exchange = Exchange(["BTCUSDT", "ETHUSDT"])
    await exchange.start()
    yield exchange
    await exchange.stop()


def stream_of(port: int, **changes: object) -> Stream:
    """A bare connection whose bars go nowhere."""
    return Stream(quick(port, **changes), ExchangeClock(), FrameCounts(), FeedObserver(), lambda _: None, lambda: None)


async def serve(handler: object) -> tuple[asyncio.Server, int]:
    """A raw TCP server on a free port."""
    server = await asyncio.start_server(handler, "127.0.0.1", 0)  # type: ignore[arg-type]
    return server, server.sockets[0].getsockname()[1]


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


@pytest.mark.parametrize("names", [["localhost.example.com"], ["127.0.0.1"]])
async def test_certificates_are_checked(names: list[str], tmp_path: Path) -> None:
    """A certificate for another host, or of an authority nobody trusts, opens neither REST nor stream."""
    served, trusted = trustme.CA(), trustme.CA()
    trusting = served if names != ["127.0.0.1"] else trusted
    trusting.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.issue_cert(*names).configure_cert(context)
    exchange = Exchange(["BTCUSDT"])
    await exchange.start(context=context)
    url = f"https://127.0.0.1:{exchange.port}"
    settings = quick(exchange.port, rest_url=url, ca_file=str(tmp_path / "ca.pem"))
    notes = Notes()
    async with Rest(settings, ExchangeClock(), notes) as rest:
        task = asyncio.create_task(rest.sync_clock())
        await until(lambda: notes.count("attempt"))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert "ertificate" in notes.of("attempt")[0][2]
    stream = stream_of(exchange.port)
    with pytest.raises(EdgeError, match=r"(?i)certificate"):
        await stream.open(
            url.replace("https", "wss"), tls_context(settings.ca_file), ["x"], MessageLimit(time.monotonic)
        )
    await exchange.stop()
    assert exchange.requests == []


async def test_pings_are_answered_with_their_payload() -> None:
    """The pong carries what the ping carried, as the exchange demands."""
    pongs: list[bytes] = []

    async def handler(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        await socket.receive()
        await socket.send_str('{"result":null,"id":1}')
        for payload in (b"", b"\x00\xff12", b"p" * 125):
            await socket.ping(payload)
            pongs.append(bytes((await socket.receive()).data))
        return socket

    app = web.Application()
    app.router.add_get("/stream", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    stream = stream_of(port)
    await stream.open(f"ws://127.0.0.1:{port}", tls_context(None), ["x"], MessageLimit(time.monotonic))
    await until(lambda: len(pongs) == 3)
    await stream.close()
    await runner.cleanup()
    assert pongs == [b"", b"\x00\xff12", b"p" * 125]


async def test_a_thousand_streams_are_subscribed_within_the_limits() -> None:
    """1,024 symbols take a few messages under 4 KiB, never more than three in a second, across connections too."""
    exchange = Exchange([f"LONGNAME{n}USDT" for n in range(1024)])
    await exchange.start()
    arrived: list[float] = []
    sizes: list[int] = []

    def note(asked: dict[str, object]) -> None:
        arrived.append(time.monotonic())
        sizes.append(len(str(asked)))

    exchange.before_ack = note  # type: ignore[assignment]
    limit = MessageLimit(time.monotonic)
    names = [f"{symbol.lower()}@kline_1m" for symbol in exchange.symbols]
    for _ in range(2):
        stream = stream_of(exchange.port)
        await stream.open(f"ws://127.0.0.1:{exchange.port}", tls_context(None), names[:500], limit)
        await stream.close()
    await exchange.stop()
    asked = [name for message in exchange.received for name in message["params"]]
    assert asked == names[:500] * 2
    assert len(arrived) > 6
    assert all(late - early >= 1.0 for early, late in zip(arrived, arrived[3:], strict=False))
    assert max(sizes) < 4096 + 500  # as Python writes it, with a space after each comma


async def test_a_server_that_says_nothing_is_given_up() -> None:
    """Neither a silent handshake nor a swallowed SUBSCRIBE holds the feed for longer than its time-out."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server, port = await serve(silent)
    stream = stream_of(port, connect_timeout_s=0.2)
    with pytest.raises(EdgeError):
        await stream.open(f"ws://127.0.0.1:{port}", tls_context(None), ["x"], MessageLimit(time.monotonic))
    server.close()
    exchange = Exchange(["BTCUSDT"], acknowledge=False)
    await exchange.start()
    stream = stream_of(exchange.port, connect_timeout_s=0.2)
    with pytest.raises(EdgeError):
        await stream.open(f"ws://127.0.0.1:{exchange.port}", tls_context(None), ["x"], MessageLimit(time.monotonic))
    await exchange.stop()


async def test_a_host_that_speaks_no_websocket_is_an_edge_error() -> None:
    """An HTTP error or plain nonsense in place of the handshake is trouble to retry."""

    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-nonsense\r\n\r\n")
        await writer.drain()
        writer.close()

    server, port = await serve(nonsense)
    with pytest.raises(EdgeError):
        await stream_of(port).open(f"ws://127.0.0.1:{port}", tls_context(None), ["x"], MessageLimit(time.monotonic))
    server.close()


async def test_connections_go_through_the_proxy(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a proxy in the environment REST and stream ask it, and not the exchange's name server."""
    asked: list[bytes] = []
    tasks: set[asyncio.Task[None]] = set()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            writer.write(data)
        writer.close()

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split(b"\r\n")[0])
        there, back = await asyncio.open_connection("127.0.0.1", exchange.port)
        if head.startswith(b"CONNECT"):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            back.write(head.replace(b"http://exchange.example.com", b"", 1))
        tasks.add(asyncio.create_task(pipe(there, writer)))
        await pipe(reader, back)

    server, port = await serve(proxy)
    for name in ("NO_PROXY", "no_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    monkeypatch.setattr("tapewatch.feeds.hosts.check_url", lambda url, *_: url)
    settings = quick(exchange.port, rest_url="http://exchange.example.com")
    clock = ExchangeClock()
    async with Rest(settings, clock, FeedObserver()) as rest:
        await rest.sync_clock()
    stream = stream_of(exchange.port)
    await stream.open(
        "ws://exchange.example.com", tls_context(None), ["btcusdt@kline_1m"], MessageLimit(time.monotonic)
    )
    await stream.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    server.close()
    assert asked[0].startswith(b"GET http://exchange.example.com/api/v3/time")
    assert asked[1].startswith(b"CONNECT exchange.example.com:80")


@pytest.mark.parametrize(
    ("status", "text", "error"),
    [
        (451, '{"code":0,"msg":"Service unavailable from a restricted location"}', SetupError),
        (404, "<html>", SetupError),
        (400, '{"code":-1121,"msg":"Invalid symbol."}', DataError),
    ],
)
async def test_refusals_that_waiting_does_not_cure(
    exchange: Exchange, status: int, text: str, error: type[Exception]
) -> None:
    """A closed region and a wrong host are the set-up's fault, an unknown symbol the datum's: none is retried."""

    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    exchange.before_rest = refuse
    async with Rest(quick(exchange.port), ExchangeClock(), FeedObserver()) as rest:
        with pytest.raises(error):
            await rest.bars("BTCUSDT", MINUTE_MS, START_MS, None, Urgency.GAP)
    assert len(exchange.requests) == 1


async def test_limits_are_obeyed_for_as_long_as_the_exchange_says(exchange: Exchange) -> None:
    """After a 429 no request of any kind goes before its Retry-After has passed."""
    times: list[float] = []

    async def refuse_once(_: web.Request) -> web.Response | None:
        times.append(time.monotonic())
        return web.Response(status=429, headers={"Retry-After": "1"}) if len(times) == 1 else None

    exchange.before_rest = refuse_once
    async with Rest(quick(exchange.port), ExchangeClock(), FeedObserver()) as rest:
        first = asyncio.create_task(rest.sync_clock())
        await until(lambda: times)
        await asyncio.sleep(0.05)
        await asyncio.gather(first, rest.exchange_info())
    assert all(later - times[0] >= 1.0 for later in times[1:])
    assert len(times) == 3


async def test_the_weight_used_is_what_the_exchange_says(exchange: Exchange) -> None:
    """The header's figure is taken over, and reported with each request."""
    exchange.headers = {"X-MBX-USED-WEIGHT-1M": "1234"}
    notes = Notes()
    async with Rest(quick(exchange.port), ExchangeClock(), notes) as rest:
        await rest.sync_clock()
        assert rest.used_weight == 1234
    assert notes.of("rest_request")[0][:2] == ("/api/v3/time", 200)


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


async def test_a_wrong_rate_is_not_believed(exchange: Exchange) -> None:
    """A rate that makes no sense is trouble to retry, not a clock to follow."""
    rates = ["zero", "0", "-1", "nan", "1"]

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"serverTime": START_MS}, headers={"X-Tapewatch-Rate": rates.pop(0)})

    exchange.before_rest = answer
    clock = ExchangeClock()
    async with Rest(quick(exchange.port), clock, FeedObserver()) as rest:
        assert await rest.sync_clock() == START_MS
    assert rates == []
    assert not clock.paced


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
        await asyncio.wait_for(task, 5)


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

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server, port = await serve(silent)
    settings = quick(exchange.port, ws_url=f"ws://127.0.0.1:{port}")
    feed = BinanceFeed(settings, Sink(), FeedObserver())
    task = watching(feed, PLAN)
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 1)
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


async def test_the_next_address_is_tried(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose first address refuses is reached by its second; one that nowhere answers is trouble to retry."""
    loop = asyncio.get_running_loop()
    unused = socket.socket()
    unused.bind(("127.0.0.1", 0))
    dead = (socket.AF_INET, socket.SOCK_STREAM, 6, "", unused.getsockname())
    alive = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", exchange.port))
    addresses = [dead, alive]

    async def resolve(*_: object, **__: object) -> list[object]:
        return list(addresses)

    monkeypatch.setattr(loop, "getaddrinfo", resolve)
    (await dial("exchange.example.com", 1, 1.0)).close()
    addresses.remove(alive)
    with pytest.raises(ConnectionRefusedError):
        await dial("exchange.example.com", 1, 1.0)
    addresses.clear()
    with pytest.raises(OSError, match="no address"):
        await dial("exchange.example.com", 1, 1.0)
    unused.close()
