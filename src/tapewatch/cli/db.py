"""`tapewatch db`: what is in the ledger, and its tables brought to this version's."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapewatch.cli import options
from tapewatch.cli.setup import DEFAULT_PATHS, ConfigOption

if TYPE_CHECKING:
    from tapewatch.config import Config
    from tapewatch.store.database import Database

app = typer.Typer(
    no_args_is_help=True,
    help="The ledger: what is in it, its tables.\n\nExample: tapewatch db info -c tapewatch.yaml",
)

#: What a right is for, as people are told.
_RIGHTS = {"run": "to run", "relay": "to deliver"}


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
