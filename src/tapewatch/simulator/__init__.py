"""A stand-in for the exchange: Binance's market data protocol from stored or synthetic candles, at any speed."""

from tapewatch.simulator.limits import Limits
from tapewatch.simulator.listings import names
from tapewatch.simulator.market import ArchiveMarket, Market, default_start_ms
from tapewatch.simulator.plants import Planted, Planter
from tapewatch.simulator.script import FaultRule, Plant, PlantScript, load_faults, load_plants
from tapewatch.simulator.server import Simulator
from tapewatch.simulator.synthetic import SyntheticMarket

__all__ = [
    "ArchiveMarket",
    "FaultRule",
    "Limits",
    "Market",
    "Plant",
    "PlantScript",
    "Planted",
    "Planter",
    "Simulator",
    "SyntheticMarket",
    "default_start_ms",
    "load_faults",
    "load_plants",
    "names",
]
