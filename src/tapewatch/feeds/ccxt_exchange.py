"""An exchange of the CCXT library as it is used here: without an account, with the library's own rate limit.

CCXT is imported when an exchange is opened and not before: it takes a second and some 60 MB.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any

from tapewatch.errors import SetupError
from tapewatch.feeds.settings import FeedSettings
from tapewatch.model import INTERVAL_NAMES, INTERVALS_MS, MINUTE_MS
from tapewatch.network import check_url, proxy_for, tls_context

KEY = "exchange.ccxt"
#: Candles that the library remembers of each stream; its own 1,000 are memory for nothing here.
REMEMBERED = 10
#: Control messages of streams are sent so many times more slowly than by the library's own rule.
PATIENCE = 2


@dataclass(frozen=True, slots=True)
class CcxtSettings:
    """Which exchange of CCXT, and what it is told.

    Args:
        id: the library's name of it.
        streams: whether its streams are used, where it has them.
        options: the library's options for it, as `{defaultType: swap}`; spot is the default where there is one.
        urls: laid over the library's own addresses.
    """

    id: str
    streams: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    urls: Mapping[str, Any] = field(default_factory=dict)


def open_exchange(ccxt_settings: CcxtSettings, settings: FeedSettings) -> Any:
    """The library's object for an exchange; no key is ever given to it, so it can read and nothing else.

    Raises:
        SetupError: CCXT is not installed, does not know the exchange, or has no 1m candles of it.
    """
    exchange = _class_of(ccxt_settings.id)(
        {
            "enableRateLimit": True,
            "newUpdates": True,
            "timeout": round(settings.request_timeout_s * 1000),
            "options": {"OHLCVLimit": REMEMBERED, **ccxt_settings.options},
            "urls": dict(ccxt_settings.urls),
        }
    )
    if "defaultType" not in ccxt_settings.options and exchange.has.get("spot"):
        exchange.options["defaultType"] = "spot"  # with some it is another, which nobody would guess
    ws = exchange.options.get("ws")
    if isinstance(ws, dict) and "cost" in ws and "ws" not in ccxt_settings.options:
        ws["cost"] *= PATIENCE  # at its own pace control messages and pings together break Binance's limit
    for url in addresses(exchange.urls.get("api")):
        check_url(url, ("http", "https") if url.startswith("http") else ("ws", "wss"), f"{KEY}.urls")
    exchange.ssl_context = tls_context(settings.ca_file)
    _set_proxies(exchange)
    if not exchange.has.get("fetchOHLCV"):
        raise SetupError(f"{KEY}: {exchange.id} gives no candles through ccxt")
    check_intervals(exchange, [MINUTE_MS])
    return exchange


def check_intervals(exchange: Any, intervals_ms: list[int]) -> None:
    """Raises SetupError when the exchange lacks one of these candles."""
    offered = exchange.timeframes or {}
    missing = [
        INTERVAL_NAMES[interval_ms] for interval_ms in intervals_ms if INTERVAL_NAMES[interval_ms] not in offered
    ]
    if missing:
        known = [name for name in INTERVALS_MS if name in offered]
        raise SetupError(
            f"{KEY}: {exchange.id} has no candles of {', '.join(missing)}, which are needed; it has "
            f"{', '.join(known) or 'none that can be used'}"
        )


def addresses(node: Any) -> Iterator[str]:
    """Every URL in the library's nested mapping of them."""
    if isinstance(node, str):
        if "://" in node:
            yield node
    elif isinstance(node, Mapping):
        for inner in node.values():
            yield from addresses(inner)


def _class_of(name: str) -> Any:
    try:
        ccxt = importlib.import_module("ccxt")
    except ImportError:
        raise SetupError(f"{KEY}: the ccxt package is not installed; `pip install 'tapewatch[ccxt]'` does it") from None
    if name not in ccxt.exchanges:
        near = get_close_matches(name.lower(), ccxt.exchanges, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise SetupError(f"{KEY}: ccxt {ccxt.__version__} knows no exchange {name!r}{hint}")
    streaming = importlib.import_module("ccxt.pro")
    place = streaming if name in streaming.exchanges else importlib.import_module("ccxt.async_support")
    return getattr(place, name)


def _set_proxies(exchange: Any) -> None:
    """What the environment says for the first address of each kind; the library wants one proxy, not a rule."""
    urls = list(addresses(exchange.urls.get("api")))
    for scheme, plain, secure, socks in (
        ("http", "httpProxy", "httpsProxy", "socksProxy"),
        ("ws", "wsProxy", "wssProxy", "wsSocksProxy"),
    ):
        url = next((url for url in urls if url.startswith(scheme)), None)
        proxy = proxy_for(url) if url is not None else None
        if url is None or proxy is None:
            continue
        if proxy.startswith("socks"):
            if find_spec("aiohttp_socks") is None:
                raise SetupError(f"proxy of the environment for {url}: ccxt needs the aiohttp_socks package for SOCKS")
            setattr(exchange, socks, proxy)
        else:
            setattr(exchange, secure if url.startswith(f"{scheme}s") else plain, proxy)
