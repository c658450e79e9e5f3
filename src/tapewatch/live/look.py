"""One look at the exchange: whom a start would watch now, without starting anything."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from tapewatch.config import Config
from tapewatch.errors import EdgeError
from tapewatch.feeds import FeedObserver, Instrument
from tapewatch.live.feeds import build_feed
from tapewatch.live.universe import caps_of, rules_of
from tapewatch.universe import Review, Watchlist

#: Failures in a row after which somebody who waits for an answer should have one.
PATIENCE = 3


class _Trouble(FeedObserver):
    """Remembers what goes wrong, and when it has gone wrong often enough."""

    def __init__(self) -> None:
        self.last = ""
        self.count = 0
        self.enough = asyncio.Event()

    def attempt(self, number: int, delay_s: float, error: str, connection: str = "") -> None:  # noqa: ARG002
        self._note(error)

    def warning(self, text: str) -> None:
        self._note(text)

    def banned(self, host: str, seconds: float, reason: str) -> None:
        self.last = f"{host} asked to be left alone for {seconds:.0f} s: {reason}"
        self.enough.set()

    def _note(self, text: str) -> None:
        self.last, self.count = text, self.count + 1
        if self.count >= PATIENCE:
            self.enough.set()


async def look(config: Config, now_ms: Callable[[], int], warn: Callable[[str], None]) -> Review:
    """What the rules say of everybody, fresh from the exchange.

    Args:
        config: exchange, universe and patience.
        now_ms: the wall clock, for how old market capitalisations are.
        warn: is told what could not be had but is not needed.

    Raises:
        EdgeError: the exchange cannot be reached.
        SetupError: its address is wrong.
    """
    caps = caps_of(config, now_ms)
    if caps is not None and caps.due_in_s == 0:
        try:
            await caps.refresh()
        except EdgeError as error:
            warn(f"market capitalisations are those of {len(caps.values)} assets known before: {error}")
    exchange_ms, listed = await _listed(config)
    volumes = {one.symbol: one.quote_volume_24h for one in listed if not math.isnan(one.quote_volume_24h)}
    values = caps.values if caps is not None else {}
    return Watchlist(rules_of(config.universe)).review(listed, volumes, values, exchange_ms)


async def _listed(config: Config) -> tuple[int, list[Instrument]]:
    """The exchange's time and its list; gives up where a run would go on trying."""
    trouble = _Trouble()
    feed = build_feed(config, lambda _events: None, trouble, [])

    async def ask() -> tuple[int, list[Instrument]]:
        return await feed.ready(), await feed.instruments()

    running, asking = asyncio.create_task(feed.run()), asyncio.create_task(ask())
    failing = asyncio.create_task(trouble.enough.wait())
    tasks: set[asyncio.Task[object]] = {running, asking, failing}
    try:
        await asyncio.wait(tasks, timeout=3 * config.feeds.request_timeout / 1000, return_when=asyncio.FIRST_COMPLETED)
        if asking.done():
            return asking.result()
        if running.done():
            running.result()  # raises what ended it
        raise EdgeError(f"the exchange could not be asked: {trouble.last or 'no answer in time'}")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
