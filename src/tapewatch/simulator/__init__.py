"""A stand-in for the exchange: Binance's market data protocol from stored or synthetic candles, at any speed."""

from tapewatch.simulator.limits import Limits
from tapewatch.simulator.market import ArchiveMarket, Market, default_start_ms
from tapewatch.simulator.server import Simulator

__all__ = ["ArchiveMarket", "Limits", "Market", "Simulator", "default_start_ms"]
