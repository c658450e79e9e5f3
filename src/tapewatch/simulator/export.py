"""A market as an archive: what the simulator serves, to be read by whoever reads archives."""

from __future__ import annotations

from pathlib import Path

from tapewatch.archive import writer
from tapewatch.model import INTERVAL_NAMES
from tapewatch.simulator.market import Market
from tapewatch.simulator.tape import Tape


def export(market: Market, root: Path) -> int:
    """Write all candles of a market under a folder, with the volumes that are served where the source has none.

    Returns:
        How many candles.
    """
    count = 0
    for symbol in market.symbols:
        candles = Tape(market.candles(symbol)).base
        if len(candles):
            writer.merge(root, market.venue, symbol, INTERVAL_NAMES[candles.interval_ms], candles)
        count += len(candles)
    return count
