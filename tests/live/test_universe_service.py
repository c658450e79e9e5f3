"""Who is watched while a feed runs against an exchange on a real socket that lists, delists, halts and errs."""

from __future__ import annotations

import math

import pytest
from feed_exchange import START_MS, until
from universe_run import RICH, Board, board, running

from tapewatch.errors import SetupError, StoreError
from tapewatch.feeds import Ticker
from tapewatch.model import MINUTE_MS, BarClosed, Universe
from tapewatch.universe import Rules


async def test_the_market_is_watched_and_the_engine_told_first() -> None:
    """What the rules let pass, the most liquid first; standings come before the first bar."""
    market = board("BTC", "ETH", "龙虾", "BTCUP", "USDC")
    market.list("OLD", status="BREAK")
    market.list("TINY", volume=1000.0)
    market.volume |= {"ETH": 2 * RICH}
    async with running(Rules(), market) as run:
        await until(lambda: run.feed.progress == (4, 4))
        assert run.planned == [["ETHUSDT", "BTCUSDT", "龙虾USDT", "TINYUSDT"]]
        first = run.events[0]
        assert isinstance(first, Universe)
        assert {one.symbol: one.eligible for one in first.standings} == {
            "ETHUSDT": True, "BTCUSDT": True, "龙虾USDT": True, "TINYUSDT": False,
        }  # fmt: skip
        state = run.service.state()
        assert (state["watched"], state["eligible"], state["listed"]) == (4, 3, 7)
        assert state["left_out"] == {"status": 1, "leveraged": 1, "stable": 1}


async def test_new_symbols_come_and_delisted_ones_go_without_a_restart() -> None:
    """A listed one is planned and its bars follow; of a delisted one nothing comes any more, and the engine is told."""
    market = board("BTC", "ETH", "XRP")
    async with running(Rules(), market) as run:
        await until(lambda: run.feed.progress == (3, 3))
        market.list("NEW")
        del market.status["ETH"]
        await until(lambda: run.feed.progress == (3, 3) and "NEWUSDT" in run.sink.events)
        assert run.planned[1:] == [["NEWUSDT"]]
        assert run.changes[1].gone == ("ETHUSDT",)
        assert [one.symbol for one in run.changes[1].standings] == ["NEWUSDT"]
        after = len(run.events)
        await until(lambda: len(run.exchange.sockets) == 1)
        await run.exchange.close_minute(START_MS + MINUTE_MS, ["BTCUSDT", "ETHUSDT", "NEWUSDT"])
        await until(lambda: run.sink.live("NEWUSDT") and run.sink.live("BTCUSDT"))
        assert not [one for one in run.events[after:] if isinstance(one, BarClosed) and one.bar.symbol == "ETHUSDT"]
        market.list("XRP", status="HALT")
        await until(lambda: run.changes[-1].gone == ("XRPUSDT",))
        market.list("XRP")
        await until(lambda: run.planned[-1] == ["XRPUSDT"])
        removed = [change["removed"] for change in run.said("universe_changed")]
        assert {"ETHUSDT": "the exchange does not list it any more"} in removed
        assert {"XRPUSDT": "its status is HALT"} in removed


@pytest.mark.parametrize("how", ["nobody listed", "nobody trading", "garbage"])
async def test_an_answer_that_leaves_nobody_changes_nothing(how: str) -> None:
    """It is said and asked again; what comes later is believed."""
    market = board("BTC", "ETH")
    async with running(Rules(), market) as run:
        await until(lambda: run.feed.progress == (2, 2))
        before, asked = dict(market.status), market.asked
        if how == "garbage":
            market.garbage = b'{"symbols": [{"symb'
        elif how == "nobody listed":
            market.status.clear()
        else:
            market.status = dict.fromkeys(before, "BREAK")
        await until(lambda: market.asked > asked + 3)
        assert run.watched == 2
        assert len(run.changes) == 1
        if how != "garbage":  # that never was an answer: REST asks again by itself
            assert "the exchange trades none" in run.said("universe_kept")[0]["reason"]
        market.garbage, market.status = None, {**before, "NEW": "TRADING"}
        await until(lambda: run.watched == 3)


async def test_that_most_are_gone_must_be_said_twice() -> None:
    """Half an answer is not believed once; the same answer again is."""
    market = board("A", "B", "C", "D")
    async with running(Rules(), market, refresh_ms=3_600_000) as run:

        async def look(after_s: int) -> None:
            """What is said or believed when so much time has passed."""
            before = len(run.said("universe_kept")), run.service.state()["refreshed_ms"]
            run.exchange.set_time(START_MS + after_s * 1000)
            await run.feed._rest.sync_clock()
            await until(lambda: (len(run.said("universe_kept")), run.service.state()["refreshed_ms"]) != before)

        await until(lambda: run.feed.progress == (4, 4))
        full, one = dict(market.status), {"A": "TRADING"}
        market.status = one
        await look(3_700)
        assert run.said("universe_kept") == [{"reason": "3 of 4 watched symbols would not trade any more"}]
        market.status = full
        await look(3_800)
        market.status = one
        await look(7_600)
        assert len(run.said("universe_kept")) == 2
        assert run.watched == 4
        await look(7_700)
        await until(lambda: run.watched == 1)
        assert run.changes[-1].gone == ("BUSDT", "CUSDT", "DUSDT")


async def test_a_clock_that_went_back_is_followed() -> None:
    """A list from a time that has not come yet is asked for anew, not when that time comes."""
    market = board("A", "B")
    async with running(Rules(), market, refresh_ms=3_600_000) as run:
        await until(lambda: run.feed.progress == (2, 2))
        run.exchange.set_time(START_MS - 7_200_000)
        market.list("NEW")
        await run.feed._rest.sync_clock()
        await until(lambda: run.service.state()["listed"] == 3)
        assert run.service.state()["refreshed_ms"] < START_MS  # type: ignore[operator]


async def test_the_last_symbol_is_never_let_go() -> None:
    """When all that is configured is delisted there is nothing to do but to wait and to say so."""
    market = board("BTC", "ETH")
    async with running(Rules(include=("BTCUSDT",)), market) as run:
        await until(lambda: run.feed.progress == (1, 1))
        del market.status["BTC"]
        await until(lambda: run.said("universe_kept"))
        assert "BTCUSDT: the exchange does not list it" in run.said("universe_kept")[0]["reason"]
        assert run.watched == 1


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        (Rules(include=("NOPEUSDT",)), "(left out: 2 by include, 1 by status, 1 by unknown; NOPEUSDT: the exchange"),
        (Rules(include=("OLDUSDT",)), "OLDUSDT: its status is BREAK"),
        (Rules(quotes=("EUR",)), "(left out: 2 by quote, 1 by status)"),
    ],
)  # fmt: skip
async def test_nobody_to_watch_at_the_start_is_a_wrong_setup(rules: Rules, told: str) -> None:
    """The error names the key, the rules, and the symbols that were meant."""
    market = board("BTC", "ETH")
    market.list("OLD", status="BREAK")
    async with running(rules, market) as run:
        with pytest.raises(SetupError) as error:
            await run.tasks[1]
        assert str(error.value).startswith("universe.include: no symbol is left to watch")
        assert told in str(error.value)


async def test_an_exchange_that_lists_nobody_at_the_start_is_a_wrong_setup() -> None:
    """As is one that is not an exchange."""
    async with running(Rules(), Board()) as run:
        with pytest.raises(SetupError, match="the exchange lists nobody"):
            await run.tasks[1]


async def test_a_ledger_in_trouble_puts_newcomers_off() -> None:
    """Nobody is half watched: they come when it can be written again."""
    market = board("BTC")
    async with running(Rules(), market) as run:
        await until(lambda: run.feed.progress == (1, 1))
        run.plan_fails = StoreError("the disk is full")
        market.list("NEW")
        await until(lambda: len(run.said("universe_kept")) > 2)
        assert run.said("universe_kept")[0] == {"reason": "the disk is full"}
        assert (run.watched, len(run.changes)) == (1, 1)
        run.plan_fails = None
        await until(lambda: run.feed.progress == (2, 2))


async def test_tickers_decide_who_is_eligible() -> None:
    """Where REST knows no volumes, those of the all-market ticker count; who is not in it has not changed."""
    market = board("BTC", "ETH")
    market.volume = dict.fromkeys(market.volume, math.nan)
    async with running(Rules(), market) as run:
        await until(lambda: run.feed.progress == (2, 2))
        run.service.on_tickers([Ticker("BTCUSDT", 1.0, 23_000.0, START_MS), Ticker("NOPEUSDT", 1.0, 1.0, START_MS),
                                Ticker("ETHUSDT", 1.0, math.nan, START_MS)])  # fmt: skip
        await until(lambda: len(run.changes) == 2)
        (standing,) = run.changes[1].standings
        assert (standing.symbol, standing.eligible, standing.quote_volume_24h) == ("BTCUSDT", False, 23_000.0)
        run.service.on_tickers([Ticker("BTCUSDT", 1.0, 24_000.0, START_MS)])
        await until(lambda: len(run.changes) == 3)
        assert run.changes[2].standings[0].eligible
        assert run.service.state()["listed"] == 2


async def test_whom_an_earlier_run_held_and_who_is_not_watched_any_more_is_gone_at_once() -> None:
    """The engine is told with the first event; the others it holds need not enter again."""
    market = board("BTC", "ETH")
    market.volume["ETH"] = 90.0
    async with running(Rules(min_volume_24h=100.0), market, held=["ETHUSDT", "OLDUSDT"]) as run:
        await until(lambda: run.changes)
        assert run.changes[0].gone == ("OLDUSDT",)
        assert {one.symbol for one in run.changes[0].standings} == {"BTCUSDT", "ETHUSDT"}
        await until(lambda: run.feed.progress == (2, 2))
