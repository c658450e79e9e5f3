"""How every table is made: each of its rows says when it was written first, and when last."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import BigInteger, Column, Index, MetaData, Table

metadata = MetaData()

#: By the wall clock; NULL in rows of before there was this. `created_ms` of alerts and messages is their own.
CREATED, UPDATED = "created_ms", "updated_ms"


def wall_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


def table(name: str, *parts: Column[Any] | Index) -> Table:
    """A table of these columns and indexes, and of the dates of its rows; whatever writes a row writes them."""
    made = Table(name, metadata, *parts)
    if CREATED not in made.c:
        made.append_column(Column(CREATED, BigInteger, default=wall_ms, info={"dates": True}))
    made.append_column(Column(UPDATED, BigInteger, default=wall_ms, onupdate=wall_ms, info={"dates": True}))
    return made


def own_columns(of: Table) -> list[Column[Any]]:
    """The columns of a table without the dates of its rows."""
    return [column for column in of.c if not column.info.get("dates")]
