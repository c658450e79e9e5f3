"""Whether Binance's hosts can be reached, how far and how exact they are, and what they allow; nothing is retried."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import msgspec

from tapewatch.errors import EdgeError
from tapewatch.feeds.clock import ExchangeClock
from tapewatch.feeds.observer import FeedObserver, FrameCounts
from tapewatch.feeds.settings import FeedSettings
from tapewatch.feeds.stream import MessageLimit, Stream
from tapewatch.feeds.wire import TICKERS, ExchangeInfo
from tapewatch.network import proxy_for, tls_context, told
from tapewatch.socks import Connector

ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the exchange allows this address, and whom it lists; None is what it does not say."""

    used_weight: int | None
    info: ExchangeInfo


@dataclass(frozen=True, slots=True)
class Heard:
    """How long the handshake of a stream took, and from there until something came over it."""

    handshake_ms: float
    first_ms: float


async def rounds(settings: FeedSettings) -> list[tuple[float, float, bool]]:
    """Round trips in ms, how far the exchange's clock was ahead of this machine's, and whether it is simulated.

    Raises:
        TapewatchError: it cannot be reached, or answers as no such exchange does.
    """
    found = []
    async with _session(settings) as session:
        await _get(session, settings.rest_url, "/api/v3/ping")  # the connection is made before anything is measured
        for _ in range(ROUNDS):
            sent_s, sent = time.time(), time.perf_counter()
            body, headers = await _get(session, settings.rest_url, "/api/v3/time")
            latency_ms = (time.perf_counter() - sent) * 1000
            try:
                answer = msgspec.json.decode(body)
            except msgspec.DecodeError as error:
                raise EdgeError(str(error)) from None
            if not isinstance(answer, dict) or not isinstance(answer.get("serverTime"), int):
                raise EdgeError("answers, but not as the exchange does: no serverTime")
            skew_ms = answer["serverTime"] - (sent_s * 1000 + latency_ms / 2)
            found.append((latency_ms, skew_ms, "X-Tapewatch-Rate" in headers))
    return found


async def allowed(settings: FeedSettings) -> Allowed:
    """What is used and what may be. Raises TapewatchError as `rounds`."""
    async with _session(settings) as session:
        body, headers = await _get(session, settings.rest_url, "/api/v3/exchangeInfo?showPermissionSets=false")
    used = headers.get("X-MBX-USED-WEIGHT-1M", "")
    try:
        info = msgspec.json.decode(body, type=ExchangeInfo)
    except msgspec.MsgspecError as error:
        raise EdgeError(f"exchangeInfo is not what it should be: {error}") from None
    return Allowed(int(used) if used.isdigit() else None, info)


async def reached(settings: FeedSettings, url: str, path: str) -> float:
    """The round trip in ms to another host, connecting included. Raises TapewatchError as `rounds`."""
    sent = time.perf_counter()
    async with _session(settings) as session:
        await _get(session, url, path)
    return (time.perf_counter() - sent) * 1000


async def heard(settings: FeedSettings, within_s: float, *, simulated: bool) -> Heard:
    """What came over the stream.

    The tickers of the whole market are subscribed to: an acknowledgement is no proof of data. Of a simulator, whose
    clock starts with the first subscription, only an answer is waited for.

    Raises:
        TapewatchError: it cannot be reached, or nothing came in time.
    """
    began, came = time.perf_counter(), asyncio.Event()
    stream = Stream(
        settings,
        ExchangeClock(),
        FrameCounts(),
        FeedObserver(),
        on_closed_bar=lambda _: None,
        on_shutdown=lambda: None,
        on_tickers=lambda _: came.set(),
    )
    try:
        await stream.open(settings.ws_url, tls_context(settings.ca_file), [], MessageLimit(time.monotonic))
        opened = time.perf_counter()
        if simulated:
            await stream.request("LIST_SUBSCRIPTIONS", [])
        else:
            await stream.request("SUBSCRIBE", [TICKERS])
            async with asyncio.timeout(within_s):
                await came.wait()
    except TimeoutError:
        raise EdgeError(f"it is open and acknowledges, but brought no data within {within_s:g} s") from None
    finally:
        await stream.close()
    return Heard((opened - began) * 1000, (time.perf_counter() - opened) * 1000)


@asynccontextmanager
async def _session(settings: FeedSettings) -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=settings.request_timeout_s, sock_connect=settings.connect_timeout_s)
    async with aiohttp.ClientSession(
        connector=Connector(ssl=tls_context(settings.ca_file)), timeout=timeout
    ) as session:
        try:
            yield session
        except TimeoutError:
            raise EdgeError(f"no answer within {settings.request_timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise EdgeError(told(error)) from None


async def _get(session: aiohttp.ClientSession, host: str, path: str) -> tuple[bytes, Mapping[str, str]]:
    async with session.get(f"{host}{path}", allow_redirects=False, proxy=proxy_for(host)) as response:
        body = await response.read()
        if response.status != 200:
            raise EdgeError(f"answered {response.status} {response.reason}")
        return body, response.headers
