"""Bringing a ledger's tables to this version's; Alembic is imported only when that is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy
from sqlalchemy import Connection

from tapewatch.errors import NoLedgerError, StoreError
from tapewatch.store.database import Database
from tapewatch.store.schema import REVISION

if TYPE_CHECKING:
    from alembic.config import Config


def ensure_schema(database: Database, *, create: bool) -> None:
    """Create the tables if they may be, or migrate those of an earlier version, in one transaction.

    Raises:
        NoLedgerError: there are none, and they are not to be made.
        StoreError: the ledger was written by a later version, or is somebody else's database.
    """
    with database.read() as connection:
        revision = stored_revision(connection)
    if revision == REVISION:
        return
    if revision is None and not create:
        raise NoLedgerError(f"{database.name} has no tables yet; `tapewatch run` makes them")
    with database.write() as connection:
        revision = stored_revision(connection)  # another process may have been faster
        if revision != REVISION:
            upgrade(connection, database.name, revision)


def stored_revision(connection: Connection) -> str | None:
    """The revision of the tables, None for a database that has none of ours."""
    if not sqlalchemy.inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(sqlalchemy.text("SELECT version_num FROM alembic_version"))
    return revision


def upgrade(connection: Connection, name: str, revision: str | None, to: str = REVISION) -> None:
    """Migrate tables that are at `revision`, or make those of revision `to`.

    Raises:
        StoreError: one of them is not known.
    """
    from alembic import command

    config = _config()
    for one in (revision, to):
        if one is not None:
            check_known(name, one)
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def check_known(name: str, revision: str) -> None:
    """Raise StoreError where this version does not know a revision."""
    if revision == REVISION:
        return
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if revision not in known:
        raise StoreError(f"{name} has tables of revision {revision}, which this version does not know; use a later one")


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config
