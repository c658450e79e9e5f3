from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, MetaData, insert, select

import tapewatch.store
from delivery_samples import CLOSE_MS, VENUE, alert_of, signal, step_of
from ledger_rows import LEFT_0008, left_behind, outcomes_of, rows_of
from postgres_server import Server
from tapewatch.errors import StoreError
from tapewatch.model import Judged
from tapewatch.store import Ledger, Step
from tapewatch.store.backup import tables_of
from tapewatch.store.database import Database
from tapewatch.store.rows import signal_row
from tapewatch.store.schema import REVISION, metadata

OPEN = "import sys; from tapewatch.store import Ledger; ledger = Ledger.open(sys.argv[1]);"


def test_the_code_knows_the_newest_migration() -> None:
    """The revision a start compares with is the head of the migrations."""
    config = Config()
    config.set_main_option("script_location", str(Path(tapewatch.store.__file__).parent / "migrations"))

    assert ScriptDirectory.from_config(config).get_heads() == [REVISION]


def test_the_migrations_make_the_tables_the_code_uses(ledger_url: str) -> None:
    """A migrated database does not differ from the tables the statements are written for."""
    Ledger.open(ledger_url).close()
    engine = sqlalchemy.create_engine(ledger_url.replace("postgresql:", "postgresql+psycopg:"))

    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_a_start_on_a_current_ledger_leaves_alembic_out(tmp_path: Path) -> None:
    """Alembic is not imported when there is nothing to migrate."""
    url = f"sqlite:///{tmp_path}/tape.db"
    program = OPEN + "ledger.close(); print('alembic' in sys.modules)"
    said = [
        subprocess.run(
            [sys.executable, "-c", program, url], capture_output=True, text=True, timeout=60, check=True
        ).stdout
        for _ in range(2)
    ]

    assert said == ["True\n", "False\n"]


def test_starts_at_the_same_time_make_the_tables_once(tmp_path: Path, postgres: Server) -> None:
    """Three processes that find no ledger end with one, each able to use it."""
    program = OPEN + "print(ledger.info()['revision']); ledger.close()"
    with postgres.database() as database:
        for url in (f"sqlite:///{tmp_path}/tape.db", database):
            started = [
                subprocess.Popen(
                    [sys.executable, "-c", program, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
                )
                for _ in range(3)
            ]
            assert [process.communicate(timeout=60) for process in started] == [(f"{REVISION}\n", "")] * 3


def test_a_ledger_of_a_later_version_is_refused_untouched(ledger_url: str) -> None:
    """Tables of a revision this version does not know are not guessed at."""
    Ledger.open(ledger_url).close()
    database = Database(ledger_url, create=False, busy_timeout_ms=1_000)
    with database.write() as connection:
        connection.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()

    with pytest.raises(StoreError, match="revision 9999, which this version does not know"):
        Ledger.open(ledger_url)


def test_a_ledger_of_the_first_version_is_migrated_with_all_it_holds(tmp_path: Path) -> None:
    """Signals, alerts, messages and the gate's memory stay as they are; what is new can be used."""
    url, alert = f"sqlite:///{tmp_path}/tape.db", alert_of(signal())
    at_revision(url, "0001")
    with sqlite3.connect(tmp_path / "tape.db") as connection:
        assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'mutes'").fetchall()
    connection.close()
    stepped = step_of(alert)
    fill(tmp_path / "tape.db", stepped, tmp_path / "now.db")
    before = columns_of(tmp_path / "tape.db")

    ledger = Ledger.open(url)
    after = columns_of(tmp_path / "tape.db")

    assert ledger.info()["revision"] == REVISION
    assert before.pop("alembic_version") == [{"version_num": "0001"}]
    assert after.pop("alembic_version") == [{"version_num": REVISION}]
    new = after.keys() - before.keys()
    assert {name: after.pop(name) for name in new} == {name: [] for name in new}
    later = {
        "signals": {"number"},
        "alerts": {"record", "candles"},
        "messages": {"rank", "severity", "fallback_of", "stand_in"},
    }
    for name, rows in before.items():
        for row, old in zip(after[name], rows, strict=True):
            assert {column: row[column] for column in old} == old, name
            assert row.keys() - old.keys() == ({"created_ms", "updated_ms"} | later.get(name, set())) - old.keys()
    assert [(one["rank"], one["severity"], one["stand_in"]) for one in after["messages"]] == [(0.0, "normal", None)]
    assert [(one["number"], one["created_ms"], one["updated_ms"]) for one in after["signals"]] == [(1, None, None)]
    assert {len(rows) for name, rows in after.items() if name in ("signals", "alerts", "messages", "gate_passed")} == {
        1
    }
    ledger.mute("BTCUSDT", 5)
    ledger.commit_step(stepped)
    assert ledger.mutes() == {"BTCUSDT": 5}
    ledger.commit_step(Step(VENUE, journal_id="abc", position=7))
    assert ledger.journal_position("abc") == 7
    assert [one["id"] for one in ledger.stored_signals()] == [alert.signals[0].id]
    ledger.close()


def test_what_was_followed_before_becomes_outcomes(tmp_path: Path) -> None:
    """In R and percent, as far as it is known; what is not stays empty."""
    url, path = f"sqlite:///{tmp_path}/tape.db", tmp_path / "tape.db"
    long, short = signal(), signal("ETHUSDT", side="short", entry=200.0, stop=202.0)
    at_revision(url, "0004")
    database = Database(url, create=False, busy_timeout_ms=1_000)
    with database.write() as connection:
        of_then = tables_of(connection).tables["signals"]
        for one in (long, short):
            values = signal_row(Judged(one, "passed", late=False, recv_ms=CLOSE_MS + 5, alert_id="a"))
            connection.execute(insert(of_then).values(values))
    database.close()
    touched = [
        (long.id, "BTCUSDT", "scalp", "long", "1m", "target", 67054.0, CLOSE_MS + 120_000, 0, 0, CLOSE_MS + 180_005),
        (short.id, "ETHUSDT", "scalp", "short", "1m", "time", 201.0, CLOSE_MS + 600_000, 0, 1, CLOSE_MS + 660_005),
        ("gone/X/1m/a/long/1", "X", "a", "long", "1m", "stop", 1.0, 5, 0, 0, 6),
    ]
    with sqlite3.connect(path) as raw:
        raw.executemany(f"INSERT INTO touches VALUES ({', '.join('?' * 11)})", touched)
    raw.close()

    ledger = Ledger.open(url)
    first, second = outcomes_of(ledger)
    ledger.close()
    assert (first["result"], first["bars"], first["price"], first["state"], first["source"]) == (
        "target", 3, 67054.0, "passed", "live"
    )  # fmt: skip
    assert first["gross_r"] == pytest.approx((67054.0 - 67012.5) / (67012.5 - 66950.25))
    assert (first["net_r"], first["mfe_r"], first["mae_r"], first["strength"]) == (None, None, None, 6.4)
    assert (second["result"], second["bars"], second["gross_r"], second["late"]) == ("time", 10, -0.5, True)
    assert second["gross_pct"] == pytest.approx(-0.5)


def test_a_ledger_that_a_run_of_an_earlier_version_left_is_migrated_row_by_row(tmp_path: Path) -> None:
    """Every table had rows; each is there with all that it held, and what was followed is an outcome."""
    path = left_behind(tmp_path)
    before = columns_of(path)
    assert before.pop("alembic_version") == [{"version_num": "0004"}]
    assert all(before.values())

    Ledger.open(f"sqlite:///{path}").close()
    after = columns_of(path)

    assert after["alembic_version"] == [{"version_num": REVISION}]
    touches = before.pop("touches")
    for name, rows in before.items():
        kept = [{column: row[column] for column in old} for row, old in zip(after[name], rows, strict=True)]
        assert kept == rows, name
    ends = {one["signal_id"]: (one["result"], one["price"], one["ms"], one["state"]) for one in after["outcomes"]}
    assert ends == {one["signal_id"]: (one["level"], one["price"], one["ms"], "passed") for one in touches}
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where there is no ledger yet, in either kind of database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/tape.db"
        return
    with request.getfixturevalue("postgres").database() as url:
        yield url


@pytest.fixture(scope="module")
def rows_0008(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """What a run of the last version but this left in its ledger, by table."""
    url = f"sqlite:///{left_behind(tmp_path_factory.mktemp('left'), LEFT_0008)}"
    found = rows_at(url)
    assert found.pop("alembic_version") == [{"version_num": "0008"}]
    assert [name for name, rows in found.items() if not rows] == ["corrections"]
    return found


@pytest.mark.parametrize("revision", [f"{number:04}" for number in range(1, 9)])
def test_every_earlier_revision_is_migrated_with_rows_in_it(empty_url: str, revision: str, rows_0008: Rows) -> None:
    """In either kind of database each row of each table is there with all that its table could hold then."""
    at_revision(empty_url, revision)
    before = filled(empty_url, rows_0008)
    assert len(before["signals"]) == 48

    ledger = Ledger.open(empty_url)
    after = rows_at(empty_url)

    assert ledger.info()["revision"] == REVISION
    for row in before.get("leases", []):  # the right to run has another name
        row["name"] = "scanner" if row["name"] == "run" else row["name"]
    for name, rows in before.items():
        columns = list(rows[0])
        kept = [{column: row[column] for column in columns} for row in after[name]]
        assert sorted(map(repr, kept)) == sorted(map(repr, rows)), name
    order = [row["id"] for row in sorted(after["signals"], key=lambda row: (row["close_ms"], row["id"]))]
    assert {row["id"]: row["number"] for row in after["signals"]} == {one: at + 1 for at, one in enumerate(order)}
    assert {row["role"] for row in (*after["troubles"], *after["figures"])} <= {"all"}
    ledger.commit_step(step_of(alert_of(signal("NEWUSDT"))))
    assert rows_of(ledger, metadata.tables["signals"], "number")[-1]["number"] == 49
    ledger.close()


Rows = dict[str, list[dict[str, Any]]]


def rows_at(url: str) -> Rows:
    """Every row of every table, by the names of its columns."""
    engine = engine_of(url)
    tables = MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        found = {
            table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
            for table in tables.sorted_tables
        }
    engine.dispose()
    return found


def filled(url: str, rows: Rows) -> Rows:
    """What the tables of a database can hold of these rows, put into them."""
    engine = engine_of(url)
    tables = MetaData()
    tables.reflect(engine)
    put: Rows = {}
    with engine.begin() as connection:
        for table in tables.sorted_tables:
            names = [column.name for column in table.columns]
            known = [{name: row[name] for name in names if name in row} for row in rows.get(table.name, [])]
            if known:
                connection.execute(insert(table), known)
                put[table.name] = known
    engine.dispose()
    return put


def engine_of(url: str) -> Engine:
    """For a ledger's URL."""
    return sqlalchemy.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))


def at_revision(url: str, revision: str) -> None:
    """Make the tables of an earlier version."""
    config = Config()
    config.set_main_option("script_location", str(Path(tapewatch.store.__file__).parent / "migrations"))
    engine = engine_of(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def fill(path: Path, step: Step, now: Path) -> None:
    """Put into the tables of an earlier version what this version's have after a step, as far as they can hold it."""
    ledger = Ledger.open(f"sqlite:///{now}")
    ledger.commit_step(step)
    ledger.close()
    connection = sqlite3.connect(path)
    connection.execute("ATTACH ? AS now", (str(now),))
    for (name,) in connection.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'").fetchall():
        if name != "alembic_version":
            columns = ", ".join(row[1] for row in connection.execute(f"PRAGMA main.table_info({name})"))
            connection.execute(f"INSERT INTO main.{name} ({columns}) SELECT {columns} FROM now.{name}")
    connection.commit()
    connection.close()


def columns_of(path: Path) -> dict[str, list[dict[str, object]]]:
    """Every row of every table, by the names of its columns."""
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    names = [row["name"] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    rows = {name: [dict(row) for row in connection.execute(f"SELECT * FROM {name}")] for name in names}
    connection.close()
    return rows
