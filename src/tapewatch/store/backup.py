"""Backups of a ledger, its journal and further files: a folder that is whole, or has another name.

    tapewatch-20250520T140700.123Z/
        manifest.json     what is in it, with the checksum of each part
        manifest.sha256   the checksum of the manifest, as `sha256sum -c` reads it
        ledger.rows.gz    the rows of every table, as they are in either kind of database
        journal/…         segments and snapshots as they are; they are compressed by themselves
        journal-positions/…   the same of positions that run apart, where they do
        config/…          the files of the configuration

A backup sees one state of the ledger and holds up nobody. The journal is copied after it, and
reaches at least as far.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import re
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import msgspec
from sqlalchemy import Connection, MetaData, select

from tapewatch import __version__
from tapewatch.disk import sync_folder
from tapewatch.errors import NoLedgerError, SetupError, StoreError
from tapewatch.store import schema
from tapewatch.store.database import Database
from tapewatch.store.journal import advice
from tapewatch.store.migrate import check_known, stored_revision
from tapewatch.store.segments import segment_paths
from tapewatch.store.snapshot import snapshot_paths

FORMAT = 1
MANIFEST, CHECKSUM, ROWS, CONFIG = "manifest.json", "manifest.sha256", "ledger.rows.gz", "config/"
#: Of a run, and of positions that a process of their own keeps.
JOURNAL, OF_POSITIONS = "journal/", "journal-positions/"
#: The tables of every revision; those that this version has no more are in backups of earlier ones.
TABLES = frozenset({*schema.metadata.tables, "touches"})
LENGTH = struct.Struct("<I")
#: Rows of one frame.
BATCH = 1_000
_NAME = re.compile(r"tapewatch-\d{8}T\d{6}\.\d{3}Z")


class Part(msgspec.Struct, frozen=True):
    """One file of a backup; `modified_ns` is that of the original."""

    name: str
    bytes: int
    sha256: str
    modified_ns: int


class Manifest(msgspec.Struct, frozen=True):
    """What is in a backup.

    Attributes:
        format: of backups.
        version: of tapewatch.
        kind: the database it was made of.
        revision: of the tables.
        created_ms: when it was begun.
        rows: by table.
        configs: the configuration's files below `config/`, in the order in which they are laid over each other.
        parts: every other file.
    """

    format: int
    version: str
    kind: str
    revision: str
    created_ms: int
    rows: dict[str, int]
    configs: list[str]
    parts: list[Part]

    def under(self, prefix: str) -> list[Part]:
        """The parts of one folder."""
        return [part for part in self.parts if part.name.startswith(prefix)]


def tables_of(connection: Connection) -> MetaData:
    """The ledger's tables as they are, of whatever revision."""
    metadata = MetaData()
    metadata.reflect(connection, only=lambda name, _: name in TABLES)
    return metadata


def make(
    database: Database,
    journals: Mapping[str, Path],
    into: Path,
    now_ms: int,
    *,
    files: Mapping[str, Path],
    configs: Sequence[str],
) -> tuple[Path, Manifest]:
    """Write a backup below `into`, which is made if it is not there; a run may be on.

    Args:
        database: the ledger's.
        journals: their folders, which need not be there, by `JOURNAL` and `OF_POSITIONS`.
        into: where backups are.
        now_ms: the time, which names it.
        files: further files by their name below `config/`.
        configs: see `Manifest`.

    Returns:
        Its folder, and what is in it.

    Raises:
        SetupError: another backup is being made there, or it is a file.
        NoLedgerError: there are no tables.
        StoreError: something cannot be read or written; nothing is left of it.
    """
    stamp = datetime.fromtimestamp(now_ms / 1_000, UTC).strftime("%Y%m%dT%H%M%S")
    name = f"tapewatch-{stamp}.{now_ms % 1_000:03}Z"
    partial = into / f".{name}.partial"
    with _alone_in(into), _errors(into):
        for left in into.glob(".tapewatch-*.partial"):  # of one that was killed
            shutil.rmtree(left)
        try:
            partial.mkdir(mode=0o700)
            writer = _Writer(partial)
            writer.journals(journals, snapshot_paths)  # not ahead of the ledger
            revision, rows = writer.rows(database)
            writer.journals(journals, segment_paths)
            for inner, path in files.items():
                writer.copy(f"{CONFIG}{inner}", path)
            kind = "postgresql" if database.file is None else "sqlite"
            manifest = Manifest(FORMAT, __version__, kind, revision, now_ms, rows, list(configs), writer.parts)
            writer.finish(manifest)
            partial.rename(into / name)
            sync_folder(into)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return into / name, manifest


def remove_old(into: Path, keep: int, made: Path) -> list[Path]:
    """Remove all whole backups of a folder but the newest so many; returns those that went, the oldest first.

    The newest is the one just made, though the clock may have been set back since others were.

    Raises:
        StoreError: one cannot be removed.
    """
    found = (path for path in into.iterdir() if _NAME.fullmatch(path.name) and (path / MANIFEST).is_file())
    whole = sorted(found, key=lambda path: (path == made, path.name))
    with _alone_in(into), _errors(into):
        for path in whole[:-keep]:
            going = into / f".{path.name}.partial"
            path.rename(going)  # half of one is never taken for a whole one
            shutil.rmtree(going)
    return whole[:-keep]


def opened(folder: Path) -> Manifest:
    """What is in a backup, every part of which is there and is what it was.

    Raises:
        SetupError: there is no whole backup.
        StoreError: it is damaged, or of a later version.
    """
    try:
        raw, checksum = (folder / MANIFEST).read_bytes(), (folder / CHECKSUM).read_text("ascii")
    except (OSError, UnicodeDecodeError):
        raise SetupError(f"{folder} is no whole backup: {MANIFEST} and {CHECKSUM} cannot be read") from None
    if checksum.split()[:1] != [hashlib.sha256(raw).hexdigest()]:
        raise StoreError(f"backup {folder} is damaged: {MANIFEST} is not what it was")
    version = msgspec.json.decode(raw).get("format")
    if version != FORMAT:
        raise StoreError(f"backup {folder} is of format {version}, which this version does not know; use a later one")
    manifest = msgspec.json.decode(raw, type=Manifest)
    for part in manifest.parts:
        path = PurePosixPath(part.name)
        if path.is_absolute() or ".." in path.parts:
            raise StoreError(f"backup {folder} names a file outside of itself: {part.name}")
        try:
            found = _digest(folder / part.name)
        except OSError as error:
            raise StoreError(f"backup {folder} is damaged: {part.name} cannot be read: {error.strerror}") from None
        if found != part.sha256:
            raise StoreError(f"backup {folder} is damaged: {part.name} is not what it was")
    return manifest


class _Writer:
    """Fills the folder of a backup."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.parts: list[Part] = []

    def journals(self, folders: Mapping[str, Path], paths_in: Callable[[Path], Sequence[Path]]) -> None:
        """Copy files of journals, each below the name of its folder."""
        for prefix, folder in folders.items():
            for path in paths_in(folder):
                self.copy(f"{prefix}{path.name}", path, may_go=True)

    def copy(self, name: str, source: Path, *, may_go: bool = False) -> None:
        """Add a file; one that may go and has gone is left out."""
        target = self._folder / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            modified_ns = source.stat().st_mtime_ns
            shutil.copyfile(source, target)
        except FileNotFoundError:
            if may_go:
                target.unlink(missing_ok=True)
                return
            raise
        self._add(name, modified_ns)

    def rows(self, database: Database) -> tuple[str, dict[str, int]]:
        """Add the rows of every table as of one moment; the tables' revision, and how many there are."""
        counts: dict[str, int] = {}
        with database.read() as connection, gzip.open(self._folder / ROWS, "wb", compresslevel=6) as file:
            revision = stored_revision(connection)
            if revision is None:
                raise NoLedgerError(f"{database.name} has no tables yet; there is nothing to back up")
            check_known(database.name, revision)
            for table in tables_of(connection).sorted_tables:
                name, names = str(table.name), [str(column.name) for column in table.columns]
                counts[name] = 0
                found = connection.execute(select(table).execution_options(yield_per=BATCH))
                for rows in found.partitions():
                    counts[name] += len(rows)
                    frame = msgspec.msgpack.encode((name, names, [tuple(row) for row in rows]))
                    file.write(LENGTH.pack(len(frame)) + frame)
        self._add(ROWS, 0)
        return revision, counts

    def finish(self, manifest: Manifest) -> None:
        """Write what says that it is whole, after everything else lasts."""
        raw = msgspec.json.format(msgspec.json.encode(manifest))
        for name, text in ((MANIFEST, raw), (CHECKSUM, f"{hashlib.sha256(raw).hexdigest()}  {MANIFEST}\n".encode())):
            (self._folder / name).write_bytes(text)
            (self._folder / name).chmod(0o600)
            _sync(self._folder / name)
        for folder in {self._folder, *((self._folder / part.name).parent for part in self.parts)}:
            sync_folder(folder)

    def _add(self, name: str, modified_ns: int) -> None:
        path = self._folder / name
        path.chmod(0o600)
        _sync(path)
        self.parts.append(Part(name, path.stat().st_size, _digest(path), modified_ns))


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except (FileExistsError, NotADirectoryError):
        raise SetupError(f"{folder} is a file, or below one; name a folder") from None
    except OSError as error:
        raise StoreError(f"backup {folder} {advice(error)}") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupError(f"another backup is being made in {folder}") from None
        yield
    finally:
        os.close(handle)


@contextmanager
def _errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        raise StoreError(f"backup {folder} {named}{advice(error)}") from None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
