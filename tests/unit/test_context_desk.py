"""Quotes for candidates: every question is answered once, in time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec
import pytest

from tapewatch.errors import DataError
from tapewatch.feeds.port import Quote
from tapewatch.live.context import ContextDesk
from tapewatch.model import Context, FetchContext


async def answers(
    quotes: Mapping[str, Quote] | Exception | None, asked: Sequence[Sequence[FetchContext]], patience_s: float = 5.0
) -> tuple[list[Context], list[list[str]]]:
    """What the desk says, and what it asked the exchange, which answers `quotes`, fails with it, or never answers."""
    said: list[Context] = []
    requests: list[list[str]] = []

    async def exchange(symbols: Sequence[str]) -> Mapping[str, Quote]:
        requests.append(list(symbols))
        if isinstance(quotes, Exception):
            raise quotes
        if quotes is None:
            await asyncio.Event().wait()
        assert quotes is not None
        return quotes

    complete = asyncio.Event()

    def take(found: Sequence[Context]) -> None:
        said.extend(found)
        if len(said) == sum(map(len, asked)):
            complete.set()

    desk = ContextDesk(exchange, take, patience_s)
    running = asyncio.create_task(desk.run())
    for wanted in asked:
        desk.ask(wanted)
    async with asyncio.timeout(10):
        await complete.wait()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    return said, requests


async def test_questions_of_one_moment_are_one_request() -> None:
    """Two bars of a symbol and one of another: the exchange is asked once, for two symbols."""
    asked = [[FetchContext("B", 1), FetchContext("A", 1)], [FetchContext("B", 2)]]
    said, requests = await answers({"A": Quote("A", 1.0, 2.0), "B": Quote("B", 3.0, 4.0)}, asked)
    assert requests == [["A", "B"]]
    assert said == [Context("B", 1, 3.0, 4.0), Context("A", 1, 1.0, 2.0), Context("B", 2, 3.0, 4.0)]


@pytest.mark.parametrize("trouble", [{}, None, DataError("no such symbol")], ids=["left out", "silence", "refused"])
async def test_what_cannot_be_had_is_answered_as_unknown(trouble: Mapping[str, Quote] | Exception | None) -> None:
    """An alert is never held up by its context."""
    said, _ = await answers(trouble, [[FetchContext("A", 1)]], patience_s=0.05)
    assert msgspec.msgpack.encode(said) == msgspec.msgpack.encode([Context("A", 1)])


async def test_a_slow_answer_holds_up_no_other() -> None:
    """Each moment's questions wait for themselves alone."""
    said: asyncio.Queue[Sequence[Context]] = asyncio.Queue()

    async def exchange(symbols: Sequence[str]) -> Mapping[str, Quote]:
        if symbols == ["SLOW"]:
            await asyncio.Event().wait()
        return {name: Quote(name, 1.0, 1.0) for name in symbols}

    desk = ContextDesk(exchange, said.put_nowait, 30.0)
    running = asyncio.create_task(desk.run())
    desk.ask([FetchContext("SLOW", 1)])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    desk.ask([FetchContext("FAST", 1)])
    async with asyncio.timeout(15):
        assert await said.get() == [Context("FAST", 1, 1.0, 1.0)]
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
