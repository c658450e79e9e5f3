"""`tapewatch db`: what is in the ledger, its tables brought to this version's, backups of it."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapewatch.cli import options
from tapewatch.cli.setup import DEFAULT_PATHS, ConfigOption
from tapewatch.errors import SetupError, StoreError

if TYPE_CHECKING:
    from tapewatch.config import Config
    from tapewatch.store.backup import Manifest
    from tapewatch.store.database import Database

app = typer.Typer(
    no_args_is_help=True,
    help="The ledger: what is in it, its tables, backups.\n\nExample: tapewatch db info -c tapewatch.yaml",
)

#: What a right is for, as people are told.
_RIGHTS = {"scanner": "to find signals", "positions": "to keep positions", "relay": "to deliver"}
#: The layer of configuration that `restore --into` writes.
RESTORED = "restored.yaml"


def _loaded(config: list[Path] | None) -> Config:
    """The configuration, whose strategies nobody needs here."""
    from tapewatch.config import load

    return load(config or DEFAULT_PATHS, os.environ)


@contextmanager
def _database(url: str, *, create: bool) -> Iterator[Database]:
    from tapewatch.store.database import Database

    database = Database(url, create=create, busy_timeout_ms=5_000)
    try:
        yield database
    finally:
        database.close()


@app.command()
def info(
    config: ConfigOption = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show where the ledger is, how much is in it, how large it is, and which process has it now. Changes nothing.

    Example: tapewatch db info -c tapewatch.yaml --json
    """
    from tapewatch.store.overview import file_bytes, overview

    loaded = _loaded(config)
    with _database(loaded.ledger.address, create=False) as database:
        found = overview(database)
    for name, folder in (("journal", loaded.journal_folder), ("archive", loaded.archive_folder)):
        files = [path for path in folder.rglob("*") if path.is_file()]
        found[name] = {"folder": str(folder), "files": len(files), "bytes": file_bytes(files)}
    if json:
        options.print_json(found)
        return
    sys.stdout.write("".join(f"{line}\n" for line in _lines(found)))


def _lines(found: dict[str, Any]) -> Iterator[str]:
    yield f"{'ledger':10}{found['ledger']} ({found['kind']})"
    yield f"{'revision':10}{_revision(found)}"
    size = _megabytes(found["database_bytes"])
    yield f"{'size':10}{size}" + (f" and {_megabytes(found['wal_bytes'])} of WAL" if found["wal_bytes"] else "")
    for name in ("journal", "archive"):
        one = found[name]
        yield f"{name:10}{_megabytes(one['bytes'])} in {options.counted(one['files'], 'file')}: {one['folder']}"
    for name, one in found["rights"].items():
        last = f", last by {one['last']}" if one["last"] else ""
        yield f"{'right':10}{_RIGHTS[name]}: " + (f"held by {one['last']}" if one["held"] else f"free{last}")
    states = ", ".join(f"{count:,} {state}" for state, count in sorted(found["messages"].items()))
    yield f"{'messages':10}{states or 'none'}"
    for name, count in sorted(found["rows"].items()):
        size = f"  {_megabytes(found['bytes'][name])}" if name in found["bytes"] else ""
        yield f"{'table':10}{name:15} {count:>12,} rows{size}"


def _revision(found: dict[str, Any]) -> str:
    revision, newest = found["revision"], found["newest"]
    if revision is None:
        return "no tables yet; `tapewatch run` or `tapewatch db upgrade` makes them"
    older = "; `tapewatch db upgrade` migrates" * (revision < newest)
    return f"{revision}, this version's" if revision == newest else f"{revision}; this version's is {newest}{older}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.2f} MB"


@app.command()
def upgrade(config: ConfigOption = None) -> None:
    """Bring the ledger's tables to this version's, as a start does, or make them; refused while a run has the ledger.

    Example: tapewatch db upgrade -c tapewatch.yaml
    """
    from tapewatch.store.lease import alone
    from tapewatch.store.migrate import ensure_schema, stored_revision
    from tapewatch.store.schema import REVISION

    with _database(_loaded(config).ledger.address, create=True) as database:
        with database.read() as connection:
            before = stored_revision(connection)
        if before == REVISION:
            sys.stdout.write(f"{database.name} is at revision {REVISION}: nothing to do\n")
            return
        with alone(database):
            ensure_schema(database, create=True)
        done = "made with" if before is None else f"migrated from revision {before} to"
        sys.stdout.write(f"{database.name} {done} revision {REVISION}\n")


@app.command()
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    vacuum: Annotated[
        bool, typer.Option("--vacuum", help="Write a SQLite file anew, without its free space; no run may be on.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Remove what the ledger need not keep any more by `ledger.keep`, as a run does once a day; one may be on.

    Example: tapewatch db prune --dry-run -c tapewatch.yaml
    """
    from tapewatch.store.lease import alone
    from tapewatch.store.migrate import ensure_schema
    from tapewatch.store.retention import prune as removed

    loaded = _loaded(config)
    if vacuum and (dry_run or loaded.ledger.file is None):
        raise SetupError(
            "--vacuum changes the file: not with --dry-run" if dry_run else "--vacuum is for a SQLite file"
        )
    with _database(loaded.ledger.address, create=False) as database, ExitStack() as stack:
        if vacuum:
            stack.enter_context(alone(database))
        ensure_schema(database, create=False)
        now_ms = time.time_ns() // 1_000_000
        counts = removed(database, loaded.ledger.keep.model_dump(), now_ms, dry_run=dry_run)
        found = ", ".join(f"{count:,} of {name}" for name, count in counts.items())
        sys.stdout.write(f"{'would remove' if dry_run else 'removed'} rows: {found}\n")
        if vacuum:
            before = _file_size(database)
            database.vacuum()
            sys.stdout.write(f"{_megabytes(before)} before, {_megabytes(_file_size(database))} now\n")


def _file_size(database: Database) -> int:
    assert database.file is not None
    return database.file.stat().st_size


@app.command()
def backup(
    to: Annotated[Path, typer.Option("--to", help="The folder of backups; each gets one of its own in it.")],
    keep: Annotated[int | None, typer.Option("--keep", min=1, help="Remove all but the newest so many.")] = None,
    with_secrets: Annotated[bool, typer.Option("--with-secrets", help="Take the `.env` files, too.")] = False,
    config: ConfigOption = None,
) -> None:
    """Write ledger, journal and configuration as of now into a folder of their own; a run may be on.

    Example: tapewatch db backup --to /var/backups/tapewatch --keep 7
    """
    from tapewatch.store.backup import CONFIG, make, remove_old

    loaded = _loaded(config)
    files = _config_files(loaded, with_secrets=with_secrets)
    configs = [name for name, path in files.items() if path in loaded.sources and path.name != ".env"]
    with _database(loaded.ledger.address, create=False) as database:
        now_ms = time.time_ns() // 1_000_000
        path, made = make(database, _journals(loaded), to, now_ms, files=files, configs=configs)
    size = _megabytes(sum(part.bytes for part in made.parts))
    counted = [
        options.counted(sum(made.rows.values()), "row"),
        f"{options.counted(len(made.under('journal')), 'file')} of the journal",
        f"{options.counted(len(made.under(CONFIG)), 'file')} of the configuration",
    ]
    sys.stdout.write(f"wrote {path}: {', '.join(counted)}, {size}\n")
    for old in remove_old(to, keep, path) if keep is not None else ():
        sys.stdout.write(f"removed {old}\n")


def _journals(loaded: Config) -> dict[str, Path]:
    """Their folders, by their names in a backup."""
    from tapewatch.live.roles import journal_of
    from tapewatch.store.backup import JOURNAL, OF_POSITIONS

    return {JOURNAL: loaded.journal_folder, OF_POSITIONS: journal_of(loaded, "positions")}


def _config_files(loaded: Config, *, with_secrets: bool) -> dict[str, Path]:
    """The files of a configuration, by their path below the first one's folder; what is elsewhere is in `outside`."""
    wanted = [path for path in loaded.sources if with_secrets or path.name != ".env"]
    wanted += [Path(spec["file"]) for spec in loaded.strategies.values() if "file" in spec]
    wanted += [score.model for score in loaded.gate.score]
    if loaded.alerts.templates is not None:
        wanted += sorted(path for path in loaded.alerts.templates.glob("*") if path.is_file())
    base = loaded.sources[0].absolute().parent
    files: dict[str, Path] = {}
    for number, path in enumerate(dict.fromkeys(wanted)):
        whole = path.absolute()
        files[str(whole.relative_to(base)) if whole.is_relative_to(base) else f"outside/{number}-{path.name}"] = path
    return files


@app.command()
def restore(
    backup: Annotated[Path, typer.Argument(metavar="FROM", help="The folder of one backup.")],
    into: Annotated[Path | None, typer.Option("--into", help="A new or empty folder for everything.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="With -c: remove first what ledger and journal hold.")
    ] = False,
    unmigrated: Annotated[
        bool, typer.Option("--unmigrated", help="With -c: leave the tables as they were, for an earlier version.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Restore a backup into a new folder, or ledger and journal to where a configuration has them.

    Nothing is overwritten without --replace.

    Example: tapewatch db restore /var/backups/tapewatch/tapewatch-20250520T140700.000Z --into restored
    """
    from tapewatch.store.backup import opened
    from tapewatch.store.restore import restore as filled

    if (into is None) == (config is None):
        raise SetupError("say either --into, a folder for everything, or -c, whose ledger and journal to fill")
    if into is not None and (replace or unmigrated):
        raise SetupError("--replace and --unmigrated are for the ledger of -c; --into makes a new one")
    manifest = opened(backup)
    if into is None:
        loaded = _loaded(config)
        with _database(loaded.ledger.address, create=True) as database:
            filled(backup, manifest, database, _journals(loaded), replace=replace, migrate=not unmigrated)
        files = config or []
    else:
        _restore_into(into, backup, manifest)
        files = [into / name for name in dict.fromkeys([*manifest.configs, RESTORED])]
    rows = options.counted(sum(manifest.rows.values()), "row")
    sys.stdout.write(f"restored {rows} as of {options.iso(manifest.created_ms // 1_000 * 1_000)} UTC\n")
    sys.stdout.write(f"next: tapewatch replay{''.join(f' -c {file}' for file in files)} --verify\n")


def _restore_into(into: Path, backup: Path, manifest: Manifest) -> None:
    """Everything into a folder that is there when it is whole, with a SQLite file whatever the ledger was in."""
    from tapewatch.store.backup import JOURNAL, OF_POSITIONS
    from tapewatch.store.restore import copy_config
    from tapewatch.store.restore import restore as filled

    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise SetupError(f"--into: {into} is not an empty folder")
    growing = into.absolute().with_name(f".{into.absolute().name}.restoring")
    shutil.rmtree(growing, ignore_errors=True)
    name = "tapewatch.db"
    try:
        copy_config(backup, manifest, growing)
        with _database(f"sqlite:///{growing / name}", create=True) as database:
            filled(backup, manifest, database, {one: growing / f"{name}.{one[:-1]}" for one in (JOURNAL, OF_POSITIONS)})
        layer = (
            "# Where the restored ledger and journal are: lay this over the other files, as the last -c.\n"
            f"ledger: {{url: 'sqlite:///{name}', folder: null, password: null, password_file: null}}\n"
            f"journal: {{folder: {name}.journal}}\n"
            f"archive: {{folder: {name}.archive}}\n"
        )
        (growing / RESTORED).write_text(layer, encoding="utf-8")
        growing.rename(into)
    except OSError as error:
        raise StoreError(f"{growing}: {error.strerror}") from None
    finally:
        shutil.rmtree(growing, ignore_errors=True)
