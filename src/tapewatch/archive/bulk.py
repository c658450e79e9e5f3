"""The layout of Binance's file archive (`data.binance.vision`), and what its files hold."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from tapewatch.archive.intervals import Interval
from tapewatch.errors import DataError

BULK_URL = "https://data.binance.vision"
#: Venue -> its part of the archive.
MARKETS = {"binance_spot": "spot", "binance_usdm": "futures/um"}
CHECKSUM = ".CHECKSUM"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: A row of a candle or funding file is shorter.
_ROW_BYTES = 512
_LEAST_BYTES = 1 << 16


@dataclass(frozen=True, order=True)
class BulkFile:
    """One zip file that the archive has, if it has it.

    Attributes:
        from_ms, to_ms: the opens it covers, [from_ms, to_ms).
        name: without folder, as `BTCUSDT-1m-2024-05.zip`.
        path: under the archive's address.
        monthly: whether it is that of a month, not of a day.
    """

    from_ms: int
    to_ms: int
    name: str
    path: str
    monthly: bool

    def limit_bytes(self, interval: Interval) -> int:
        """More than its CSV file can have; a larger one is not read."""
        return _LEAST_BYTES + (self.to_ms - self.from_ms) // interval.length_ms * _ROW_BYTES


def month_file(venue: str, symbol: str, interval: Interval, ms: int) -> BulkFile:
    """The file of the month in which `ms` lies."""
    first, after = month_of(ms)
    return _klines(venue, symbol, interval, "monthly", _date(first).strftime("%Y-%m"), first, after)


def day_file(venue: str, symbol: str, interval: Interval, ms: int) -> BulkFile:
    """The file of the day in which `ms` lies; only intervals up to a day have one."""
    first = _date(ms).replace(hour=0, minute=0, second=0, microsecond=0)
    span = _ms(first), _ms(first + timedelta(days=1))
    return _klines(venue, symbol, interval, "daily", first.strftime("%Y-%m-%d"), *span)


def funding_file(venue: str, symbol: str, ms: int) -> BulkFile:
    """The funding rates of the month in which `ms` lies; there are none by day."""
    first, after = month_of(ms)
    name = f"{symbol}-fundingRate-{_date(first):%Y-%m}.zip"
    return BulkFile(
        first, after, name, f"/data/{MARKETS[venue]}/monthly/fundingRate/{quote(symbol)}/{quote(name)}", True
    )


def month_of(ms: int) -> tuple[int, int]:
    """The month in which `ms` lies: its first moment and the next one's."""
    first = _date(ms).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return _ms(first), _ms(after)


def parse_checksum(text: str, name: str) -> str:
    """The SHA-256 that a CHECKSUM file gives for `name`: 64 hex digits, two spaces, the file's name.

    Raises:
        DataError: it gives none.
    """
    match = re.fullmatch(r"([0-9a-fA-F]{64})[ \t]+\*?(\S+)\s*", text)
    if match is None or match[2] != name:
        raise DataError(f"{name}{CHECKSUM} is no checksum of it: {text[:100]!r}")
    return match[1].lower()


def unpack(content: bytes, name: str, limit_bytes: int) -> bytes:
    """The one CSV file in a zip file; nothing is written to disk, so no name in it can lead anywhere.

    Raises:
        DataError: it is no zip file, is damaged, encrypted, or holds something else or more than `limit_bytes`.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            members = packed.infolist()
            if len(members) != 1:
                raise DataError(f"{name} holds {len(members)} files instead of one")
            (member,) = members
            if "/" in member.filename or "\\" in member.filename or not member.filename.lower().endswith(".csv"):
                raise DataError(f"{name} holds {member.filename[:80]!r} instead of a CSV file")
            if member.file_size > limit_bytes:
                raise DataError(f"{name} would unpack to {member.file_size:,} bytes, more than {limit_bytes:,}")
            with packed.open(member) as file:
                unpacked = file.read(limit_bytes + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError, ValueError) as error:
        raise DataError(f"{name} is no sound zip file: {error}") from error
    if len(unpacked) > limit_bytes:
        raise DataError(f"{name} unpacks to more than {limit_bytes:,} bytes")
    return unpacked


def _klines(venue: str, symbol: str, interval: Interval, kind: str, period: str, from_ms: int, to_ms: int) -> BulkFile:
    name = f"{symbol}-{interval.name}-{period}.zip"
    folder = f"/data/{MARKETS[venue]}/{kind}/klines/{quote(symbol)}/{interval.name}"
    return BulkFile(from_ms, to_ms, name, f"{folder}/{quote(name)}", kind == "monthly")


def _date(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
