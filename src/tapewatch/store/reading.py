"""Reading a journal: by a start that recovers, by a replay beside a run, by whoever moves bars into the archive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tapewatch.errors import DataError, StoreError
from tapewatch.model import Bar, Event
from tapewatch.store import codec
from tapewatch.store.entries import Begin, Failure, Skip, begin_of, head_of
from tapewatch.store.segments import BrokenRecordError, Kind, places_of, records, records_of, resumes, segment_paths


@dataclass(frozen=True)
class Batch:
    """Events that were appended together, the first of them at `first`."""

    first: int
    events: list[Event]


class JournalDamageError(StoreError):
    """A journal cannot be read on from some place.

    Args:
        text: where and why.
        position: the first event that is lost.
    """

    def __init__(self, text: str, position: int) -> None:
        super().__init__(text)
        self.position = position


@dataclass(frozen=True)
class Segment:
    """A segment, which journal it is of, and the position of its first event."""

    path: Path
    journal_id: str
    first: int
    begin: Begin | None


def segments(folder: Path) -> list[Segment]:
    """All segments with a readable head, the oldest first."""
    found = []
    for path in segment_paths(folder):
        head = None
        begin: Begin | None = None
        with suppress(BrokenRecordError, StoreError):
            for record in records(path):
                if record.kind is Kind.HEAD:
                    head = head_of(record)
                    continue
                if record.kind is Kind.BEGIN:
                    begin = begin_of(record)
                break
        if head is not None:
            found.append(Segment(path, head.journal_id, int(path.stem), begin))
    return found


def newest_bars(folder: Path, symbol: str) -> Iterator[list[Bar]]:
    """The bars of one symbol in every journal of a folder, batch by batch, the newest first; damaged ones are left out.

    Raises:
        StoreError: a file cannot be read.
    """
    for path in reversed(segment_paths(folder)):
        for offset in reversed(places_of(path, Kind.EVENTS)):
            with suppress(BrokenRecordError, DataError):
                yield codec.bars_of(next(records(path, offset)).payload, symbol)


def unreadable(folder: Path) -> list[Path]:
    """Segments whose head cannot be read: nobody can say of which journal they are."""
    paths = segment_paths(folder)  # first, so that one that a run begins meanwhile is not taken for damaged
    readable = {segment.path for segment in segments(folder)}
    return [path for path in paths if path not in readable and path.exists()]


def skips(folder: Path) -> list[Skip]:
    """Every event that is to be left out."""
    found: list[Skip] = []
    for path in segment_paths(folder):
        with suppress(BrokenRecordError, msgspec.MsgspecError):
            found.extend(msgspec.msgpack.decode(record.payload, type=Skip) for record in records_of(path, Kind.SKIP))
    return found


def failures(folder: Path, journal_id: str) -> set[tuple[str, str, str, int, int]]:
    """The steps of strategies that failed while a journal was written, as `StepFailed.key`."""
    found: set[tuple[str, str, str, int, int]] = set()
    for segment in segments(folder):
        if segment.journal_id == journal_id:
            with suppress(BrokenRecordError, msgspec.MsgspecError):
                for record in records_of(segment.path, Kind.FAILURE):
                    found.add(msgspec.msgpack.decode(record.payload, type=Failure).key)
    return found


def batches(folder: Path, journal_id: str, from_position: int) -> Iterator[Batch]:
    """The events of one journal from a position on, in order; the end may be one that is just being written.

    Raises:
        JournalDamageError: events are missing: a record is broken, or a segment gone.
    """
    own = [segment for segment in segments(folder) if segment.journal_id == journal_id]
    position = from_position
    for number, segment in enumerate(own):
        if number + 1 < len(own) and own[number + 1].first <= position:
            continue
        if segment.first > position:
            raise JournalDamageError(f"journal {folder}: events {position} to {segment.first} are missing", position)
        try:
            for record in records(segment.path):
                if record.kind is not Kind.EVENTS or record.after <= position:
                    continue
                events = codec.decode(record.payload)
                if record.first > position or len(events) != record.count:
                    raise BrokenRecordError(record.end, "events are missing before its end")
                yield Batch(position, events[position - record.first :])
                position = record.after
        except (BrokenRecordError, DataError) as broken:
            offset = broken.offset if isinstance(broken, BrokenRecordError) else 0
            if number + 1 == len(own) and resumes(segment.path, offset) is None:
                return
            raise JournalDamageError(f"journal {segment.path}, byte {offset}: {broken}", position) from None
