"""Snapshots: an engine's state in a file beside the journal, whole or not there, and which of them are kept."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from tapewatch.disk import sync_folder
from tapewatch.errors import DataError, StoreError
from tapewatch.store import codec
from tapewatch.store.entries import Begin
from tapewatch.store.journal import advice
from tapewatch.store.segments import segment_paths

SUFFIX = ".snapshot"
MAGIC = b"TWS1"
#: Length and checksum of a piece; the checksum goes on from that of the piece before, so none can be missing.
_PIECE = struct.Struct("<II")
#: So many of the newest are kept, and one in each segment, for replays once older segments are gone.
KEPT = 2


class SnapshotHead(msgspec.Struct, frozen=True):
    """What a snapshot is of: the state after all events before `position`, of an engine that began as `begin` says."""

    journal_id: str
    position: int
    begin: Begin


class SnapshotWriter:
    """Writes one snapshot, piece by piece; it is there when `finish` has returned.

    Raises:
        StoreError: from every method; `abandon` then.
    """

    def __init__(self, folder: Path, head: SnapshotHead) -> None:
        self._path = folder / f"{head.position:020d}{SUFFIX}"
        self._temporary = self._path.with_suffix(".saving")
        self._checksum = 0
        try:
            self._file = self._temporary.open("wb")
            self._file.write(MAGIC)
        except OSError as error:
            raise self._failed(error) from None
        self.write([msgspec.msgpack.encode(head)])

    def write(self, pieces: Iterable[bytes]) -> None:
        """Add pieces."""
        try:
            for piece in pieces:
                squeezed = codec.squeeze(piece)
                self._checksum = zlib.crc32(squeezed, self._checksum)
                self._file.write(_PIECE.pack(len(squeezed), self._checksum) + squeezed)
        except OSError as error:
            raise self._failed(error) from None

    def finish(self) -> Path:
        """Make it last, under its name."""
        try:
            self._file.write(_PIECE.pack(0, self._checksum))
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._temporary.rename(self._path)
            sync_folder(self._path.parent)
        except OSError as error:
            raise self._failed(error) from None
        return self._path

    def abandon(self) -> None:
        """Leave nothing of it."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._temporary.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> StoreError:
        return StoreError(f"snapshot {self._path} {advice(error)}")


def snapshot_paths(folder: Path) -> list[Path]:
    """The snapshots of a folder, the newest first."""
    return sorted((path for path in folder.glob(f"*{SUFFIX}") if path.stem.isdigit()), reverse=True)


def head_of(path: Path) -> SnapshotHead:
    """What a snapshot is of. Raises DataError where it cannot be read."""
    try:
        return msgspec.msgpack.decode(next(_pieces(path), b""), type=SnapshotHead)
    except msgspec.MsgspecError as error:
        raise DataError(f"its head cannot be read: {error}") from None


def state_in(path: Path) -> Iterator[bytes]:
    """The pieces of a snapshot's state, as `engine.state.load` takes them.

    Raises:
        DataError: it is damaged or not whole; what came before must not be used.
    """
    pieces = _pieces(path)
    next(pieces, None)
    return pieces


def _pieces(path: Path) -> Iterator[bytes]:
    checksum = 0
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise DataError("is no snapshot")
            while True:
                head = file.read(_PIECE.size)
                if len(head) < _PIECE.size:
                    raise DataError("is not whole")
                length, wanted = _PIECE.unpack(head)
                squeezed = file.read(length) if length else b""
                checksum = zlib.crc32(squeezed, checksum)
                if len(squeezed) < length or checksum != wanted:
                    raise DataError("is damaged")
                if not length:
                    return
                yield codec.stretch(squeezed)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}") from None


def remove_old(folder: Path) -> None:
    """Remove what no start and no replay will use: all but the newest, and the first in each segment."""
    firsts = [int(path.stem) for path in segment_paths(folder)]
    newest_first = snapshot_paths(folder)
    wanted = set(newest_first[:KEPT])
    positions = sorted((int(path.stem), path) for path in newest_first)
    for first, end in zip(firsts, [*firsts[1:], None], strict=True):
        inside = (path for position, path in positions if position >= first and (end is None or position < end))
        if (path := next(inside, None)) is not None:
            wanted.add(path)
    for path in newest_first:
        if path not in wanted:
            with suppress(OSError):
                path.unlink()


def remove_unfinished(folder: Path) -> None:
    """Remove what a run that was killed had begun; nobody may be saving."""
    for path in folder.glob("*.saving"):
        with suppress(OSError):
            path.unlink()
