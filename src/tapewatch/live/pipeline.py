"""Events in, committed steps out: the engine between the feed and the ledger.

A step is the batch of events that had come when the last one was committed. Its effects and the messages they become
are stored in one transaction; nothing is told to anybody before that. A ledger in trouble holds the next step back:
what was taken stays in memory, in order, and is stored when the ledger can be written again.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import islice

from tapewatch.channels.routing import Route
from tapewatch.engine import Engine
from tapewatch.errors import StoreError
from tapewatch.live.relay import messages_for
from tapewatch.model import Alert, Effect, Event
from tapewatch.store import Ledger, Message, Notice, Step

#: Events processed before other tasks get their turn; some 20 ms of work.
SLICE = 1_000
#: Waits between attempts to write a ledger that cannot be written, in seconds; the last one repeats.
RETRY_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


@dataclass
class StepReport:
    """What one committed step was, for metrics, logs and health.

    Attributes:
        effects: everything the engine said, in order.
        messages: what was put into the outbox.
        taken_s: when its first event was taken, monotonic seconds.
        engine_s, commit_s: time spent in the engine and in the transaction.
    """

    effects: Sequence[Effect]
    messages: Sequence[Message]
    taken_s: float
    engine_s: float
    commit_s: float


@dataclass
class Pipeline:
    """Takes events, runs the engine, commits steps.

    Attributes:
        engine, ledger: as named; the ledger is used in `executor` only.
        routes: where alerts go.
        now_ms: the wall clock.
        on_step: called after each commit.
        on_trouble: called when a step could not be stored, and with None when it was stored at last.
        on_waiting: called with the time since which events wait to be stored, and with None when none does.
    """

    engine: Engine
    ledger: Ledger
    executor: Executor
    routes: Sequence[Route]
    now_ms: Callable[[], int]
    on_step: Callable[[StepReport], None]
    on_trouble: Callable[[StoreError | None], None]
    on_waiting: Callable[[int | None], None]
    _events: deque[Event] = field(default_factory=deque)
    _notices: list[tuple[Notice, Sequence[Message]]] = field(default_factory=list)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _idle: asyncio.Event = field(default_factory=asyncio.Event)
    _taken_s: float = 0.0
    _busy: bool = False

    def take(self, events: Sequence[Event]) -> None:
        """Accept events; what was accepted is processed and stored, whatever the ledger does meanwhile."""
        if not self._events:
            self._taken_s = time.monotonic()
        self._events.extend(events)
        self._work()

    def notify(self, notice: Notice, messages: Sequence[Message]) -> None:
        """Store an alert to the operator with its messages."""
        self._notices.append((notice, messages))
        self._work()

    def _work(self) -> None:
        if not self._busy:
            self._busy = True
            self._idle.clear()
            self.on_waiting(self.now_ms())
        self._wake.set()

    async def drained(self) -> None:
        """Returns when everything taken has been committed."""
        if self._busy:
            await self._idle.wait()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._events or self._notices:
                await self._step()
            self._busy = False
            self._idle.set()
            self.on_waiting(None)

    async def _step(self) -> None:
        taken_s, effects, engine_s = self._taken_s, [], 0.0
        while self._events:
            started = time.perf_counter()
            batch = list(islice(self._events, SLICE))
            for event in batch:
                effects += self.engine.process(event)
            for _ in batch:
                self._events.popleft()
            engine_s += time.perf_counter() - started
            await asyncio.sleep(0)
        notices, self._notices = self._notices, []
        now_ms = self.now_ms()
        messages = [
            m for effect in effects if isinstance(effect, Alert) for m in messages_for(effect, self.routes, now_ms)
        ]
        messages += [message for _, theirs in notices for message in theirs]
        if not effects and not notices:
            return
        step = Step(self.engine.venue, effects, messages, notices=[notice for notice, _ in notices])
        started = time.perf_counter()
        await self._commit(step)
        self.on_step(StepReport(effects, messages, taken_s, engine_s, time.perf_counter() - started))

    async def _commit(self, step: Step) -> None:
        loop, attempt = asyncio.get_running_loop(), 0
        while True:
            try:
                await loop.run_in_executor(self.executor, self.ledger.commit_step, step)
            except StoreError as error:
                self.on_trouble(error)
                wait_s = RETRY_S[min(attempt, len(RETRY_S) - 1)]
                attempt += 1
                await asyncio.sleep(wait_s * random.uniform(0.75, 1.25))
            else:
                if attempt:
                    self.on_trouble(None)
                return
