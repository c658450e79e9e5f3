"""What the user mutes while a run is on, brought to the engine as events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from tapewatch.errors import StoreError
from tapewatch.model import Event, Mute
from tapewatch.store import Ledger
from tapewatch.telemetry import get_logger

_log = get_logger("live")

#: How often the ledger is asked; a mute takes hold this soon.
POLL_S = 2.0


class MuteWatch:
    """Follows the ledger's mutes.

    Args:
        ledger: used in `executor` only.
        take: accepts events.
        wall_ms: the clock that the ledger's times are by.
        exchange_ms: the clock that the engine's are by.
    """

    def __init__(
        self,
        ledger: Ledger,
        executor: Executor,
        take: Callable[[Sequence[Event]], None],
        wall_ms: Callable[[], int],
        exchange_ms: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._executor = executor
        self._take = take
        self._wall_ms = wall_ms
        self._exchange_ms = exchange_ms
        self._known: dict[str, int] = {}
        self._started = asyncio.Event()

    def start(self) -> None:
        """Hand on what is muted before the first bar; the exchange's clock must be known."""
        self.follow(self._ledger.mutes())
        self._started.set()

    async def run(self) -> None:
        """Follow until cancelled; a ledger in trouble is asked again."""
        loop = asyncio.get_running_loop()
        await self._started.wait()
        while True:
            try:
                mutes = await loop.run_in_executor(self._executor, self._ledger.mutes)
            except StoreError as error:
                _log.warning("mutes_unknown", error=str(error))
            else:
                self.follow(mutes)
            await asyncio.sleep(POLL_S)

    def follow(self, mutes: dict[str, int]) -> None:
        """Hand on what has changed."""
        ahead_ms = self._exchange_ms() - self._wall_ms()
        changed = {target: until_ms for target, until_ms in mutes.items() if self._known.get(target) != until_ms}
        self._known.update(changed)
        if changed:
            _log.info("muted", targets=changed)
            self._take([Mute(target, until_ms + ahead_ms) for target, until_ms in changed.items()])
