"""Who may ask REST next, within the exchange's limits; the wall clock is the test's."""

from __future__ import annotations

import asyncio

import pytest

from tapewatch.feeds.budget import WINDOW_S, Budget, Urgency


class Wall:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.seconds


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


class Callers:
    """Requests that stay under way until released."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.gone: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.release: dict[str, asyncio.Event] = {}

    async def ask(self, name: str, urgency: Urgency = Urgency.GAP, weight: int = 2) -> None:
        """Start a request."""
        self.release[name] = asyncio.Event()

        async def run() -> None:
            async with self.budget.turn(urgency, weight):
                self.gone.append(name)
                await self.release[name].wait()

        self.tasks[name] = asyncio.create_task(run())
        await settle()

    async def finish(self, *names: str) -> None:
        """Their answers came."""
        for name in names:
            self.release[name].set()
        await settle()


async def test_the_urgent_go_first() -> None:
    """Waiting requests go by urgency, then in the order they came."""
    callers = Callers(Budget(1, 0.5, Wall()))
    await callers.ask("first")
    await callers.ask("house", Urgency.HOUSEKEEPING)
    await callers.ask("boot", Urgency.BOOTSTRAP)
    await callers.ask("gap1")
    await callers.ask("gap2")
    for name in ("first", "gap1", "gap2", "boot", "house"):
        await callers.finish(name)
    assert callers.gone == ["first", "gap1", "gap2", "boot", "house"]


async def test_no_more_at_once_than_allowed() -> None:
    """The third of two waits for an answer."""
    callers = Callers(Budget(2, 0.5, Wall()))
    for name in "abc":
        await callers.ask(name)
    assert callers.gone == ["a", "b"]
    await callers.finish("a")
    assert callers.gone == ["a", "b", "c"]
    await callers.finish("b", "c")


async def test_half_of_the_limit_is_left_to_others() -> None:
    """What the exchange reports as used counts, whoever used it; the next minute is free again."""
    wall = Wall()
    budget = Budget(8, 0.5, wall)
    budget.limit(100)
    budget.account(48)
    callers = Callers(budget)
    await callers.ask("fits")
    await callers.ask("does not")
    assert callers.gone == ["fits"]
    assert budget.used_weight == 50
    wall.seconds += WINDOW_S
    await callers.finish("fits")
    assert callers.gone == ["fits", "does not"]
    await callers.finish("does not")
    budget.close()


async def test_a_turned_minute_is_noticed_by_the_figure() -> None:
    """A much smaller figure than before means that the exchange's minute has turned."""
    wall = Wall()
    budget = Budget(8, 0.5, wall)
    budget.limit(100)
    budget.account(50)
    budget.account(4)
    assert budget.used_weight == 4
    budget.account(3)  # an answer that was overtaken
    assert budget.used_weight == 4


async def test_one_request_heavier_than_the_share_still_goes() -> None:
    """A request that can never fit goes when nothing else was used."""
    budget = Budget(8, 0.5, Wall())
    budget.limit(10)
    callers = Callers(budget)
    await callers.ask("heavy", weight=20)
    assert callers.gone == ["heavy"]
    await callers.finish("heavy")


async def test_a_ban_holds_everyone() -> None:
    """While blocked nobody goes, however urgent; afterwards they do by themselves."""
    budget = Budget(8, 0.5, asyncio.get_running_loop().time)
    budget.block(0.05)
    callers = Callers(budget)
    await callers.ask("early")
    assert callers.gone == []
    await asyncio.sleep(0.08)
    assert callers.gone == ["early"]
    await callers.finish("early")


async def test_a_cancelled_caller_takes_no_place() -> None:
    """Whether it was waiting or under way, a cancelled request leaves its place to the next."""
    callers = Callers(Budget(1, 0.5, Wall()))
    await callers.ask("under way")
    await callers.ask("waiting")
    await callers.ask("last")
    callers.tasks["waiting"].cancel()
    callers.tasks["under way"].cancel()
    await settle()
    assert callers.gone == ["under way", "last"]
    await callers.finish("last")
    assert callers.budget.used_weight == 0


async def test_cancelled_at_the_very_moment_of_its_turn() -> None:
    """A request cancelled between its turn and its start gives the turn back."""
    budget = Budget(1, 0.5, Wall())
    callers = Callers(budget)
    await callers.ask("first")
    await callers.ask("second")
    callers.release["first"].set()
    await asyncio.sleep(0)
    callers.tasks["second"].cancel()
    await settle()
    await callers.ask("third")
    assert callers.gone[-1] == "third"
    await callers.finish("third")
    with pytest.raises(asyncio.CancelledError):
        await callers.tasks["second"]
