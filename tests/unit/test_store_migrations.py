from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import insert

import tapewatch.store
from delivery_samples import CLOSE_MS, VENUE, alert_of, signal, step_of
from ledger_rows import left_behind, outcomes_of
from postgres_server import Server
from tapewatch.errors import StoreError
from tapewatch.model import Judged
from tapewatch.store import Ledger, Step
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
    before = everything(tmp_path / "tape.db")

    ledger = Ledger.open(url)
    after = everything(tmp_path / "tape.db")

    assert ledger.info()["revision"] == REVISION
    new = ("mutes", "journals", "corrections", "trades", "fills", "funding_paid")
    newer = ("paper_accounts", "account_days", "outcomes", "baselines", "channel_states", "troubles")
    assert [after.pop(name) for name in (*new, *newer, "maintenance", "leases", "figures", "configurations")] == [
        []
    ] * 16
    assert before.pop("alembic_version") == [("0001",)]
    assert after.pop("alembic_version") == [(REVISION,)]
    wider = {"alerts": (None, None), "messages": (0.0, "normal", None, None)}  # columns that came later
    for name, columns in wider.items():
        assert {row[-len(columns) :] for row in after[name]} == {columns}
        after[name] = [row[: -len(columns)] for row in after[name]]
    assert after == before
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
        for one in (long, short):
            values = signal_row(Judged(one, "passed", late=False, recv_ms=CLOSE_MS + 5, alert_id="a"))
            connection.execute(insert(metadata.tables["signals"]).values(values))
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


def at_revision(url: str, revision: str) -> None:
    """Make the tables of an earlier version."""
    config = Config()
    config.set_main_option("script_location", str(Path(tapewatch.store.__file__).parent / "migrations"))
    engine = sqlalchemy.create_engine(url)
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


def everything(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table."""
    connection = sqlite3.connect(path)
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    rows = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in names}
    connection.close()
    return rows


def columns_of(path: Path) -> dict[str, list[dict[str, object]]]:
    """Every row of every table, by the names of its columns."""
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    names = [row["name"] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    rows = {name: [dict(row) for row in connection.execute(f"SELECT * FROM {name}")] for name in names}
    connection.close()
    return rows
