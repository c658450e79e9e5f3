"""One connection on a real socket: certificates, proxies, pings, limits of messages, and hosts that do not answer."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from feed_exchange import Exchange, Notes, quick, serve, silent, until

from tapewatch.errors import EdgeError
from tapewatch.feeds import ExchangeClock, FeedObserver, FrameCounts
from tapewatch.feeds.network import dial
from tapewatch.feeds.rest import Rest
from tapewatch.feeds.stream import MessageLimit, Stream
from tapewatch.network import tls_context


def stream_of(port: int, **changes: object) -> Stream:
    """A bare connection whose bars go nowhere."""
    return Stream(quick(port, **changes), ExchangeClock(), FrameCounts(), FeedObserver(), lambda _: None, lambda: None)


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
