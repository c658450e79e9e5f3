"""Simulated time waits for all connections that pace it, and for none that is gone or forgotten."""

import asyncio
import time
from contextlib import suppress

from tapewatch.model import MINUTE_MS
from tapewatch.simulator.clock import SLACK_MS, Clock

START = 1_704_196_800_000
HELD = SLACK_MS


def clock(patience_s: float = 60.0) -> Clock:
    """A clock that is as fast as its clients let it be, once it is looked at; its patience outlasts a test."""
    return Clock(1e8, START, START + 1_000 * MINUTE_MS, patience_s)


async def stands(watched: Clock) -> int:
    """Minutes from the start at which the time stands now."""
    watched.begin()
    due_ms = START + 999 * MINUTE_MS
    try:
        async with asyncio.timeout(0.03):
            while True:
                await watched.wait(due_ms)
    except TimeoutError:
        pass
    watched.now_ms()
    await asyncio.sleep(0.001)  # a moment ago it may have begun to move
    now_ms = watched.now_ms()
    assert now_ms % MINUTE_MS == HELD
    return (now_ms - START) // MINUTE_MS


async def test_time_waits_for_the_slowest_of_several_connections() -> None:
    """One that has said nothing yet is not waited for."""
    watched, quick, slow, silent = clock(), object(), object(), object()
    watched.acknowledge(quick, START)
    watched.acknowledge(slow, START)
    watched.leave(silent)
    watched.acknowledge(quick, START + 5 * MINUTE_MS)
    assert await stands(watched) == 1
    watched.acknowledge(slow, START + 3 * MINUTE_MS)
    assert await stands(watched) == 4
    watched.acknowledge(slow, START + MINUTE_MS)  # older than what it said before
    assert await stands(watched) == 4


async def test_a_connection_that_closes_is_not_waited_for_while_others_are_there() -> None:
    """Its successor is waited for from its first word on."""
    watched, one, other, successor = clock(), object(), object(), object()
    watched.acknowledge(one, START + 4 * MINUTE_MS)
    watched.acknowledge(other, START)
    assert await stands(watched) == 1
    watched.leave(other)
    assert await stands(watched) == 5
    watched.acknowledge(successor, START + 5 * MINUTE_MS)
    watched.acknowledge(one, START + 9 * MINUTE_MS)
    assert await stands(watched) == 6


async def test_when_all_have_left_time_stands_a_while_until_one_comes_back() -> None:
    """Right where it was: what is sent meanwhile would be lost."""
    watched, one, other = clock(), object(), object()
    watched.acknowledge(one, START + 4 * MINUTE_MS)
    watched.acknowledge(other, START + 2 * MINUTE_MS)
    assert await stands(watched) == 3
    watched.leave(other)
    watched.leave(one)
    left_ms = watched.now_ms()
    with suppress(TimeoutError):
        async with asyncio.timeout(0.03):
            while True:
                await watched.wait(START + 999 * MINUTE_MS)
    assert watched.now_ms() == left_ms
    watched.acknowledge(object(), START + 5 * MINUTE_MS)
    assert await stands(watched) == 6


async def test_saying_the_same_again_does_not_prolong_the_wait() -> None:
    """Patience counts from when time began to stand, whoever speaks meanwhile."""
    watched, lively, asleep = clock(0.1), object(), object()
    watched.acknowledge(asleep, START)
    begun_s = time.monotonic()
    while watched.now_ms() <= START + MINUTE_MS + HELD:
        assert time.monotonic() < begun_s + 60
        watched.acknowledge(lively, START + 50 * MINUTE_MS)
        await stands(watched)


async def test_a_forgotten_connection_among_others_is_not_waited_for_for_ever() -> None:
    """After three waits in vain time goes on with those that speak; when it speaks again it counts again."""
    watched, lively, forgotten = clock(0.05), object(), object()
    watched.acknowledge(forgotten, START)
    watched.acknowledge(lively, START + 900 * MINUTE_MS)
    begun_s = time.monotonic()
    while await stands(watched) < 901:
        assert time.monotonic() < begun_s + 60
    watched.patience_s = 60.0
    watched.acknowledge(forgotten, START + 900 * MINUTE_MS)
    watched.acknowledge(lively, START + 950 * MINUTE_MS)
    assert await stands(watched) == 901


async def test_a_slow_client_alone_is_waited_for_each_minute() -> None:
    """However often its patience was not enough: nobody else would be there for what is played."""
    watched, slow = clock(0.02), object()
    watched.acknowledge(slow, START)
    begun_s = time.monotonic()
    while await stands(watched) < 6:
        assert time.monotonic() < begun_s + 60
    watched.patience_s = 60.0
    watched.acknowledge(slow, START + 6 * MINUTE_MS)
    assert await stands(watched) <= 8
