"""What an archive holds, series by series."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import msgspec
import numpy as np

from tapewatch.archive import funding, reader, stored
from tapewatch.archive.candles import Times
from tapewatch.archive.intervals import INTERVALS
from tapewatch.archive.writer import series_folder
from tapewatch.model import MINUTE_MS

FUNDING = "funding"


class Line(msgspec.Struct):
    """One series; a line of `archive ls --json`.

    Attributes:
        interval: of candles, or `funding`.
        first_ms, last_ms: the opens of the first and the last candle.
        rows: candles, each open counted once.
        gaps: holes between them.
        missing: candles that would fit into the holes.
    """

    venue: str
    symbol: str
    interval: str
    first_ms: int
    last_ms: int
    rows: int
    gaps: int
    missing: int


def listing(root: Path) -> Iterator[Line]:
    """Every series and every symbol's funding rates; empty files are left out.

    Raises:
        SetupError: `root` is no folder, or a file in it is no Parquet file.
    """
    for series in reader.inventory(root, INTERVALS):
        opens = stored.opens(series_folder(root, series.venue, series.symbol, series.interval))
        if len(opens):
            steps = np.diff(INTERVALS[series.interval].numbers(opens))
            yield _line(series.venue, series.symbol, series.interval, opens, steps[steps > 1] - 1)
    for venue, symbol in funded(root):
        times = funding.load(root, venue, symbol)["time"].to_numpy()
        if len(times):
            apart = (np.diff(times) + MINUTE_MS) // funding.LONGEST_MS
            yield _line(venue, symbol, FUNDING, times, apart[np.diff(times) > funding.LONGEST_MS + MINUTE_MS] - 1)


def funded(root: Path) -> list[tuple[str, str]]:
    """Venue and symbol of all stored funding rates, sorted."""
    return sorted((path.parts[-3], unquote(path.parts[-2])) for path in root.glob(f"*/*/{funding.NAME}"))


def _line(venue: str, symbol: str, interval: str, times: Times, holes: Times) -> Line:
    missing = int(np.maximum(holes, 1).sum()) if len(holes) else 0
    return Line(venue, symbol, interval, int(times[0]), int(times[-1]), len(times), len(holes), missing)
