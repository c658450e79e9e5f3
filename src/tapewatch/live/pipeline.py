"""Events in, committed steps out: the engine between the feed and the ledger.

A step is the batch of events that had come when the last one was committed. Its events go into the journal, then its
effects and the messages they become are stored in one transaction; nothing is told to anybody before that. A ledger or
a disk in trouble holds the next step back: what was taken stays in memory, in order, and is stored when it can be
written again.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from tapewatch.engine import Engine
from tapewatch.live.insisting import OnTrouble, insisted
from tapewatch.live.recorder import Recorder
from tapewatch.live.records import RecordKeeper
from tapewatch.live.telling import Teller
from tapewatch.model import Boundary, Context, Effect, Event, FetchContext
from tapewatch.store import Message, Step

#: Events processed before what they want to know is asked for and other tasks get their turn; some 20 ms of work.
SLICE = 200


@dataclass
class StepReport:
    """What one committed step was, for metrics, logs and health.

    Attributes:
        events: what the engine was told, in order.
        effects: everything it said.
        messages: what was put into the outbox.
        taken_s: when its first event was taken, monotonic seconds.
        engine_s, commit_s: time spent in the engine and in the transaction.
        decided_s, committed_s: when the engine was done and when it was stored, monotonic seconds.
    """

    events: Sequence[Event]
    effects: Sequence[Effect]
    messages: Sequence[Message]
    taken_s: float
    engine_s: float
    commit_s: float
    decided_s: float
    committed_s: float


@dataclass
class Pipeline:
    """Takes events, runs the engine, commits steps.

    Attributes:
        recorder: stores steps; that is done in `executor`.
        teller: what is told of effects.
        now_ms: the wall clock.
        on_step: called after each commit.
        on_trouble: of storing steps.
        records: what alerts carry of those like them; None carries nothing.
        on_processed: called with events that the engine has taken.
        on_ask: called with the quotes the engine wants; each must be answered by a `Context`.
        engine, started: the engine, and whether there is one yet.
        processed: how many events the engine was told.
        on_waiting: called with the time since which events wait to be stored, and with None when none does.
    """

    recorder: Recorder
    executor: Executor
    teller: Teller
    now_ms: Callable[[], int]
    on_step: Callable[[StepReport], None]
    on_trouble: OnTrouble
    on_waiting: Callable[[int | None], None]
    on_ask: Callable[[Sequence[FetchContext]], None]
    records: RecordKeeper | None = None
    on_processed: Callable[[Sequence[Event]], None] = lambda _events: None
    engine: Engine = field(init=False)
    started: bool = field(init=False, default=False)
    processed: int = field(init=False, default=0)
    _leftover: list[Effect] = field(default_factory=list)
    _repeated: bool = False
    _events: deque[Event] = field(default_factory=deque)
    _given: list[Step] = field(default_factory=list)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _idle: asyncio.Event = field(default_factory=asyncio.Event)
    _taken_s: float = 0.0
    _busy: bool = False
    _asked: set[tuple[str, int]] = field(default_factory=set)
    _bounded: asyncio.Event = field(default_factory=asyncio.Event)

    def resume(self, engine: Engine, leftover: list[Effect], *, repeated: bool = False) -> None:
        """Work with this engine; what its last events led to and the ledger does not hold is stored first.

        Where that was stored once and is lost, as `repeated` says, its alerts may have been sent.
        """
        self.engine, self._leftover, self._repeated = engine, leftover, repeated
        self.started = True
        if leftover:
            self._work()

    def replace(self, engine: Engine, records: RecordKeeper | None) -> None:
        """Work with these from now on; everything taken for the engine before has been committed."""
        self.engine, self.records = engine, records

    async def boundary(self) -> None:
        """Returns when the next `Boundary`, and what came with it, has been committed."""
        await self._bounded.wait()

    def take(self, events: Sequence[Event]) -> None:
        """Accept events; what was accepted is processed and stored, whatever the ledger does meanwhile."""
        if not self._events:
            self._taken_s = time.monotonic()
        self._events.extend(self.recorder.admitted(events))
        self._work()

    def notify(self, given: Step) -> None:
        """Store, with the next step, what the operator is told and what is known of troubles."""
        self._given.append(given)
        self._work()

    def _work(self) -> None:
        if not self._busy:
            self._busy = True
            self._idle.clear()
            self.on_waiting(self.now_ms())
        self._wake.set()

    @property
    def waiting(self) -> int:
        """How many events wait for the engine."""
        return len(self._events)

    async def drained(self) -> None:
        """Returns when everything taken has been committed, with the quotes it had to wait for."""
        if self._busy or self._asked:
            await self._idle.wait()

    async def run(self) -> None:
        """Work until cancelled; quotes that an earlier run had asked for are asked for again."""
        self._ask(self.engine.asking)
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._events or self._given or self._leftover:
                await self._step()
            self._busy = False
            if not self._asked:
                self._idle.set()
            self.on_waiting(None)

    async def _step(self) -> None:
        taken_s = self._taken_s
        events: list[Event] = []
        effects, self._leftover = self._leftover, []
        repeated, self._repeated = self._repeated, False
        # What is left over is stored before anything new is journaled: that this is there says that it was.
        engine_s = 0.0 if effects else await self._process(events, effects)
        decided_s = time.monotonic()
        given, self._given = self._given, []
        notices, messages = self.teller.tell(effects, self.now_ms(), possible_repeat=repeated)
        notices += [notice for one in given for notice in one.notices]
        messages += [message for one in given for message in one.messages]
        step = Step(
            self.engine.venue,
            effects,
            messages,
            notices=notices,
            troubles=list({trouble.key: trouble for one in given for trouble in one.troubles}.values()),
            maintained=[window for one in given for window in one.maintained],
            records=await self.records.of(effects) if self.records is not None else {},
        )
        started_s = time.monotonic()
        # Between a boundary and the next one there is time to save the engine's state.
        bounded = any(isinstance(event, Boundary) for event in events)
        saving = bounded and self.recorder.snapshot_due
        await insisted(partial(self.recorder.store, step, events, position=saving), self.executor, self.on_trouble)
        committed_s = time.monotonic()
        if saving:
            self.recorder.snapshot(self.engine)
        if bounded:
            passed, self._bounded = self._bounded, asyncio.Event()
            passed.set()
        if effects or notices:
            commit_s = committed_s - started_s
            self.on_step(StepReport(events, effects, messages, taken_s, engine_s, commit_s, decided_s, committed_s))

    async def _process(self, events: list[Event], effects: list[Effect]) -> float:
        """Process all that has come: adds events and their effects, returns the engine's time in seconds."""
        engine_s = 0.0
        while self._events:
            started, known = time.perf_counter(), len(effects)
            for event in islice(self._events, SLICE):
                events.append(event)
                self.recorder.before(event)
                try:
                    effects += self.engine.process(event)
                except Exception as error:  # it must not come again at each start (I7)
                    await asyncio.get_running_loop().run_in_executor(self.executor, self.recorder.failed, events, error)
                    raise
                if isinstance(event, Context):
                    self._asked.discard((event.symbol, event.close_ms))
            taken = [self._events.popleft() for _ in range(min(SLICE, len(self._events)))]
            self.processed += len(taken)
            self.on_processed(taken)
            engine_s += time.perf_counter() - started
            self._ask([effect for effect in islice(effects, known, None) if isinstance(effect, FetchContext)])
            await asyncio.sleep(0)
        return engine_s

    def _ask(self, wanted: Sequence[FetchContext]) -> None:
        """Before the step is stored: a quote is of the moment."""
        if wanted:
            self._asked.update((effect.symbol, effect.close_ms) for effect in wanted)
            self.on_ask(wanted)
