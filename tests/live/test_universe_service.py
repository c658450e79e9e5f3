"""Who is watched while a feed runs against an exchange on a real socket that lists, delists, halts and errs."""

from __future__ import annotations

import asyncio
import io
import json
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from feed_exchange import START_MS, Exchange, Notes, Sink, quick, until

from tapewatch.errors import SetupError, StoreError
from tapewatch.feeds import BinanceFeed, Instrument, SeriesPlan, Ticker
from tapewatch.feeds.coingecko import CapSettings, MarketCaps
from tapewatch.live import universe
from tapewatch.live.universe import UniverseService
from tapewatch.model import MINUTE_MS, BarClosed, Event, Universe
from tapewatch.telemetry import LogSetup
from tapewatch.universe import Rules

RICH = 1e9


@dataclass
class Board:
    """What the exchange lists: base asset -> status and 24 h volume, all priced in USDT."""

    status: dict[str, str] = field(default_factory=dict)
    volume: dict[str, float] = field(default_factory=dict)
    #: Sent in place of the list, as it is.
    garbage: bytes | None = None
    asked: int = 0

    def list(self, *bases: str, status: str = "TRADING", volume: float = RICH) -> None:
        """Add or change them."""
        self.status.update(dict.fromkeys(bases, status))
        self.volume.update(dict.fromkeys(bases, volume))

    async def answer(self, request: web.Request) -> web.Response | None:
        """In place of the exchange's own."""
        what = request.path.removeprefix("/api/v3/")
        if what == "exchangeInfo":
            self.asked += 1
            if self.garbage is not None:
                return web.Response(body=self.garbage)
            rows = [
                {"symbol": f"{base}USDT", "status": status, "baseAsset": base, "quoteAsset": "USDT"}
                for base, status in self.status.items()
            ]
            return web.json_response({"symbols": rows})
        if what == "ticker/24hr":
            known = {f"{base}USDT": volume for base, volume in self.volume.items() if not math.isnan(volume)}
            return web.json_response([{"symbol": s, "quoteVolume": f"{volume:.8f}"} for s, volume in known.items()])
        return None


class Run:
    """A feed, the service that chooses for it, and what both said."""

    def __init__(self, board: Board, exchange: Exchange, log: io.StringIO) -> None:
        self.board, self.exchange, self._log = board, exchange, log
        self.events: list[Event] = []
        self.planned: list[list[str]] = []
        self.plan_fails: Exception | None = None
        self.sink, self.notes = Sink(), Notes()

    def start(self, rules: Rules, held: Sequence[str] = (), **options: Any) -> None:
        """Both, as the live shell starts them."""
        self.service = UniverseService(
            rules, take=self.take, begin=self.plan, plan=self.plan, **{"refresh_ms": 100, **options}
        )
        self.feed = BinanceFeed(quick(self.exchange.port), self.take, self.notes, on_tickers=self.service.on_tickers)
        self.tasks = [asyncio.create_task(self.feed.run()), asyncio.create_task(self.service.run(self.feed, held))]

    def take(self, events: Sequence[Event]) -> None:
        """As the pipeline does."""
        self.events += events
        self.sink(list(events))

    async def plan(self, instruments: Sequence[Instrument], now_ms: int) -> list[SeriesPlan]:
        """Two bars of history."""
        if self.plan_fails is not None:
            raise self.plan_fails
        self.planned.append([one.symbol for one in instruments])
        first_ms = now_ms // MINUTE_MS * MINUTE_MS - 2 * MINUTE_MS
        return [SeriesPlan(one.symbol, first_ms, quote_volume_24h=one.quote_volume_24h) for one in instruments]

    async def stop(self) -> None:
        """Both."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    @property
    def changes(self) -> list[Universe]:
        """What the engine was told."""
        return [event for event in self.events if isinstance(event, Universe)]

    @property
    def watched(self) -> int:
        """How many the feed brings."""
        return self.feed.progress[1]

    def said(self, event: str) -> list[dict[str, Any]]:
        """What the log has of one kind."""
        lines = [json.loads(line) for line in self._log.getvalue().splitlines()]
        return [line["data"] for line in lines if line["event"] == event]


@asynccontextmanager
async def running(rules: Rules, board: Board, **options: Any) -> AsyncIterator[Run]:
    """A run against an exchange with this board."""
    exchange, log = Exchange([]), io.StringIO()
    exchange.before_rest = board.answer
    await exchange.start()
    logs = LogSetup(form="json", stream=log)
    run = Run(board, exchange, log)
    try:
        run.start(rules, **options)
        yield run
    finally:
        await run.stop()
        await exchange.stop()
        logs.close()


@pytest.fixture(autouse=True)
def _at_a_tests_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for seconds waits for hundredths."""
    monkeypatch.setattr(universe, "TICK_S", 0.01)
    monkeypatch.setattr(universe, "REFRESH_S", 0.03)
    monkeypatch.setattr(universe, "CAPS_WAIT_S", (0.03,))


def board(*bases: str) -> Board:
    """An exchange that trades these."""
    made = Board()
    made.list(*bases)
    return made


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


# --- market capitalisations ------------------------------------------------------------------------------------------


@dataclass
class Gecko:
    """CoinGecko's `/coins/markets` on a socket."""

    caps: dict[str, float] = field(default_factory=dict)
    status: int = 200
    asked: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        """Those coins that are asked for."""
        self.asked += 1
        if self.status != 200:
            return web.Response(status=self.status)
        asked = request.query["ids"].split(",")
        rows = [{"id": name, "symbol": name[:3], "market_cap": cap} for name, cap in self.caps.items() if name in asked]
        return web.json_response(rows)


@asynccontextmanager
async def gecko(folder: Path, caps: dict[str, float], every_ms: int = 600_000) -> AsyncIterator[tuple[Gecko, Any]]:
    """A server, and what makes a client of it."""
    server = Gecko(caps)
    app = web.Application()
    app.router.add_get("/api/v3/coins/markets", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/api/v3"
    ids = {"BTC": "bitcoin", "ETH": "ethereum", "DOGE": "dogecoin"}
    try:
        yield server, lambda: MarketCaps(CapSettings(url, ids, 0, folder / "caps.json", every_ms), lambda: START_MS)
    finally:
        await runner.cleanup()


async def test_market_caps_choose_and_their_loss_changes_nothing(tmp_path: Path) -> None:
    """Small and unknown ones are left out; a start without an answer uses what an earlier one kept."""
    market = board("BTC", "ETH", "DOGE", "XRP")
    rules = Rules(min_market_cap=1e9)
    async with gecko(tmp_path, {"bitcoin": 1e12, "ethereum": 1e11, "dogecoin": 1e8}) as (server, client):
        async with running(rules, market, caps=client()) as run:
            await until(lambda: run.feed.progress == (2, 2))
            assert set(run.planned[0]) == {"BTCUSDT", "ETHUSDT"}
            assert run.service.state()["left_out"] == {"market_cap": 2}
        server.status = 500
        async with running(rules, market, caps=client()) as run:
            await until(lambda: run.feed.progress == (2, 2))
        assert server.asked == 1


async def test_a_first_start_waits_for_market_caps_unless_the_unknown_may_pass(tmp_path: Path) -> None:
    """429 and failures are waited out; names need no market cap."""
    market = board("BTC", "ETH", "DOGE")
    async with gecko(tmp_path, {"bitcoin": 1e12, "dogecoin": 1e8}) as (server, client):
        server.status = 503
        async with running(Rules(min_market_cap=1e9, include=("ETHUSDT",)), market, caps=client()) as run:
            await until(lambda: run.watched == 1)
        async with running(Rules(min_market_cap=1e9), market, caps=client()) as run:
            await until(lambda: len(run.said("market_caps_failed")) > 2)
            assert not run.planned
            assert run.service.state()["waits_for"] == "market capitalisations"
            server.status = 200
            await until(lambda: run.planned == [["BTCUSDT"]])
            await until(lambda: run.service.state()["waits_for"] is None)
        (tmp_path / "caps.json").unlink()
        server.status = 503
        async with running(
            Rules(min_market_cap=1e9, unknown_market_cap=True, min_stay_ms=0), market, caps=client()
        ) as run:
            await until(lambda: run.watched == 3)
            assert run.said("market_caps_failed")
            server.status = 200
            await until(lambda: run.watched == 2)
            assert run.changes[-1].gone == ("DOGEUSDT",)
