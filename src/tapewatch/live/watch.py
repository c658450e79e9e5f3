"""What nobody reports, looked at again and again: disk, clocks, event loop, memory, and data that stays away."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from tapewatch.config import Config
from tapewatch.errors import StoreError
from tapewatch.feeds.clock import ExchangeClock
from tapewatch.live.operator import OperatorDesk
from tapewatch.live.pace import since_start_ms
from tapewatch.live.troubles import span
from tapewatch.store import Ledger
from tapewatch.telemetry import get_logger
from tapewatch.telemetry.document import memory_bytes
from tapewatch.telemetry.health import Health
from tapewatch.telemetry.leap import Leap

_log = get_logger("live")

#: How often the ledger is asked for windows of maintenance; they take hold this soon.
POLL_S = 2.0
#: How often disks and memory are looked at.
DISK_S = 60.0
#: A wall clock that moves by more against the time that passes was set.
JUMP_MS = 2_000
#: A clock must be off for so many seconds: one answer that was slow says little.
OFF_S = 30
#: The exchange's clock is reckoned by the time that passes here, and is wrong for so long after this machine slept.
UNSURE_MS = 900_000
#: Of so many seconds the event loop may lose this share; below the other it is well again.
LOOP_S, LOOP_BAD, LOOP_WELL = 60, 0.25, 0.05
#: What is over a limit is well again below this share of it.
WELL = 0.9


@dataclass(frozen=True)
class Limits:
    """Beyond which the operator is told.

    Attributes:
        folders: what is written to, by what it is for.
        free_bytes: the least that a disk must have free.
        memory_bytes: the most that this process may hold resident; None for no limit.
        clock_offset_ms: the most that this machine's clock may be off the exchange's.
        stale_ms: the longest without a bar of any symbol, though the exchange is reached.
    """

    folders: Mapping[str, Path]
    free_bytes: int
    memory_bytes: int | None
    clock_offset_ms: int
    stale_ms: int


def limits_of(config: Config) -> Limits:
    """As configured."""
    operator = config.alerts.operator
    folders = {"ledger": config.ledger.beside("").absolute().parent, "journal": config.journal_folder}
    if config.archive.record:
        folders["archive"] = config.archive_folder
    if config.logging.file is not None:
        folders["log"] = config.logging.file.parent
    return Limits(folders, operator.free_bytes, operator.memory_bytes, operator.clock_offset, operator.stale_after)


@dataclass(frozen=True)
class Clocks:
    """The clocks of this machine, in ms: as people read it, since some moment, and that with the time it was asleep."""

    wall: Callable[[], int]
    passed: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000
    awake_or_not: Callable[[], int] = since_start_ms


class Watch:
    """Looks, and tells the operator's desk what begins and what is over.

    Args:
        desk, health: who is told, and what is known.
        limits: see there.
        clocks: of this machine.
        exchange_ms: the exchange's clock; None where it is not known, or simulated.
        ledger: asked for maintenance, in `executor` only.
    """

    def __init__(
        self,
        desk: OperatorDesk,
        health: Health,
        limits: Limits,
        clocks: Clocks,
        exchange_ms: Callable[[], int | None],
        ledger: Ledger,
        executor: Executor,
    ) -> None:
        self._desk = desk
        self._health = health
        self.change(limits)
        self._clocks = clocks
        self._exchange_ms = exchange_ms
        self._ledger = ledger
        self._executor = executor
        self._lost_s: deque[float] = deque([0.0] * LOOP_S, LOOP_S)
        self._read_ms = self._read()
        self._off_s, self._unsure_ms = 0, 0

    def change(self, limits: Limits) -> None:
        """Judge by these from now on."""
        self.limits = limits
        self._health.disk_least, self._health.memory_most = limits.free_bytes, limits.memory_bytes

    async def run(self) -> None:
        """Look at disks and memory, and for maintenance, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_maintenance())
            while True:
                self.look_at_memory(memory_bytes())
                # A disk in trouble may not answer at once.
                limits = self.limits
                free = await asyncio.to_thread(free_bytes, list(limits.folders.values()))
                if limits is self.limits:
                    self.look_at_disks(free)
                await asyncio.sleep(DISK_S)

    async def _follow_maintenance(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._desk.follow(await loop.run_in_executor(self._executor, self._ledger.operation.maintenance))
            except StoreError as error:
                _log.warning("maintenance_unknown", error=str(error))
            await asyncio.sleep(POLL_S)

    def each_second(self, lag_s: float) -> None:
        """Look at clocks, event loop and data.

        Args:
            lag_s: how late the event loop ran the timer that calls this.
        """
        self._look_at_clock()
        self._look_at_offset()
        self._look_at_loop(lag_s)
        self._look_at_data()

    def look_at_disks(self, free: Sequence[int | OSError]) -> None:
        """What is free in each of the folders, in their order, or why that is not known."""
        limit = self.limits.free_bytes
        known = dict(zip(self.limits.folders.items(), free, strict=True))
        self._health.disk_free = {name: found for (name, _), found in known.items() if isinstance(found, int)}
        bad = []
        for (name, folder), found in known.items():
            if isinstance(found, OSError):
                bad.append(f"{name} ({folder}) cannot be looked at: {found.strerror}")
            elif found < limit:
                bad.append(f"{name} ({folder}) has {found / 1e6:,.0f} MB left")
        if bad:
            text = "; ".join(bad) + f"\nThe limit is {limit / 1e6:,.0f} MB. A full disk holds everything back."
            self._desk.trouble("disk", "A disk is nearly full", text)
        elif all(isinstance(found, int) and found * WELL >= limit for found in known.values()):
            self._desk.over("disk", "There is room again.")

    def housekeeping(self, failed: str | None) -> None:
        """Journal and archive could not be kept within their bounds, and why; or they were."""
        if failed is None:
            self._desk.over("housekeeping", "They are within their bounds again.")
        else:
            self._desk.trouble("housekeeping", "Journal or archive cannot be kept in order", failed)

    def look_at_memory(self, resident: int) -> None:
        """What this process holds."""
        limit = self.limits.memory_bytes
        if limit is not None and resident > limit:
            text = f"{resident / 1e6:,.0f} MB are resident, the limit is {limit / 1e6:,.0f} MB."
            self._desk.trouble("memory", "tapewatch needs too much memory", text)
        elif limit is None or resident < limit * WELL:
            self._desk.over("memory", f"{resident / 1e6:,.0f} MB are resident.")

    def _read(self) -> tuple[int, int, int]:
        clocks = self._clocks
        return clocks.wall(), clocks.passed(), clocks.awake_or_not()

    def _look_at_clock(self) -> None:
        before, self._read_ms = self._read_ms, self._read()
        wall_ms, passed_ms, whole_ms = (now - then for now, then in zip(self._read_ms, before, strict=True))
        asleep_ms = whole_ms - passed_ms
        if asleep_ms > JUMP_MS:
            _log.warning("host_suspended", asleep_s=asleep_ms // 1000)
            self._unsure_ms = self._clocks.passed() + UNSURE_MS
            text = f"For {span(asleep_ms)}. Bars that were missed are fetched; alerts of that time come late or not."
            self._desk.alert("host_suspended", "This machine was asleep", text)
        jumped_ms = wall_ms - max(whole_ms, passed_ms)
        if abs(jumped_ms) > JUMP_MS:
            _log.warning("clock_jumped", by_ms=jumped_ms)
            now_ms = self._read_ms[0]
            leap = Leap(jumped_ms, now_ms - max(whole_ms, passed_ms), now_ms)
            self._health.clock_set(leap)
            self._desk.clock_set(leap)
            side = "forward" if jumped_ms > 0 else "back"
            text = f"It was put {side} by {span(abs(jumped_ms))}. Candles are judged by the exchange's clock; times in "
            self._desk.alert("clock_jumped", "This machine's clock was changed", f"{text}logs and alerts are not.")

    def _look_at_offset(self) -> None:
        exchange_ms, limit_ms = self._exchange_ms(), self.limits.clock_offset_ms
        if exchange_ms is None or self._clocks.passed() < self._unsure_ms:
            self._health.clock_ahead_s = None
            return
        ahead_ms = self._clocks.wall() - exchange_ms
        self._health.clock_ahead_s = ahead_ms / 1000
        self._off_s = self._off_s + 1 if abs(ahead_ms) > limit_ms else 0
        if self._off_s >= OFF_S:
            side = "ahead of" if ahead_ms > 0 else "behind"
            text = f"It is {abs(ahead_ms) / 1000:,.1f} s {side} the exchange's; let the system keep time (NTP)."
            self._desk.trouble("clock", "This machine's clock is wrong", text)
        elif abs(ahead_ms) < limit_ms * WELL:
            self._desk.over("clock", f"It is {abs(ahead_ms)} ms off the exchange's.")

    def _look_at_loop(self, lag_s: float) -> None:
        self._lost_s.append(lag_s)
        share = sum(self._lost_s) / LOOP_S
        if share > LOOP_BAD:
            text = f"It lost {sum(self._lost_s):.0f} s in the last minute or so. Alerts are late by as much.\n"
            text += "The machine is overloaded, swaps, or the process was stopped for a while."
            self._desk.trouble("loop", "tapewatch cannot keep up", text)
        elif share < LOOP_WELL:
            self._desk.over("loop", "It keeps up again.")

    def _look_at_data(self) -> None:
        health, now_ms = self._health, self._clocks.wall()
        newest_ms = max((known.seen_ms for known in health.freshness.values()), default=None)
        if not health.windows_loaded or newest_ms is None:
            return
        age_ms = now_ms - newest_ms
        if age_ms <= self.limits.stale_ms:
            self._desk.over("stale", "Bars come again.")
        elif health.connections or health.emergency:
            text = "The exchange is reached, but no bar of any symbol has come "
            text += f"for {span(age_ms)} (connections: {health.connections})."
            self._desk.trouble("stale", "No candles come", text)


def exchange_ms_of(clock: ExchangeClock) -> int | None:
    """What a machine's clock can be compared with: a simulated exchange's says nothing about this machine's."""
    return clock.now_ms() if clock.shown_ms and not clock.simulated else None


def free_bytes(folders: Sequence[Path]) -> list[int | OSError]:
    """What is free for this user in each, or why that is not known."""
    found: list[int | OSError] = []
    for folder in folders:
        there = next((one for one in (folder, *folder.absolute().parents) if one.exists()), folder)  # made when needed
        try:
            found.append(shutil.disk_usage(there).free)
        except OSError as error:
            found.append(error)
    return found
