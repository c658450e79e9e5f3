"""What goes with candidates: every question is answered once, in time, with what came and the names of what did not."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
import pytest

from tapewatch.config import Config
from tapewatch.errors import DataError, EdgeError
from tapewatch.feeds import ExchangeClock, FundingRate, OrderBook, Quote
from tapewatch.live.context import BOOKS, GIVE_UP_AFTER, PATIENCE_S, TOO_MANY, ContextDesk, Wanted, wanted_of
from tapewatch.live.makeup import market_of
from tapewatch.live.rates import RateKeeper
from tapewatch.model import NAN, Context, FetchContext

SPREAD = Wanted(spread=True)
EVERYTHING = Wanted(spread=True, depth=True, slippage_quote=100.0, volume=True, funding=True)
BOOK = OrderBook("A", ((99.0, 1.0), (98.0, 10.0)), ((101.0, 2.0), (102.0, 10.0)), True, True)
VOLUMES = {"A": 5_000.0, "B": 9_000.0, "C": 7_000.0}


@dataclass
class Market:
    """An exchange that has, refuses or never answers.

    Attributes:
        quoted, booked: what it has of each kind; an exception is raised, None hangs.
        asked: every request, with its symbols.
        wanted: set once quotes were asked for.
    """

    quoted: Mapping[str, Quote] | Exception | None = field(default_factory=dict)
    booked: Mapping[str, OrderBook] | Exception | None = field(default_factory=dict)
    asked: list[tuple[str, list[str]]] = field(default_factory=list)
    wanted: asyncio.Event = field(default_factory=asyncio.Event)

    async def quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        """Those of the symbols that it has."""
        self.asked.append(("quotes", list(symbols)))
        self.wanted.set()
        if self.quoted is None:
            await asyncio.Event().wait()
        if isinstance(self.quoted, Exception):
            raise self.quoted
        return {symbol: one for symbol, one in (self.quoted or {}).items() if symbol in symbols}

    async def books(self, symbols: Sequence[str], within_s: float) -> dict[str, OrderBook]:
        """Those of the symbols that it has; as a feed, it gives none after the time."""
        self.asked.append(("books", list(symbols)))
        if self.booked is None:
            await asyncio.sleep(within_s)
        if isinstance(self.booked, Exception):
            raise self.booked
        return {symbol: one for symbol, one in (self.booked or {}).items() if symbol in symbols}


@dataclass
class Said:
    """What a desk answered, in lots, and how long each took."""

    lots: asyncio.Queue[Sequence[Context]] = field(default_factory=asyncio.Queue)
    times: list[tuple[float, int]] = field(default_factory=list)

    async def next(self) -> list[Context]:
        """The next lot."""
        async with asyncio.timeout(60):
            return list(await self.lots.get())


@asynccontextmanager
async def desk(
    market: Market,
    wanted: Wanted = SPREAD,
    patience_s: float = 5.0,
    rates: Mapping[str, FundingRate] | Exception | None = None,
) -> AsyncIterator[tuple[ContextDesk, Said]]:
    """A desk at work; without rates those are never answered."""

    async def all_rates() -> Mapping[str, FundingRate]:
        if rates is None:
            await asyncio.Event().wait()
        if isinstance(rates, Exception):
            raise rates
        return rates or {}

    said, clock = Said(), ExchangeClock()
    clock.sync(1_000, clock.wall_s(), clock.wall_s(), 1.0)
    made = ContextDesk(
        wanted,
        market,
        RateKeeper(all_rates, clock),
        lambda symbol: VOLUMES.get(symbol, NAN),
        said.lots.put_nowait,
        lambda seconds, answers: said.times.append((seconds, len(answers))),
        patience_s,
    )
    running = asyncio.create_task(made.run())
    try:
        yield made, said
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def same(found: Sequence[Context], wanted: Sequence[Context]) -> bool:
    """Whether they are equal, unknown numbers included."""
    return msgspec.msgpack.encode(list(found)) == msgspec.msgpack.encode(list(wanted))


async def test_questions_of_one_moment_are_one_request() -> None:
    """Two bars of a symbol and one of another: the exchange is asked once, for two symbols, each is answered."""
    market = Market({"A": Quote("A", 1.0, 2.0), "B": Quote("B", 3.0, 4.0)})
    async with desk(market) as (made, said):
        made.ask([FetchContext("B", 1), FetchContext("A", 1)])
        made.ask([FetchContext("B", 2)])
        found = await said.next()
    assert market.asked == [("quotes", ["B", "A"])]
    assert same(found, [Context("B", 1, 3.0, 4.0), Context("A", 1, 1.0, 2.0), Context("B", 2, 3.0, 4.0)])
    assert [count for _, count in said.times] == [3]


@pytest.mark.parametrize("trouble", [{}, None, DataError("no such symbol"), EdgeError("503")])
async def test_what_cannot_be_had_is_missing_and_named(trouble: Mapping[str, Quote] | Exception | None) -> None:
    """An alert is never held up by its context, whatever the exchange does."""
    async with desk(Market(trouble), patience_s=0.05) as (made, said):
        made.ask([FetchContext("A", 1)])
        found = await said.next()
    assert same(found, [Context("A", 1, missing=("spread",))])


async def test_a_book_answers_for_the_quote() -> None:
    """Bid, ask, depth and slippage come of one request a symbol; a book that is too thin says so, by side."""
    rates = {"A": FundingRate("A", -0.0002, 2**50), "B": FundingRate("B", 0.0001, 2**50)}
    thin = OrderBook("B", ((99.0, 0.5),), ((101.0, 2.0),), True, True)
    market = Market(booked={"A": BOOK, "B": thin})
    async with desk(market, EVERYTHING, rates=rates) as (made, said):
        made.ask([FetchContext("A", 60_000), FetchContext("B", 60_000)])
        one, other = await said.next()
    assert market.asked == [("books", ["B", "A"])]
    assert (one.bid, one.ask, one.bids_quote, one.asks_quote) == (99.0, 101.0, 99.0, 202.0)
    assert one.buy_slippage_bps == pytest.approx(100.0)
    assert one.sell_slippage_bps == pytest.approx(10_000 * (1 - 100 / (1 + 1 / 98) / 100))
    assert (one.slippage_quote, one.hourly_volume_quote, one.funding_rate) == (100.0, 5_000.0, -0.0002)
    assert (one.next_funding_ms, one.missing) == (2**50, ())
    assert other.missing == ("bids thinner than 100",)
    assert other.buy_slippage_bps == pytest.approx(100.0)
    assert math.isnan(other.sell_slippage_bps)


@pytest.mark.alone
async def test_what_hangs_costs_its_time_and_nothing_else() -> None:
    """Books and rates never come: what came is told, the rest is named, all within the patience."""
    async with desk(Market(booked=None), EVERYTHING, patience_s=0.2) as (made, said):
        began_s = time.monotonic()
        made.ask([FetchContext("A", 60_000), FetchContext("D", 60_000)])
        found = await said.next()
        took_s = time.monotonic() - began_s
    assert 0.2 <= took_s < 1.0
    missing = ("spread", "order book", "funding")
    wanted = [
        Context("A", 60_000, hourly_volume_quote=5_000.0, missing=missing),
        Context("D", 60_000, missing=("spread", "order book", "hourly volume", "funding")),
    ]
    assert same(found, wanted)


async def test_the_most_traded_have_their_books_and_the_rest_their_quotes() -> None:
    """So many of one close, however many questions they come in; the next close has as many again."""
    names = [f"S{number:03}" for number in range(BOOKS)]
    market = Market({"C": Quote("C", 1.0, 2.0)}, dict.fromkeys([*names, "A", "B", "C"], BOOK))
    async with desk(market, Wanted(spread=True, depth=True)) as (made, said):
        made.ask([FetchContext(symbol, 60_000) for symbol in [*names, "A", "B"]])
        beyond, booked = await said.next(), await said.next()
        made.ask([FetchContext("C", 60_000)])
        second = await said.next()
        made.ask([FetchContext("C", 120_000)])
        third = await said.next()
    asked = dict(market.asked[:2])
    assert asked["books"] == ["B", "A", *names[: BOOKS - 2]]
    assert asked["quotes"] == names[BOOKS - 2 :]
    assert {one.symbol: one.missing for one in beyond} == dict.fromkeys(names[BOOKS - 2 :], ("spread", TOO_MANY))
    assert {one.symbol for one in booked if not one.missing} == {*names[: BOOKS - 2], "A", "B"}
    assert same(second, [Context("C", 60_000, 1.0, 2.0, missing=(TOO_MANY,))])
    assert third[0].missing == ()


async def test_after_several_vain_requests_nobody_is_asked_for_a_while() -> None:
    """Answers are there at once then, with the spread from quotes, which still come."""
    market = Market({"A": Quote("A", 1.0, 2.0)}, booked=None)
    async with desk(market, Wanted(spread=True, depth=True), patience_s=0.1) as (made, said):
        for number in range(GIVE_UP_AFTER):
            made.ask([FetchContext("A", number)])
            assert (await said.next())[0].missing == ("spread", "order book")
        made.ask([FetchContext("A", 9)])
        found = await said.next()
    assert said.times[-1][0] < 0.1
    assert same(found, [Context("A", 9, 1.0, 2.0, missing=("order book",))])
    assert [kind for kind, _ in market.asked] == [*["books"] * GIVE_UP_AFTER, "quotes"]


@pytest.mark.alone
async def test_a_whole_market_that_asks_is_answered_in_half_a_second_however_busy_the_program_is() -> None:
    """Order books hang and the event loop has a turn every 10 ms only: who gets no book is answered long before."""
    names = [f"S{number:03}" for number in range(280)]
    market = Market({name: Quote(name, 1.0, 2.0) for name in names}, booked=None)

    turns_s: list[float] = []

    async def others_work() -> None:
        while True:
            began_s = time.monotonic()
            time.sleep(0.01)  # noqa: ASYNC251  (that is what is measured)
            await asyncio.sleep(0)
            turns_s.append(time.monotonic() - began_s)

    async with desk(market, EVERYTHING, PATIENCE_S, {"S000": FundingRate("S000", 0.0001, 2**50)}) as (made, said):
        working = asyncio.create_task(others_work())
        asked_s = time.monotonic()
        for start in range(0, 280, 70):
            made.ask([FetchContext(name, 60_000) for name in names[start : start + 70]])
        quoted, quoted_s = await said.next(), time.monotonic() - asked_s
        booked, booked_s = await said.next(), time.monotonic() - asked_s
        working.cancel()
    assert (len(quoted), len(booked)) == (280 - BOOKS, BOOKS)
    slow_s = 8 * max(0.0, max(turns_s) - 0.012)  # of a machine that is busy itself
    assert quoted_s < PATIENCE_S / 2 + slow_s
    assert booked_s < 0.5 + slow_s
    assert [context.missing[0] for context in quoted] == [TOO_MANY] * len(quoted)
    assert {context.symbol for context in booked} == set(names[:BOOKS])


@pytest.mark.alone
async def test_what_was_asked_for_too_long_ago_is_answered_at_once_without_asking() -> None:
    """The program was busy for as long as an answer may take: nobody is asked, and nobody is thought to fail."""
    market = Market({"A": Quote("A", 1.0, 2.0)})
    async with desk(market, patience_s=0.05) as (made, said):
        made.ask([FetchContext("A", 1)])
        time.sleep(0.06)  # noqa: ASYNC251  (that is what is measured)
        assert same(await said.next(), [Context("A", 1, missing=("spread",))])
        assert market.asked == []
        made.ask([FetchContext("A", 2)])
        assert same(await said.next(), [Context("A", 2, 1.0, 2.0)])


async def test_nothing_that_is_off_is_asked_for_or_told() -> None:
    """Volumes alone need no request; a book that was asked for depth tells no spread."""
    market = Market({"A": Quote("A", 1.0, 2.0)}, {"A": BOOK})
    async with desk(market, Wanted(volume=True)) as (made, said):
        made.ask([FetchContext("A", 1)])
        assert same(await said.next(), [Context("A", 1, hourly_volume_quote=5_000.0)])
    assert market.asked == []
    async with desk(market, Wanted(depth=True)) as (made, said):
        made.ask([FetchContext("A", 1)])
        assert same(await said.next(), [Context("A", 1, bids_quote=99.0, asks_quote=202.0)])


def parts_of(around: Mapping[str, object]) -> dict[str, bool]:
    """What is wanted of the feed and of the engine with this `alerts.context`, by the names of both."""
    sections = {"universe": {}, "ledger": {"url": "sqlite:///tape.db"}, "alerts": {"context": around}}
    config = Config.model_validate({**sections, "strategies": {"scalp": {}}})
    asked, kept = wanted_of(config), market_of(config)
    wanted = {name: bool(getattr(asked, name)) for name in ("spread", "depth", "slippage_quote", "volume", "funding")}
    return wanted | {name: getattr(kept, name) for name in ("outlooks", "correlation", "movers", "asks")}


@pytest.mark.parametrize(
    ("key", "off", "part"),
    [
        ("spread", False, "spread"),
        ("depth", False, "depth"),
        ("slippage", 0, "slippage_quote"),
        ("volume", False, "volume"),
        ("funding", False, "funding"),
        ("regime", False, "outlooks"),
        ("correlation", False, "correlation"),
        ("movers", False, "movers"),
    ],
)
def test_each_part_can_be_off_by_itself(key: str, off: object, part: str) -> None:
    """Everything else is wanted as before; where nothing is left to ask for nobody is asked."""
    everything = parts_of({})
    assert all(everything.values())
    assert parts_of({key: off}) == everything | {part: False}
    asked = {"spread": False, "depth": False, "slippage": 0, "volume": False, "funding": False}
    assert not parts_of(asked)["asks"]


async def test_a_symbol_without_a_perpetual_misses_no_funding() -> None:
    """Nor does anybody where no rates can be asked for at all; one whose payment is past is unknown for now."""
    rates = {"A": FundingRate("A", 0.0001, 1)}
    async with desk(Market(), Wanted(funding=True), rates=rates) as (made, said):
        made.ask([FetchContext("A", 1), FetchContext("B", 1)])
        assert [one.missing for one in await said.next()] == [("funding",), ()]
    async with desk(Market(), Wanted(funding=True), rates=DataError("nobody")) as (made, said):
        for close_ms in (1, 2):
            made.ask([FetchContext("A", close_ms)])
            assert same(await said.next(), [Context("A", close_ms)])


async def test_a_slow_answer_holds_up_no_other() -> None:
    """Each moment's questions wait for themselves alone."""
    market = Market(None)
    async with desk(market, patience_s=1.0) as (made, said):
        made.ask([FetchContext("SLOW", 1)])
        await market.wanted.wait()
        market.quoted = {"FAST": Quote("FAST", 1.0, 1.0)}
        made.ask([FetchContext("FAST", 1)])
        assert same(await said.next(), [Context("FAST", 1, 1.0, 1.0)])
        assert same(await said.next(), [Context("SLOW", 1, missing=("spread",))])
