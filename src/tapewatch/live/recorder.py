"""What a run writes of itself: the journal before the ledger, and the engine's state every so often."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress

import msgspec

from tapewatch.engine import Engine
from tapewatch.errors import StoreError
from tapewatch.live.snapshots import Snapshots
from tapewatch.model import ControlDone, Effect, Event, Fill, Judged, Outcome, Position, StepFailed
from tapewatch.store import Ledger, Step
from tapewatch.store.entries import Begin, bar_of
from tapewatch.store.journal import Journal
from tapewatch.store.reading import skips
from tapewatch.store.snapshot import SnapshotHead, remove_unfinished
from tapewatch.telemetry import get_logger

_log = get_logger("store")


class Recorder:
    """Journal, ledger and snapshots of one run.

    Args:
        journal, ledger: used in `executor` only.
        executor: one thread.
        snapshot_every_s: how often the state is saved.
    """

    def __init__(self, journal: Journal, ledger: Ledger, executor: Executor, snapshot_every_s: float) -> None:
        self._journal = journal
        self._ledger = ledger
        self._executor = executor
        self._files = ThreadPoolExecutor(1, thread_name_prefix="snapshots")
        self._snapshots = Snapshots(journal.folder, snapshot_every_s, self._files)
        self._begin: Begin | None = None
        self._refused: set[tuple[str, int, int]] = set()
        self._appended = False
        self._first = True
        self._found: deque[list[Judged]] = deque()
        remove_unfinished(journal.folder)

    def started(self, begin: Begin) -> None:
        """The engine is there, and this is what it was made of."""
        self._begin, self._first = begin, True
        self._refused = {skip.bar for skip in skips(self._journal.folder) if skip.symbol}

    def over(self) -> None:
        """The engine is of no use any more, and its state neither."""
        self._begin = None

    def admitted(self, events: Sequence[Event]) -> Sequence[Event]:
        """Without bars that have made the engine fail once."""
        if not self._refused:
            return events
        return [event for event in events if bar_of(event) not in self._refused]

    def before(self, event: Event) -> None:
        """The engine is going to process this event."""
        self._snapshots.before(event)

    def store(self, step: Step, events: Sequence[Event], *, position: bool = False) -> None:
        """Journal a step's events and commit what they led to; with `position` also where there is nothing.

        Raises:
            StoreError: not everything could be written; the same call again does the rest.
        """
        journal = self._journal
        if events and not self._appended:
            journal.append(events, [effect for effect in step.effects if isinstance(effect, StepFailed)])
            self._appended = True
        if step.messages or any(map(_decided, step.effects)):
            journal.sync()
        else:
            journal.sync_if_due()
        if step.effects or step.notices or step.troubles or step.maintained or position:
            self._commit(step)
        if position:  # a start from the state that is saved now reads nothing of what led to them
            self._store_found()
        self._appended = False

    def _commit(self, step: Step) -> None:
        journal = self._journal
        whole = msgspec.structs.replace(step, journal_id=journal.journal_id, position=journal.position)
        self._ledger.commit_step(whole)
        if found := [effect for effect in step.effects if isinstance(effect, Judged)]:
            self._found.append(found)

    def _store_found(self) -> None:
        """What no alert waits for: candles and snapshots of candidates. After a crash the next start does it."""
        while self._found:
            self._ledger.market.found(self._found[0])
            self._found.popleft()

    def failed(self, events: Sequence[Event], error: Exception) -> None:
        """Journal events the last of which made the engine fail, so that it is left out from now on."""
        with suppress(StoreError):
            self._journal.append(events)
            self._journal.skip(self._journal.position - 1, events[-1], f"{type(error).__name__}: {error}")

    @property
    def snapshot_due(self) -> bool:
        """Whether the state should be saved, after a step that is stored."""
        return self._snapshots.due

    def snapshot(self, engine: Engine) -> None:
        """Begin to save the state; everything processed is stored, and the ledger's position says so."""
        self._snapshots.begin(engine, self._head())

    def _head(self) -> SnapshotHead:
        assert self._begin is not None
        return SnapshotHead(self._journal.journal_id, self._journal.position, self._begin)

    async def run(self, loaded: Callable[[], bool]) -> None:
        """Save what is begun, sync what was appended a second ago, and keep commits short, until cancelled.

        Args:
            loaded: whether all windows are complete; the state of each engine is saved then.
        """
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._snapshots.run())
            while True:
                await asyncio.sleep(1.0)
                if self._first and loaded():
                    self._first = False
                    self._snapshots.hurry()
                if self._journal.unsynced:
                    try:
                        await loop.run_in_executor(self._executor, self._journal.sync_if_due)
                    except StoreError as error:
                        _log.warning("journal_not_synced", error=str(error))
                with suppress(StoreError):  # a commit tells, and the next second tries again
                    await loop.run_in_executor(self._executor, self._store_found)
                    await loop.run_in_executor(self._executor, self._ledger.move_log)

    async def finish(self, engine: Engine) -> None:
        """Save the state of an engine that has come to rest, all of whose effects are stored."""
        if self._begin is None:
            return
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._executor, self._commit, Step(self._begin.venue))
            await loop.run_in_executor(self._executor, self._store_found)
        except StoreError as error:
            _log.warning("snapshot_failed", error=str(error), note="the next start reads more of the journal")
            return
        await self._snapshots.finish(engine, self._head())

    def close(self) -> None:
        """End; the executor is done with its work."""
        self._files.shutdown()
        self._journal.close()


def _decided(effect: Effect) -> bool:
    """Whether the ledger must not know it for longer than the journal knows why, not even after a power failure."""
    return isinstance(effect, Judged | Fill | Outcome | ControlDone) or (
        isinstance(effect, Position) and effect.state != "open"
    )
