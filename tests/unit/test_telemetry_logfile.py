"""The rotating log file: by day and size, over restarts and clock steps, shared, and in trouble."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from limits import limited
from tapewatch.telemetry import logfile
from tapewatch.telemetry.logfile import LineFile

DAY = datetime(2026, 3, 14, tzinfo=UTC).toordinal()
BIG = 1_000_000
#: Writes numbered lines of its own into a file that another process writes as well.
WRITER = """
import sys
from pathlib import Path
from tapewatch.telemetry.logfile import LineFile
file = LineFile(Path(sys.argv[1]), 100, 2_000)
for number in range(300):
    file.write(f"{sys.argv[2]} {number}")
assert file.trouble is None
"""


class Days:
    """A clock that says which day it is."""

    def __init__(self) -> None:
        self.day = DAY

    def __call__(self) -> int:
        """This day."""
        return self.day


def written(folder: Path) -> dict[str, list[str]]:
    """The lines of each file."""
    return {path.name: path.read_text("utf-8").splitlines() for path in sorted(folder.iterdir())}


def dated(path: Path, day: int) -> None:
    """Make it look as if it had been written last on that day."""
    moment = datetime.fromordinal(day).replace(tzinfo=UTC).timestamp() + 43_200
    os.utime(path, (moment, moment))


def test_each_day_begins_a_file(tmp_path: Path) -> None:
    """So many old ones stay, the newest as .1; a day without a line leaves none."""
    today = Days()
    file = LineFile(tmp_path / "t.log", 3, BIG, today)
    for day in (0, 0, 1, 2, 5, 6):
        today.day = DAY + day
        assert not file.write(f"day {day}")
    assert written(tmp_path) == {
        "t.log": ["day 6"], "t.log.1": ["day 5"], "t.log.2": ["day 2"], "t.log.3": ["day 1"]
    }  # fmt: skip


def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    """Into the file of the same day, at its size; that of an earlier day is put aside."""
    path, today = tmp_path / "t.log", Days()
    LineFile(path, 3, BIG, today).write("one")
    dated(path, DAY)
    LineFile(path, 3, 9, today).write("two")
    assert written(tmp_path) == {"t.log": ["one", "two"]}
    dated(path, DAY)
    LineFile(path, 3, 9, today).write("three")
    assert written(tmp_path) == {"t.log": ["three"], "t.log.1": ["one", "two"]}
    dated(path, DAY)
    today.day += 1
    LineFile(path, 3, BIG, today).write("four")
    assert written(tmp_path)["t.log"] == ["four"]


def test_a_clock_that_is_put_back_rotates_nothing(tmp_path: Path) -> None:
    """Over midnight and back again and again, one file; one that was years ahead is believed when it is right again."""
    today = Days()
    file = LineFile(tmp_path / "t.log", 7, BIG, today)
    for step in (0, 1, 0, 1, 0, 1, 1):
        today.day = DAY + step
        file.write(f"day {step}")
    assert written(tmp_path) == {"t.log": ["day 1", "day 0", "day 1", "day 0", "day 1", "day 1"], "t.log.1": ["day 0"]}
    for day in (DAY + 20_000, DAY + 1, DAY + 1, DAY + 2):
        today.day = day
        file.write("on")
    assert [len(lines) for lines in written(tmp_path).values()] == [1, 3, 6, 1]


def test_bytes_are_counted(tmp_path: Path) -> None:
    """A file is never larger than it may be, whatever letters are in it; a line that is larger has one to itself."""
    file = LineFile(tmp_path / "t.log", 100, 100)
    for number in range(50):
        file.write("ßßßßßßßßß\ud800" + str(number))
    file.write("x" * 500)
    file.write("after")
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert sorted(sizes)[-2:] <= [100, 501]
    assert sum(map(len, written(tmp_path).values())) == 52


def test_fewer_are_kept_than_before(tmp_path: Path) -> None:
    """What a larger `keep` left goes with the next rotation."""
    for number in range(1, 7):
        (tmp_path / f"t.log.{number}").write_text(f"old {number}\n")
    file = LineFile(tmp_path / "t.log", 2, 10)
    for line in ("first one", "second one"):
        file.write(line)
    assert written(tmp_path) == {"t.log": ["second one"], "t.log.1": ["first one"], "t.log.2": ["old 1"]}


def test_a_file_that_somebody_moves_is_made_again(tmp_path: Path) -> None:
    """As logrotate does, or whoever removes it."""
    path = tmp_path / "t.log"
    file = LineFile(path, 3, BIG)
    file.write("one")
    path.rename(tmp_path / "elsewhere")
    file.write("two")
    path.unlink()
    file.write("three")
    assert written(tmp_path) == {"elsewhere": ["one"], "t.log": ["three"]}
    assert (file.trouble, file.lost) == (None, 0)


def test_a_disk_that_is_full_costs_whole_lines_and_is_said_once(tmp_path: Path) -> None:
    """The first line that is lost begins the trouble, the first that is written ends it; none is written in part."""
    path = tmp_path / "t.log"
    file = LineFile(path, 3, BIG)
    assert not file.write("a" * 99)
    with limited(resource.RLIMIT_FSIZE, 150):  # as a disk with room for a part of the next line
        assert [file.write("b" * 99) for _ in range(3)] == [True, False, False]
        assert (file.trouble, file.lost) == ("cannot be written: File too large", 3)
        assert path.stat().st_size == 100
    assert [file.write("c"), file.write("d")] == [True, False]
    assert (file.trouble, file.lost) == (None, 3)
    assert written(tmp_path)["t.log"] == ["a" * 99, "c", "d"]


@pytest.mark.parametrize("when", ["full", "another day"])
def test_a_file_that_cannot_be_put_aside_is_written_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """No line is lost, that is said once, and it is put aside when it can be."""
    path, today = tmp_path / "t.log", Days()
    file = LineFile(path, 3, 30 if when == "full" else BIG, today)
    file.write("first")
    blocking = tmp_path / "t.log.1"
    blocking.mkdir()  # nothing can be renamed to it, not even by root
    (blocking / "there").touch()
    (tmp_path / "t.log.2").mkdir()
    (tmp_path / "t.log.2" / "there").touch()
    (tmp_path / "t.log.3").mkdir()
    (tmp_path / "t.log.3" / "there").touch()
    today.day += when != "full"
    changes = [file.write(f"line {number}, rather long") for number in range(5)]
    assert sum(changes) == 1
    assert file.trouble is not None
    assert file.trouble.startswith("cannot be put aside, and grows: ")
    assert (len(path.read_text().splitlines()), file.lost) == (6, 0)
    for number in (1, 2, 3):
        (tmp_path / f"t.log.{number}" / "there").unlink()
        (tmp_path / f"t.log.{number}").rmdir()
    assert not file.write("not tried at each line")
    monkeypatch.setattr(logfile, "AGAIN_S", 0.0)
    monkeypatch.setattr(file, "_rest_s", 0.0)
    assert file.write("last")
    assert written(tmp_path)["t.log"] == ["last"]
    assert len(written(tmp_path)["t.log.1"]) == 7


def test_threads_share_a_file(tmp_path: Path) -> None:
    """Every line is there once and whole, over many rotations."""
    file = LineFile(tmp_path / "t.log", 1_000, 500)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: file.write(f"line {number}"), range(2_000)))
    lines = [line for lines in written(tmp_path).values() for line in lines]
    assert sorted(lines) == sorted(f"line {number}" for number in range(2_000))


def test_processes_share_a_file(tmp_path: Path) -> None:
    """As the parts of a run that are apart do."""
    path = tmp_path / "t.log"
    both = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in ("a", "b")]
    assert [process.wait(60) for process in both] == [0, 0]
    files = written(tmp_path)
    assert sorted(line for lines in files.values() for line in lines) == sorted(
        f"{name} {number}" for name in ("a", "b") for number in range(300)
    )
    assert sorted(files) == sorted(["t.log", *(f"t.log.{number}" for number in range(1, len(files)))])


def test_a_file_is_as_private_as_the_mask_says(tmp_path: Path) -> None:
    """Whoever starts it decides who reads its log."""
    before = os.umask(0o077)
    try:
        LineFile(tmp_path / "t.log", 1, BIG).write("x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "t.log").stat().st_mode) == 0o600
