"""The files of a stored series as they are: months, a single file, both."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from tapewatch.archive import frames
from tapewatch.archive.candles import Times
from tapewatch.archive.intervals import Interval
from tapewatch.errors import SetupError


def files(folder: Path) -> list[Path]:
    """The files of the series whose months are in `folder`: the single one first, the later months win over it."""
    single = folder.with_name(f"{folder.name}.parquet")
    return [single] * single.is_file() + sorted(folder.glob("*.parquet"))


def month_frame(folder: Path, month: str) -> pl.DataFrame:
    """What is stored of a month (`2024-05`), sorted, each open once; empty when nothing is.

    Raises:
        SetupError: a file is no Parquet file of candles.
    """
    first = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    paths = (folder.with_name(f"{folder.name}.parquet"), folder / f"{month}.parquet")
    whole = pl.concat([frames.empty(), *(read(path) for path in paths if path.is_file())]).filter(
        pl.col("open_time").is_between(_ms(first), _ms(after), closed="left")
    )
    return whole.unique("open_time", keep="last", maintain_order=True).sort("open_time")


def read(path: Path) -> pl.DataFrame:
    """A stored file, its columns normal, its rows as they are.

    Raises:
        SetupError: it is no Parquet file of candles.
    """
    try:
        with path.open(
            "rb"
        ) as file:  # not by its name: polars opens that twice, and a download replaces files meanwhile
            return frames.normal(pl.read_parquet(file))
    except frames.UNREADABLE as error:
        raise SetupError(f"{path} is no Parquet file of candles: {error}") from error


def opens(folder: Path) -> Times:
    """The opens of all stored candles of a series, ascending, each once; no other column is read.

    Raises:
        SetupError: a file is no Parquet file of candles.
    """
    parts = [np.empty(0, np.int64)]
    for path in files(folder):
        try:
            with path.open("rb") as file:
                column = pl.read_parquet(file, columns=["open_time"])["open_time"]
            parts.append(column.cast(pl.Int64).drop_nulls().to_numpy())
        except frames.UNREADABLE as error:
            raise SetupError(f"{path} is no Parquet file of candles: {error}") from error
    return np.unique(np.concatenate(parts))


def holes(stored: Times, interval: Interval, from_ms: int, to_ms: int) -> list[tuple[int, int]]:
    """The spans [from, to) of opens within [from_ms, to_ms) that lack candles."""
    wanted = interval.opens(from_ms, to_ms, stored)
    lacking = wanted[~np.isin(wanted, stored)]
    if not len(lacking):
        return []
    numbers = interval.numbers(lacking)
    breaks = np.flatnonzero(np.diff(numbers) > 1)
    firsts, lasts = lacking[np.r_[0, breaks + 1]], lacking[np.r_[breaks, len(lacking) - 1]]
    return [(first, interval.close_ms(last)) for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True)]


def without(spans: list[tuple[int, int]], known: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans with the known ones cut out."""
    left = []
    for from_ms, to_ms in spans:
        at_ms = from_ms
        for first_ms, end_ms in sorted(known):
            if end_ms <= at_ms or first_ms >= to_ms:
                continue
            if first_ms > at_ms:
                left.append((at_ms, first_ms))
            at_ms = max(at_ms, end_ms)
        if at_ms < to_ms:
            left.append((at_ms, to_ms))
    return left


def _ms(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000
