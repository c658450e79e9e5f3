"""What an archive knows about its own files: their checksums, what they were imported from, and what does not exist.

A small SQLite database beside the candles, `<root>/imports.sqlite`. Several processes may use it at once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

from tapewatch.errors import StoreError

NAME = "imports.sqlite"
#: Begins the name of what was imported from a file of this machine, which nobody has verified.
LOCAL = "local/"
#: How long another process may hold the database.
_PATIENCE_S = 60.0
_TABLES = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS files (
    path TEXT NOT NULL, sha256 TEXT NOT NULL, PRIMARY KEY (path, sha256)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS imports (
    venue TEXT NOT NULL, symbol TEXT NOT NULL, interval TEXT NOT NULL, name TEXT NOT NULL,
    sha256 TEXT NOT NULL, from_ms INTEGER NOT NULL, to_ms INTEGER NOT NULL, rows INTEGER NOT NULL,
    PRIMARY KEY (venue, symbol, interval, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS absent (
    venue TEXT NOT NULL, symbol TEXT NOT NULL, interval TEXT NOT NULL,
    from_ms INTEGER NOT NULL, to_ms INTEGER NOT NULL,
    PRIMARY KEY (venue, symbol, interval, from_ms, to_ms)
) WITHOUT ROWID;
COMMIT;
"""


@dataclass(frozen=True)
class Import:
    """A file of the exchange's archive that was verified and merged.

    Attributes:
        name: the file's.
        sha256: what it was verified against; the exchange may replace the file later.
        from_ms, to_ms: the opens that were taken from it, [from_ms, to_ms).
        rows: how many candles it had there.
    """

    name: str
    sha256: str
    from_ms: int
    to_ms: int
    rows: int


@dataclass(frozen=True)
class Series:
    """What the manifest is asked about."""

    venue: str
    symbol: str
    interval: str


class Manifest:
    """The records of one archive; made when they are first needed.

    Raises:
        StoreError: from any call: the database cannot be read or written.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def writing(self, path: Path, sha256: str) -> None:
        """The file is about to be replaced by one of this checksum: until `written`, both are right."""
        with self._open() as database:
            database.execute("INSERT OR IGNORE INTO files VALUES (?, ?)", (self._key(path), sha256))

    def written(self, path: Path, sha256: str) -> None:
        """The file has been replaced."""
        with self._open() as database:
            database.execute("DELETE FROM files WHERE path = ? AND sha256 <> ?", (self._key(path), sha256))

    def removed(self, path: Path) -> None:
        """The file is gone."""
        with self._open() as database:
            database.execute("DELETE FROM files WHERE path = ?", (self._key(path),))

    def checksums(self, path: Path) -> set[str]:
        """The checksums that the file may have; none when something else wrote it."""
        with self._open(reading=True) as database:
            found = database.execute("SELECT sha256 FROM files WHERE path = ?", (self._key(path),))
            return {sha256 for (sha256,) in found}

    def imported(self, series: Series, done: Import) -> None:
        """A file has been merged."""
        with self._open() as database:
            database.execute(
                "INSERT OR REPLACE INTO imports VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*astuple(series), *astuple(done))
            )

    def imports(self, series: Series) -> list[Import]:
        """The files that were merged into a series, by name."""
        text = "SELECT name, sha256, from_ms, to_ms, rows FROM imports"
        with self._open(reading=True) as database:
            found = database.execute(f"{text} WHERE venue = ? AND symbol = ? AND interval = ?", astuple(series))
            return sorted((Import(*row) for row in found), key=lambda done: done.name)

    def confirm_absent(self, series: Series, spans: Iterable[tuple[int, int]]) -> None:
        """The exchange has no candles that open in these spans."""
        rows = [(*astuple(series), *span) for span in spans]
        if rows:
            with self._open() as database:
                database.executemany("INSERT OR IGNORE INTO absent VALUES (?, ?, ?, ?, ?)", rows)

    def absent(self, series: Series) -> list[tuple[int, int]]:
        """The spans in which the exchange has confirmed to have no candles."""
        with self._open(reading=True) as database:
            found = database.execute(
                "SELECT from_ms, to_ms FROM absent WHERE venue = ? AND symbol = ? AND interval = ?", astuple(series)
            )
            return sorted(found)

    def _key(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

    @contextmanager
    def _open(self, *, reading: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction; it commits at the end and rolls back when anything is raised. Reading makes no file."""
        path = self._root / NAME
        try:
            database = self._readable() if reading else self._writable()
            try:
                with database:
                    yield database
            finally:
                database.close()
        except (sqlite3.Error, OSError) as error:
            text = f"{path}: {error}; without this file everything works, and is fetched and compared again"
            raise StoreError(text) from error

    def _writable(self) -> sqlite3.Connection:
        self._root.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self._root / NAME, timeout=_PATIENCE_S)
        if not _is_made(database):
            database.executescript(_TABLES)
        return database

    def _readable(self) -> sqlite3.Connection:
        """The database as it is; an empty one where there is none, or another process is just making it."""
        path = self._root / NAME
        if path.exists():
            # Not to write: what a writer that was killed had begun, only one that may write can take back.
            database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", timeout=_PATIENCE_S, uri=True)
            if _is_made(database):
                return database
            database.close()
        database = sqlite3.connect(":memory:")
        database.executescript(_TABLES)
        return database


def _is_made(database: sqlite3.Connection) -> bool:
    return database.execute("SELECT 1 FROM sqlite_master WHERE name = 'files'").fetchone() is not None
