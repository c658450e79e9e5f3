"""Candles in files of other programs: CSV with or without names, zipped or not, Feather, Parquet, freqtrade's JSON."""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import polars as pl

from tapewatch.archive import bulk, frames, klines
from tapewatch.archive.intervals import INTERVALS, interval_of
from tapewatch.errors import DataError

#: A file that unpacks to more is refused.
LIMIT_BYTES = 1 << 30
#: What columns are called elsewhere, in small letters with `_` for anything else.
_NAMES = {
    "open_time": (
        *("open_time", "opentime", "open_time_ms", "timestamp", "time", "date", "datetime", "ts", "unix"),
        *("open_timestamp", "start", "start_time"),
    ),
    "open": ("open", "o", "open_price"),
    "high": ("high", "h", "high_price"),
    "low": ("low", "l", "low_price"),
    "close": ("close", "c", "close_price"),
    "volume": ("volume", "v", "vol", "base_volume", "volume_base"),
    "quote_volume": ("quote_volume", "quote_asset_volume", "quotevolume", "volume_quote", "turnover"),
    "trades": ("trades", "count", "trade_count", "number_of_trades", "num_trades", "tradecount"),
    "taker_buy_base": (
        *("taker_buy_base", "taker_buy_volume", "taker_buy_base_asset_volume", "taker_buy_base_volume"),
        "taker_base_volume",
    ),
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LENGTHS = "|".join(sorted([*INTERVALS, "1M"], key=len, reverse=True))
_FILE = re.compile(rf"(?P<symbol>.+?)[-_ ](?P<interval>{_LENGTHS})(?=[-_. ]|$)")
#: Bytes that no text has, and how far they are looked for.
_BINARY, _LOOKED_AT = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]"), 4096
_MONTH = re.compile(r"\d{4}-\d{2}")


@dataclass(frozen=True)
class Hint:
    """What a file's name says about its candles; None where it does not."""

    venue: str | None = None
    symbol: str | None = None
    interval: str | None = None


def hint_of(path: Path) -> Hint:
    """What the name tells: the exchange's and freqtrade's names, `SYMBOL_1m_anything`, and paths within an archive."""
    parts = path.absolute().parts
    stem = path.name.partition(".")[0]
    inside = parts[-4:-1] if _MONTH.fullmatch(stem) else (*parts[-3:-1], stem)
    if path.suffix == ".parquet" and len(inside) == 3 and inside[2] in INTERVALS:
        return Hint(inside[0], unquote(inside[1]), inside[2])
    match = _FILE.match(stem)
    if match is None:
        return Hint()
    symbol, venue = match["symbol"], None
    pieces = symbol.split("_")
    if "-futures" in stem[match.end() :] and len(pieces) == 3:  # freqtrade: base, quote, what it is settled in
        symbol, venue = "".join(pieces[:2]), "binance_usdm"
    return Hint(venue, symbol.replace("_", ""), interval_of(match["interval"]).name)


def read_file(path: Path) -> pl.DataFrame:
    """The candles in a file as normal columns, sound or not.

    Raises:
        DataError: it cannot be read, or has no columns of candles.
    """
    kinds: dict[str, Callable[[bytes, str], pl.DataFrame]] = {
        ".csv": _csv,
        ".txt": _csv,
        ".json": _json,
        ".parquet": _parquet,
        ".feather": _feather,
        ".arrow": _feather,
    }
    try:
        if path.stat().st_size > LIMIT_BYTES:
            raise DataError(f"{path} is larger than {LIMIT_BYTES:,} bytes")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    name, kind = path.name, path.suffix.lower()
    if kind == ".zip":
        content, kind = bulk.unpack(content, name, LIMIT_BYTES), ".csv"
    elif kind == ".gz":
        content, kind = _gunzip(content, name), Path(path.stem).suffix.lower()
    if kind not in kinds:
        raise DataError(
            f"{name}: {kind or 'a name without ending'} is not read; known are {' '.join(kinds)}, .zip and .gz of CSV"
        )
    try:
        return kinds[kind](content, name)
    except (*frames.UNREADABLE, OverflowError) as error:
        raise DataError(f"{name} has no columns of candles: {error}") from error


def spacing(frame: pl.DataFrame) -> str | None:
    """The interval whose candles are this far apart, most of them; None when there is none."""
    opens = np.unique(frame["open_time"].drop_nulls().to_numpy())
    if len(opens) < 3:
        return None
    steps, counts = np.unique(np.diff(opens), return_counts=True)
    common = int(steps[counts.argmax()])
    return next((name for name, one in INTERVALS.items() if one.length_ms == common), None)


def _csv(content: bytes, name: str) -> pl.DataFrame:
    head = content.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _BINARY.search(head, 0, _LOOKED_AT):
        raise DataError(f"{name} is no text, so no CSV")
    if not head or head[:1].isdigit():
        rows = klines.read_rows(content, name)
        if rows.width < 6:
            raise DataError(f"{name} has {rows.width} columns; candles have at least 6")
        named = klines.COLUMNS[: rows.width if rows.width >= 10 else 6]
        return _normal(rows.rename(dict(zip(rows.columns, named, strict=False))), name)
    separator = max(",;\t", key=head.partition(b"\n")[0].decode("utf-8", "replace").count)
    rows = pl.read_csv(
        io.BytesIO(content), infer_schema=False, separator=separator, truncate_ragged_lines=True, encoding="utf8-lossy"
    )
    return _normal(rows, name)


def _json(content: bytes, name: str) -> pl.DataFrame:
    try:
        rows = json.loads(content)
    except ValueError as error:
        raise DataError(f"{name} is no JSON: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) >= 6 for row in rows):
        raise DataError(f"{name} is no list of candles, each [time, open, high, low, close, volume]")
    columns = [[None if value is None else str(value) for value in column] for column in zip(*rows, strict=False)]
    return _normal(pl.DataFrame(dict(zip(klines.COLUMNS[:6], columns or [[]] * 6, strict=False))), name)


def _parquet(content: bytes, name: str) -> pl.DataFrame:
    return _normal(pl.read_parquet(io.BytesIO(content)), name)


def _feather(content: bytes, name: str) -> pl.DataFrame:
    return _normal(pl.read_ipc(io.BytesIO(content)), name)


def _normal(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """The columns of candles by whatever names they have."""
    given = {re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_"): column for column in frame.columns}
    found = {ours: next((given[one] for one in names if one in given), None) for ours, names in _NAMES.items()}
    lacking = [ours for ours in ("open_time", *frames.KNOWN) if found[ours] is None]
    if lacking:
        raise DataError(f"{name} has no column for {', '.join(lacking)}; it has {', '.join(frame.columns)}")
    chosen = frame.select(pl.col(theirs).alias(ours) for ours, theirs in found.items() if theirs is not None)
    numbers = [pl.col(ours).cast(pl.Float64, strict=False) for ours in chosen.columns if ours != "open_time"]
    return frames.normal(chosen.with_columns(_times(chosen["open_time"]).alias("open_time"), *numbers))


def _times(column: pl.Series) -> pl.Series:
    """Times as milliseconds UTC, null where they are none: numbers of any unit, dates, ISO text."""
    if isinstance(column.dtype, pl.Datetime):
        return column.dt.epoch("ms")
    if column.dtype == pl.Date:
        return column.cast(pl.Datetime("ms")).dt.epoch("ms")
    if column.dtype.is_float():
        values = pl.when(column.abs() < 1e11).then(column * 1000).otherwise(column).round()
        column = column.to_frame().select(values.alias(column.name)).to_series()
    if column.dtype.is_numeric():
        return _milliseconds(column.cast(pl.Int64, strict=False))
    text = column.cast(pl.String)
    whole = _milliseconds(text.cast(pl.Int64, strict=False))
    pairs = zip(whole.to_list(), text.to_list(), strict=True)
    return pl.Series([known if known is not None else _iso_ms(said) for known, said in pairs], dtype=pl.Int64)


def _milliseconds(column: pl.Series) -> pl.Series:
    return column.to_frame().select(klines.milliseconds(pl.col(column.name))).to_series()


def _iso_ms(said: str | None) -> int | None:
    try:
        moment = datetime.fromisoformat((said or "").strip(' "').removesuffix(" UTC"))
        return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        pass
    try:
        return round(float(said or "") * 1000)  # seconds with a fraction
    except (ValueError, OverflowError):
        return None


def _gunzip(content: bytes, name: str) -> bytes:
    try:
        with gzip.open(io.BytesIO(content)) as packed:
            unpacked = packed.read(LIMIT_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{name} is no sound gzip file: {error}") from error
    if len(unpacked) > LIMIT_BYTES:
        raise DataError(f"{name} unpacks to more than {LIMIT_BYTES:,} bytes")
    return unpacked
