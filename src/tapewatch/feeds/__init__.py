"""Market data from exchanges, as ordered events."""

from tapewatch.feeds.binance import BinanceFeed
from tapewatch.feeds.clock import ExchangeClock
from tapewatch.feeds.observer import FeedObserver, FrameCounts
from tapewatch.feeds.port import Connection, Feed, Instrument, Quote, SeriesPlan, Ticker
from tapewatch.feeds.settings import FeedSettings

__all__ = [
    "BinanceFeed",
    "Connection",
    "ExchangeClock",
    "Feed",
    "FeedObserver",
    "FeedSettings",
    "FrameCounts",
    "Instrument",
    "Quote",
    "SeriesPlan",
    "Ticker",
]
