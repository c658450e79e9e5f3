"""Looking for what is wrong in an archive."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from tapewatch.archive import frames, funding, reader, resample, stored
from tapewatch.archive.intervals import INTERVALS
from tapewatch.archive.listing import FUNDING, funded
from tapewatch.archive.manifest import Manifest, Series
from tapewatch.archive.reader import Stored
from tapewatch.archive.writer import UNFINISHED, series_folder
from tapewatch.errors import SetupError
from tapewatch.model import INTERVALS_MS, MINUTE_MS

#: What can be wrong -> in words.
FINDINGS = {
    "unreadable": "no Parquet file of candles",
    "checksum": "not the file that was written: changed or damaged since",
    "unfinished": "left by a writer that was cut; the next one removes it",
    "order": "candles that open before the one above them",
    "duplicates": "candles whose open is there already",
    "misplaced": "candles of another month than the file's",
    "impossible": "candles that make no sense",
    "gap": "candles that are missing",
    "lost": "candles that were imported and are gone",
    "differs": "candles that are not what the smaller ones make up",
}
#: Sums over candles may differ by rounding.
_TOLERANCE = 1e-9


class Finding(msgspec.Struct):
    """Something that is wrong; a line of `archive check --json`.

    Attributes:
        finding: one of `FINDINGS`.
        count: how many candles or files.
        first_ms: the open of the first candle, None where the whole file is meant.
        text: where, in words.
    """

    venue: str
    symbol: str
    interval: str
    finding: str
    count: int
    first_ms: int | None
    text: str


def check(root: Path, series: Stored) -> Iterator[Finding]:
    """What is wrong with one series of candles."""
    folder = series_folder(root, series.venue, series.symbol, series.interval)
    readable = True
    for path in stored.files(folder):
        for finding, count, first_ms, text in _file(root, path, series.interval):
            readable &= finding != "unreadable"
            yield _found(series, finding, count, first_ms, f"{path.relative_to(root)}{text}")
    for path in sorted(folder.glob(f"*{UNFINISHED}")):
        yield _found(series, "unfinished", 1, None, str(path.relative_to(root)))
    if readable:
        yield from _series(root, folder, series)


def check_funding(root: Path, venue: str, symbol: str) -> Iterator[Finding]:
    """What is wrong with a symbol's funding rates."""
    series, path = Stored(venue, symbol, FUNDING), funding.path_of(root, venue, symbol)
    name = str(path.relative_to(root))
    yield from (_found(series, *finding[:3], f"{name}{finding[3]}") for finding in _sums(root, path))
    try:
        rates = funding.read(path)
    except SetupError as error:
        yield _found(series, "unreadable", 1, None, str(error))
        return
    bad = rates.filter(~(pl.col("rate").is_finite() & (pl.col("rate").abs() < 1)).fill_null(value=False))
    if len(bad):
        yield _found(series, "impossible", len(bad), int(bad["time"][0]), name)
    times = rates["time"].to_numpy()
    for row in np.flatnonzero(np.diff(times) > funding.LONGEST_MS + MINUTE_MS).tolist():
        text = f"no payment from {_iso(int(times[row]))} to {_iso(int(times[row + 1]))}"
        yield _found(series, "gap", 1, int(times[row]), text)


def chosen(root: Path, venue: str | None, symbols: list[str]) -> tuple[list[Stored], list[tuple[str, str]]]:
    """The series and funding rates that are meant: all without a venue and symbols.

    Raises:
        SetupError: `root` is no folder, or nothing is stored of what is meant.
    """
    held = [one for one in reader.inventory(root, INTERVALS) if venue in {None, one.venue}]
    rates = [pair for pair in funded(root) if venue in {None, pair[0]}]
    known = {one.symbol for one in held} | {symbol for _, symbol in rates}
    unknown = next((symbol for symbol in symbols if symbol not in known), None)
    if unknown is not None or not known:
        raise SetupError(f"{root} holds no {' '.join(filter(None, (venue, unknown or 'candles')))}")
    if symbols:
        held = [one for one in held if one.symbol in symbols]
        rates = [pair for pair in rates if pair[1] in symbols]
    return held, rates


def _file(root: Path, path: Path, interval: str) -> Iterator[tuple[str, int, int | None, str]]:
    yield from _sums(root, path)
    try:
        frame = stored.read(path)
    except SetupError as error:
        yield "unreadable", 1, None, f": {error}"
        return
    opens = frame["open_time"]
    backwards = frame.filter(opens.diff() < 0)
    if len(backwards):
        yield "order", len(backwards), int(backwards["open_time"][0]), ""
    again = frame.filter(opens.is_duplicated() & ~opens.is_first_distinct())
    if len(again):
        yield "duplicates", len(again), int(again["open_time"][0]), ""
    sound, bad = frames.sieve(frame, INTERVALS[interval])
    if bad:
        first = frame.join(sound.select("open_time"), "open_time", how="anti")["open_time"].min()
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(bad.items()))
        yield "impossible", bad.total(), first if isinstance(first, int) else None, f": {reasons}"
    if path.stem != interval:
        elsewhere = frame.filter(pl.from_epoch("open_time", time_unit="ms").dt.strftime("%Y-%m") != path.stem)
        if len(elsewhere):
            yield "misplaced", len(elsewhere), int(elsewhere["open_time"][0]), ""


def _sums(root: Path, path: Path) -> Iterator[tuple[str, int, int | None, str]]:
    known = Manifest(root).checksums(path)
    if known:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() not in known:
                yield "checksum", 1, None, ""


def _series(root: Path, folder: Path, series: Stored) -> Iterator[Finding]:
    opens, interval, manifest = stored.opens(folder), INTERVALS[series.interval], Manifest(root)
    key = Series(series.venue, series.symbol, series.interval)
    if len(opens):
        holes = stored.holes(opens, interval, int(opens[0]), interval.close_ms(int(opens[-1])))
        for from_ms, to_ms in stored.without(holes, manifest.absent(key)):
            count = len(interval.opens(from_ms, to_ms, opens))
            yield _found(series, "gap", count, from_ms, f"{_iso(from_ms)} to {_iso(to_ms)}")
    for done in manifest.imports(key):
        first, end = opens.searchsorted((done.from_ms, done.to_ms))
        if end - first < done.rows:
            yield _found(series, "lost", int(done.rows - (end - first)), done.from_ms, done.name)
    if series.interval in INTERVALS_MS:
        yield from _against_smaller(root, series)


def _against_smaller(root: Path, series: Stored) -> Iterator[Finding]:
    """Compare with the largest stored interval below that divides it, where that one has all its candles."""
    length = INTERVALS_MS[series.interval]
    smaller = [
        name
        for name, size in INTERVALS_MS.items()
        if size < length and length % size == 0 and stored.files(series_folder(root, series.venue, series.symbol, name))
    ]
    if not smaller:
        return
    try:
        base = reader.load(root, series.venue, series.symbol, smaller[-1])
        whole = reader.load(root, series.venue, series.symbol, series.interval)
    except SetupError:
        return  # said where that file is looked at
    buckets, counts = np.unique(base.open_ms - base.open_ms % length, return_counts=True)
    complete = buckets[counts == length // base.interval_ms]
    built = resample.build(base, length)
    opens = np.intersect1d(np.intersect1d(built.open_ms, complete), whole.open_ms)
    mine, theirs = np.searchsorted(whole.open_ms, opens), np.searchsorted(built.open_ms, opens)
    wrong = np.zeros(len(opens), bool)
    for name in ("open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy"):
        one, other = getattr(whole, name)[mine], getattr(built, name)[theirs]
        wrong |= np.abs(one - other) > _TOLERANCE * np.maximum(
            np.abs(one), 1.0
        )  # what one does not know is no conflict
    if wrong.any():
        text = f"{int(wrong.sum())} of {len(opens)} compared with {smaller[-1]}"
        yield _found(series, "differs", int(wrong.sum()), int(opens[wrong][0]), text)


def _found(series: Stored, finding: str, count: int, first_ms: int | None, text: str) -> Finding:
    return Finding(series.venue, series.symbol, series.interval, finding, count, first_ms, text)


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
