"""When the stops of entries were touched: what `touches.stops_ms` finds, as a loop written to be compiled."""

from __future__ import annotations

from typing import Any, TypeAlias

#: NumPy arrays.
Cells: TypeAlias = Any


def stop_times(
    bars: tuple[Cells, Cells, Cells],
    rows: Cells,
    sides: Cells,
    expiry_ms: Cells,
    levels: tuple[Cells, Cells],
    ms: Cells,
) -> None:
    """Write when the candle opened that touched an entry's stop, before target or time; what is there stays else.

    Args:
        bars: opens in time, highs and lows of the candles.
        rows: of each entry the first candle after it.
        sides: of each entry.
        expiry_ms: of each entry.
        levels: stops and targets, times the side.
        ms: what is written.
    """
    open_ms, high, low = bars
    stops, targets = levels
    for k in range(len(rows)):
        for row in range(rows[k], len(open_ms)):
            if open_ms[row] >= expiry_ms[k]:
                break
            worst, best = low[row], high[row]
            if sides[k] < 0:
                worst, best = -best, -worst
            if worst <= stops[k]:
                ms[k] = open_ms[row]
                break
            if best >= targets[k]:
                break
