"""Moves the candles of closed journal segments into an archive: `python -m tapewatch.live.compact`.

A process of its own with the lowest priority, so that a run neither loads a data frame library nor waits. A segment is
marked when all of it is in the archive; killed at any moment, it is done again, and the archive takes each candle once.
"""

from __future__ import annotations

import json
import os
import sys
from array import array
from contextlib import suppress
from pathlib import Path

from tapewatch.errors import DataError, StoreError, TapewatchError
from tapewatch.model import INTERVAL_NAMES, MINUTE_MS, Bar, BarClosed, Event, History
from tapewatch.store import codec
from tapewatch.store.segments import BrokenRecordError, Kind, records, segment_paths

MARK = ".archived"
_VALUES = ("open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy")
_STORED = {"taker_buy": "taker_buy_base"}


class Columns:
    """The candles of one symbol."""

    def __init__(self) -> None:
        self.open_ms = array("q")
        self.values = {name: array("d") for name in _VALUES}

    def add(self, bar: Bar) -> None:
        """One more."""
        self.open_ms.append(bar.open_ms)
        for name, column in self.values.items():
            column.append(getattr(bar, name))


def closed(folder: Path) -> list[Path]:
    """The segments that are not written any more, the oldest first."""
    return segment_paths(folder)[:-1]


def waiting(folder: Path) -> list[Path]:
    """Closed segments whose candles are not in the archive yet."""
    return [path for path in closed(folder) if not mark_of(path).exists()]


def mark_of(segment: Path) -> Path:
    """The file that says a segment is done."""
    return segment.with_suffix(MARK)


def compact(segment: Path, root: Path, venue: str) -> int:
    """Merge a segment's base candles into the archive; how many there were.

    What is stored stays: a candle is kept as it was decided on. A part of the segment that is damaged is left out.

    Raises:
        TapewatchError: the segment cannot be read or the archive not be written.
    """
    import polars as pl

    from tapewatch.archive.writer import merge

    found = candles(segment)
    for symbol, columns in sorted(found.items()):
        frame = {"open_time": pl.Series(columns.open_ms, dtype=pl.Int64)}
        frame |= {
            _STORED.get(name, name): pl.Series(column, dtype=pl.Float64) for name, column in columns.values.items()
        }
        merge(root, venue, symbol, INTERVAL_NAMES[MINUTE_MS], pl.DataFrame(frame), prefer="stored")
    try:
        mark_of(segment).touch()
    except OSError as error:
        raise StoreError(f"{mark_of(segment)} cannot be written: {error.strerror}") from None
    return sum(len(columns.open_ms) for columns in found.values())


def candles(segment: Path) -> dict[str, Columns]:
    """Symbol -> base candles of a segment, as far as it can be read."""
    found: dict[str, Columns] = {}
    with suppress(BrokenRecordError):
        for record in records(segment):
            if record.kind is not Kind.EVENTS:
                continue
            with suppress(DataError):
                for event in codec.decode(record.payload):
                    _take(found, event)
    return found


def _take(found: dict[str, Columns], event: Event) -> None:
    if isinstance(event, BarClosed | History) and event.bar.interval_ms == MINUTE_MS:
        found.setdefault(event.bar.symbol, Columns()).add(event.bar)


def remove_months(root: Path, venue: str, max_bytes: int) -> list[Path]:
    """Remove the oldest months of a venue, of all symbols, until what is left has at most `max_bytes`."""
    from tapewatch.archive.manifest import Manifest

    files = [(path.stem, path.stat().st_size, path) for path in (root / venue).glob("*/*/*.parquet")]
    size, removed = sum(size for _, size, _ in files), []
    for _, bytes_, path in sorted(files):
        if size <= max_bytes:
            break
        path.unlink()
        Manifest(root).removed(path)
        removed.append(path)
        size -= bytes_
    return removed


def main(arguments: list[str]) -> None:
    """Compact what waits, then remove what is too much; a line of JSON for each.

    Args:
        arguments: the journal's folder, the archive's, the venue, the archive's largest size in bytes.
    """
    os.nice(19)
    folder, root, venue, max_bytes = Path(arguments[0]), Path(arguments[1]), arguments[2], int(arguments[3])
    try:
        for segment in waiting(folder):
            _say(segment=segment.name, candles=compact(segment, root, venue))
        if removed := remove_months(root, venue, max_bytes):
            _say(removed=len(removed), until=removed[-1].stem)
    except (TapewatchError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)


def _say(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
