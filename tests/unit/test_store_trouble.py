from __future__ import annotations

import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from delivery_samples import alert_of, signal, step_of
from tapewatch.errors import SetupError, StoreError
from tapewatch.model import BarDone
from tapewatch.store import Ledger, Message, Step

TESTS = Path(__file__).parent.parent


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the ledger's file is."""
    return tmp_path / "tape.db"


@pytest.fixture
def ledger(file: Path) -> Iterator[Ledger]:
    """A new ledger that does not wait long for a lock."""
    opened = Ledger.open(f"sqlite:///{file}", busy_timeout_ms=50)
    yield opened
    opened.close()


def test_a_locked_ledger_says_so_and_takes_the_step_later(ledger: Ledger, file: Path) -> None:
    """While another process holds the write lock the step is refused whole; afterwards it goes in once."""
    step = step_of(alert_of(signal()))
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    with pytest.raises(StoreError, match=rf"{file} is locked by another process; close what holds it"):
        ledger.commit_step(step)
    assert ledger.alerts() == []  # a reader is not kept out

    other.execute("ROLLBACK")
    other.close()
    ledger.commit_step(step)
    assert len(ledger.alerts()) == len(list(ledger.stored_signals())) == 1


@pytest.mark.parametrize(
    ("trouble", "cure", "text"),
    [
        ("max_page_count=1", "max_page_count=1000000", "cannot grow: the disk is full; free some space"),
        ("query_only=ON", "query_only=OFF", "is read-only; check the permissions"),
    ],
)
def test_a_refused_write_leaves_nothing_and_succeeds_later(
    ledger: Ledger, file: Path, trouble: str, cure: str, text: str
) -> None:
    """SQLite's own refusal (no page left, nothing writable) is told in words, and the step can be stored afterwards."""

    def pragma(setting: str) -> None:
        with ledger._database._reader.connect() as connection:
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql(f"PRAGMA {setting}").close()

    step = step_of(*(alert_of(signal(f"S{place}USDT")) for place in range(300)))
    pragma(trouble)

    with pytest.raises(StoreError, match=f"{file} {text}"):
        ledger.commit_step(step)
    assert ledger.info()["rows"]["signals"] == 0

    pragma(cure)
    ledger.commit_step(step)
    assert ledger.info()["rows"]["signals"] == ledger.info()["rows"]["messages"] == 300


def test_a_file_that_cannot_grow_loses_nothing_accepted(file: Path) -> None:
    """A process whose files may not grow further (as with a quota) keeps what it committed and goes on afterwards."""
    program = """
        import resource, sys
        from delivery_samples import alert_of, signal, step_of
        from tapewatch.errors import StoreError
        from tapewatch.store import Ledger

        ledger = Ledger.open(sys.argv[1])
        ledger.commit_step(step_of(alert_of(signal())))
        big = step_of(*(alert_of(signal(f"S{place}USDT")) for place in range(500)))
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
        try:
            ledger.commit_step(big)
        except StoreError as error:
            print(error)
        assert ledger.info()["rows"]["signals"] == 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        ledger.commit_step(big)
        print(ledger.info()["rows"]["signals"])
        ledger.close()
    """
    done = subprocess.run(
        [sys.executable, "-B", "-c", textwrap.dedent(program), f"sqlite:///{file}"],
        cwd=TESTS, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    error, count = done.stdout.splitlines()
    assert f"{file} cannot be written or read; check the disk's free space" in error
    assert count == "501"


def test_what_was_committed_survives_a_power_cut_and_waits_for_others(ledger: Ledger) -> None:
    """Every connection logs ahead, syncs fully, checks references and waits for other writers."""
    with ledger._database.read() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }

    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 50}


def test_a_message_without_its_alert_is_a_bug_and_not_trouble(ledger: Ledger) -> None:
    """A step that contradicts itself raises at once instead of being tried again for ever, and leaves nothing."""
    step = Step("binance_spot", [BarDone("BTCUSDT", 60_000, 0)], [Message("no/such/alert", "out", 0)])
    with pytest.raises(IntegrityError):
        ledger.commit_step(step)
    assert ledger.series_states("binance_spot") == []


def test_a_ledger_that_is_not_there_is_not_made_by_a_reader(file: Path) -> None:
    """Commands that only read say that there is no ledger, and leave none behind."""
    with pytest.raises(SetupError, match=rf"ledger\.url: {file} does not exist; `tapewatch run` creates it"):
        Ledger.open(f"sqlite:///{file}", create=False)
    assert not file.exists()


def test_missing_folders_are_made(tmp_path: Path) -> None:
    """A ledger in a folder that does not exist yet is created with it; below a file that cannot be."""
    Ledger.open(f"sqlite:///{tmp_path}/new/folder/tape.db").close()
    assert (tmp_path / "new/folder/tape.db").exists()

    with pytest.raises(StoreError, match="its folder cannot be created"):
        Ledger.open(f"sqlite:///{tmp_path}/new/folder/tape.db/below/tape.db")


def test_a_folder_in_the_place_of_the_file_is_told(tmp_path: Path) -> None:
    """A ledger that cannot be opened says what to check."""
    with pytest.raises(StoreError, match="cannot be opened; check that its folder exists"):
        Ledger.open(f"sqlite:///{tmp_path}")


def test_another_kind_of_file_is_left_alone(file: Path) -> None:
    """A file that is no database is named as such and not touched."""
    file.write_bytes(b"open_time,open,high,low,close\n" * 200)

    with pytest.raises(StoreError, match=rf"{file} is not a SQLite database"):
        Ledger.open(f"sqlite:///{file}")
    assert file.read_bytes().startswith(b"open_time")


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("tapewatch.db", "an example is sqlite:///tapewatch.db"),
        ("sqlite://", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
        ("postgresql://ann:hunter2@db.example.com", "must name a database"),
        ("postgresql+nothing://ann:hunter2@db.example.com/tape", "write postgresql://"),
        ("oracle://db.example.com/tape", "names oracle, but the ledger is kept in sqlite or postgresql"),
    ],
)
def test_a_url_that_cannot_work_is_the_users_mistake(url: str, text: str) -> None:
    """What is wrong with the URL is said, without the password in it."""
    with pytest.raises(SetupError, match=text) as caught:
        Ledger.open(url)
    assert "hunter2" not in str(caught.value)
