"""What the operator was told, and when not: troubles and maintenance in the ledger."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Executable, bindparam, delete, insert, select, update

from tapewatch.store import schema
from tapewatch.store.database import Database
from tapewatch.store.records import Maintenance, Step, Trouble


class OperationTables:
    """Troubles of a role, and maintenance. Every method raises StoreError and then changed nothing."""

    def __init__(self, database: Database, role: str = "all") -> None:
        self._database, self._role = database, role
        troubles, windows = database.upsert(schema.troubles), schema.maintenance
        changing = {name: troubles.excluded[name] for name in Trouble.__struct_fields__ if name != "key"}
        self._upsert = troubles.on_conflict_do_update(index_elements=["role", "key"], set_=changing)
        # Not one that was made longer meanwhile.
        self._remove = delete(windows).where(
            windows.c.name == bindparam("its_name"), windows.c.until_ms == bindparam("its_end_ms")
        )

    def statements(self, step: Step) -> list[tuple[Executable, list[dict[str, Any]]]]:
        """What a step writes here, for its transaction."""
        over = [{"its_name": window.name, "its_end_ms": window.until_ms} for window in step.maintained]
        own = {"role": self._role}
        return [(self._upsert, [own | msgspec.structs.asdict(one) for one in step.troubles]), (self._remove, over)]

    def troubles(self) -> list[Trouble]:
        """Every trouble and happening that is known, by key."""
        table = schema.troubles
        query = select(*(table.c[name] for name in Trouble.__struct_fields__)).order_by(table.c.key)
        query = query.where(table.c.role == self._role)
        with self._database.read() as connection:
            return [Trouble(*row) for row in connection.execute(query)]

    def told_since(self, since_ms: int) -> list[int]:
        """When alerts to the operator were written after `since_ms`, oldest first."""
        table = schema.alerts
        query = select(table.c.created_ms).where(table.c.kind == "operator", table.c.created_ms > since_ms)
        with self._database.read() as connection:
            return list(connection.scalars(query.order_by(table.c.created_ms)))

    def maintenance(self) -> list[Maintenance]:
        """Windows that are planned, on, or over and not told of, by their beginning."""
        table = schema.maintenance
        query = select(*(table.c[name] for name in Maintenance.__struct_fields__)).order_by(table.c.from_ms)
        with self._database.read() as connection:
            return [Maintenance(*row) for row in connection.execute(query)]

    def maintain(self, window: Maintenance) -> None:
        """Add a window."""
        with self._database.write() as connection:
            connection.execute(insert(schema.maintenance).values(**msgspec.structs.asdict(window)))

    def end_maintenance(self, now_ms: int) -> int:
        """End the windows that are on, or where none is, forget those that are planned; returns how many."""
        table = schema.maintenance
        on = (table.c.from_ms <= now_ms) & (table.c.until_ms > now_ms)
        with self._database.write() as connection:
            ended = connection.execute(update(table).where(on).values(until_ms=now_ms)).rowcount
            return ended or connection.execute(delete(table).where(table.c.from_ms > now_ms)).rowcount
