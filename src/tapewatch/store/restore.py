"""From a backup to a ledger and its journal, in an empty place; the database may be of the other kind."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy
from sqlalchemy import Connection, insert

from tapewatch.errors import SetupError, StoreError
from tapewatch.store.backup import CONFIG, JOURNAL, LENGTH, ROWS, Manifest, Part, tables_of
from tapewatch.store.database import Database
from tapewatch.store.journal import advice
from tapewatch.store.lease import alone
from tapewatch.store.migrate import upgrade
from tapewatch.store.schema import REVISION


def restore(folder: Path, manifest: Manifest, database: Database, journal: Path) -> None:
    """Fill an empty database and an empty folder of a journal from a backup; the tables are migrated, if need be.

    Args:
        folder: the backup's.
        manifest: what `backup.opened` found in it.
        database: where its rows go.
        journal: where its journal goes.

    Raises:
        SetupError: one of the places is not empty, or a run has the ledger.
        StoreError: it cannot be written, or the backup is of a later version; the places are as empty as before.
    """
    if journal.exists() and (not journal.is_dir() or any(path.name != "lock" for path in journal.iterdir())):
        raise SetupError(f"{journal} is not empty; nothing is restored over a journal that is there")
    try:
        with alone(database), database.write() as connection:
            if names := sqlalchemy.inspect(connection).get_table_names():
                raise SetupError(f"{database.name} is not empty ({names[0]}); nothing is restored over what is there")
            upgrade(connection, database.name, None, to=manifest.revision)
            _fill(connection, folder, manifest)
            if manifest.revision != REVISION:
                upgrade(connection, database.name, manifest.revision)
            copy(folder, manifest, JOURNAL, journal)
    except BaseException:
        for part in manifest.under(JOURNAL):
            (journal / part.name.removeprefix(JOURNAL)).unlink(missing_ok=True)
        raise


def copy_config(folder: Path, manifest: Manifest, target: Path) -> None:
    """Put the files of a backup's configuration into a folder, readable for their owner only. Raises StoreError."""
    for path in copy(folder, manifest, CONFIG, target):
        path.chmod(0o600)


def copy(folder: Path, manifest: Manifest, prefix: str, target: Path) -> list[Path]:
    """Copy what is below `prefix` in a backup, with its times; returns the copies. Raises StoreError."""
    return [
        _copied(folder / part.name, target / part.name.removeprefix(prefix), part) for part in manifest.under(prefix)
    ]


def _copied(source: Path, target: Path, part: Part) -> Path:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        with target.open("rb+") as file:
            os.fsync(file.fileno())
        os.utime(target, ns=(part.modified_ns, part.modified_ns))
    except OSError as error:
        raise StoreError(f"{target} {advice(error)}") from None
    return target


def _fill(connection: Connection, folder: Path, manifest: Manifest) -> None:
    tables = tables_of(connection).tables
    counts = dict.fromkeys(manifest.rows, 0)
    as_held = _without_nul if connection.dialect.name == "postgresql" else list
    for name, columns, rows in _frames(folder / ROWS):
        named = [dict(zip(columns, as_held(row), strict=True)) for row in rows]
        connection.execute(insert(tables[name]), named)
        counts[name] += len(rows)
    if counts != manifest.rows:
        raise StoreError(f"backup {folder} is damaged: {ROWS} has other rows than its manifest says")


def _without_nul(row: list[Any]) -> list[Any]:
    """As PostgreSQL can hold it; see `types.Text`."""
    return [one.replace("\0", "\ufffd") if isinstance(one, str) else one for one in row]


def _frames(path: Path) -> Iterator[tuple[str, list[str], list[list[Any]]]]:
    """Table, columns and rows of each frame."""
    with gzip.open(path, "rb") as file:
        while head := file.read(LENGTH.size):
            yield msgspec.msgpack.decode(file.read(*LENGTH.unpack(head)), type=tuple[str, list[str], list[list[Any]]])
