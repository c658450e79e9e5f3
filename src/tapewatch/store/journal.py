"""The journal: every event that enters the engine, appended before its effects are committed.

Policy: a step that stores signals or messages is on disk (fdatasync) before they are committed; other appends are
synced at most a second later. A record cut off at the end, by a crash, is removed when the journal is opened. A record
broken anywhere else makes it unusable from there: the next engine starts fresh, in a new journal in the same folder.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tapewatch import __version__
from tapewatch.disk import sync_folder
from tapewatch.errors import SetupError, StoreError
from tapewatch.model import Event, StepFailed
from tapewatch.store import codec
from tapewatch.store.entries import Begin, Failure, Head, Skip, bar_of, head_of
from tapewatch.store.segments import (
    BrokenRecordError,
    Kind,
    Record,
    framed,
    records,
    resumes,
    segment_name,
    segment_paths,
)

#: Events of one record; a longer batch becomes several.
BATCH = 10_000


@dataclass(frozen=True)
class JournalSettings:
    """`segment_bytes`, `segment_ms`: a segment is closed when it is larger or older; `sync_s`: see the module."""

    segment_bytes: int = 64_000_000
    segment_ms: int = 24 * 3_600_000
    sync_s: float = 1.0


def advice(error: OSError) -> str:
    """What an error of a file means to the user."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"cannot grow: the disk is full; free some space and it goes on ({error.strerror})"
    return f"cannot be written: {error.strerror}; check the disk and its permissions"


class Journal:
    """The journal in one folder, opened to be continued. One process at a time; every method is synchronous.

    Attributes:
        journal_id: which journal is written; empty before the first `start`.
        position: number of the next event.
        cut_bytes: what was removed at the end when it was opened.
        written_ms: when an earlier run wrote to it last, by its files' times; 0 where none did.
        damage: what is wrong in the middle, None when nothing is; then only `start` makes sense.
    """

    def __init__(self, folder: Path, settings: JournalSettings, now_ms: Callable[[], int]) -> None:
        self.folder = folder
        self._settings = settings
        self._now_ms = now_ms
        self.journal_id = ""
        self.position = 0
        self.cut_bytes = 0
        self.written_ms = 0
        self.damage: str | None = None
        self._handle = -1
        self._size = 0
        self._opened_ms = 0
        self._ragged = False
        self._synced_s = 0.0
        self._lock = -1
        self.unsynced = False

    @classmethod
    def open(cls, folder: Path, settings: JournalSettings, now_ms: Callable[[], int]) -> Journal:
        """The journal in `folder`, which is made if it is not there.

        Raises:
            SetupError: another process has it, or it is a file.
            StoreError: it cannot be read or written.
        """
        journal = cls(folder, settings, now_ms)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            journal._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except (FileExistsError, NotADirectoryError):
            raise SetupError(f"journal.folder: {folder} is a file, or below one; name a folder") from None
        except OSError as error:
            raise StoreError(f"journal {folder} {advice(error)}") from None
        try:
            fcntl.flock(journal._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(journal._lock)
            raise SetupError(f"journal.folder: {folder} is in use by another run; give this one its own") from None
        journal._find_end()
        return journal

    def close(self) -> None:
        """Make everything last and let another process have it."""
        with suppress(StoreError):
            self.sync()
        self._close_segment()
        os.close(self._lock)

    # Opening.

    def _find_end(self) -> None:
        for left in self.folder.glob("*.new"):
            left.unlink()
        self.written_ms = max((path.stat().st_mtime_ns // 1_000_000 for path in segment_paths(self.folder)), default=0)
        for path in reversed(segment_paths(self.folder)):
            last: Record | None = None
            try:
                for last in records(path):
                    if last.kind is Kind.HEAD:
                        head = head_of(last)
                        self.journal_id, self._opened_ms = head.journal_id, head.created_ms
            except BrokenRecordError as broken:
                if (later := resumes(path, broken.offset)) is not None:
                    self._note_damage(path, broken, later)
                    return
                self._cut(path, broken.offset)
            if last is None:
                continue  # it had been made, and no record was in it yet
            self.position = last.after
            self._open_segment(path)
            return

    def _note_damage(self, path: Path, broken: BrokenRecordError, later: Record) -> None:
        self.damage = f"{path.name}, byte {broken.offset}: {broken}"
        self.position = later.after
        with suppress(BrokenRecordError):
            for record in records(path, later.end):
                self.position = max(self.position, record.after)

    def _cut(self, path: Path, offset: int) -> None:
        try:
            self.cut_bytes += path.stat().st_size - offset
            if offset == 0:
                path.unlink()
            else:
                os.truncate(path, offset)
            sync_folder(self.folder)
        except OSError as error:
            raise StoreError(f"journal {path} {advice(error)}") from None

    def _open_segment(self, path: Path) -> None:
        try:
            self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            self._size = os.fstat(self._handle).st_size
        except OSError as error:
            raise StoreError(f"journal {path} {advice(error)}") from None

    # Writing.

    def start(self, begin: Begin) -> None:
        """Begin a new journal for an engine that starts fresh; what is there stays, for replays, and is not continued.

        Raises:
            StoreError: it cannot be written; nothing was begun.
        """
        before = self.journal_id, self.position
        self.journal_id = secrets.token_hex(8)
        self.position += 1  # a segment's name says which came later
        try:
            self._new_segment(framed(Kind.BEGIN, self.position, 0, codec.squeeze(msgspec.msgpack.encode(begin))))
        except StoreError:
            self.journal_id, self.position = before
            raise
        self.damage = None

    def append(self, events: Sequence[Event], failures: Sequence[StepFailed] = ()) -> int:
        """Write events, in the order in which the engine took them; returns the position after them.

        Args:
            events: what the engine was told.
            failures: steps of strategies that failed on them.

        Raises:
            StoreError: they could not be written, and nothing of them is there.
        """
        self._rotate_if_due()
        pieces, position = [], self.position
        for first in range(0, len(events), BATCH):
            batch = events[first : first + BATCH]
            pieces.append(framed(Kind.EVENTS, position, len(batch), codec.encode(batch)))
            position += len(batch)
        for failed in failures:
            entry = Failure(*failed.key, error=failed.error)
            pieces.append(framed(Kind.FAILURE, position, 0, msgspec.msgpack.encode(entry)))
        self._write(b"".join(pieces))
        self.position = position
        return position

    def skip(self, position: int, event: Event, error: str) -> None:
        """Note that the engine failed on the event at `position`. Raises StoreError."""
        entry = Skip(position, error, *(bar_of(event) or ()))
        self._write(framed(Kind.SKIP, self.position, 0, msgspec.msgpack.encode(entry)))
        self.sync()

    def sync(self) -> None:
        """Make everything appended last. Raises StoreError."""
        if self._handle < 0 or not self.unsynced:
            return
        try:
            os.fdatasync(self._handle)
        except OSError as error:
            raise StoreError(f"journal {self.folder} {advice(error)}") from None
        self.unsynced = False
        self._synced_s = time.monotonic()

    def sync_if_due(self) -> None:
        """Make it last, unless that was done within the last second. Raises StoreError."""
        if time.monotonic() - self._synced_s >= self._settings.sync_s:
            self.sync()

    def _write(self, raw: bytes) -> None:
        assert self._handle >= 0, "a journal is begun by `start`"
        try:
            if self._ragged:
                os.ftruncate(self._handle, self._size)
                self._ragged = False
            rest = memoryview(raw)
            while rest:
                rest = rest[os.write(self._handle, rest) :]
        except OSError as error:
            self._ragged = True
            with suppress(OSError):  # else before the next attempt
                os.ftruncate(self._handle, self._size)
                self._ragged = False
            raise StoreError(f"journal {self.folder} {advice(error)}") from None
        self._size += len(raw)
        self.unsynced = True

    def _rotate_if_due(self) -> None:
        old = self._now_ms() - self._opened_ms >= self._settings.segment_ms
        if self._size >= self._settings.segment_bytes or old:
            path = self.folder / segment_name(self.position)
            if not path.exists():  # one with no event in it yet goes on, however old it is
                self.sync()
                self._new_segment(b"")

    def _new_segment(self, raw: bytes) -> None:
        """Close the segment that is written and go on in a new one, with a head and what is given."""
        path, created_ms = self.folder / segment_name(self.position), self._now_ms()
        head = msgspec.msgpack.encode(Head(self.journal_id, created_ms, __version__))
        whole = framed(Kind.HEAD, self.position, 0, head) + raw
        temporary = path.with_suffix(".new")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)  # somebody may have removed it
            with temporary.open("wb") as file:
                file.write(whole)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
            sync_folder(self.folder)
            handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise StoreError(f"journal {path} {advice(error)}") from None
        self._close_segment()
        self._handle, self._size, self._opened_ms = handle, len(whole), created_ms

    def _close_segment(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
