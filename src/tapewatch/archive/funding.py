"""Funding rates of perpetual futures on disk: `<root>/<venue>/<SYMBOL>/funding.parquet`.

Columns: `time` int64 ms UTC of the payment, `rate` float64 (0.0001 is 0.01%, paid by longs when positive), and where
known `mark_price` float64.
"""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl

from tapewatch.archive import frames
from tapewatch.archive.writer import MergeReport, locked, replace_file, series_folder
from tapewatch.errors import SetupError
from tapewatch.model import MINUTE_MS

SCHEMA = {"time": pl.Int64(), "rate": pl.Float64(), "mark_price": pl.Float64()}
NAME = "funding.parquet"
#: The longest regular time between two payments; what is wider is a hole.
LONGEST_MS = 8 * 3_600_000


def path_of(root: Path, venue: str, symbol: str) -> Path:
    """Where a symbol's rates are stored."""
    return series_folder(root, venue, symbol, NAME)


def load(root: Path, venue: str, symbol: str) -> pl.DataFrame:
    """The stored rates in order of time, `mark_price` null where it is not known; empty when nothing is stored.

    Raises:
        SetupError: the file is no Parquet file of rates.
    """
    return read(path_of(root, venue, symbol))


def read(path: Path) -> pl.DataFrame:
    """The rates in a file; empty when it is not there.

    Raises:
        SetupError: it is no Parquet file of rates.
    """
    if not path.is_file():
        return pl.DataFrame(schema=SCHEMA)
    try:
        with path.open("rb") as file:
            return _normal(pl.read_parquet(file)).sort("time")
    except frames.UNREADABLE as error:
        raise SetupError(f"{path} is no Parquet file of funding rates: {error}") from error


def merge(root: Path, venue: str, symbol: str, rates: pl.DataFrame) -> MergeReport:
    """Stores rates with those stored already. One payment a minute: its time differs by milliseconds between sources.

    Raises:
        SetupError: the archive cannot be written, or what is stored is no file of rates.
        StoreError: the disk failed or is full; what was stored stands.
    """
    path = path_of(root, venue, symbol)
    new = _normal(rates)
    sound = new.filter(pl.col("rate").is_finite() & (pl.col("rate").abs() < 1) & (pl.col("time") > 0))
    report = MergeReport()
    if len(sound) < len(new):
        report.refused = {"no rate or no time": len(new) - len(sound)}
    if sound.is_empty():
        return report
    minute = (pl.col("time") // MINUTE_MS).alias("minute")
    sound = sound.with_columns(minute).unique("minute", keep="last", maintain_order=True)
    with locked(path.parent):
        stored = load(root, venue, symbol).with_columns(minute)
        both = stored.join(sound, "minute", suffix="_new")
        differ = pl.col("rate") != pl.col("rate_new")
        report.conflicts = both.filter(differ).height
        report.added = len(sound) - len(both)
        report.filled = both.filter(
            ~differ & pl.col("mark_price").is_null() & pl.col("mark_price_new").is_not_null()
        ).height
        report.same = len(both) - report.conflicts - report.filled
        if not report.added and not report.conflicts and not report.filled:
            return report
        known = both.filter(~differ).select("minute", pl.col("mark_price").alias("known"))
        whole = pl.concat([stored.join(sound, "minute", how="anti"), sound.select(stored.columns)])
        whole = whole.join(known, "minute", how="left").with_columns(pl.coalesce("mark_price", "known")).sort("time")
        buffer = io.BytesIO()
        whole.select(*SCHEMA).rechunk().write_parquet(buffer, compression="zstd")
        replace_file(root, path, buffer.getbuffer())
        report.months.append(NAME)
    return report


def _normal(frame: pl.DataFrame) -> pl.DataFrame:
    if "mark_price" not in frame.columns:
        frame = frame.with_columns(pl.lit(None, pl.Float64).alias("mark_price"))
    return frame.select(pl.col(name).cast(kind) for name, kind in SCHEMA.items()).with_columns(
        pl.col("mark_price").fill_nan(None)
    )
