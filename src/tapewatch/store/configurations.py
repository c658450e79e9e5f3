"""The configurations that runs applied, one after the other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import insert, select, update

from tapewatch.store import schema
from tapewatch.store.database import Database


class ConfigurationTable:
    """What was applied, and from when to when. Every method raises StoreError and then changed nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def applied(self, document: Mapping[str, Any], version: str, now_ms: int) -> None:
        """Keep a configuration, whose secrets are masked, of a run that begins now.

        One that the last run had too, with the same version of the program, is not kept again: its time is extended.
        """
        body = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        digest = hashlib.sha256(body.encode()).hexdigest()
        table = schema.configurations
        newest = select(table.c.number, table.c.hash, table.c.version).order_by(table.c.number.desc()).limit(1)
        with self._database.write() as connection:
            last = connection.execute(newest).one_or_none()
            if last is not None and (last.hash, last.version) == (digest, version):
                connection.execute(update(table).where(table.c.number == last.number).values(last_ms=now_ms))
                return
            row = {"hash": digest, "first_ms": now_ms, "last_ms": now_ms, "version": version, "body": body}
            connection.execute(insert(table).values(number=1 if last is None else last.number + 1, **row))

    def history(self) -> list[dict[str, Any]]:
        """Everything that was applied, oldest first: `hash first_ms last_ms version` and the `config` itself."""
        table = schema.configurations
        columns = (table.c.hash, table.c.first_ms, table.c.last_ms, table.c.version, table.c.body)
        with self._database.read() as connection:
            rows = connection.execute(select(*columns).order_by(table.c.number)).mappings().all()
        return [{**{key: row[key] for key in row if key != "body"}, "config": json.loads(row["body"])} for row in rows]
