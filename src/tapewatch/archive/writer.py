"""Writing candles into an archive: merged with what is stored, a file a month, all of it or nothing.

A file is replaced by renaming a complete one over it, so a reader and a crash see the old or the new. Whoever merges
into a series holds its folder's lock; several processes may write into one archive.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from tapewatch.disk import sync_folder
from tapewatch.errors import SetupError, StoreError

if TYPE_CHECKING:
    import polars as pl

    from tapewatch.archive.candles import Candles

#: Ends the name of a file that is being written.
UNFINISHED = ".tmp"


@dataclass
class MergeReport:
    """What became of the candles of a merge.

    Attributes:
        added: not stored before.
        same: stored before with the same values.
        filled: stored before without quote volume, trades or taker volume, which are known now.
        conflicts: stored before with other values; which ones are kept was the caller's choice.
        first_conflict_ms: the open of the first of those.
        refused: reason -> how many made no sense.
        months: the files written.
    """

    added: int = 0
    same: int = 0
    filled: int = 0
    conflicts: int = 0
    first_conflict_ms: int | None = None
    refused: dict[str, int] = field(default_factory=dict)
    months: list[str] = field(default_factory=list)


def series_folder(root: Path, venue: str, symbol: str, interval: str) -> Path:
    """Where the months of a series are stored.

    Raises:
        SetupError: a name that cannot be a folder's.
    """
    for what, name in (("venue", venue), ("symbol", symbol)):
        if name.strip(".") == "" or "\0" in name:
            raise SetupError(f"{name!r} cannot be a {what}")
    if "/" in venue:
        raise SetupError(f"{venue!r} cannot be a venue")
    return root / venue / quote(symbol, safe="") / interval


def merge(
    root: Path,
    venue: str,
    symbol: str,
    interval: str,
    candles: Candles | pl.DataFrame,
    *,
    prefer: Literal["new", "stored"] = "new",
) -> MergeReport:
    """Stores candles with what is stored of the series already; candles that make no sense are refused and counted.

    Args:
        root: the archive's folder; made when it is not there.
        venue: as the folder is named.
        symbol: as the exchange writes it.
        interval: as `1m`; `1M` is `1mo`.
        candles: in any order; of several with one open the last counts. A frame has the columns of a stored file.
        prefer: whose values are kept where a stored candle has others.

    Raises:
        SetupError: the archive cannot be written, or a stored file is no Parquet file of candles.
        StoreError: the disk failed or is full; what was stored stands, months before that are merged.
    """
    import polars as pl

    from tapewatch.archive import frames
    from tapewatch.archive.intervals import interval_of

    length = interval_of(interval)
    folder = series_folder(root, venue, symbol, length.name)
    frame = frames.normal(candles) if isinstance(candles, pl.DataFrame) else frames.of_candles(candles)
    sound, refused = frames.sieve(frame, length)
    report = MergeReport(refused=dict(refused))
    if sound.is_empty():
        return report
    sound = sound.unique("open_time", keep="last", maintain_order=True).sort("open_time")
    month = pl.from_epoch("open_time", time_unit="ms").dt.strftime("%Y-%m")
    with locked(folder):
        for (name,), part in sound.group_by(month, maintain_order=True):
            _merge_month(root, folder, str(name), part, prefer, report)
    return report


def _merge_month(
    root: Path, folder: Path, month: str, new: pl.DataFrame, prefer: Literal["new", "stored"], report: MergeReport
) -> None:
    import polars as pl

    from tapewatch.archive.stored import month_frame

    stored = month_frame(folder, month)
    both = stored.join(new, "open_time", how="inner", suffix="_new")
    report.added += len(new) - len(both)
    differ = _differ()
    conflicts = both.filter(differ)
    if len(conflicts):
        report.conflicts += len(conflicts)
        first_ms = int(conflicts["open_time"][0])
        report.first_conflict_ms = min(first_ms, report.first_conflict_ms or first_ms)
    filled = both.filter(~differ & _fills()).height
    report.filled += filled
    report.same += len(both) - len(conflicts) - filled
    changes = len(conflicts) if prefer == "new" else 0
    if len(new) == len(both) and not changes and not filled:
        return
    joined = stored.with_columns(pl.lit(value=True).alias("old")).join(
        new.with_columns(pl.lit(value=True).alias("fresh")), "open_time", how="full", suffix="_new", coalesce=True
    )
    take = pl.col("old").is_null() | (
        pl.col("fresh").is_not_null() & (differ.fill_null(value=False) if prefer == "new" else False)
    )
    _write(root, folder / f"{month}.parquet", joined.select(_chosen(take, differ)).sort("open_time"))
    report.months.append(month)


def _differ() -> pl.Expr:
    """Whether a stored and a new candle contradict each other: not by what only one of them knows."""
    import polars as pl

    from tapewatch.archive.frames import KNOWN, OPTIONAL

    certain = [pl.col(name) != pl.col(f"{name}_new") for name in KNOWN]
    where_known = [(pl.col(name) != pl.col(f"{name}_new")).fill_null(value=False) for name in OPTIONAL]
    return pl.any_horizontal(*certain, *where_known)


def _fills() -> pl.Expr:
    import polars as pl

    from tapewatch.archive.frames import OPTIONAL

    return pl.any_horizontal(pl.col(name).is_null() & pl.col(f"{name}_new").is_not_null() for name in OPTIONAL)


def _chosen(take_new: pl.Expr, differ: pl.Expr) -> list[pl.Expr]:
    """The columns of the merged file: candles that agree complete each other, others stay whole."""
    import polars as pl

    from tapewatch.archive.frames import KNOWN, OPTIONAL

    agree = ~differ.fill_null(value=False)
    chosen = [pl.when(take_new).then(pl.col(f"{name}_new")).otherwise(pl.col(name)).alias(name) for name in KNOWN]
    for name in OPTIONAL:
        old, new = pl.col(name), pl.col(f"{name}_new")
        either = pl.when(agree).then(pl.coalesce(old, new)).when(take_new).then(new).otherwise(old)
        chosen.append(either.alias(name))
    return [pl.col("open_time"), *chosen]


def _write(root: Path, path: Path, frame: pl.DataFrame) -> None:
    from tapewatch.archive.frames import OPTIONAL

    unknown = [name for name in OPTIONAL if frame[name].null_count() == len(frame)]
    buffer = io.BytesIO()
    frame.drop(unknown).rechunk().write_parquet(buffer, compression="zstd")
    replace_file(root, path, buffer.getbuffer())


def replace_file(root: Path, path: Path, content: memoryview) -> None:
    """Puts a complete file in the place of `path` and notes its checksum; its folder's lock must be held.

    Raises:
        StoreError: the disk failed or is full; what was there before stands.
    """
    from tapewatch.archive.manifest import Manifest

    manifest, sha256 = Manifest(root), hashlib.sha256(content).hexdigest()
    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        manifest.writing(path, sha256)
        unfinished.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from error
    manifest.written(path, sha256)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder for this process alone; what another one left unfinished there is removed.

    Raises:
        SetupError: the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise SetupError(f"{folder} cannot be written: {error.strerror or error}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        for left in folder.glob(f"*{UNFINISHED}"):
            left.unlink(missing_ok=True)
        yield
    finally:
        os.close(handle)
