"""The feed against a simulator that counts: its limits are never broken, however much there is to fetch."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from feed_exchange import Notes, Sink, until, watching
from simulated import START_MS, TableMarket, serving

from tapewatch.feeds import BinanceFeed, FeedSettings, SeriesPlan
from tapewatch.model import MINUTE_MS
from tapewatch.simulator import Simulator
from tapewatch.simulator.limits import Limits

HOUR_MS = 60 * MINUTE_MS
#: Three timeframes: 1m, and windows of two larger ones.
LARGER = {5 * MINUTE_MS: START_MS - 20 * HOUR_MS, HOUR_MS: START_MS - 20 * HOUR_MS}


def names(count: int) -> tuple[str, ...]:
    """Symbols; a higher number is more traded."""
    return tuple(f"S{n:03}USDT" for n in range(count))


def plans(count: int) -> list[SeriesPlan]:
    """Windows of three timeframes each."""
    return [SeriesPlan(s, START_MS - HOUR_MS, LARGER, None, float(n)) for n, s in enumerate(names(count))]


def settings(simulator: Simulator, **changes: Any) -> FeedSettings:
    """Those of a real run, against the simulator."""
    return FeedSettings(rest_url=simulator.rest_url, ws_url=simulator.ws_url, settle_ms=600, tick_s=0.02, **changes)


async def past_the_minutes_turn(seconds: float) -> None:
    """Wait until the wall clock's minute, by which weights are counted, has so many seconds left."""
    left_s = 60 - time.time() % 60
    if left_s < seconds:
        await asyncio.sleep(left_s + 0.5)


@pytest.mark.slow
async def test_three_hundred_symbols_start_within_the_budget() -> None:
    """300 symbols in three timeframes: the most traded are live while others load, and half of the limit is left."""
    async with serving(TableMarket(names(300), 3), rate=1.0, start_ms=START_MS + 35_000) as simulator:
        notes, sink = Notes(), Sink()
        feed = BinanceFeed(settings(simulator), sink, notes)
        task = watching(feed, plans(300))
        await until(lambda: notes.count("caught_up") or task.done(), 90)
        books = simulator.books
        assert feed.progress == (300, 300)
        order = list(sink.events)
        assert all(abs(order.index(s) - (299 - n)) <= 32 for n, s in enumerate(names(300)))
        progress = [complete for complete, _ in notes.of("progress")]
        assert progress == sorted(progress)
        assert max(meter.used for meter in books._meters.values()) <= 3_000
        assert not books.breaches
        assert all(status == 200 for _, status in books.requests)
        await until(lambda: all(sink.live(s) for s in names(300)), 90)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_ceiling_holds_and_the_most_traded_are_live() -> None:
    """With a limit too small for all windows in a minute the feed stops at its share; who comes first has its bars."""
    limits = Limits(weight_per_minute=400)
    await past_the_minutes_turn(25)
    async with serving(TableMarket(names(60), 3), rate=1.0, start_ms=START_MS + 35_000, limits=limits) as simulator:
        notes, sink = Notes(), Sink()
        feed = BinanceFeed(settings(simulator), sink, notes)
        task = watching(feed, plans(60))
        asked = asyncio.create_task(_instruments(feed))
        await until(lambda: feed.used_weight >= 160, 30)
        await asyncio.sleep(3.0)
        books = simulator.books
        used = max(meter.used for meter in books._meters.values())
        assert 160 <= used <= 200
        complete, _ = feed.progress
        assert 5 <= complete < 60
        live = {s for s in names(60) if feed._series[s].started}
        assert set(names(60)[-complete:]) - live <= set(names(60)[-complete - 8 : -complete + 8])
        assert not books.breaches
        assert all(status == 200 for _, status in books.requests)
        asked.cancel()
        task.cancel()
        await asyncio.gather(task, asked, return_exceptions=True)


async def _instruments(feed: BinanceFeed) -> None:
    await feed.ready()
    await feed.instruments()
