"""Rows of a ledger that only tests read as they are."""

from __future__ import annotations

import tarfile
from pathlib import Path

from sqlalchemy import Table, select

from tapewatch.store import Ledger, schema
from tapewatch.store.dates import own_columns
from tapewatch.store.rows import Row


def rows_of(ledger: Ledger, table: Table, *order: str) -> list[Row]:
    """All of a table, without the dates of its rows."""
    with ledger._database.read() as connection:
        found = connection.execute(select(*own_columns(table)).order_by(*(table.c[name] for name in order)))
        return [dict(row) for row in found.mappings()]


def outcomes_of(ledger: Ledger) -> list[Row]:
    """What became of signals, by close."""
    return rows_of(ledger, schema.outcomes, "close_ms", "signal_id")


def baseline_sums(ledger: Ledger) -> list[Row]:
    """Sums of random entries."""
    return rows_of(ledger, schema.baselines, "symbol", "side", "hour", "source")


#: What a version with tables of revision 0004 left when it was killed, in the middle of a simulated day: a ledger with
#: rows in every table, its journal and its configuration. A position was open, and a mail server could not be reached.
LEFT_0004 = Path(__file__).parent / "golden" / "ledger_0004.tar.gz"


#: The same of a version with tables of revision 0008: killed, started again and killed a day later, when its signals
#: were followed, a channel was held, something was muted and maintenance planned. Its journal says version 0.0.8.
LEFT_0008 = LEFT_0004.with_name("ledger_0008.tar.gz")


def left_behind(folder: Path, left: Path = LEFT_0004) -> Path:
    """The ledger of an earlier version, unpacked with its journal and configuration."""
    with tarfile.open(left) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Debian 12 has a Python of before it
        archive.extractall(folder)
    return folder / "tapewatch.db"
