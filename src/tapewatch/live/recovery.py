"""A start is recovery: the newest usable snapshot and the journal after it make the engine what it was, to the bit.

What the last events led to and is not in the ledger yet is handed on to be stored; ids are derived, so storing it
again would change nothing. Without anything usable the engine starts fresh: its series are loaded again, and what was
decided before comes as history.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from tapewatch.engine import Engine
from tapewatch.engine.memory import Memory
from tapewatch.engine.state import load
from tapewatch.errors import DataError
from tapewatch.live.makeup import Makeup, unlike
from tapewatch.model import Alert, Effect, Event, FetchContext, Judged, LastPassed
from tapewatch.store import Ledger, Step
from tapewatch.store.entries import Begin
from tapewatch.store.journal import BATCH, Journal
from tapewatch.store.reading import JournalDamageError, batches, failures, segments, skips
from tapewatch.store.snapshot import head_of, snapshot_paths, state_in
from tapewatch.telemetry import get_logger

_log = get_logger("live")

#: Events processed before other tasks get their turn.
SLICE = 1_000
#: More events than this that make the engine fail, and it starts fresh.
MAX_FAILURES = 5


@dataclass
class Recovery:
    """What a start found.

    Attributes:
        engine: as it was, or fresh.
        begin: what it was made of when its journal began.
        leftover: effects that are not in the ledger, in order.
        repeated: they were once: the ledger is older than its journal, and what they say may have been told.
        alerts: key, subject and text of what the operator must know.
        killed_ms: when the run before wrote last, where it did not end as one that is stopped.
    """

    engine: Engine
    begin: Begin
    leftover: list[Effect] = field(default_factory=list)
    repeated: bool = False
    alerts: list[tuple[str, str, str]] = field(default_factory=list)
    killed_ms: int | None = None


class _UnusableError(Exception):
    """There is nothing to go on from, and why; `damage` where that is no ordinary reason."""

    def __init__(self, text: str, *, damage: bool = False) -> None:
        super().__init__(text)
        self.damage = damage


class _EngineFailedError(Exception):
    """An event made the engine fail when it was processed again; it is noted and left out from now on."""


class Recoverer:
    """Makes the engine of a start.

    Args:
        journal: as it was opened.
        ledger: the ledger of the same run.
        makeup: what the engine is made of now.
        passed: what the ledger says the gate must remember, for a fresh engine.
        memory: what else it knows of an earlier run.
        stopping: whether it is of no use any more.
    """

    def __init__(
        self,
        journal: Journal,
        ledger: Ledger,
        makeup: Makeup,
        passed: Callable[[], list[LastPassed]],
        stopping: Callable[[], bool],
        memory: Callable[[], Memory] = Memory,
    ) -> None:
        self._journal = journal
        self._ledger = ledger
        self._makeup = makeup
        self._passed = passed
        self._memory = memory
        self._stopping = stopping
        self._alerts: list[tuple[str, str, str]] = []
        self._failures = 0

    async def recover(self) -> Recovery | None:
        """The engine to go on with, None when stopped meanwhile. Raises StoreError."""
        journal = self._journal
        if journal.cut_bytes:
            _log.warning("journal_cut", bytes=journal.cut_bytes, position=journal.position)
        while True:
            started_s = time.monotonic()
            try:
                recovery = await self._go_on()
            except _EngineFailedError:
                continue
            except _UnusableError as reason:
                recovery = self._anew(str(reason), damage=reason.damage)
            else:
                if recovery is not None:
                    taken_s = round(time.monotonic() - started_s, 3)
                    _log.info("recovered", position=journal.position, leftover=len(recovery.leftover), taken_s=taken_s)
            if recovery is not None:
                recovery.alerts = self._alerts
            return recovery

    def renew(self) -> Recovery:
        """A fresh engine in a run that goes on, whose makeup has changed; used in the ledger's executor.

        Raises:
            StoreError: the same call again may succeed.
        """
        self._alerts = []
        recovery = self._anew("the configuration has been changed", damage=False)
        recovery.alerts = self._alerts
        return recovery

    def _anew(self, reason: str, *, damage: bool) -> Recovery:
        (_log.error if damage else _log.info)("engine_starts_fresh", reason=reason)
        if damage:
            text = f"{reason}\nThe engine starts fresh: its windows are loaded again. What was decided stays decided."
            self._alerts.append(("journal_damaged", "The journal is damaged", text))
        passed, memory = self._passed(), self._memory()
        try:
            engine = self._makeup.engine(passed, memory)
        except DataError as error:
            _log.error("paper_starts_anew", error=str(error))
            self._alerts.append(("paper_starts_anew", "The paper account starts anew", str(error)))
            memory = msgspec.structs.replace(memory, saved=None)
            engine = self._makeup.engine(passed, memory)
        begin = self._makeup.begin(engine, passed, memory)
        self._journal.start(begin)
        self._note_position()
        return Recovery(engine, begin)

    def _note_position(self) -> None:
        journal = self._journal
        self._ledger.commit_step(Step(self._makeup.venue, journal_id=journal.journal_id, position=journal.position))

    async def _go_on(self) -> Recovery | None:
        journal = self._journal
        if journal.damage is not None:
            raise _UnusableError(f"journal {journal.folder}: {journal.damage}", damage=True)
        if not journal.journal_id:
            raise _UnusableError("there is no journal yet")
        stored = self._ledger.journal_position(journal.journal_id)
        if stored is None:
            raise _UnusableError("the journal is another ledger's")
        engine, begin, position = self._newest(min(stored, journal.position))
        leftover: list[Effect] = []
        found: list[Judged] = []
        appended, lacking = 0, 0  # where the last append begins, and the one of the first effect that is left over
        try:
            async for appended, place, effects in self._replayed(engine, position):
                position = place + 1
                found += [effect for effect in effects if isinstance(effect, Judged)]
                if place >= stored:
                    lacking = lacking if leftover else appended
                    leftover += [effect for effect in effects if not isinstance(effect, FetchContext)]
                if self._stopping():
                    return None
        except JournalDamageError as error:
            raise _UnusableError(str(error), damage=True) from None
        if position != journal.position:
            text = f"journal {journal.folder}: events from {position} to {journal.position} are missing"
            raise _UnusableError(text, damage=True)
        if stored > position:
            self._check_nothing_lost(engine, stored - position)
        self._ledger.market.found(found)  # what a crash came before
        # A step is journaled when the one before it is stored: only the last one can have been cut off.
        repeated = bool(leftover) and lacking < appended
        if repeated:
            self._note_repeats(leftover)
        # A stop ends with the state saved, as of the journal's very end.
        stopped = any(int(path.stem) == journal.position for path in snapshot_paths(journal.folder))
        return Recovery(engine, begin, leftover, repeated, killed_ms=None if stopped else journal.written_ms)

    def _note_repeats(self, leftover: Sequence[Effect]) -> None:
        alerts = sum(isinstance(effect, Alert) for effect in leftover)
        _log.warning("ledger_behind_journal", alerts=alerts, note="sent again as possible repeats")
        text = f"It was completed from it. Sent as possible repeats: {alerts} alert{'s' * (alerts != 1)}."
        self._alerts.append(("ledger_behind_journal", "The ledger is older than its journal", text))

    async def _replayed(self, engine: Engine, from_position: int) -> AsyncIterator[tuple[int, int, list[Effect]]]:
        """Every event from a position on, processed: where its append begins, where it is, and what it led to."""
        journal = self._journal
        left_out = {skip.position for skip in skips(journal.folder)}
        engine.expect(failures(journal.folder, journal.journal_id))
        appended, more = from_position, False
        for batch in batches(journal.folder, journal.journal_id, from_position):
            appended, more = appended if more else batch.first, len(batch.events) == BATCH
            for place, event in enumerate(batch.events, batch.first):
                effects: list[Effect] = []
                if place not in left_out:
                    try:
                        effects = engine.process(event)
                    except Exception as error:  # whatever it is, it must not come again at each start (I7)
                        self._note_failure(place, event, error)
                        raise _EngineFailedError from error
                yield appended, place, effects
                if place % SLICE == 0:
                    await asyncio.sleep(0)

    def _note_failure(self, place: int, event: Event, error: Exception) -> None:
        said = f"{type(error).__name__}: {error}"
        self._failures += 1
        if self._failures > MAX_FAILURES:
            raise _UnusableError(f"too many of its events make the engine fail; the last: {said}", damage=True)
        _log.error("event_skipped", position=place, error=said, exc_info=error)
        self._alerts.append(("event_skipped", "An event that made the engine fail is left out", f"{said}\n{event}"))
        self._journal.skip(place, event, said)

    def _newest(self, at_most: int) -> tuple[Engine, Begin, int]:
        """The state to go on from: not after what the ledger holds, or effects between them would be lost."""
        journal = self._journal
        for path in snapshot_paths(journal.folder):
            try:
                head = head_of(path)
                if head.journal_id != journal.journal_id or head.position > at_most:
                    continue
                engine = self._makeup.engine()
                if (other := unlike(head.begin, engine)) is not None:
                    raise _UnusableError(other)
                load(engine, state_in(path))
            except DataError as error:
                _log.warning("snapshot_unusable", file=path.name, error=str(error))
                continue
            return engine, head.begin, head.position
        for segment in segments(journal.folder):
            if segment.journal_id == journal.journal_id and segment.begin is not None:
                engine = self._makeup.engine(segment.begin.passed, segment.begin.memory)
                if (other := unlike(segment.begin, engine)) is not None:
                    raise _UnusableError(other)
                return engine, segment.begin, segment.first
        raise _UnusableError("no snapshot is usable, and the journal's beginning is gone")

    def _check_nothing_lost(self, engine: Engine, missing: int) -> None:
        """The journal's end is lost, as after a power failure: fine as long as it led to no signal.

        Bars that the ledger knows as decided come as history then.
        """
        positions, base_ms = engine.positions(), self._makeup.base_ms
        for symbol, close_ms in self._ledger.last_signals(self._makeup.venue).items():
            if close_ms > positions.get(symbol, close_ms) + base_ms:
                text = f"journal {self._journal.folder}: its last {missing} events are lost, with signals among them"
                raise _UnusableError(text, damage=True)
        _log.warning("journal_behind_ledger", events=missing)
        self._note_position()
