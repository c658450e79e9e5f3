"""A stand-in for the exchange: Binance's market data protocol from stored or synthetic candles, at any speed."""

from tapewatch.simulator.changes import Change, ChangedMarket, changes
from tapewatch.simulator.export import export
from tapewatch.simulator.limits import Limits
from tapewatch.simulator.listings import names
from tapewatch.simulator.market import ArchiveMarket, Market, default_start_ms
from tapewatch.simulator.plants import Planted, Planter
from tapewatch.simulator.rules import FaultRule
from tapewatch.simulator.script import Plant, PlantScript, load_faults, load_plants
from tapewatch.simulator.server import Simulator
from tapewatch.simulator.synthetic import SyntheticMarket
from tapewatch.simulator.variants import VariantMarket

__all__ = [
    "ArchiveMarket",
    "Change",
    "ChangedMarket",
    "FaultRule",
    "Limits",
    "Market",
    "Plant",
    "PlantScript",
    "Planted",
    "Planter",
    "Simulator",
    "SyntheticMarket",
    "VariantMarket",
    "changes",
    "default_start_ms",
    "export",
    "load_faults",
    "load_plants",
    "names",
]
