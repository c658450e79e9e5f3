"""Who may ask REST next, within the exchange's limits; the wall clock is the test's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tapewatch.errors import EdgeError
from tapewatch.feeds.bans import Bans
from tapewatch.feeds.budget import REQUESTS_WINDOW_S, WINDOW_S, Budget, Urgency
from tapewatch.feeds.hosts import Hosts


class Wall:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.seconds


def hosts_of(wall: Callable[[], float]) -> Hosts:
    """One host, on which nothing is asked."""
    return Hosts([("http://127.0.0.1:1", "exchange.rest_url")], 2, (10.0,), wall, Bans(None, print))


def budget_of(concurrency: int, share: float, wall: Callable[[], float]) -> Budget:
    """A budget before one host."""
    return Budget(concurrency, share, wall, hosts_of(wall))


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

    async def until_gone(self, *names: str) -> None:
        """Wait for the next to go; then exactly these have gone, in this order."""
        async with asyncio.timeout(60):
            while len(self.gone) < len(names):  # noqa: ASYNC110 - a turn tells nobody
                await asyncio.sleep(0.01)
        await settle()
        assert self.gone == list(names)

    async def ask(self, name: str, urgency: Urgency = Urgency.GAP, weight: int = 2, volume: float = 0.0) -> None:
        """Start a request."""
        self.release[name] = asyncio.Event()

        async def run() -> None:
            async with self.budget.turn(urgency, weight, volume):
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
    callers = Callers(budget_of(1, 0.5, Wall()))
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
    callers = Callers(budget_of(2, 0.5, Wall()))
    for name in "abc":
        await callers.ask(name)
    assert callers.gone == ["a", "b"]
    await callers.finish("a")
    assert callers.gone == ["a", "b", "c"]
    await callers.finish("b", "c")


async def test_half_of_the_limit_is_left_to_others() -> None:
    """What the exchange reports as used counts, whoever used it; the next minute is free again."""
    wall = Wall()
    budget = budget_of(8, 0.5, wall)
    budget.limit(100, None)
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
    budget = budget_of(8, 0.5, wall)
    budget.limit(100, None)
    budget.account(50)
    budget.account(4)
    assert budget.used_weight == 4
    budget.account(3)  # an answer that was overtaken
    assert budget.used_weight == 4


async def test_who_is_not_patient_goes_at_once_or_not_at_all() -> None:
    """Limits that let nothing go are an error; a place among those under way is waited for, behind the gaps."""
    wall = Wall()
    budget = budget_of(1, 0.5, wall)
    budget.limit(100, None)
    budget.account(18)

    async def impatient(weight: int) -> str:
        try:
            async with budget.turn(Urgency.CONTEXT, weight, patient=False):
                return "went"
        except EdgeError:
            return "not now"

    assert await impatient(2) == "went"
    assert await impatient(3) == "not now"  # of the 50 most is left to bars
    callers = Callers(budget)
    await callers.ask("gap")
    waiting, heavier = asyncio.create_task(impatient(1)), asyncio.create_task(impatient(20))
    await callers.ask("another gap")
    assert not waiting.done()
    await callers.finish("gap")
    assert callers.gone == ["gap", "another gap"]
    assert not waiting.done()
    await callers.finish("another gap")
    assert [await waiting, await heavier] == ["went", "not now"]
    assert budget.used_weight == 18
    budget.close()


async def test_who_is_not_patient_does_not_wait_for_a_banned_host() -> None:
    """Nor does a request that comes after it find anything in the way."""
    wall = Wall()
    hosts = hosts_of(wall)
    budget = Budget(1, 0.5, wall, hosts)
    hosts.block(hosts.all[0], 5.0)
    with pytest.raises(EdgeError):
        async with budget.turn(Urgency.CONTEXT, 1, patient=False):
            pass
    wall.seconds += 6.0
    callers = Callers(budget)
    await callers.ask("later")
    assert callers.gone == ["later"]
    await callers.finish("later")


async def test_one_request_heavier_than_the_share_still_goes() -> None:
    """A request that can never fit goes when nothing else was used."""
    budget = budget_of(8, 0.5, Wall())
    budget.limit(10, None)
    callers = Callers(budget)
    await callers.ask("heavy", weight=20)
    assert callers.gone == ["heavy"]
    await callers.finish("heavy")


async def test_a_ban_holds_everyone() -> None:
    """While the only host asks to be left alone nobody goes, however urgent; afterwards they do by themselves."""
    hosts = hosts_of(asyncio.get_running_loop().time)
    budget = Budget(8, 0.5, asyncio.get_running_loop().time, hosts)
    hosts.block(hosts.all[0], 0.5)
    callers = Callers(budget)
    await callers.ask("early")
    assert callers.gone == []
    await callers.until_gone("early")
    await callers.finish("early")


async def test_among_equals_the_most_traded_goes_first() -> None:
    """Volume decides where urgency does not, and only there."""
    callers = Callers(budget_of(1, 0.5, Wall()))
    await callers.ask("first")
    await callers.ask("small", volume=1.0)
    await callers.ask("large", volume=9.0)
    await callers.ask("boot", Urgency.BOOTSTRAP, volume=99.0)
    for name in ("first", "large", "small", "boot"):
        await callers.finish(name)
    assert callers.gone == ["first", "large", "small", "boot"]


async def test_the_less_urgent_leave_some_to_the_more_urgent() -> None:
    """Housekeeping and first windows stop before the ceiling; gaps may use all of it."""
    wall = Wall()
    budget = budget_of(8, 0.5, wall)
    budget.limit(200, None)
    callers = Callers(budget)
    for used, name, urgency in ((50, "house", Urgency.HOUSEKEEPING), (90, "boot", Urgency.BOOTSTRAP)):
        budget.account(used)
        await callers.ask(name, urgency)
        assert name not in callers.gone
        await callers.ask(f"gap at {used}")
        assert f"gap at {used}" in callers.gone
        await callers.finish(f"gap at {used}")
    wall.seconds += WINDOW_S
    await callers.ask("gap of the next minute")
    assert {"house", "boot"} < set(callers.gone)
    await callers.finish("house", "boot", "gap of the next minute")
    budget.close()


async def test_requests_are_counted_whatever_their_weight() -> None:
    """At half of the requests allowed in five minutes nobody goes; as the oldest ones pass the next ones do."""
    wall = Wall()
    budget = budget_of(8, 0.5, wall)
    budget.limit(None, 6)
    callers = Callers(budget)
    for name in ("a", "b", "c"):
        await callers.ask(name, weight=0)
        await callers.finish(name)
        wall.seconds += WINDOW_S
    await callers.ask("d", weight=0)
    assert callers.gone == ["a", "b", "c"]
    wall.seconds = REQUESTS_WINDOW_S + 10.0
    await callers.ask("e", weight=0)
    assert callers.gone == ["a", "b", "c", "d"]
    await callers.finish("d", "e")
    budget.close()


async def test_what_got_no_answer_counts_too() -> None:
    """A request without an answer may have been counted by the exchange."""
    budget = budget_of(8, 0.5, Wall())
    budget.charge(7)
    assert budget.used_weight == 7


async def test_one_request_tries_a_host_that_failed() -> None:
    """While the breaker is open nobody goes; then one does, and all others wait for what becomes of it."""
    loop = asyncio.get_running_loop()
    hosts = Hosts([("http://127.0.0.1:1", "k")], 2, (0.5,), loop.time, Bans(None, print))
    breaker = hosts.all[0].breaker
    callers = Callers(Budget(8, 0.5, loop.time, hosts))
    breaker.failed()
    assert hosts.state == "closed"
    breaker.failed()
    assert hosts.state == "open"
    for name in ("one", "two", "three"):
        await callers.ask(name)
    assert callers.gone == []
    await callers.until_gone("one")
    assert hosts.state == "half-open"
    callers.tasks["one"].cancel()  # nothing was learnt: the next one tries
    await settle()
    assert callers.gone == ["one", "two"]
    breaker.failed()
    await callers.finish("two")
    assert callers.gone == ["one", "two"]
    await callers.until_gone("one", "two", "three")
    await callers.ask("four")
    breaker.succeeded()
    await callers.finish("three")
    assert callers.gone == ["one", "two", "three", "four"]
    await callers.finish("four")


async def test_a_cancelled_caller_takes_no_place() -> None:
    """Whether it was waiting or under way, a cancelled request leaves its place to the next."""
    callers = Callers(budget_of(1, 0.5, Wall()))
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
    budget = budget_of(1, 0.5, Wall())
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
