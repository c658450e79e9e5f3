"""An exchange whose REST tells another time than its streams and candles do, or whose clock leaps as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from feed_exchange import Exchange, candle, frame, until
from feed_run import SYMBOLS, running

from tapewatch.model import MINUTE_MS


def telling(exchange: Exchange, by_ms: int) -> Callable[[web.Request], Awaitable[web.Response | None]]:
    """REST tells a time that is off by so much."""

    async def answer(request: web.Request) -> web.Response | None:
        return web.json_response({"serverTime": exchange.now_ms + by_ms}) if request.path.endswith("time") else None

    return answer


@pytest.mark.parametrize("by_ms", [300_000, 65_000, 1_000, -1_000, -300_000])
async def test_a_time_that_only_rest_tells_closes_no_candle(by_ms: int) -> None:
    """No boundary comes before its time, no running candle goes out, and one that did not come is fetched."""
    async with running(SYMBOLS) as run:
        await run.minute()
        await run.all_out()
        run.exchange.before_rest = telling(run.exchange, by_ms)
        for missing in SYMBOLS[:2]:
            await run.feed._told_time()
            await asyncio.sleep(0.4)  # as long as bars are waited for
            assert max(run.sink.boundaries) == run.minute_ms
            assert abs(run.feed.clock.now_ms() - run.exchange.now_ms) < 2_000
            await run.minute([symbol for symbol in SYMBOLS if symbol != missing])
            await until(lambda: run.sink.live(missing)[-1].close_ms == run.minute_ms)  # noqa: B023
        run.exchange.before_rest = None
        await run.all_out()
    warned = [warning for (warning,) in run.notes.of("warning")]
    assert all("ms off its candles" in warning for warning in warned)
    assert bool(warned) == (abs(by_ms) > 2_000)


@pytest.mark.parametrize("by_ms", [1_000, 300_000])
async def test_a_leap_of_everything_is_followed(by_ms: int) -> None:
    """REST, streams and candles leap forward: what was missed is fetched, the rest goes on by the new time."""
    async with running(SYMBOLS) as run:
        await run.minute()
        await run.all_out()
        run.exchange.set_time(run.exchange.now_ms + by_ms)
        run.minute_ms = run.exchange.now_ms // MINUTE_MS * MINUTE_MS
        await run.feed._told_time()
        await run.minute()
        await run.all_out()
        assert abs(run.feed.clock.now_ms() - run.exchange.now_ms) < 1_000


async def test_one_frame_with_a_wrong_time_closes_no_candle() -> None:
    """Its candle is taken; the time is asked for, and is what REST tells."""
    async with running(SYMBOLS) as run:
        await run.minute(SYMBOLS[1:])
        await run.exchange.send(frame(candle(SYMBOLS[0], run.minute_ms - MINUTE_MS), run.minute_ms + 240_000))
        await until(lambda: bool(run.sink.live(SYMBOLS[0])))
        await asyncio.sleep(0.4)
        assert abs(run.feed.clock.now_ms() - run.exchange.now_ms) < 1_000
        await run.minute()
        await run.all_out()
