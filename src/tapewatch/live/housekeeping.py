"""Keeps the disk within bounds: closed journal segments go into the archive; the oldest go, and old rows too."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tapewatch.config import Config
from tapewatch.errors import StoreError
from tapewatch.live.compact import closed, mark_of, waiting
from tapewatch.store import Ledger
from tapewatch.store.segments import segment_paths
from tapewatch.store.snapshot import remove_old, snapshot_paths
from tapewatch.telemetry import get_logger

_log, _ledger_log = get_logger("archive"), get_logger("store")

#: How often it is looked, and how long to wait after a failure.
EVERY_S, AFTER_FAILURE_S = 30.0, 600.0
#: How often the ledger is pruned, from the start on.
LEDGER_EVERY_S = 86_400.0

#: Removes old rows until there are none, or it is told to stop; how many of each table went.
Prune = Callable[[Callable[[], bool]], dict[str, int]]


@dataclass(frozen=True)
class Bounds:
    """What may be used, and for what.

    Attributes:
        journal, archive: folders.
        venue: whose candles these are.
        record: whether candles go into the archive.
        journal_bytes, archive_bytes: the largest sizes.
    """

    journal: Path
    archive: Path
    venue: str
    record: bool
    journal_bytes: int
    archive_bytes: int


def bounds_of(config: Config) -> Bounds:
    """What a configuration allows."""
    return Bounds(
        journal=config.journal_folder,
        archive=config.archive_folder,
        venue=config.exchange.venue,
        record=config.archive.record,
        journal_bytes=config.journal.max_bytes,
        archive_bytes=config.archive.max_bytes,
    )


class Housekeeper:
    """Looks after the disk of one run.

    Args:
        bounds: see there.
        on_trouble: called with what could not be done, and with None when all could.
        prune_ledger: see there.
    """

    def __init__(
        self,
        bounds: Bounds,
        on_trouble: Callable[[str | None], None] = lambda _text: None,
        prune_ledger: Prune = lambda _stopping: {},
    ) -> None:
        self._bounds = bounds
        self._on_trouble = on_trouble
        self._prune_ledger = prune_ledger
        self._pruned_s = -LEDGER_EVERY_S
        self._stopping = False

    async def run(self) -> None:
        """Work until cancelled; a child process under way is ended then."""
        while True:
            failed = None
            if self._bounds.record and waiting(self._bounds.journal):
                failed = await self._compact()
            try:
                await asyncio.get_running_loop().run_in_executor(None, self.prune)
            except OSError as error:
                _log.warning("journal_not_pruned", error=str(error))
                failed = f"The journal could not be looked through: {error}"
            if time.monotonic() - self._pruned_s >= LEDGER_EVERY_S:
                await self._prune_rows()
            self._on_trouble(failed)
            await asyncio.sleep(AFTER_FAILURE_S if failed else EVERY_S)

    async def _prune_rows(self) -> None:
        """Once a day; what fails is tried again next time, and the ledger's trouble is told by those who must write."""
        work = asyncio.get_running_loop().run_in_executor(None, self._prune_ledger, lambda: self._stopping)
        try:
            gone = await asyncio.shield(work)
        except asyncio.CancelledError:
            self._stopping = True
            with suppress(StoreError):
                await work  # it ends with the rows at hand; the ledger is closed after that
            raise
        except StoreError as error:
            _ledger_log.warning("ledger_not_pruned", error=str(error))
            return
        self._pruned_s = time.monotonic()
        if any(gone.values()):
            _ledger_log.info("ledger_pruned", **gone)

    async def _compact(self) -> str | None:
        """Why it failed, None where it did not."""
        bounds = self._bounds
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tapewatch.live.compact",
            str(bounds.journal), str(bounds.archive), bounds.venue, str(bounds.archive_bytes),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "POLARS_MAX_THREADS": "1"},
        )  # fmt: skip
        try:
            said, error = await child.communicate()
        except asyncio.CancelledError:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()
            raise
        for line in said.decode().splitlines():
            _log.info("archived", **json.loads(line))
        if not child.returncode:
            return None
        text = error.decode(errors="replace").strip()[-500:]
        _log.warning("archive_failed", error=text, retry_s=AFTER_FAILURE_S)
        return f"Candles could not be moved into the archive: {text}"

    def prune(self) -> None:
        """Remove the oldest segments that no start needs, until the journal is within its bound."""
        bounds = self._bounds
        size = _size(bounds.journal)
        for segment, following in zip(closed(bounds.journal), segment_paths(bounds.journal)[1:], strict=False):
            if size <= bounds.journal_bytes or not _superseded(bounds.journal, int(following.stem)):
                break
            if bounds.record and not mark_of(segment).exists():
                _log.warning("journal_removed_unarchived", file=segment.name)
            for path in (segment, mark_of(segment)):
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            remove_old(bounds.journal)
            size = _size(bounds.journal)
            _log.info("journal_removed", file=segment.name, left_bytes=size)


def _superseded(folder: Path, position: int) -> bool:
    """Whether the newest snapshots were made after a position, so that a start reads nothing before it."""
    newest = snapshot_paths(folder)[:2]
    return bool(newest) and int(newest[-1].stem) >= position


def _size(folder: Path) -> int:
    total = 0
    for path in folder.iterdir():
        with suppress(OSError):
            total += path.stat().st_size
    return total


def housekeeper_of(
    config: Config, ledger: Ledger, now_ms: Callable[[], int], on_trouble: Callable[[str | None], None]
) -> Housekeeper:
    """Of a run with this configuration; `now_ms` is the wall clock."""
    keep = config.ledger.keep.model_dump()

    def tidy(stopping: Callable[[], bool]) -> dict[str, int]:
        ledger.metrics.update()  # before what it is counted from goes
        return ledger.prune(keep, now_ms(), stopping)

    return Housekeeper(bounds_of(config), on_trouble, tidy)
