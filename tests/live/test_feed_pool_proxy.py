"""The pool through proxies of the environment, HTTP CONNECT and SOCKS, each a real one on a socket."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trustme
from feed_exchange import Exchange, Notes, quick, until
from pool_exchange import Streams, pooling

from tapewatch.errors import EdgeError
from tapewatch.feeds import ExchangeClock, FeedObserver, FrameCounts
from tapewatch.feeds.rest import Rest
from tapewatch.feeds.stream import MessageLimit, Stream
from tapewatch.network import tls_context

HOST = "exchange.example.com"
NAMES = ["btcusdt@kline_1m", "ethusdt@kline_1m", "bnbusdt@kline_1m"]

#: Reads what the client wants, answers it, and says whether it may pass.
Greeting = Callable[["Proxy", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]


class Proxy:
    """Passes everything to one port, whatever host was asked for, and notes what was."""

    def __init__(self, greeting: Greeting, target_port: int) -> None:
        self.asked: list[str] = []
        self.refusing = False
        self._greeting, self._target_port = greeting, target_port
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        """Listens."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cuts everything."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0.02)  # turns of the loop, in which the sockets are closed

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        if not await self._greeting(self, reader, writer):
            writer.close()
            return
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers.append(back_writer)
        self._tasks |= {
            asyncio.create_task(_pipe(reader, back_writer)),
            asyncio.create_task(_pipe(back_reader, writer)),
        }


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
    writer.close()


async def http(proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """HTTP CONNECT with a user and a password."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    proxy.asked.append(head.split(" ")[1])
    allowed = base64.b64encode(b"me:secret").decode() in head and not proxy.refusing
    status = b"200 OK" if allowed else b"407 Proxy Authentication Required"
    writer.write(b"HTTP/1.1 " + status + b"\r\nVia: test\r\n\r\n")
    return allowed


async def socks5(proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """SOCKS5 with a user and a password; the host goes to the proxy by name."""
    _version, count = await reader.readexactly(2)
    assert 2 in await reader.readexactly(count)
    writer.write(b"\x05\x02")
    _version, length = await reader.readexactly(2)
    user = await reader.readexactly(length)
    password = await reader.readexactly((await reader.readexactly(1))[0])
    writer.write(b"\x01\x00" if (user, password) == (b"me", b"secret") else b"\x01\x01")
    _version, command, _zero, kind = await reader.readexactly(4)
    assert (command, kind) == (1, 3), "the name was looked up here"
    host = await reader.readexactly((await reader.readexactly(1))[0])
    port = int.from_bytes(await reader.readexactly(2), "big")
    proxy.asked.append(f"{host.decode()}:{port}")
    writer.write(b"\x05" + (b"\x05" if proxy.refusing else b"\x00") + b"\x00\x01\x7f\x00\x00\x01\x00\x00")
    return not proxy.refusing


KINDS = [pytest.param(http, "http", id="http"), pytest.param(socks5, "socks5", id="socks5")]


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@asynccontextmanager
async def proxied(greeting: Greeting, port: int) -> AsyncIterator[Proxy]:
    """A proxy at work."""
    proxy = Proxy(greeting, port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()


@pytest.mark.parametrize(("greeting", "scheme"), KINDS)
@pytest.mark.parametrize("variable", ["https_proxy", "all_proxy"])
async def test_encrypted_streams_go_through_the_proxy(
    greeting: Greeting, scheme: str, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy is asked for the exchange by name, TLS is spoken with the exchange itself, and cuts are outlived."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    streams = Streams()
    await streams.start(context=context)
    async with proxied(greeting, streams.port) as proxy:
        monkeypatch.setenv(variable, f"{scheme}://me:secret@127.0.0.1:{proxy.port}")
        changes = {"ws_url": f"wss://{HOST}:9443", "ca_file": str(tmp_path / "ca.pem"), "streams_per_connection": 2}
        async with pooling(NAMES, streams, **changes) as run:
            await until(lambda: run.settled)
            await run.minute()
            await until(lambda: len(run.bars) == 3)
            proxy.refusing = True
            streams.cut()
            await until(lambda: run.notes.count("attempt") >= 3)
            proxy.refusing = False
            await until(lambda: run.settled)
            await run.minute()
            await until(lambda: len(run.bars) == 6)
        assert set(proxy.asked) == {f"{HOST}:9443"}
        assert len(proxy.asked) > 4


@pytest.mark.parametrize(("greeting", "scheme"), KINDS)
async def test_rest_goes_through_the_proxy(
    greeting: Greeting, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same proxies serve REST: asked for by name, TLS with the exchange itself, a refusal is retried."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    exchange = Exchange(["BTCUSDT"])
    await exchange.start(context=context)
    async with proxied(greeting, exchange.port) as proxy:
        monkeypatch.setenv("all_proxy", f"{scheme}://me:secret@127.0.0.1:{proxy.port}")
        settings = quick(exchange.port, rest_url=f"https://{HOST}:8443", ca_file=str(tmp_path / "ca.pem"))
        notes = Notes()
        async with Rest(settings, ExchangeClock(), notes) as rest:
            proxy.refusing = True
            asked = asyncio.create_task(rest.sync_clock())
            await until(lambda: notes.count("attempt") or notes.count("rest_request"))
            proxy.refusing = False
            assert abs(await asyncio.wait_for(asked, 10) - exchange.now_ms) < 10_000
        assert set(proxy.asked) == {f"{HOST}:8443"}
        assert len(proxy.asked) >= 2
        assert "secret" not in str(notes.said)
    await exchange.stop()


@pytest.mark.parametrize(("greeting", "scheme"), KINDS)
async def test_plain_streams_go_through_the_proxy(
    greeting: Greeting, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without TLS it is HTTP_PROXY that counts."""
    streams = Streams()
    await streams.start()
    async with proxied(greeting, streams.port) as proxy:
        monkeypatch.setenv("http_proxy", f"{scheme}://me:secret@127.0.0.1:{proxy.port}")
        ignored = lambda *_: None  # noqa: E731
        stream = Stream(quick(streams.port), ExchangeClock(), FrameCounts(), FeedObserver(), ignored, ignored)
        limit = MessageLimit(ExchangeClock().wall_s)
        await stream.open(f"ws://{HOST}", tls_context(None), NAMES, limit)
        assert streams.names == sorted(NAMES)
        await stream.close()
        assert proxy.asked == [f"{HOST}:80"]
    await streams.stop()


@pytest.mark.parametrize(("greeting", "scheme"), KINDS)
async def test_a_proxy_that_refuses_or_is_silent_is_trouble_to_retry(
    greeting: Greeting, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal, a proxy that says nothing and one that is not there each end in an error that names the exchange."""

    async def silence(_proxy: Proxy, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> bool:
        await reader.read()
        return False

    async def attempt(port: int) -> None:
        monkeypatch.setenv("all_proxy", f"{scheme}://me:secret@127.0.0.1:{port}")
        ignored = lambda *_: None  # noqa: E731
        settings = quick(1, connect_timeout_s=0.2)
        stream = Stream(settings, ExchangeClock(), FrameCounts(), FeedObserver(), ignored, ignored)
        with pytest.raises(EdgeError, match=HOST):
            await stream.open(f"wss://{HOST}", tls_context(None), NAMES, MessageLimit(ExchangeClock().wall_s))

    async with proxied(greeting, 1) as proxy:
        proxy.refusing = True
        await attempt(proxy.port)
    async with proxied(silence, 1) as proxy:
        await attempt(proxy.port)
    await attempt(proxy.port)  # nobody listens there any more


async def test_exceptions_from_the_proxy_are_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    """What NO_PROXY names, and this machine, is reached directly."""
    streams = Streams()
    await streams.start()
    async with proxied(http, streams.port) as proxy:
        monkeypatch.setenv("all_proxy", f"http://127.0.0.1:{proxy.port}")
        async with pooling(NAMES, streams) as run:
            await until(lambda: run.settled)
        assert proxy.asked == []
