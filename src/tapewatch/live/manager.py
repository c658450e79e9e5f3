"""What the service manager is told of a run (sd_notify): ready, stopping, and while it makes progress.

All of it is said from inside the event loop, so that nothing is when that stands still; an exchange that is quiet or
gone is no reason to be silent. Without a service manager nothing is said.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

from tapewatch.errors import SetupError
from tapewatch.telemetry import get_logger
from tapewatch.telemetry.health import Health

_log = get_logger("live")

#: How often is looked, at most: a sign of life that had to be withheld is given as soon as it can be.
LOOK_S = 1.0
#: So long a start may take until the next word, each time there is one, where no watchdog says how long.
START_S = 60.0
#: A status that is longer is cut.
STATUS_CHARS = 500


class Manager:
    """The socket of the service manager that started this process.

    Args:
        address: a path, or `@` and a name of the abstract namespace.
        watchdog_s: how long it waits for a sign of life before it starts the process anew; None when it does not.
    """

    def __init__(self, address: str, watchdog_s: float | None) -> None:
        self.watchdog_s = watchdog_s
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._reached = True

    def tell(self, **assignments: str) -> bool:
        """Whether these were said; a manager that cannot be reached now is tried again by whoever has something."""
        lines = [f"{name}={' '.join(value.split())}" for name, value in assignments.items()]
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            if self._reached:
                _log.warning("manager_not_reached", error=str(error))
            self._reached = False
            return False
        self._reached = True
        return True

    def close(self) -> None:
        """Nothing more is said."""
        self._socket.close()


def manager_of(environment: Mapping[str, str], pid: int) -> Manager | None:
    """As the environment of a started service says; None without one.

    Raises:
        SetupError: it says something that makes no sense.
    """
    address = environment.get("NOTIFY_SOCKET")
    if not address:
        return None
    if address[0] not in "/@" or len(address) < 2:
        raise SetupError(f"NOTIFY_SOCKET: {address!r} is neither a path nor an abstract name as @name")
    watched = environment.get("WATCHDOG_PID", str(pid)) == str(pid)
    text = environment.get("WATCHDOG_USEC", "") if watched else ""
    if text and not (text.isdecimal() and int(text)):
        raise SetupError(f"WATCHDOG_USEC: {text!r} is no number of microseconds")
    return Manager(address, int(text) / 1e6 if text else None)


class Herald:
    """Tells a manager of one run.

    Args:
        manager: who is told.
        health: says whether the run is ready, and whether it makes progress.
        now_ms: the wall clock.
    """

    def __init__(self, manager: Manager, health: Health, now_ms: Callable[[], int]) -> None:
        self._manager = manager
        self._health = health
        self._now_ms = now_ms
        self._every_s = (manager.watchdog_s or START_S) / 2
        self._ready = self._stopping = False
        self._status = ""
        self._beat_s = float("-inf")

    async def run(self) -> None:
        """Look again and again until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self.look(loop.time())
            await asyncio.sleep(min(LOOK_S, self._every_s / 2))

    def look(self, at_s: float) -> None:
        """Say what is new at this moment of a clock that only goes on."""
        now_ms = self._now_ms()
        reasons = self._health.ready(now_ms).reasons
        if not self._ready and not reasons:
            self._ready = self._manager.tell(READY="1")
        if at_s - self._beat_s >= self._every_s and self._health.live(now_ms).ok and self._beat():
            self._beat_s = at_s
        self._say(reasons)

    def reloading(self) -> None:
        """The configuration is read again; `reloaded` follows."""
        if self._ready and not self._stopping:
            self._manager.tell(RELOADING="1", MONOTONIC_USEC=str(time.monotonic_ns() // 1_000))

    def reloaded(self) -> None:
        """It was, whatever came of it."""
        if self._ready and not self._stopping:
            self._manager.tell(READY="1")

    def stopping(self) -> None:
        """The run was asked to end."""
        self._stopping = True
        self._manager.tell(STOPPING="1", STATUS="stopping")

    def _beat(self) -> bool:
        words = {"WATCHDOG": "1"}
        if not self._ready or self._stopping:  # a start may wait for the exchange, an end for the ledger
            words["EXTEND_TIMEOUT_USEC"] = str(round(self._every_s * 2e6))
        return self._manager.tell(**words)

    def _say(self, reasons: tuple[str, ...]) -> None:
        symbols = len(self._health.symbols)
        words = f"watching {symbols} symbol{'s' * (symbols != 1)}" if self._ready else "starting"
        status = "; ".join([words, *reasons])[:STATUS_CHARS]
        if status != self._status and not self._stopping and self._manager.tell(STATUS=status):
            self._status = status


@asynccontextmanager
async def attended(
    health: Health, now_ms: Callable[[], int], environment: Mapping[str, str] = os.environ
) -> AsyncIterator[Herald | None]:
    """The service manager is told of a run while this lasts, by what this gives; None where there is none.

    Raises:
        SetupError: as `manager_of`.
    """
    manager = manager_of(environment, os.getpid())
    if manager is None:
        yield None
        return
    herald = Herald(manager, health, now_ms)
    telling = asyncio.create_task(herald.run(), name="herald")
    try:
        yield herald
    finally:
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling
        manager.close()
