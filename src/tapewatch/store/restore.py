"""From a backup to a ledger and its journal, in an empty place; the database may be of the other kind."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy
from sqlalchemy import Connection, insert

from tapewatch.errors import SetupError, StoreError
from tapewatch.store.backup import CONFIG, LENGTH, ROWS, Manifest, Part, tables_of
from tapewatch.store.database import Database
from tapewatch.store.journal import advice
from tapewatch.store.lease import alone
from tapewatch.store.migrate import upgrade
from tapewatch.store.schema import REVISION


def restore(
    folder: Path,
    manifest: Manifest,
    database: Database,
    journals: Mapping[str, Path],
    *,
    replace: bool = False,
    migrate: bool = True,
) -> None:
    """Fill an empty database and empty folders of journals from a backup.

    Args:
        folder: the backup's.
        manifest: what `backup.opened` found in it.
        database: where its rows go.
        journals: where its journals go, by their name in it.
        replace: remove first what the places hold; it is there again if this fails.
        migrate: bring the tables of an earlier version to this version's; without it that version can use them.

    Raises:
        SetupError: one of the places is not empty, or a run has the ledger.
        StoreError: it cannot be written, or the backup is of a later version; the places are as empty as before.
    """
    with alone(database), ExitStack() as rooms, database.write() as connection:
        for prefix, journal in journals.items():
            rooms.enter_context(_room(journal, manifest.under(prefix), replace=replace))
        if replace:
            _drop(connection)
        if names := sqlalchemy.inspect(connection).get_table_names():
            raise SetupError(f"{database.name} is not empty ({names[0]}); nothing is restored over what is there")
        upgrade(connection, database.name, None, to=manifest.revision)
        _fill(connection, folder, manifest)
        if migrate and manifest.revision != REVISION:
            upgrade(connection, database.name, manifest.revision)
        for prefix, journal in journals.items():
            copy(folder, manifest, prefix, journal)


@contextmanager
def _room(journal: Path, parts: Sequence[Part], *, replace: bool) -> Iterator[None]:
    """An empty folder to fill; if that fails what was there is there again."""
    aside = journal.with_name(f"{journal.name}.replaced")
    if journal.exists() and (not journal.is_dir() or any(path.name != "lock" for path in journal.iterdir())):
        if not replace or not journal.is_dir():
            raise SetupError(f"{journal} is not empty; nothing is restored over a journal that is there")
        shutil.rmtree(aside, ignore_errors=True)
        try:
            journal.rename(aside)
        except OSError as error:
            raise StoreError(f"{journal} {advice(error)}") from None
    try:
        yield
    except BaseException:
        for part in parts:
            (journal / Path(part.name).name).unlink(missing_ok=True)
        if aside.exists():
            shutil.rmtree(journal, ignore_errors=True)
            aside.rename(journal)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _drop(connection: Connection) -> None:
    """Remove the ledger's tables, of whatever revision."""
    tables_of(connection).drop_all(connection)
    connection.execute(sqlalchemy.text("DROP TABLE IF EXISTS alembic_version"))


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
