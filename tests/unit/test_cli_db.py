"""`db info` and `db upgrade`, of a ledger in either kind of database."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import sqlalchemy

from command_line import Command
from delivery_samples import alert_of, signal, step_of
from ledger_rows import left_behind
from tapewatch.store import Ledger
from tapewatch.store.database import Database
from tapewatch.store.lease import Right
from tapewatch.store.schema import REVISION, metadata

HERE = f"process {os.getpid()} on {socket.gethostname()}"


@pytest.fixture
def config(tmp_path: Path, ledger_url: str) -> Path:
    """A configuration whose ledger is at `ledger_url`, where none is yet."""
    url = ledger_url.replace("://tape@", "://tape:hunter2@")
    path = tmp_path / "tapewatch.yaml"
    path.write_text(
        "universe: {include: [BTCUSDT]}\nstrategies: {scalp: {}}\n"
        f"ledger: {{url: '{ledger_url}', folder: '{tmp_path}'{', password_file: word' * (url != ledger_url)}}}\n"
    )
    (tmp_path / "word").write_text("hunter2")
    (tmp_path / "word").chmod(0o600)
    return path


def set_revision(url: str, revision: str) -> None:
    """As another version would have left it."""
    database = Database(url, create=False, busy_timeout_ms=1_000)
    with database.write() as connection:
        connection.execute(sqlalchemy.text(f"UPDATE alembic_version SET version_num = '{revision}'"))
    database.close()


def test_info_says_how_much_is_where_and_who_has_it(run: Command, config: Path, ledger_url: str) -> None:
    """By table and by state of messages; a right is held or free, and looking takes none."""
    ledger = Ledger.open(ledger_url)
    ledger.commit_step(step_of(alert_of(signal())))
    lease = ledger.lease()
    kind = ledger_url.partition(":")[0]
    name = ledger_url.removeprefix("sqlite:///")
    beside = config.with_name(f"{name.rpartition('/')[2]}.journal")
    beside.mkdir()
    (beside / "some").write_bytes(b"12345")

    (found,) = run.objects("db", "info", "-c", config)
    assert (found["ledger"], found["kind"]) == (name.replace("tape@", "tape:***@"), kind)
    assert (found["revision"], found["newest"]) == (REVISION, REVISION)
    assert found["rows"] == ledger.info()["rows"]
    assert sorted(found["rows"]) == sorted(found["bytes"]) == sorted(metadata.tables)
    assert 0 < sum(found["bytes"].values()) <= found["database_bytes"] + (found["wal_bytes"] or 0)
    assert (found["wal_bytes"] is None) == (kind == "postgresql")
    assert found["messages"] == {"queued": 1}
    assert found["journal"] == {"folder": str(beside), "files": 1, "bytes": 5}
    assert found["archive"]["files"] == 0
    free = {"held": False, "last": None}
    assert found["rights"] == {"scanner": {"held": True, "last": HERE}, "positions": free, "relay": free}

    code, lines, err = run("db", "info", "-c", config)
    assert (code, err) == (0, "")
    assert f"revision  {REVISION}, this version's" in lines
    assert f"right     to find signals: held by {HERE}" in lines
    assert "right     to deliver: free" in lines
    assert "messages  1 queued" in lines
    assert not any("hunter2" in line for line in lines)
    lease.release()
    ledger.close()


def test_info_of_another_versions_ledger_leaves_it_as_it_is(run: Command, config: Path, tmp_path: Path) -> None:
    """The tables that it has are counted; nothing is migrated, and a right that has no table yet is free."""
    config.write_text(config.read_text().partition("ledger:")[0])
    left_behind(tmp_path / "old").rename(tmp_path / "tapewatch.db")

    (found,) = run.objects("db", "info", "-c", config)
    assert (found["revision"], found["newest"]) == ("0004", REVISION)
    assert "leases" not in found["rows"]
    assert found["rows"]["signals"] == 31
    assert {one["held"] for one in found["rights"].values()} == {False}
    assert (
        f"revision  0004; this version's is {REVISION}; `tapewatch db upgrade` migrates"
        in run("db", "info", "-c", config)[1]
    )


def test_info_where_there_is_no_ledger_makes_none(run: Command, config: Path, ledger_url: str) -> None:
    """A file is not created; of an empty database that it is empty."""
    if ledger_url.startswith("sqlite"):
        assert "does not exist" in run.refused("db", "info", "-c", config)
    else:
        set_aside = Database(ledger_url, create=False, busy_timeout_ms=1_000)
        with set_aside.write() as connection:
            sqlalchemy.MetaData().reflect(connection)
            metadata.drop_all(connection)
            connection.execute(sqlalchemy.text("DROP TABLE alembic_version"))
        set_aside.close()
        (found,) = run.objects("db", "info", "-c", config)
        assert (found["revision"], found["rows"], found["messages"]) == (None, {}, {})


def test_upgrade_says_from_where_to_where(run: Command, config: Path, tmp_path: Path) -> None:
    """And that there is nothing to do; what was in the tables stays."""
    config.write_text(config.read_text().partition("ledger:")[0])
    name = f"ledger {left_behind(tmp_path / 'old').rename(tmp_path / 'tapewatch.db')}"

    assert run("db", "upgrade", "-c", config) == (0, [f"{name} migrated from revision 0004 to revision {REVISION}"], "")
    assert run("db", "upgrade", "-c", config) == (0, [f"{name} is at revision {REVISION}: nothing to do"], "")
    (found,) = run.objects("db", "info", "-c", config)
    assert (found["revision"], found["rows"]["signals"]) == (REVISION, 31)


def test_upgrade_makes_tables_where_there_are_none(run: Command, config: Path, tmp_path: Path) -> None:
    """As a first start does."""
    config.write_text(config.read_text().partition("ledger:")[0])

    assert run("db", "upgrade", "-c", config)[1] == [f"ledger {tmp_path}/tapewatch.db made with revision {REVISION}"]
    assert run.objects("db", "info", "-c", config)[0]["revision"] == REVISION


@pytest.mark.parametrize("right", ["scanner", "positions", "relay"])
def test_upgrade_waits_for_nobody(run: Command, config: Path, ledger_url: str, right: Right) -> None:
    """A run in any role that has the ledger is named, and it stays as it is."""
    ledger = Ledger.open(ledger_url)
    lease = ledger.lease(right)
    set_revision(ledger_url, "0005")

    assert f"is in use by {HERE}; stop it first" in run.refused("db", "upgrade", "-c", config)
    assert run.objects("db", "info", "-c", config)[0]["revision"] == "0005"
    lease.release()
    ledger.close()


def test_a_newer_ledger_is_refused_untouched(run: Command, config: Path, ledger_url: str) -> None:
    """With exit 1 and in words."""
    Ledger.open(ledger_url).close()
    set_revision(ledger_url, "9999")

    code, lines, err = run("db", "upgrade", "-c", config)
    assert (code, lines) == (1, [])
    assert "has tables of revision 9999, which this version does not know; use a later one" in err
    assert run.objects("db", "info", "-c", config)[0]["revision"] == "9999"
