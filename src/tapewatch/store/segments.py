"""Segment files of a journal: records with a checksum each, and what is left of them after a crash or on a bad disk.

A segment is named by the position of its first event. A record is a header of 32 bytes and a payload:

    magic b"TWJ1", kind u8, 3 bytes 0, payload length u32, count u32, first position u64, crc32 u32, 4 bytes 0

all little endian; the checksum is over the header without it and the payload.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from tapewatch.errors import StoreError

SUFFIX = ".journal"
MAGIC = b"TWJ1"
_HEADER = struct.Struct("<4sBxxxIIQI4x")
HEADER_BYTES = _HEADER.size
#: A record of more is not written; a header that says so is damaged.
MAX_RECORD = 1 << 28


class Kind(IntEnum):
    """What a record holds."""

    HEAD = 0
    EVENTS = 1
    BEGIN = 2
    SKIP = 3
    FAILURE = 4


@dataclass(frozen=True)
class Record:
    """One record: the position of its first event, how many events it has, and where it ends in its file."""

    kind: Kind
    first: int
    count: int
    payload: bytes
    end: int

    @property
    def after(self) -> int:
        """The position after its last event."""
        return self.first + self.count


class BrokenRecordError(Exception):
    """What follows in the file is no sound record.

    Args:
        offset: where it begins.
        text: what is wrong with it.
    """

    def __init__(self, offset: int, text: str) -> None:
        super().__init__(text)
        self.offset = offset


def framed(kind: Kind, first: int, count: int, payload: bytes) -> bytes:
    """A record as bytes."""
    head = _HEADER.pack(MAGIC, kind, len(payload), count, first, 0)
    checksum = zlib.crc32(payload, zlib.crc32(head))
    return _HEADER.pack(MAGIC, kind, len(payload), count, first, checksum) + payload


def records(path: Path, offset: int = 0) -> Iterator[Record]:
    """The records of a segment from `offset` on, up to its end.

    Raises:
        BrokenRecordError: what follows is not sound.
        StoreError: the file cannot be read.
    """
    position: int | None = None
    try:
        with path.open("rb") as file:
            file.seek(offset)
            while head := file.read(HEADER_BYTES):
                record = _record(head, file.read(_length(head, offset)), offset)
                if position is not None and record.first != position:
                    raise BrokenRecordError(offset, "a record is missing before it")
                offset, position = record.end, record.after
                yield record
    except OSError as error:
        raise StoreError(f"journal {path} cannot be read: {error.strerror}") from None


def records_of(path: Path, wanted: Kind) -> Iterator[Record]:
    """The records of one kind, as far as the file is sound; the others are passed over unread."""
    offset = 0
    try:
        with path.open("rb") as file, suppress(BrokenRecordError):
            while head := file.read(HEADER_BYTES):
                length = _length(head, offset)
                if head[len(MAGIC)] == wanted:
                    yield _record(head, file.read(length), offset)
                offset += HEADER_BYTES + length
                file.seek(offset)
    except OSError as error:
        raise StoreError(f"journal {path} cannot be read: {error.strerror}") from None


def places_of(path: Path, wanted: Kind) -> list[int]:
    """Where the records of one kind begin, as far as the file is sound; nothing but their heads is read."""
    found, offset = [], 0
    try:
        with path.open("rb") as file, suppress(BrokenRecordError):
            while head := file.read(HEADER_BYTES):
                length = _length(head, offset)
                if head[len(MAGIC)] == wanted:
                    found.append(offset)
                offset += HEADER_BYTES + length
                file.seek(offset)
    except OSError as error:
        raise StoreError(f"journal {path} cannot be read: {error.strerror}") from None
    return found


def _length(head: bytes, offset: int) -> int:
    if len(head) < HEADER_BYTES:
        raise BrokenRecordError(offset, "its last record is cut off")
    magic, _kind, length, _count, _first, _checksum = _HEADER.unpack(head)
    if magic != MAGIC or length > MAX_RECORD:
        raise BrokenRecordError(offset, "there is no record where one must begin")
    return int(length)


def _record(head: bytes, payload: bytes, offset: int) -> Record:
    _magic, kind, length, count, first, checksum = _HEADER.unpack(head)
    if len(payload) < length:
        raise BrokenRecordError(offset, "its last record is cut off")
    blank = _HEADER.pack(MAGIC, kind, length, count, first, 0)
    if zlib.crc32(payload, zlib.crc32(blank)) != checksum or kind not in set(Kind):
        raise BrokenRecordError(offset, "a record does not have its checksum")
    return Record(Kind(kind), first, count, payload, offset + HEADER_BYTES + length)


def resumes(path: Path, offset: int) -> Record | None:
    """The first sound record that begins after `offset`: with one, what is broken at `offset` is no torn tail."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise StoreError(f"journal {path} cannot be read: {error.strerror}") from None
    at = raw.find(MAGIC, offset + 1)
    while at >= 0:
        try:
            head = raw[at : at + HEADER_BYTES]
            start = at + HEADER_BYTES
            return _record(head, raw[start : start + _length(head, at)], at)
        except BrokenRecordError:
            at = raw.find(MAGIC, at + 1)
    return None


def segment_paths(folder: Path) -> list[Path]:
    """The segments of a folder, the oldest first."""
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if path.stem.isdigit())


def segment_name(position: int) -> str:
    """The file name of the segment that begins at a position."""
    return f"{position:020d}{SUFFIX}"
