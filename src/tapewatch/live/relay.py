"""The relay: takes messages from the outbox and delivers each through its channel, once.

A message is marked as being sent, committed, before its channel sees it; what a crash leaves in that state is sent
again as a possible repeat. Channels are served by tasks of their own, so one that hangs delays no other.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import ParamSpec, TypeVar

from tapewatch.channels.port import Channel
from tapewatch.channels.writer import Writer
from tapewatch.errors import StoreError
from tapewatch.live.lane import Attempt, Lane, RelayObserver, Surroundings
from tapewatch.live.pace import Pace, Rules, since_start_ms
from tapewatch.live.writing import Words
from tapewatch.store import Outbox
from tapewatch.store.lease import Lease
from tapewatch.telemetry.log import get_logger

__all__ = ["Attempt", "Pace", "Relay", "RelayObserver", "Rules"]

P = ParamSpec("P")
T = TypeVar("T")

_log = get_logger("channels")


class Relay:
    """Delivers the messages of one outbox.

    Args:
        outbox: where the messages are; used in `executor` only.
        channels: the channels; messages for others stay queued.
        executor: runs the ledger's calls, one at a time.
        writer: writes what is sent.
        now_ms: the wall clock; what is stored is by it.
        passed_ms: a clock that nobody sets; limits and holds are kept by it.
        pace: how often and how long to try.
        rules: limits, quiet hours and fallbacks by channel.
        observer: is told what happens.
    """

    def __init__(
        self,
        outbox: Outbox,
        channels: Sequence[Channel],
        executor: Executor,
        *,
        writer: Writer,
        now_ms: Callable[[], int],
        passed_ms: Callable[[], int] = since_start_ms,
        pace: Pace | None = None,
        rules: Mapping[str, Rules] | None = None,
        observer: RelayObserver | None = None,
    ) -> None:
        self._outbox = outbox
        self._executor = executor
        self._now_ms = now_ms
        self._pace = pace or Pace()
        self._stopping = asyncio.Event()
        self._turn = asyncio.Lock()
        by_name, names = rules or {}, {channel.name for channel in channels}
        self._chains = {name: [one for one in rule.fallback if one in names] for name, rule in by_name.items()}
        words = Words(writer, self._pace.useful_s)
        watching = observer or RelayObserver()
        shared = Surroundings(outbox, self._stored, words, self._pace, self._chains, now_ms, passed_ms, watching)
        self._lanes = [Lane(channel, by_name.get(channel.name, Rules()), shared) for channel in channels]

    async def run(self) -> None:
        """Deliver until `stop`; then finish what is under way, for at most `finish_s`.

        While another relay delivers from this ledger it waits.
        """
        lease = await self._leased()
        if lease is None:
            return
        try:
            recovered = await self._stored(self._outbox.recover, self._now_ms())
            if recovered:
                _log.warning("messages_recovered", count=recovered)
            names = [lane.name for lane in self._lanes]
            while await self._stored(self._outbox.replace_gone, names, self._chains):
                pass
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(lane.serve(self._stopping)) for lane in self._lanes]
                await self._stopping.wait()
                if tasks:
                    await asyncio.wait(tasks, timeout=self._pace.finish_s)
                for task in tasks:
                    task.cancel()
        finally:
            lease.release()

    def wake(self) -> None:
        """Tell the relay that messages were stored, so that it does not find them at its next look only."""
        for lane in self._lanes:
            lane.wake.set()

    def stop(self) -> None:
        """Take no further message; `run` returns soon."""
        self._stopping.set()
        self.wake()

    async def drained(self, within_s: float) -> bool:
        """Whether every message of its channels was delivered or given up before `within_s` have passed."""
        names = [lane.name for lane in self._lanes]
        try:
            async with asyncio.timeout(within_s):
                while await self._stored(self._outbox.busy, names):
                    await self._moved()
        except TimeoutError:
            return False
        return True

    async def _moved(self) -> None:
        """Something was done, or may have been."""
        await asyncio.sleep(0.02)

    async def _leased(self) -> Lease | None:
        """The right to deliver; None when stopped before it could be had."""
        waited = False
        while not self._stopping.is_set():
            try:
                lease = self._outbox.lease()  # not in the executor: whoever is cancelled there would keep it
            except StoreError as error:
                _log.error("ledger_trouble", error=str(error), retry_s=self._pace.lease_s)
            else:
                if lease is not None:
                    return lease
                if not waited:
                    waited = True
                    _log.warning("relay_waits", note="another process delivers from this ledger; this one takes over")
            try:
                async with asyncio.timeout(self._pace.lease_s):
                    await self._stopping.wait()
            except TimeoutError:
                pass
        return None

    async def _stored(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a ledger's call, tried again while the ledger is in trouble."""
        delay_s = self._pace.store_retry_s
        while True:
            try:
                async with self._turn:  # so that a step to be committed waits for one of these at most
                    loop = asyncio.get_running_loop()
                    return await loop.run_in_executor(self._executor, lambda: call(*args, **kwargs))
            except StoreError as error:
                _log.error("ledger_trouble", error=str(error), retry_s=delay_s)
            await asyncio.sleep(delay_s * random.uniform(0.75, 1.0))
            delay_s = min(delay_s * 2, self._pace.store_retry_cap_s)
