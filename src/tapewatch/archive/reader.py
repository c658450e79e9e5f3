"""Stored candles: Parquet files under `<root>/<venue>/<SYMBOL>/`, symbols percent-encoded.

An interval is one file, `<interval>.parquet`, or a file a month, `<interval>/<YYYY-MM>.parquet`; together one series.
Columns: `open_time` int64 ms, `open high low close volume` float64, where known `quote_volume trades taker_buy_base`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
import polars as pl

from tapewatch.archive import frames, resample
from tapewatch.archive.candles import VALUES, Candles, Floats, Times
from tapewatch.errors import SetupError
from tapewatch.model import INTERVALS_MS

_REQUIRED = ("open_time", "open", "high", "low", "close", "volume")
_STORED_NAME = {"taker_buy": "taker_buy_base"}
#: Of a file, from which memory matters more than the milliseconds that reading it in parts takes.
LARGE_BYTES = 16_000_000


@dataclass(frozen=True, order=True)
class Stored:
    """One series that an archive holds."""

    venue: str
    symbol: str
    interval: str


def inventory(root: Path, intervals: Iterable[str] = INTERVALS_MS) -> list[Stored]:
    """Every series under `root`, sorted; files of other intervals than these are left out.

    Raises:
        SetupError: `root` is not a folder.
    """
    if not root.is_dir():
        raise SetupError(f"{root} is not a folder of candles")
    wanted = set(intervals)
    return sorted(
        Stored(venue.name, unquote(symbol.name), interval)
        for venue in _folders(root)
        for symbol in _folders(venue)
        for interval in wanted & _intervals(symbol)
    )


def intervals_of(root: Path, venue: str, symbol: str) -> list[str]:
    """The intervals that are stored of a symbol, smallest first."""
    held = _intervals(root / venue / quote(symbol, safe=""))
    return [name for name in INTERVALS_MS if name in held]


def load(root: Path, venue: str, symbol: str, interval: str) -> Candles:
    """The stored candles of one series: sorted, each open once (the last stored wins), bad ones refused and counted.

    Raises:
        SetupError: nothing is stored for it, or a file is no Parquet file of candles.
    """
    length = _length(interval)
    files = _files(root / venue / quote(symbol, safe=""), interval)
    if not files:
        raise missing(root, venue, symbol, interval)
    frame = pl.concat([_read(path) for path in files])
    if not (np.diff(frame["open_time"].to_numpy()) > 0).all():
        frame = frame.unique("open_time", keep="last", maintain_order=True).sort("open_time")
    open_ms = frame["open_time"].to_numpy().astype(np.int64, copy=False)
    columns = {name: frame[name].to_numpy().astype(np.float64, copy=False) for name in VALUES}
    sound = _sound(open_ms, columns, length)
    refused = int(len(sound) - sound.sum())
    if refused:
        open_ms, columns = open_ms[sound], {name: column[sound] for name, column in columns.items()}
    return Candles(venue, symbol, length, open_ms, **columns, refused=refused)


def series(
    root: Path, venue: str, symbol: str, interval: str, read: MutableMapping[str, Candles] | None = None
) -> Candles:
    """The candles of one series, stored or else built from the largest stored interval that divides it.

    `read` keeps what was read of the symbol, for the next series of it.

    Raises:
        SetupError: neither is possible; the text names what is stored.
    """
    length = _length(interval)
    fitting = [name for name in intervals_of(root, venue, symbol) if length % INTERVALS_MS[name] == 0]
    if not fitting:
        raise missing(root, venue, symbol, interval)
    read = {} if read is None else read
    if fitting[-1] not in read:
        read[fitting[-1]] = load(root, venue, symbol, fitting[-1])
    return resample.build(read[fitting[-1]], length)


def span(root: Path, venue: str, symbol: str, interval: str) -> tuple[int, int]:
    """The first open and the last close of a stored series, without reading its values.

    Raises:
        SetupError: nothing is stored for it, or a file is no Parquet file of candles.
    """
    files = _files(root / venue / quote(symbol, safe=""), interval)
    if not files:
        raise missing(root, venue, symbol, interval)
    opens = [_ends(path) for path in files]
    return min(first for first, _ in opens), max(last for _, last in opens) + _length(interval)


def _ends(path: Path) -> tuple[int, int]:
    opened = pl.col("open_time")
    try:
        with path.open("rb") as file:
            scan = pl.scan_parquet(file).select(opened.min().alias("first"), opened.max().alias("last"))
            first, last = scan.collect().row(0)
    except frames.UNREADABLE as error:
        raise SetupError(f"{path} cannot be read as Parquet: {error}") from error
    if not isinstance(first, int) or not isinstance(last, int):
        raise SetupError(f"{path} holds no candles, or open_time is not whole milliseconds UTC")
    return first, last


def _length(interval: str) -> int:
    if interval not in INTERVALS_MS:
        raise SetupError(f"unknown interval {interval}; known are {' '.join(INTERVALS_MS)}")
    return INTERVALS_MS[interval]


def _folders(path: Path) -> Iterator[Path]:
    with os.scandir(path) as entries:
        return iter([Path(entry.path) for entry in entries if entry.is_dir()])


def _intervals(folder: Path) -> set[str]:
    """What a symbol's folder holds files of."""
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return set()
    single = {
        entry.name.removesuffix(".parquet") for entry in found if entry.name.endswith(".parquet") and entry.is_file()
    }
    return single | {entry.name for entry in found if entry.is_dir() and any(Path(entry.path).glob("*.parquet"))}


def _files(folder: Path, interval: str) -> list[Path]:
    single = folder / f"{interval}.parquet"
    return [single] * single.is_file() + sorted((folder / interval).glob("*.parquet"))


def _read(path: Path) -> pl.DataFrame:
    try:
        frame = _whole(path)
    except frames.UNREADABLE as error:
        raise SetupError(f"{path} cannot be read as Parquet: {error}") from error
    lacking = [name for name in _REQUIRED if name not in frame.columns]
    if lacking:
        raise SetupError(f"{path} has no column {' '.join(lacking)}; it has {' '.join(frame.columns)}")
    if not frame["open_time"].dtype.is_integer():
        raise SetupError(f"{path}: open_time must be whole milliseconds UTC, not {frame['open_time'].dtype}")
    stored = {name: _STORED_NAME.get(name, name) for name in VALUES}
    try:
        times = frame["open_time"].cast(pl.Int64)
        times = times.fill_null(-1) if times.null_count() else times
        return pl.DataFrame([times, *(_floats(frame, source).alias(name) for name, source in stored.items())])
    except pl.exceptions.PolarsError as error:
        raise SetupError(f"{path} holds values that are not numbers: {error}") from error


def _whole(path: Path) -> pl.DataFrame:
    """A file; of a large one the columns in turn, or its parts would lie in memory beside what is made of them.

    It is opened once: a download may put another file in its place meanwhile.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size < LARGE_BYTES:
            return pl.read_parquet(file)
        names = pl.read_parquet_schema(file)
        return pl.concat([pl.read_parquet(file, columns=[name]).rechunk() for name in names], how="horizontal")


def _floats(frame: pl.DataFrame, source: str) -> pl.Series:
    """A column's numbers, NaN where there are none."""
    if source not in frame.columns:
        return pl.Series(np.full(len(frame), np.nan))
    values = frame[source].cast(pl.Float64)
    return values.fill_null(float("nan")) if values.null_count() else values


def _sound(open_ms: Times, columns: dict[str, Floats], interval_ms: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether each candle passes `model.fault_of`; the same comparisons over whole columns."""
    first, high, low, last = (columns[name] for name in ("open", "high", "low", "close"))
    volume = columns["volume"]
    above_zero = (first > 0) & (high > 0) & (low > 0) & (last > 0)
    inside = (high >= low) & (high >= first) & (high >= last) & (low <= first) & (low <= last) & (high < np.inf)
    sound: np.ndarray[tuple[int], np.dtype[np.bool_]] = (
        above_zero & inside & (volume >= 0) & (volume < np.inf) & (open_ms >= 0) & (open_ms % interval_ms == 0)
    )
    return sound


def missing(root: Path, venue: str, symbol: str, interval: str) -> SetupError:
    """The error for a series that is not stored; it says what is."""
    held = inventory(root)
    if not held:
        return SetupError(f"{root} holds no candles (looked for <venue>/<SYMBOL>/<interval>.parquet)")
    here = [stored.interval for stored in held if (stored.venue, stored.symbol) == (venue, symbol)]
    if here:
        return SetupError(f"{root} holds {venue} {symbol} as {' '.join(here)}; {interval} cannot be built from that")
    venues = sorted({stored.venue for stored in held})
    if venue not in venues:
        return SetupError(f"{root} holds nothing of venue {venue}; it holds {' '.join(venues)}")
    symbols = sorted({stored.symbol for stored in held if stored.venue == venue})
    close = difflib.get_close_matches(symbol, symbols, 3) or symbols[:10]
    return SetupError(f"{root} holds no {symbol} of {venue}; did you mean {' '.join(close)}?")
