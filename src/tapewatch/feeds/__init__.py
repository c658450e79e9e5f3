"""Market data from exchanges, as ordered events."""

from tapewatch.feeds.binance import BinanceFeed
from tapewatch.feeds.book import OrderBook
from tapewatch.feeds.clock import ExchangeClock
from tapewatch.feeds.observer import FeedObserver, FrameCounts
from tapewatch.feeds.port import Connection, Feed, FundingRate, Instrument, Quote, SeriesPlan, Ticker
from tapewatch.feeds.settings import FeedSettings

__all__ = [
    "BinanceFeed",
    "Connection",
    "ExchangeClock",
    "Feed",
    "FeedObserver",
    "FeedSettings",
    "FrameCounts",
    "FundingRate",
    "Instrument",
    "OrderBook",
    "Quote",
    "SeriesPlan",
    "Ticker",
]
