"""The pool through proxies of the environment, HTTP CONNECT and SOCKS, each a real one on a socket."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme
from feed_exchange import Exchange, Notes, quick, until
from pool_exchange import Streams, pooling
from proxies import Greeting, Proxy, http, proxied, socks5

from tapewatch.errors import EdgeError
from tapewatch.feeds import ExchangeClock, FeedObserver, FrameCounts
from tapewatch.feeds.rest import Rest
from tapewatch.feeds.stream import MessageLimit, Stream
from tapewatch.network import tls_context

HOST = "exchange.example.com"
NAMES = ["btcusdt@kline_1m", "ethusdt@kline_1m", "bnbusdt@kline_1m"]

KINDS = [pytest.param(http, "http", id="http"), pytest.param(socks5, "socks5", id="socks5")]


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


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
