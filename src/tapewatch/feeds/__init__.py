"""Market data from exchanges, as ordered events."""

from tapewatch.feeds.binance import BinanceFeed, SeriesPlan
from tapewatch.feeds.clock import ExchangeClock
from tapewatch.feeds.observer import FeedObserver, FrameCounts
from tapewatch.feeds.settings import FeedSettings

__all__ = ["BinanceFeed", "ExchangeClock", "FeedObserver", "FeedSettings", "FrameCounts", "SeriesPlan"]
