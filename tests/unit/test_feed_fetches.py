"""Who is fetched next: gaps apart from first windows, the liquid first, nobody starving."""

from __future__ import annotations

import asyncio

from tapewatch.feeds.boundary import Series
from tapewatch.feeds.fetches import AGE_MINUTES, Fetches
from tapewatch.feeds.sequence import Sequence
from tapewatch.model import MINUTE_MS

NOW_MS = 1_700_000_040_000


def series(symbol: str, volume: float, behind: int = 1, *, started: bool = True) -> Series:
    """A symbol whose bars of the last minutes are missing."""
    made = Series(symbol, Sequence(NOW_MS - behind * MINUTE_MS), 0, {}, started=started, asked=started)
    made.volume = volume
    return made


async def fetched(due: list[Series], slots: int = 1) -> list[str]:
    """The order in which they are fetched."""
    order: list[str] = []

    async def fetch(one: Series, _asked_ms: int) -> None:
        order.append(one.symbol)
        await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        Fetches(slots, fetch).offer(due, NOW_MS, NOW_MS, tasks)
    return order


async def test_the_most_traded_first() -> None:
    """Of those equally far behind volume decides, then the name."""
    due = [series("A", 1.0), series("C", 9.0), series("B", 5.0)]
    assert await fetched(due) == ["C", "B", "A"]


async def test_who_is_far_behind_goes_first() -> None:
    """A small symbol that was passed over for some minutes precedes every larger one that was not."""
    due = [series("BIG", 9.0), series("SMALL", 1.0, behind=AGE_MINUTES + 1), series("MIDDLE", 5.0, behind=2)]
    assert await fetched(due) == ["SMALL", "BIG", "MIDDLE"]


async def test_nobody_starves_when_only_some_can_be_fetched() -> None:
    """With room for three symbols a minute of eight, each is fetched again within a few minutes, the largest most."""
    eight = [series(f"S{n}", float(n)) for n in range(8)]
    counts = {one.symbol: 0 for one in eight}
    worst = 0
    for minute in range(60):
        now_ms = NOW_MS + minute * MINUTE_MS
        left = 3

        async def fetch(one: Series, asked_ms: int) -> None:
            nonlocal left
            if left > 0:
                left -= 1
                counts[one.symbol] += 1
                one.sequence.next_ms = asked_ms

        async with asyncio.TaskGroup() as tasks:
            Fetches(1, fetch).offer(eight, now_ms, now_ms, tasks)
        worst = max(worst, *((now_ms - one.sequence.next_ms) // MINUTE_MS for one in eight))
    assert worst <= AGE_MINUTES + 3
    assert min(counts.values()) >= 8
    assert counts["S7"] == max(counts.values())


async def test_gaps_do_not_wait_for_first_windows() -> None:
    """Windows that take long leave the places for gaps alone."""
    released, order = asyncio.Event(), []

    async def fetch(one: Series, _asked_ms: int) -> None:
        if not one.started:
            await released.wait()
        order.append(one.symbol)

    starting = [series(f"N{n}", 9.0, started=False) for n in range(5)]
    async with asyncio.TaskGroup() as tasks:
        fetches = Fetches(2, fetch)
        fetches.offer([*starting, series("GAP", 1.0)], NOW_MS, NOW_MS, tasks)
        await asyncio.sleep(0.01)
        assert order == ["GAP"]
        assert sum(one.busy for one in starting) == 2
        assert fetches.waiting
        released.set()
    assert order[1:] == ["N4", "N3", "N2", "N1", "N0"]


async def test_who_is_gone_or_busy_is_passed_over() -> None:
    """A symbol that is dropped while it waits is not fetched."""
    gone, busy = series("GONE", 9.0), series("BUSY", 8.0)
    gone.gone = busy.busy = True
    assert await fetched([gone, busy, series("A", 1.0)]) == ["A"]
