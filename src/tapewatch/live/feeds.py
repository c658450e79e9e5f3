"""The feed that the configuration asks for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from tapewatch.config import Config
from tapewatch.config.schema import Ccxt
from tapewatch.engine import windows_of
from tapewatch.feeds import BinanceFeed, Feed, FeedObserver, FeedSettings, Ticker
from tapewatch.live.makeup import market_of
from tapewatch.model import Event
from tapewatch.strategy import Strategy

if TYPE_CHECKING:
    from tapewatch.feeds.ccxt_exchange import CcxtSettings


def build_feed(
    config: Config,
    sink: Callable[[list[Event]], None],
    observer: FeedObserver,
    strategies: Iterable[Strategy] = (),
    *,
    on_tickers: Callable[[list[Ticker]], None] | None = None,
    drained: Callable[[], Awaitable[None]] | None = None,
) -> Feed:
    """The feed of the configured exchange; CCXT is imported only for one that needs it.

    Raises:
        SetupError: the exchange cannot be had, or lacks what the strategies need.
    """
    settings = feed_settings(config)
    if config.exchange.ccxt is None:
        return BinanceFeed(settings, sink, observer, on_tickers=on_tickers, drained=drained)
    from tapewatch.feeds.ccxt import CcxtFeed

    feed = CcxtFeed(
        ccxt_settings(config.exchange.ccxt), settings, sink, observer, on_tickers=on_tickers, drained=drained
    )
    feed.check_intervals(windows_of(strategies, market_of(config)))
    return feed


def check_exchange(config: Config, strategies: Iterable[Strategy]) -> None:
    """Raises SetupError when CCXT is missing, or lacks the exchange or an interval that strategies need."""
    if config.exchange.ccxt is None:
        return
    from tapewatch.feeds.ccxt_exchange import check_intervals, open_exchange

    exchange = open_exchange(ccxt_settings(config.exchange.ccxt), feed_settings(config))
    check_intervals(exchange, sorted(windows_of(strategies, market_of(config))))


def ccxt_settings(ccxt: Ccxt) -> CcxtSettings:
    """Which exchange of CCXT, as configured; this alone does not load the library."""
    from tapewatch.feeds.ccxt_exchange import CcxtSettings

    return CcxtSettings(ccxt.id, ccxt.streams, ccxt.options, ccxt.urls)


def feed_settings(config: Config) -> FeedSettings:
    """Hosts and deadlines as configured."""
    exchange, feeds = config.exchange, config.feeds
    return FeedSettings(
        rest_url=exchange.rest_url,
        rest_hosts=tuple(exchange.rest_hosts),
        state_file=config.ledger.beside("-bans"),
        ws_url=exchange.ws_url,
        futures_url=exchange.futures_host,
        ca_file=None if exchange.ca_file is None else str(exchange.ca_file),
        settle_ms=feeds.settle,
        silence_s=feeds.silence / 1000,
        connect_timeout_s=feeds.connect_timeout / 1000,
        request_timeout_s=feeds.request_timeout / 1000,
        weight_share=feeds.weight_share,
        streams_per_connection=feeds.streams_per_connection,
        attempts_per_5m=feeds.connection_attempts,
        concurrency=feeds.concurrency,
        breaker_after=feeds.breaker_after,
        emergency_after_s=feeds.emergency_after / 1000,
        recheck_ms=tuple(feeds.recheck),
    )
