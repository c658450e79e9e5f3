"""`db backup` and `db restore`: whole or not there, into either kind of database, and nothing over what is there."""

from __future__ import annotations

import fcntl
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from command_line import Command
from delivery_samples import alert_of, signal, step_of
from ledger_rows import left_behind
from postgres_server import Server
from tapewatch.store import Ledger, backup
from tapewatch.store.database import Database
from tapewatch.store.schema import metadata

PLAIN = "universe: {include: [BTCUSDT]}\nstrategies: {scalp: {}}\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where a configuration is, with a ledger of an earlier version and its journal, all that a run left."""
    left_behind(tmp_path / "home")
    (tmp_path / "home" / "tapewatch.yaml").write_text(PLAIN)
    (tmp_path / "home" / ".env").write_text("MAIL_PASSWORD=hunter2\n")
    (tmp_path / "home" / ".env").chmod(0o600)
    return tmp_path / "home"


def configured(folder: Path, url: str) -> Path:
    """A configuration for a ledger at `url`."""
    folder.mkdir(exist_ok=True)
    path = folder / "tapewatch.yaml"
    path.write_text(f"{PLAIN}ledger: {{url: '{url}', folder: '{folder}'}}\n")
    return path


def back_up(run: Command, config: Path, to: Path, *options: object) -> Path:
    """The folder of a new backup."""
    code, lines, err = run("db", "backup", "--to", to, "-c", config, *options)
    assert (code, err) == (0, "")
    return Path(lines[0].removeprefix("wrote ").partition(": ")[0])


def tables(url: str) -> dict[str, list[Any]]:
    """Every row of every table."""
    database = Database(url, create=False, busy_timeout_ms=1_000)
    with database.read() as connection:
        found = {
            name: [tuple(row) for row in connection.execute(sqlalchemy.select(table).order_by(*table.primary_key))]
            for name, table in metadata.tables.items()
        }
    database.close()
    return found


def contents(folder: Path) -> dict[str, bytes]:
    """The journal's files."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".journal", ".snapshot")}


def test_a_backup_brings_back_all_that_there_was(run: Command, home: Path, tmp_path: Path) -> None:
    """Every row, the journal to the byte and with its times, the configuration; the copy's ledger is beside it."""
    config, url = home / "tapewatch.yaml", f"sqlite:///{home}/tapewatch.db"
    Ledger.open(url).close()
    made = back_up(run, config, tmp_path / "backups")
    assert made.parent == tmp_path / "backups"
    assert {path.stat().st_mode & 0o077 for path in (made, *made.rglob("*"))} == {0}

    code, lines, err = run("db", "restore", made, "--into", tmp_path / "new")
    assert (code, err) == (0, "")
    new = tmp_path / "new"
    assert lines[-1] == f"next: tapewatch replay -c {new}/tapewatch.yaml -c {new}/restored.yaml --verify"
    assert tables(f"sqlite:///{new}/tapewatch.db") == tables(url)
    journal = home / "tapewatch.db.journal"
    assert contents(new / "tapewatch.db.journal") == contents(journal) != {}
    for path in (new / "tapewatch.db.journal").glob("*.journal"):
        assert path.stat().st_mtime_ns == (journal / path.name).stat().st_mtime_ns
    assert (new / "tapewatch.yaml").read_bytes() == config.read_bytes()
    assert not [path for path in tmp_path.rglob("*") if "restoring" in path.name or "partial" in path.name]


def test_secrets_are_taken_only_when_asked_for(run: Command, home: Path, tmp_path: Path) -> None:
    """`.env` stays where it is; with --with-secrets it is in the backup and restored for its owner only."""
    for options, wanted in (((), False), (("--with-secrets",), True)):
        made = back_up(run, home / "tapewatch.yaml", tmp_path / "backups", *options)
        found = any(b"hunter2" in path.read_bytes() for path in made.rglob("*") if path.is_file())
        new = tmp_path / f"new{wanted}"
        assert run("db", "restore", made, "--into", new)[0] == 0
        assert found == (new / ".env").exists() == wanted
    assert (new / ".env").stat().st_mode & 0o777 == 0o600


def test_what_the_configuration_names_is_taken_too(run: Command, tmp_path: Path) -> None:
    """Layers in their order, files of strategies and templates; what is not beside them is in a folder of its own."""
    home, other = tmp_path / "home", tmp_path / "other"
    (home / "words").mkdir(parents=True)
    other.mkdir()
    (home / "words" / "signal.txt.j2").write_text("{{ symbol }}")
    shutil.copy(Path(backup.__file__).parents[1] / "strategies" / "trend.yaml", home / "mine.yaml")
    (home / "base.yaml").write_text(f"{PLAIN}alerts: {{templates: words}}\nledger: {{url: 'sqlite:///tapewatch.db'}}\n")
    (other / "more.yaml").write_text(f"strategies: {{mine: {{file: {home}/mine.yaml}}}}\n")
    Ledger.open(f"sqlite:///{home}/tapewatch.db").close()

    layers = ("-c", home / "base.yaml", "-c", other / "more.yaml")
    code, lines, err = run("db", "backup", "--to", tmp_path / "b", *layers)
    assert (code, err) == (0, "")
    (made,) = (path for path in (tmp_path / "b").iterdir() if path.is_dir())
    assert lines[0].startswith(f"wrote {made}: 0 rows, 0 files of the journal, 4 files of the configuration, ")
    code, lines, err = run("db", "restore", made, "--into", tmp_path / "new")
    assert (code, err) == (0, "")
    files = " -c ".join(f"{tmp_path}/new/{name}" for name in ("base.yaml", "outside/1-more.yaml", "restored.yaml"))
    assert lines[-1] == f"next: tapewatch replay -c {files} --verify"
    assert (tmp_path / "new" / "words" / "signal.txt.j2").read_text() == "{{ symbol }}"
    assert (tmp_path / "new" / "mine.yaml").exists()


@pytest.mark.parametrize("back", [False, True], ids=["to_postgresql", "from_postgresql"])
def test_the_ledger_may_change_its_kind(
    run: Command, home: Path, tmp_path: Path, postgres: Server, *, back: bool
) -> None:
    """Every row is what it was in the other kind of database, and the revision is this version's."""
    with postgres.database() as url:
        config = configured(tmp_path / "served", url)
        ledger = Ledger.open(f"sqlite:///{home}/tapewatch.db")
        with ledger._database.write() as connection:
            sample = {"at_ms": 5, "started_ms": 1, "body": bytes(range(256))}
            connection.execute(sqlalchemy.insert(metadata.tables["figures"]), [sample])
        ledger.close()
        made = back_up(run, home / "tapewatch.yaml", tmp_path / "backups")
        code, lines, err = run("db", "restore", made, "-c", config)
        assert (code, err) == (0, "")
        assert lines[-1] == f"next: tapewatch replay -c {config} --verify"
        wanted = tables(f"sqlite:///{home}/tapewatch.db")
        assert tables(url) == wanted
        beside = next(path for path in (tmp_path / "served").iterdir() if path.name.endswith(".journal"))
        assert contents(beside) == contents(home / "tapewatch.db.journal")
        if back:
            again = back_up(run, config, tmp_path / "backups")
            assert json.loads((again / "manifest.json").read_bytes())["kind"] == "postgresql"
            assert run("db", "restore", again, "--into", tmp_path / "new")[0] == 0
            assert tables(f"sqlite:///{tmp_path}/new/tapewatch.db") == wanted
            info = ("db", "info", "-c", tmp_path / "new" / "tapewatch.yaml", "-c", tmp_path / "new" / "restored.yaml")
            assert run.objects(*info)[0]["ledger"] == f"{tmp_path}/new/tapewatch.db"


def test_a_backup_of_an_earlier_version_is_migrated_when_it_is_restored(
    run: Command, home: Path, tmp_path: Path, postgres: Server
) -> None:
    """As the ledger itself would be; making one changes nothing of it."""
    made = back_up(run, home / "tapewatch.yaml", tmp_path / "backups")
    assert json.loads((made / "manifest.json").read_bytes())["revision"] == "0004"
    assert run.objects("db", "info", "-c", home / "tapewatch.yaml")[0]["revision"] == "0004"

    assert run("db", "restore", made, "--into", tmp_path / "new")[0] == 0
    Ledger.open(f"sqlite:///{home}/tapewatch.db").close()  # which migrates it
    wanted = tables(f"sqlite:///{home}/tapewatch.db")
    assert wanted["outcomes"]
    assert tables(f"sqlite:///{tmp_path}/new/tapewatch.db") == wanted
    with postgres.database() as url:
        assert run("db", "restore", made, "-c", configured(tmp_path / "served", url))[0] == 0
        assert tables(url) == wanted


@pytest.mark.parametrize("part", ["ledger.rows.gz", "journal", "manifest.json", "config/tapewatch.yaml"])
@pytest.mark.parametrize("harm", ["changed", "cut", "gone"])
def test_a_damaged_backup_is_refused_before_anything_is_made(
    run: Command, home: Path, tmp_path: Path, part: str, harm: str
) -> None:
    """One bit, one byte or one file is enough; it is named."""
    made = back_up(run, home / "tapewatch.yaml", tmp_path / "backups")
    path = made / part if part != "journal" else next((made / "journal").glob("*.journal"))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes({"changed": raw, "cut": path.read_bytes()[:-1], "gone": b""}[harm])
    if harm == "gone":
        path.unlink()

    code, lines, err = run("db", "restore", made, "--into", tmp_path / "new")
    assert (code, lines) == (2 if (part, harm) == ("manifest.json", "gone") else 1, [])
    assert path.name in err
    assert not (tmp_path / "new").exists()


def test_nothing_is_restored_over_what_is_there(run: Command, home: Path, tmp_path: Path) -> None:
    """A folder with a file, tables, a journal: each is refused, and stays as it was."""
    made = back_up(run, home / "tapewatch.yaml", tmp_path / "backups")
    before = contents(home / "tapewatch.db.journal")
    there = home.parent / "there"
    config = configured(there, f"sqlite:///{there}/tapewatch.db")

    assert f"{there} is not an empty folder" in run.refused("db", "restore", made, "--into", there)
    assert "nothing is restored over a journal" in run.refused("db", "restore", made, "-c", home / "tapewatch.yaml")
    assert contents(home / "tapewatch.db.journal") == before
    ledger = Ledger.open(f"sqlite:///{there}/tapewatch.db")
    ledger.commit_step(step_of(alert_of(signal())))
    assert "nothing is restored over what is there" in run.refused("db", "restore", made, "-c", config)
    assert ledger.info()["rows"]["signals"] == 1
    ledger.close()
    assert not list(there.glob("*.journal"))
    assert "say either --into" in run.refused("db", "restore", made)
    assert "say either --into" in run.refused("db", "restore", made, "--into", tmp_path / "new", "-c", config)


def test_a_restore_that_fails_leaves_the_places_empty(
    run: Command, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both the tables and what was copied of the journal; it can be tried again."""
    made = back_up(run, home / "tapewatch.yaml", tmp_path / "backups")
    config = configured(tmp_path / "there", f"sqlite:///{tmp_path}/there/tapewatch.db")
    copied: list[Any] = []

    def fail_at_second(*arguments: Any, **named: Any) -> None:
        copied.append(arguments)
        if len(copied) > 1:
            raise OSError(28, "No space left on device")
        real(*arguments, **named)

    real = shutil.copyfile
    monkeypatch.setattr(shutil, "copyfile", fail_at_second)
    code, _, err = run("db", "restore", made, "-c", config)
    assert (code, "the disk is full" in err) == (1, True)
    assert not contents(tmp_path / "there" / "tapewatch.db.journal")
    monkeypatch.undo()
    assert run("db", "restore", made, "-c", config)[0] == 0


def at(home: Path, url: str) -> Path:
    """A configuration whose ledger is at `url`, with this folder's journal; the ledger has what an earlier one had."""
    config = home / "at.yaml"
    config.write_text(f"{PLAIN}ledger: {{url: '{url}', folder: '{home}'}}\njournal: {{folder: tapewatch.db.journal}}\n")
    return config


def test_what_is_there_goes_only_when_asked_for(
    run: Command, home: Path, tmp_path: Path, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --replace, tables and journal of before are there at once and alone; when that fails, those of now stay."""
    made = back_up(run, home / "tapewatch.yaml", tmp_path / "backups")
    before, config = contents(home / "tapewatch.db.journal"), at(home, ledger_url)
    ledger = Ledger.open(ledger_url)
    ledger.commit_step(step_of(alert_of(signal())))
    ledger.close()
    journal = home / "tapewatch.db.journal"
    (journal / f"{10**19:020d}.journal").write_bytes(b"of now")
    apart = home / "tapewatch.db.journal-positions"
    apart.mkdir()
    (apart / f"{1:020d}.journal").write_bytes(b"of now")
    now, rows = contents(journal), tables(ledger_url)

    def full(*_arguments: Any, **_named: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    code, _, err = run("db", "restore", made, "--replace", "-c", config)
    assert (code, "the disk is full" in err) == (1, True)
    monkeypatch.undo()
    assert (contents(journal), tables(ledger_url)) == (now, rows)
    assert contents(apart)

    assert run("db", "restore", made, "--replace", "-c", config)[0] == 0
    assert contents(journal) == before
    assert not apart.exists()
    Ledger.open(f"sqlite:///{home}/tapewatch.db").close()  # which migrates it
    assert tables(ledger_url) == tables(f"sqlite:///{home}/tapewatch.db")
    assert not list(home.glob("*.replaced"))


def test_an_earlier_version_gets_its_own_tables_back(run: Command, home: Path, tmp_path: Path, ledger_url: str) -> None:
    """With --unmigrated they are of the backup's revision, with all that was in them, over those of this version."""
    made, config = back_up(run, home / "tapewatch.yaml", tmp_path / "backups"), at(home, ledger_url)
    assert run("db", "restore", made, "--replace", "-c", config)[0] == 0
    assert run("db", "restore", made, "--replace", "--unmigrated", "-c", config)[0] == 0
    (found,) = run.objects("db", "info", "-c", config)
    (wanted,) = run.objects("db", "info", "-c", home / "tapewatch.yaml")
    assert found["revision"] == "0004"
    assert found["rows"] == wanted["rows"]
    told = run.refused("db", "restore", made, "--replace", "--into", tmp_path / "new")
    assert "--into makes a new one" in told


def test_only_whole_backups_are_counted_and_removed(run: Command, home: Path, tmp_path: Path) -> None:
    """--keep leaves the newest so many, whatever else is in the folder; what a killed one left goes by itself."""
    to, config = tmp_path / "backups", home / "tapewatch.yaml"
    first, second = (back_up(run, config, to) for _ in range(2))
    unfinished = to / ".tapewatch-20250520T140700.000Z.partial"
    broken, mine = to / "tapewatch-20200520T140700.000Z", to / "mine"
    for path in (unfinished, broken, mine):
        path.mkdir()

    code, lines, err = run("db", "backup", "--to", to, "--keep", 2, "-c", config)
    assert (code, lines[1:], err) == (0, [f"removed {first}"], "")
    assert {broken, mine, second} < {path for path in to.iterdir() if path.is_dir()}
    assert len(list(to.iterdir())) == 5  # and the new one, and the lock
    assert "is no whole backup" in run.refused("db", "restore", broken, "--into", tmp_path / "new")


def test_what_was_just_made_stays_though_the_clock_was_set_back(run: Command, home: Path, tmp_path: Path) -> None:
    """Backups are named by the time; those from what is now the future are not newer than it."""
    to, config = tmp_path / "backups", home / "tapewatch.yaml"
    future = to / "tapewatch-29990101T000000.000Z"
    back_up(run, config, to).rename(future)
    code, lines, _ = run("db", "backup", "--to", to, "--keep", 1, "-c", config)
    assert (code, lines[1:]) == (0, [f"removed {future}"])
    assert len(list(to.glob("tapewatch-*"))) == 1


def test_a_backup_that_fails_leaves_nothing(
    run: Command, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not on a full disk, nor while another is being made, nor of a ledger that is not there."""
    to, config = tmp_path / "backups", home / "tapewatch.yaml"

    def full(*_arguments: Any, **_named: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    code, _, err = run("db", "backup", "--to", to, "-c", config)
    assert (code, "the disk is full" in err) == (1, True)
    monkeypatch.undo()
    with (to / ".lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another backup is being made" in run.refused("db", "backup", "--to", to, "-c", config)
    (home / "tapewatch.db").unlink()
    assert "does not exist" in run.refused("db", "backup", "--to", to, "-c", config)
    assert list(to.iterdir()) == [to / ".lock"]


def test_every_table_of_every_revision_is_backed_up(tmp_path: Path) -> None:
    """A table that a later revision drops stays in the list."""
    versions = Path(backup.__file__).parent / "migrations" / "versions"
    made = {
        word.split('"')[1] for path in versions.glob("r*.py") for word in path.read_text().split("op.create_table(")[1:]
    }
    assert made == backup.TABLES


def test_a_backup_of_a_later_version_is_refused(run: Command, home: Path, tmp_path: Path) -> None:
    """Of a later format, and of later tables."""
    url, config = f"sqlite:///{home}/tapewatch.db", home / "tapewatch.yaml"
    made = back_up(run, config, tmp_path / "backups")
    manifest = json.loads((made / "manifest.json").read_bytes())
    for changed, words in (
        ({"format": 2}, "of format 2, which this version does not know"),
        ({"revision": "9999"}, "has tables of revision 9999, which this version does not know"),
        ({"parts": [manifest["parts"][0] | {"name": "../x"}]}, "names a file outside of itself"),
    ):
        raw = json.dumps(manifest | changed).encode()
        (made / "manifest.json").write_bytes(raw)
        (made / "manifest.sha256").write_text(f"{backup.hashlib.sha256(raw).hexdigest()}  manifest.json\n")
        code, _, err = run("db", "restore", made, "--into", tmp_path / "new")
        assert (code, words in err) == (1, True), err
        assert not (tmp_path / "new").exists()
    database = Database(url, create=False, busy_timeout_ms=1_000)
    with database.write() as connection:
        connection.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    code, _, err = run("db", "backup", "--to", tmp_path / "backups", "-c", config)
    assert (code, "has tables of revision 9999" in err) == (1, True)
