"""Funding rates are asked for seldom, kept, and told only while they are true."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from tapewatch.errors import DataError, EdgeError
from tapewatch.feeds import ExchangeClock, FundingRate
from tapewatch.live.rates import STALE_S, RateKeeper

RATE = FundingRate("A", 0.0001, 2**50)


class Futures:
    """Answers with rates, or raises; counts how often."""

    def __init__(self, answer: Mapping[str, FundingRate] | Exception) -> None:
        self.answer = answer
        self.asked = 0
        self.slow: asyncio.Event | None = None

    async def __call__(self) -> Mapping[str, FundingRate]:
        """One request."""
        self.asked += 1
        if self.slow is not None:
            await self.slow.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@asynccontextmanager
async def keeping(futures: Futures) -> AsyncIterator[tuple[RateKeeper, list[float]]]:
    """A keeper at work, and its wall clock."""
    wall = [0.0]
    clock = ExchangeClock()
    clock.sync(1_000, clock.wall_s(), clock.wall_s(), 1.0)
    keeper = RateKeeper(futures, clock, lambda: wall[0])
    running = asyncio.create_task(keeper.run())
    try:
        async with asyncio.timeout(60):
            yield keeper, wall
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates are asked for as often as somebody wants them."""
    monkeypatch.setattr("tapewatch.live.rates.REFRESH_S", 0.01)
    monkeypatch.setattr("tapewatch.live.rates.LEAST_S", 0.01)
    monkeypatch.setattr("tapewatch.live.rates.WAITS_S", (0.01,))


async def test_many_questions_are_one_request() -> None:
    """Those of one moment, and those that follow within the minute; nobody asks, no request."""
    futures = Futures({"A": RATE})
    async with keeping(futures) as (keeper, _):
        await asyncio.sleep(0.01)
        assert futures.asked == 0
        assert await asyncio.gather(keeper.of(["A"]), keeper.of(["A", "B"])) == [{"A": RATE}, {"A": RATE}]
        assert await keeper.of(["B"]) == {}
        assert futures.asked == 1


@pytest.mark.usefixtures("restless")
async def test_a_slow_answer_is_not_waited_for_where_older_rates_will_do() -> None:
    """They are told until they are too old; then an answer is waited for."""
    futures = Futures({"A": RATE})
    async with keeping(futures) as (keeper, wall):
        await keeper.of(["A"])
        futures.slow = asyncio.Event()
        while futures.asked < 2:
            assert await keeper.of(["A"]) == {"A": RATE}
            await asyncio.sleep(0.005)
        wall[0] = STALE_S
        waiting = asyncio.create_task(keeper.of(["A"]))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        futures.slow.set()
        assert await waiting == {"A": RATE}


async def test_after_trouble_nobody_waits() -> None:
    """The first question hears that nothing is known, the next ones at once, without another request."""
    futures = Futures(EdgeError("no answer"))
    async with keeping(futures) as (keeper, _):
        for _ in range(3):
            assert await keeper.of(["A"]) == {"A": None}
        assert futures.asked == 1


@pytest.mark.usefixtures("restless")
async def test_rates_come_back_after_trouble() -> None:
    """It is asked again after a while, when somebody wants to know."""
    futures = Futures(EdgeError("no answer"))
    async with keeping(futures) as (keeper, _):
        assert await keeper.of(["A"]) == {"A": None}
        futures.answer = {"A": RATE}
        while await keeper.of(["A"]) != {"A": RATE}:  # noqa: ASYNC110 - a question is what makes it ask
            await asyncio.sleep(0.005)


async def test_where_nobody_can_be_asked_there_are_no_rates() -> None:
    """That is an answer, and stays one."""
    futures = Futures(DataError("no futures"))
    async with keeping(futures) as (keeper, wall):
        assert await keeper.of(["A"]) == {}
        wall[0] = 10 * STALE_S
        assert await keeper.of(["A"]) == {}
        assert futures.asked == 1


async def test_a_payment_that_is_past_is_not_told() -> None:
    """What follows it is not known yet."""
    past = FundingRate("A", 0.0001, 1)
    async with keeping(Futures({"A": past, "B": FundingRate("B", 0.0002, 2**50)})) as (keeper, _):
        assert await keeper.of(["A", "B", "C"]) == {"A": None, "B": FundingRate("B", 0.0002, 2**50)}
