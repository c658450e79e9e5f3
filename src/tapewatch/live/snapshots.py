"""The engine's state, saved every so often while the engine goes on."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Executor
from pathlib import Path

from tapewatch.engine import Engine
from tapewatch.engine.state import Saving
from tapewatch.errors import StoreError
from tapewatch.model import Event
from tapewatch.store.snapshot import SnapshotHead, SnapshotWriter, remove_old
from tapewatch.telemetry import get_logger

_log = get_logger("store")

#: Symbols saved before other tasks get their turn; some milliseconds of work.
SYMBOLS = 4


class Snapshots:
    """Saves snapshots beside a journal.

    Args:
        folder: the journal's.
        every_s: how often.
        executor: where files are written.
    """

    def __init__(self, folder: Path, every_s: float, executor: Executor) -> None:
        self._folder = folder
        self._every_s = every_s
        self._executor = executor
        self._due_s = time.monotonic() + every_s
        self._saving: Saving | None = None
        self._head: SnapshotHead | None = None
        self._begun = asyncio.Event()
        self.position = -1

    @property
    def due(self) -> bool:
        """Whether one should begin."""
        return self._saving is None and time.monotonic() >= self._due_s

    def hurry(self) -> None:
        """Make one due now."""
        self._due_s = 0.0

    def begin(self, engine: Engine, head: SnapshotHead) -> None:
        """Save the state that the engine has now; `run` does it. The ledger holds everything before its position."""
        self._due_s = time.monotonic() + self._every_s
        if head.position != self.position:
            self._saving, self._head = Saving(engine), head
            self._begun.set()

    def before(self, event: Event) -> None:
        """The engine is going to process this event."""
        if self._saving is not None:
            self._saving.before(event)

    async def run(self) -> None:
        """Save until cancelled."""
        while True:
            await self._begun.wait()
            self._begun.clear()
            await self._save()

    async def finish(self, engine: Engine, head: SnapshotHead) -> None:
        """Save the state of an engine that has come to rest; call it when `run` has ended."""
        if head.position != self.position:
            self._saving, self._head = Saving(engine), head
            await self._save()

    async def _save(self) -> None:
        saving, head = self._saving, self._head
        assert saving is not None
        assert head is not None
        loop, started_s = asyncio.get_running_loop(), time.monotonic()
        writer: SnapshotWriter | None = None
        try:
            writer = await loop.run_in_executor(self._executor, SnapshotWriter, self._folder, head)
            while pieces := saving.take(SYMBOLS):
                await loop.run_in_executor(self._executor, writer.write, pieces)
            path = await loop.run_in_executor(self._executor, writer.finish)
            await loop.run_in_executor(self._executor, remove_old, self._folder)
        except StoreError as error:
            _log.warning("snapshot_failed", error=str(error), note="the next start reads more of the journal")
            if writer is not None:
                writer.abandon()
        else:
            self.position = head.position
            taken_s = round(time.monotonic() - started_s, 3)
            _log.info("snapshot", position=head.position, bytes=path.stat().st_size, taken_s=taken_s)
        finally:
            self._saving = None
