"""Candles in the exchange's CSV layout, as its archive has them: with a header or none, in any unit of time."""

from __future__ import annotations

import io
import re

import polars as pl

from tapewatch.archive import frames
from tapewatch.errors import DataError

#: The columns of a klines file; the last three are not stored.
COLUMNS = (
    "open_time",
    *frames.KNOWN,
    "close_time",
    *("quote_volume", "trades", "taker_buy_base"),
    *("taker_buy_quote", "ignore"),
)
_ROW = re.compile(rb"\s*[0-9]")


def parse(content: bytes, name: str) -> pl.DataFrame:
    """The rows as normal columns, sound or not; values that are no numbers are null.

    Args:
        content: the text of the file, rows of 12 columns.
        name: for the message.

    Raises:
        DataError: it is no such file.
    """
    frame = read_rows(content, name)
    if frame.width < len(frames.SCHEMA):
        raise DataError(f"{name} has {frame.width} columns instead of {len(COLUMNS)}")
    return frames.normal(numbers(frame.rename(dict(zip(frame.columns, COLUMNS, strict=False)))))


def read_rows(content: bytes, name: str) -> pl.DataFrame:
    """All columns as text, a header left out.

    Raises:
        DataError: it cannot be read as CSV.
    """
    content = content.removeprefix(b"\xef\xbb\xbf")
    if not content.strip():
        return pl.DataFrame(schema=dict.fromkeys(COLUMNS, pl.String()))
    try:
        return pl.read_csv(
            io.BytesIO(content),
            has_header=False,
            skip_rows=0 if _ROW.match(content) else 1,
            infer_schema=False,
            quote_char=None,
            truncate_ragged_lines=True,
            encoding="utf8-lossy",
        )
    except pl.exceptions.NoDataError:
        return pl.DataFrame(schema=dict.fromkeys(COLUMNS, pl.String()))
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{name} cannot be read as CSV: {error}") from error


def numbers(frame: pl.DataFrame) -> pl.DataFrame:
    """Text columns as numbers, times in milliseconds; what is no number is null."""
    values = [
        pl.col(name).cast(pl.Float64, strict=False)
        for name in (*frames.KNOWN, *frames.OPTIONAL)
        if name in frame.columns
    ]
    return frame.with_columns(milliseconds(pl.col("open_time").cast(pl.Int64, strict=False)), *values)


def milliseconds(time: pl.Expr) -> pl.Expr:
    """Whole times in seconds, milliseconds, microseconds or nanoseconds, each told by its size, as milliseconds.

    A time between two milliseconds is null: candles do not begin there.
    """
    return (
        pl.when(time < 100_000_000_000)
        .then(time * 1000)
        .when(time < 100_000_000_000_000)
        .then(time)
        .when((time < 100_000_000_000_000_000) & (time % 1000 == 0))
        .then(time // 1000)
        .when((time >= 100_000_000_000_000_000) & (time % 1_000_000 == 0))
        .then(time // 1_000_000)
    )


def parse_funding(content: bytes, name: str) -> pl.DataFrame:
    """The rows of a funding file, `calc_time,funding_interval_hours,last_funding_rate`, as stored columns.

    Raises:
        DataError: it is no such file.
    """
    frame = read_rows(content, name)
    if frame.width < 3:
        raise DataError(f"{name} has {frame.width} columns instead of 3")
    time, _, rate, *_ = frame.columns
    return frame.select(
        milliseconds(pl.col(time).cast(pl.Int64, strict=False)).alias("time"),
        pl.col(rate).cast(pl.Float64, strict=False).alias("rate"),
    ).drop_nulls()
