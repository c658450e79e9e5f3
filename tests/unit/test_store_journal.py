"""The journal: what was appended is there again, and whatever happens to its files is noticed and said."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core_samples import bits
from journal_samples import BEGIN, all_kinds, begun, held, minutes, opened
from tapewatch.errors import DataError, SetupError, StoreError
from tapewatch.store import codec
from tapewatch.store.reading import JournalDamageError, batches, segments, skips
from tapewatch.store.segments import segment_paths


def test_every_kind_of_event_comes_back_to_the_bit(tmp_path: Path) -> None:
    """NaN, -0.0, the smallest double, names that are not ASCII; in one batch, one by one, and compressed."""
    events = all_kinds()
    journal = begun(tmp_path, [events, *([one] for one in events), events * 200])
    assert journal.position == 1 + len(events) * 202
    journal.close()
    assert bits(held(tmp_path, journal.journal_id)) == bits(events + events + events * 200)


def test_reading_begins_anywhere_also_within_a_batch(tmp_path: Path) -> None:
    """Positions count events, whatever batches and segments they are in."""
    journal = begun(tmp_path, [minutes(10, number * 10) for number in range(20)], segment_bytes=3_000)
    assert len(segment_paths(tmp_path)) > 3
    every = minutes(200)
    for place in range(0, 200, 13):
        assert [one.bar.open_ms for one in held(tmp_path, journal.journal_id, 1 + place)] == [
            one.bar.open_ms for one in every[place:]
        ]
    assert [batch.first for batch in batches(tmp_path, journal.journal_id, 5)][:2] == [5, 11]


def test_a_journal_is_gone_on_with_after_a_restart(tmp_path: Path) -> None:
    """The same id, the next position, the same segment; a new start is a journal of its own beside it."""
    first = begun(tmp_path, [minutes(5)])
    first.close()
    again = opened(tmp_path)
    assert (again.journal_id, again.position, again.cut_bytes, again.damage) == (first.journal_id, 6, 0, None)
    assert again.append(minutes(2, 5)) == 8
    again.start(BEGIN)
    again.append(minutes(1))
    again.close()
    assert again.journal_id != first.journal_id
    assert len(held(tmp_path, first.journal_id)) == 7
    assert len(held(tmp_path, again.journal_id, 9)) == 1
    assert [segment.begin for segment in segments(tmp_path)] == [BEGIN, BEGIN]


@pytest.mark.parametrize("below", ["", "deeper/down"])
def test_a_file_is_no_folder_for_it(tmp_path: Path, below: str) -> None:
    """Nor is what would be below one; the key is named."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(SetupError, match=r"journal\.folder: .*taken.* is a file, or below one"):
        opened(tmp_path / "taken" / below)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """A second one is refused and the key named."""
    journal = begun(tmp_path)
    with pytest.raises(SetupError, match=r"journal\.folder"):
        opened(tmp_path)
    journal.close()
    opened(tmp_path).close()


def test_a_tail_torn_at_any_byte_is_cut_and_said(tmp_path: Path) -> None:
    """All records before it are there; what comes next goes in its place."""
    journal = begun(tmp_path / "whole", [minutes(3), minutes(4, 3), minutes(1, 7)])
    journal.close()
    (path,) = segment_paths(tmp_path / "whole")
    raw = path.read_bytes()
    last = raw.rindex(b"TWJ1")
    for length in range(last + 1, len(raw)):
        folder = tmp_path / "torn"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / path.name).write_bytes(raw[:length])
        torn = opened(folder)
        assert (torn.position, torn.cut_bytes, torn.damage) == (8, length - last, None), length
        torn.append(minutes(2, 7))
        torn.close()
        assert bits(held(folder, journal.journal_id)) == bits(minutes(9))


def test_a_tail_of_zeros_is_cut(tmp_path: Path) -> None:
    """As some file systems leave it after a power failure."""
    journal = begun(tmp_path, [minutes(3)])
    journal.close()
    (path,) = segment_paths(tmp_path)
    path.write_bytes(path.read_bytes() + bytes(5_000))
    again = opened(tmp_path)
    assert (again.position, again.cut_bytes) == (4, 5_000)
    again.close()


def test_a_segment_torn_at_its_very_beginning_is_as_if_it_had_not_been_made(tmp_path: Path) -> None:
    """The one before it goes on."""
    journal = begun(tmp_path, [minutes(3)])
    journal.close()
    (tmp_path / f"{4:020d}.journal").write_bytes(b"TWJ1\0\0")
    (tmp_path / f"{9:020d}.new").write_bytes(b"TW")
    again = opened(tmp_path)
    assert (again.journal_id, again.position) == (journal.journal_id, 4)
    assert len(list(tmp_path.iterdir())) == 2  # the segment and the lock
    again.close()


@pytest.mark.parametrize("segment_bytes", [1_000_000, 1_500])
def test_a_record_broken_in_the_middle_ends_the_journal_there(tmp_path: Path, segment_bytes: int) -> None:
    """It is noticed by who opens it, if it is in the last segment, and by who reads it; a new journal can begin."""
    batch = [minutes(5, number * 5) for number in range(12)]
    journal = begun(tmp_path, batch, segment_bytes=segment_bytes)
    journal.close()
    path = segment_paths(tmp_path)[-1 if segment_bytes > 10_000 else 1]
    raw = bytearray(path.read_bytes())
    second = raw.index(b"TWJ1", raw.index(b"TWJ1", 10) + 10)
    raw[second + 40] ^= 1
    path.write_bytes(raw)
    read = []
    with pytest.raises(JournalDamageError, match=r"\.journal, byte \d+: a record does not have its checksum") as raised:
        read += [event for one in batches(tmp_path, journal.journal_id, 1) for event in one.events]
    assert 0 < raised.value.position < 61
    again = opened(tmp_path)
    assert (again.damage is not None) == (segment_bytes > 10_000)
    assert again.position == 61
    again.start(BEGIN)
    again.append(minutes(1))
    again.close()
    assert opened(tmp_path).damage is None


def test_a_lost_segment_is_noticed(tmp_path: Path) -> None:
    """What is after it is not taken for what should be there."""
    journal = begun(tmp_path, [minutes(10, number * 10) for number in range(20)], segment_bytes=3_000)
    segment_paths(tmp_path)[1].unlink()
    with pytest.raises(JournalDamageError, match="are missing"):
        held(tmp_path, journal.journal_id)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_damaged_bytes_never_give_wrong_events_or_another_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever is overwritten, inserted or removed: what is read is what was written, up to some place."""
    folder = tmp_path_factory.mktemp("fuzz")
    journal = begun(folder, [all_kinds(), minutes(3), minutes(70, 3), minutes(1, 99)])
    journal.close()
    (path,) = segment_paths(folder)
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place, junk = data.draw(st.integers(0, len(raw))), data.draw(st.binary(max_size=20))
        raw[place : place + data.draw(st.integers(0, 20))] = junk
    path.write_bytes(raw)
    written = bits([*all_kinds(), *minutes(3), *minutes(70, 3), *minutes(1, 99)])
    read = []
    with suppress(StoreError):
        for one in batches(folder, journal.journal_id, 1):
            read += one.events
    assert bits(read) == written[: len(read)]
    again = opened(folder)
    if again.damage is None and again.journal_id == journal.journal_id:
        again.append(minutes(1))
    again.start(BEGIN)
    again.append(minutes(2))
    again.close()
    assert len(held(folder, again.journal_id, segments(folder)[-1].first)) == 2


@given(st.binary(max_size=300))
def test_a_payload_that_is_none_is_refused(junk: bytes) -> None:
    """Also one that has a checksum."""
    with pytest.raises(DataError):
        codec.decode(junk)


def test_a_skipped_event_is_known_to_whoever_reads(tmp_path: Path) -> None:
    """With its place, and the bar, which is not to be accepted again."""
    journal = begun(tmp_path, [minutes(3)])
    journal.skip(2, minutes(2)[1], "ZeroDivisionError")
    journal.skip(3, all_kinds()[3], "KeyError")
    journal.append(minutes(1, 3))
    journal.close()
    assert [(skip.position, skip.bar[0], skip.error) for skip in skips(tmp_path)] == [
        (2, "AAAUSDT", "ZeroDivisionError"),
        (3, "", "KeyError"),
    ]
    assert len(held(tmp_path, journal.journal_id)) == 4


FULL = """
import resource, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from journal_samples import begun, minutes, held
from tapewatch.errors import StoreError
folder = Path(sys.argv[1])
journal = begun(folder, [minutes(3)], segment_bytes=9_000)
refused = 0
for number in range(3, 300, 3):
    soft = 2_000 + 37 * number
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))
    while True:
        try:
            journal.append(minutes(3, number))
            break
        except StoreError as error:
            assert "the disk is full" in str(error), error
            refused += 1
            soft += 200
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.sync()
print(refused, journal.journal_id)
"""


def test_a_full_disk_refuses_an_append_as_a_whole(tmp_path: Path) -> None:
    """At whichever byte it is full, also when a segment has to be begun; the same append works when there is room."""
    places = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "src")]
    done = subprocess.run(
        [sys.executable, "-B", "-c", FULL, str(tmp_path), *places],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    refused, journal_id = done.stdout.split()
    assert int(refused) > 3
    assert bits(held(tmp_path, journal_id)) == bits(
        [event for number in range(0, 300, 3) for event in minutes(3, number)]
    )


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """Without a traceback, with what to do."""
    with pytest.raises(StoreError, match=r"journal .*xxx cannot be written: File name too long; check the disk"):
        opened(tmp_path / ("x" * 300))


APPEND = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from journal_samples import opened, minutes, BEGIN
journal = opened(Path(sys.argv[1]), segment_bytes=20_000)
if not journal.journal_id:
    journal.start(BEGIN)
while True:
    journal.append(minutes(1 + journal.position % 9, journal.position - 1))
    journal.sync_if_due()
    print(journal.position, flush=True)
"""


@pytest.mark.slow
def test_killed_writers_leave_what_they_had_written(tmp_path: Path) -> None:
    """After each of ten kills at random moments everything that was told to be appended is there, in order."""
    places = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "src")]
    dice = random.Random(3)
    told = 0
    for _ in range(10):
        with subprocess.Popen(
            [sys.executable, "-c", APPEND, str(tmp_path / "j"), *places], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            for _ in range(dice.randrange(20, 400)):
                told = int(writer.stdout.readline())
            os.kill(writer.pid, signal.SIGKILL)
            rest = writer.stdout.read().split("\n")[:-1]
            told = int(rest[-1]) if rest else told
    journal = opened(tmp_path / "j")
    journal.close()
    read = held(tmp_path / "j", journal.journal_id)
    assert len(read) >= told - 1 > 500
    assert len(segment_paths(tmp_path / "j")) > 2
    assert [one.bar.open_ms for one in read] == [one.bar.open_ms for one in minutes(len(read))]
