"""Candles as the columns of a stored file, and which of them make sense."""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl

from tapewatch.archive.candles import Candles
from tapewatch.archive.intervals import Interval

PRICES = ("open", "high", "low", "close")
#: What every source has, and what some lack: null there.
KNOWN = (*PRICES, "volume")
OPTIONAL = ("quote_volume", "trades", "taker_buy_base")
SCHEMA = {
    "open_time": pl.Int64(),
    **dict.fromkeys(KNOWN, pl.Float64()),
    "quote_volume": pl.Float64(),
    "trades": pl.Int64(),
    "taker_buy_base": pl.Float64(),
}
#: What polars raises on a file that is none or is damaged; of some damage it panics.
UNREADABLE = (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException)


def empty() -> pl.DataFrame:
    """No candles."""
    return pl.DataFrame(schema=SCHEMA)


def normal(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with exactly the stored columns; what it lacks, and NaN where a value may be unknown, is null.

    Raises:
        pl.exceptions.PolarsError: a column that must be there is not, or holds no numbers.
    """
    columns = [pl.col("open_time").cast(pl.Int64), *(pl.col(name).cast(pl.Float64) for name in KNOWN)]
    for name in OPTIONAL:
        if name in frame.columns:
            known = pl.col(name).cast(pl.Float64).fill_nan(None)
            columns.append(known.cast(SCHEMA[name], strict=False).alias(name))
        else:
            columns.append(pl.lit(None, SCHEMA[name]).alias(name))
    return frame.select(columns)


def of_candles(candles: Candles) -> pl.DataFrame:
    """The columns of some candles."""
    columns = {name: getattr(candles, name) for name in (*KNOWN, "quote_volume", "trades")}
    return normal(pl.DataFrame({"open_time": candles.open_ms, **columns, "taker_buy_base": candles.taker_buy}))


def sieve(frame: pl.DataFrame, interval: Interval) -> tuple[pl.DataFrame, Counter[str]]:
    """The sound candles of a normal frame, and why how many others are refused (as `model.fault_of`)."""
    first, high, low, last = (pl.col(name) for name in PRICES)
    lowest, highest = pl.min_horizontal(first, last), pl.max_horizontal(first, last)
    volume = pl.col("volume")
    aligned = pl.Series(interval.aligned(frame["open_time"].fill_null(-1).to_numpy().astype(np.int64)))
    # Polars holds NaN to be above every number: each comparison must be one that it fails.
    finite = pl.all_horizontal(pl.col(name).is_finite().fill_null(value=False) for name in KNOWN)
    reason = (
        pl.when(~finite)
        .then(pl.lit("not a number"))
        .when(pl.min_horizontal(first, high, low, last) <= 0)
        .then(pl.lit("price not above zero"))
        .when(high < low)
        .then(pl.lit("high below low"))
        .when((high < highest) | (low > lowest))
        .then(pl.lit("open or close outside high and low"))
        .when(volume < 0)
        .then(pl.lit("volume negative"))
        .when(~pl.lit(aligned))
        .then(pl.lit("open time not on the interval"))
    )
    judged = frame.with_columns(reason.alias("reason"))
    counted = judged["reason"].drop_nulls().value_counts()
    bad = Counter(dict(zip(counted["reason"].to_list(), counted["count"].to_list(), strict=True)))
    return judged.filter(pl.col("reason").is_null()).drop("reason"), bad
