"""Candles are merged into months, whole files or nothing, and two writers do not lose each other's."""

import hashlib
import multiprocessing
import os
import signal
import sqlite3
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapewatch.archive import reader, writer
from tapewatch.archive.manifest import Manifest
from tapewatch.errors import SetupError, StoreError
from tapewatch.model import DAY_MS, MINUTE_MS, Bar

#: 2024-01-31 23:58 UTC: two minutes before a month's end.
LAST_MS = 1_706_745_480_000


def frame(opens: list[int], **columns: list[float | None]) -> pl.DataFrame:
    """Sound candles that open then, with columns replaced or added as told."""
    rows = len(opens)
    data = {"open_time": opens, "open": [10.0] * rows, "high": [12.0] * rows, "low": [9.0] * rows}
    return pl.DataFrame(data | {"close": [11.0] * rows, "volume": [1.5] * rows} | columns)


def put(root: Path, candles: pl.DataFrame, **options: object) -> writer.MergeReport:
    """Merge into the one series of these tests."""
    return writer.merge(root, "binance_spot", "AAAUSDT", "1m", candles, **options)  # type: ignore[arg-type]


def test_candles_are_stored_by_month_and_read_back(tmp_path: Path) -> None:
    """Each month is a file of its own, and the series is what went in."""
    opens = [LAST_MS + minute * MINUTE_MS for minute in range(4)]
    report = put(tmp_path, frame(opens))
    assert (report.added, report.months) == (4, ["2024-01", "2024-02"])
    folder = tmp_path / "binance_spot/AAAUSDT/1m"
    assert sorted(path.name for path in folder.iterdir()) == ["2024-01.parquet", "2024-02.parquet"]
    assert pl.read_parquet(folder / "2024-02.parquet")["open_time"].to_list() == opens[2:]
    assert reader.load(tmp_path, "binance_spot", "AAAUSDT", "1m").open_ms.tolist() == opens


def test_what_is_stored_already_is_not_written_again(tmp_path: Path) -> None:
    """The same candles once more change nothing, not even the file."""
    put(tmp_path, frame([0, MINUTE_MS]))
    path = tmp_path / "binance_spot/AAAUSDT/1m/1970-01.parquet"
    before = path.stat().st_ino, path.read_bytes()
    report = put(tmp_path, frame([0, MINUTE_MS]))
    assert (report.same, report.added, report.months) == (2, 0, [])
    assert (path.stat().st_ino, path.read_bytes()) == before


@pytest.mark.parametrize(("prefer", "kept"), [("new", 11.5), ("stored", 11.0)])
def test_a_conflict_is_reported_and_the_preferred_candle_stays_whole(tmp_path: Path, prefer: str, kept: float) -> None:
    """Nothing of the other one is mixed in."""
    put(tmp_path, frame([0, MINUTE_MS], trades=[7, None]))
    report = put(tmp_path, frame([MINUTE_MS], close=[11.5], trades=[3]), prefer=prefer)
    assert (report.conflicts, report.first_conflict_ms, report.added) == (1, MINUTE_MS, 0)
    candles = reader.load(tmp_path, "binance_spot", "AAAUSDT", "1m")
    assert candles.close.tolist() == [11.0, kept]
    assert np.isnan(candles.trades[1]) == (prefer == "stored")


def test_candles_that_agree_complete_each_other(tmp_path: Path) -> None:
    """What one source does not know the other tells; that is no conflict."""
    put(tmp_path, frame([0], quote_volume=[16.0]))
    report = put(tmp_path, frame([0], trades=[4], quote_volume=[float("nan")]), prefer="stored")
    assert (report.filled, report.conflicts) == (1, 0)
    stored = pl.read_parquet(tmp_path / "binance_spot/AAAUSDT/1m/1970-01.parquet")
    assert stored.columns == ["open_time", "open", "high", "low", "close", "volume", "quote_volume", "trades"]
    assert stored.rows() == [(0, 10.0, 12.0, 9.0, 11.0, 1.5, 16.0, 4)]


def test_a_single_file_stays_and_the_months_win_over_it(tmp_path: Path) -> None:
    """An archive that somebody else wrote is not rewritten, and its candles count as stored."""
    single = tmp_path / "binance_spot/AAAUSDT/1m.parquet"
    single.parent.mkdir(parents=True)
    frame([0, MINUTE_MS]).write_parquet(single)
    before = single.read_bytes()
    assert put(tmp_path, frame([0, MINUTE_MS])).months == []
    report = put(tmp_path, frame([MINUTE_MS, 2 * MINUTE_MS], close=[11.5, 11.0]))
    assert (report.added, report.conflicts) == (1, 1)
    assert single.read_bytes() == before
    assert reader.load(tmp_path, "binance_spot", "AAAUSDT", "1m").close.tolist() == [11.0, 11.5, 11.0]


def test_candles_that_make_no_sense_are_refused_and_counted(tmp_path: Path) -> None:
    """By reason; the others are stored."""
    bad = frame(
        [0, MINUTE_MS, 2 * MINUTE_MS, 3 * MINUTE_MS, 4 * MINUTE_MS, 5 * MINUTE_MS + 1, 6 * MINUTE_MS],
        high=[12.0, 8.0, 10.5, float("nan"), 12.0, 12.0, 12.0],
        volume=[1.5, 1.5, 1.5, 1.5, -1.0, 1.5, 1.5],
        open=[10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 0.0],
    )
    report = put(tmp_path, bad)
    assert report.refused == {
        "high below low": 1,
        "open or close outside high and low": 1,
        "not a number": 1,
        "volume negative": 1,
        "open time not on the interval": 1,
        "price not above zero": 1,
    }
    assert reader.load(tmp_path, "binance_spot", "AAAUSDT", "1m").open_ms.tolist() == [0]


def test_columns_and_candles_are_stored_alike(tmp_path: Path) -> None:
    """Columns, as of the journal or of files, and candles that were read back."""
    bars = [Bar("AAAUSDT", MINUTE_MS, at * MINUTE_MS, 10.0, 12.0, 9.0, 11.0, 1.5, 16.0, 4.0, 0.5) for at in range(3)]
    further = {"quote_volume": [16.0] * 3, "trades": [4.0] * 3, "taker_buy_base": [0.5] * 3}
    put(tmp_path / "a", frame([bar.open_ms for bar in bars], **further))
    writer.merge(
        tmp_path / "b", "binance_spot", "AAAUSDT", "1m", reader.load(tmp_path / "a", "binance_spot", "AAAUSDT", "1m")
    )
    name = "binance_spot/AAAUSDT/1m/1970-01.parquet"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert list(reader.load(tmp_path / "b", "binance_spot", "AAAUSDT", "1m").bars()) == bars


def test_longer_intervals_follow_their_calendars(tmp_path: Path) -> None:
    """Weeks begin on Mondays, months on the first, and a month's folder is not that of the minute."""
    monday, first = 4 * DAY_MS, 31 * DAY_MS
    weeks = writer.merge(tmp_path, "v", "AAA", "1w", frame([monday, monday + DAY_MS, monday + 7 * DAY_MS]))
    months = writer.merge(tmp_path, "v", "AAA", "1M", frame([0, first, first + DAY_MS]))
    assert (weeks.added, months.added) == (2, 2)
    assert weeks.refused == months.refused == {"open time not on the interval": 1}
    assert (tmp_path / "v/AAA/1mo/1970-02.parquet").is_file()


@pytest.mark.parametrize(("venue", "symbol"), [("..", "A"), ("a/b", "A"), ("v", ".."), ("v", ""), ("", "A")])
def test_names_that_would_leave_the_archive_are_refused(tmp_path: Path, venue: str, symbol: str) -> None:
    """Symbols are percent-encoded, but for dots."""
    with pytest.raises(SetupError, match="cannot be a"):
        writer.merge(tmp_path / "root", venue, symbol, "1m", frame([0]))
    assert list(tmp_path.iterdir()) == []


def test_symbols_of_any_script_are_stored(tmp_path: Path) -> None:
    """Percent-encoded, slashes too."""
    writer.merge(tmp_path, "v", "币安/USDT", "1m", frame([0]))
    assert [stored.symbol for stored in reader.inventory(tmp_path)] == ["币安/USDT"]


def test_a_full_disk_leaves_what_was_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No half file, and the words for it."""
    put(tmp_path, frame([0]))
    path = tmp_path / "binance_spot/AAAUSDT/1m/1970-01.parquet"
    before = path.read_bytes()

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        put(tmp_path, frame([MINUTE_MS]))
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["1970-01.parquet"]


def test_every_written_file_has_its_checksum_noted(tmp_path: Path) -> None:
    """One, the last."""
    put(tmp_path, frame([0]))
    put(tmp_path, frame([MINUTE_MS]))
    path = tmp_path / "binance_spot/AAAUSDT/1m/1970-01.parquet"
    assert Manifest(tmp_path).checksums(path) == {hashlib.sha256(path.read_bytes()).hexdigest()}


def _write_minutes(root: Path, first: int, step: int, count: int) -> None:
    for minute in range(first, count, step):
        put(root, frame([minute * MINUTE_MS]))


def test_two_processes_lose_nothing_of_each_other(tmp_path: Path) -> None:
    """They write into the same month at once."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write_minutes, args=(tmp_path, first, 2, 60)) for first in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    opens = reader.load(tmp_path, "binance_spot", "AAAUSDT", "1m").open_ms
    assert opens.tolist() == [minute * MINUTE_MS for minute in range(60)]


@pytest.mark.parametrize("pause_s", [0.0, 0.011, 0.023])
def test_a_killed_writer_leaves_whole_files(tmp_path: Path, pause_s: float) -> None:
    """Whatever the moment: each file is whole and its checksum right; the next merge removes what was left."""
    process = multiprocessing.get_context("spawn").Process(target=_write_minutes, args=(tmp_path, 0, 1, 40_000))
    process.start()
    path = tmp_path / "binance_spot/AAAUSDT/1m/1970-01.parquet"
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(pause_s)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(30)
    opens = reader.load(tmp_path, "binance_spot", "AAAUSDT", "1m").open_ms
    assert opens.tolist() == [minute * MINUTE_MS for minute in range(len(opens))]
    assert hashlib.sha256(path.read_bytes()).hexdigest() in Manifest(tmp_path).checksums(path)
    path.with_name("1970-01.parquet.tmp").write_bytes(b"half")
    put(tmp_path, frame([40_000 * MINUTE_MS]))
    assert [entry.name for entry in path.parent.iterdir()] == ["1970-01.parquet"]


def _killed_in_a_transaction(database: Path) -> None:
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA cache_size = 1")  # so that pages are written before the transaction ends
    connection.executemany("INSERT INTO files VALUES (?, 'x')", ((f"{number:0500}",) for number in range(1000)))
    os.kill(os.getpid(), signal.SIGKILL)


def test_checksums_are_read_after_a_writer_was_killed_while_noting_one(tmp_path: Path) -> None:
    """What it had begun is taken back, by whoever looks first."""
    put(tmp_path, frame([0]))
    path = tmp_path / "binance_spot/AAAUSDT/1m/1970-01.parquet"
    before = Manifest(tmp_path).checksums(path)
    process = multiprocessing.get_context("spawn").Process(
        target=_killed_in_a_transaction, args=(tmp_path / "imports.sqlite",)
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert (tmp_path / "imports.sqlite-journal").stat().st_size > 512
    assert Manifest(tmp_path).checksums(path) == before
    assert not (tmp_path / "imports.sqlite-journal").exists()


@settings(max_examples=25)
@given(parts=st.lists(st.lists(st.integers(0, 60 * 24 * 40), max_size=30), min_size=1, max_size=4), order=st.randoms())
def test_the_order_of_merges_does_not_matter(tmp_path_factory: pytest.TempPathFactory, parts, order) -> None:  # type: ignore[no-untyped-def]
    """The same candles in any pieces give the same bytes."""
    roots = [tmp_path_factory.mktemp("archive") for _ in range(2)]
    shuffled = order.sample(parts, len(parts))
    for root, pieces in zip(roots, (parts, shuffled), strict=True):
        for piece in pieces:
            if piece:
                prices = [10.0 + minute % 2 for minute in piece]
                put(root, frame([minute * MINUTE_MS for minute in piece], close=prices))
    first, second = ({path.name: path.read_bytes() for path in root.rglob("*.parquet")} for root in roots)
    assert first == second
