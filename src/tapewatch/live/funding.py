"""Funding rates of what a perpetual paper account holds, asked for when they may have been paid."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from tapewatch.config import Config
from tapewatch.errors import EdgeError, TapewatchError
from tapewatch.feeds.history import History, Paid, futures_of
from tapewatch.feeds.observer import FeedObserver
from tapewatch.feeds.settings import FeedSettings
from tapewatch.model import MINUTE_MS, Event, Funding
from tapewatch.telemetry import get_logger

_log = get_logger("live")

#: How often the exchange's clock is looked at, wall time.
TICK_S = 0.5
#: Contracts pay every eight, four or one hours, on the hour; the rate is there this soon after.
HOUR_MS = 60 * MINUTE_MS
SETTLED_MS = 10_000
#: A start waits no longer than this for what was paid while it was down.
PATIENCE_S = 10.0

Ask = Callable[[str, int, int], Awaitable[Sequence[Paid]]]


class FundingService:
    """Tells the engine what its open positions pay.

    Args:
        ask: the payments of a symbol in [from, to), oldest first.
        take: accepts events.
        open_since: symbol -> when its oldest open position was entered.
        now_ms: the exchange's clock.
    """

    def __init__(
        self,
        ask: Ask,
        take: Callable[[Sequence[Event]], None],
        open_since: Callable[[], Mapping[str, int]],
        now_ms: Callable[[], int],
    ) -> None:
        self._ask = ask
        self._take = take
        self._open_since = open_since
        self._now_ms = now_ms
        self._known_ms: dict[str, int] = {}
        self._looked = -1

    async def catch_up(self) -> None:
        """Tell what was paid until now, for a start; what cannot be had in time is told later."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await self.look(self._now_ms())

    async def run(self) -> None:
        """Tell payments until cancelled, soon after each hour."""
        while True:
            await asyncio.sleep(TICK_S)
            now_ms = self._now_ms()
            if (now_ms - SETTLED_MS) // HOUR_MS != self._looked and await self.look(now_ms):
                self._looked = (now_ms - SETTLED_MS) // HOUR_MS

    async def look(self, now_ms: int) -> bool:
        """Tell what open positions have paid by now; whether all could be asked."""
        complete = True
        for symbol, since_ms in sorted(self._open_since().items()):
            from_ms = max(since_ms, self._known_ms.get(symbol, 0)) + 1
            if from_ms > now_ms:
                continue
            try:
                paid = await self._ask(symbol, from_ms, now_ms + 1)
            except TapewatchError as error:  # a refusal is an answer: it has no such contract, or shuts out this region
                _log.warning("funding_failed", symbol=symbol, error=str(error))
                complete = complete and not isinstance(error, EdgeError)
                continue
            if paid:
                self._known_ms[symbol] = paid[-1].funding_time
                self._take([Funding(symbol, one.funding_time, one.funding_rate) for one in paid])
        return complete


def history_of(config: Config, observer: FeedObserver) -> History | None:
    """Where a perpetual account's funding comes from; None for any other, and where no futures can be asked."""
    if config.paper is None or config.paper.account != "perpetual":
        return None
    exchange = config.exchange
    ca_file = None if exchange.ca_file is None else str(exchange.ca_file)
    return futures_of(FeedSettings(futures_url=exchange.futures_host, ca_file=ca_file), observer)


@asynccontextmanager
async def paying(
    history: History | None,
    take: Callable[[Sequence[Event]], None],
    open_since: Callable[[], Mapping[str, int]],
    now_ms: Callable[[], int],
) -> AsyncIterator[None]:
    """With funding told; first what was paid while nobody ran, for the bars of that time come after it."""
    if history is None:
        yield
        return
    async with history, asyncio.TaskGroup() as tasks:
        service = FundingService(history.funding, take, open_since, now_ms)
        await service.catch_up()
        task = tasks.create_task(service.run(), name="funding")
        yield
        task.cancel()
