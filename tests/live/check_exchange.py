"""An exchange as `check --connect` meets it, good or bad in any of its answers, and configurations for it."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from tapewatch.config import Config, load

TICKER = {
    "e": "24hrMiniTicker", "E": 1, "s": "BTCUSDT", "c": "1.0", "o": "1.0", "h": "1.0", "l": "1.0", "v": "1.0", "q": "9"
}  # fmt: skip
TICKERS = json.dumps({"stream": "!miniTicker@arr", "data": [TICKER]})


def clock(ahead_ms: int = 0, **headers: str) -> Callable[[], web.Response]:
    """The time as the exchange tells it."""
    return lambda: web.json_response({"serverTime": time.time_ns() // 1_000_000 + ahead_ms}, headers=headers)


def listed(*symbols: str, weight: int = 6_000) -> dict[str, Any]:
    """An `exchangeInfo` of these symbols."""
    limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": weight}
    told = [
        {"symbol": one, "status": "TRADING", "baseAsset": one.removesuffix("USDT"), "quoteAsset": "USDT"}
        for one in symbols
    ]
    return {"rateLimits": [limit], "symbols": told}


@asynccontextmanager
async def exchange(
    answer: Callable[[], web.Response],
    *,
    info: Callable[[], web.Response] = lambda: web.json_response(listed("BTCUSDT")),
    used: int = 7,
    stream: str = "data",
    delay_s: float = 0.0,
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[str]:
    """An exchange that answers the time as told; its address.

    Args:
        answer: of `time`.
        info: of `exchangeInfo`.
        used: the weight that every answer says is used.
        stream: `data` is sent after a subscription, `acknowledged` is all that is said, `none` is there.
        delay_s: how long the way back of `time` takes.
        context: for TLS.
    """

    async def ping(_request: web.Request) -> web.Response:
        return web.json_response({})

    async def server_time(_request: web.Request) -> web.Response:
        found = answer()
        await asyncio.sleep(30 if found.headers.get("X-Hang") else delay_s)
        return found

    async def exchange_info(_request: web.Request) -> web.Response:
        found = info()
        found.headers["X-MBX-USED-WEIGHT-1M"] = str(used)
        return found

    async def socket(request: web.Request) -> web.WebSocketResponse:
        opened = web.WebSocketResponse()
        await opened.prepare(request)
        async for message in opened:
            asked = json.loads(message.data)
            await opened.send_str(json.dumps({"result": None, "id": asked["id"]}))
            if asked["method"] == "SUBSCRIBE" and stream == "data":
                await opened.send_str(TICKERS)
        return opened

    app = web.Application()
    app.router.add_get("/api/v3/ping", ping)
    app.router.add_get("/api/v3/time", server_time)
    app.router.add_get("/api/v3/exchangeInfo", exchange_info)
    if stream != "none":
        app.router.add_get("/stream", socket)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def config_of(
    folder: Path,
    address: str = "127.0.0.1:1",
    more: str = "channels: {}",
    tls: str = "",
    env: Mapping[str, str] = {},
    within: str = "20s",
) -> Config:
    """A configuration for this exchange, which has to answer `within` so long; `tls` is what it says of that."""
    path = folder / "t.yaml"
    kinds = ("https", "wss") if tls else ("http", "ws")
    path.write_text(
        f'exchange: {{rest_url: "{kinds[0]}://{address}", ws_url: "{kinds[1]}://{address}"{tls}}}\n'
        + ("" if "universe:" in more else "universe: {include: [BTCUSDT]}\n")
        + ("" if "feeds:" in more else f"feeds: {{request_timeout: {within}}}\n")
        + f"strategies: {{scalp: {{}}}}\n{more}\n",
        encoding="utf-8",
    )
    return load([path], {"PW": "hunter2", "WRONG": "correct-horse-42", **env})
