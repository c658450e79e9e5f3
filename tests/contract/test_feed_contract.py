"""What every feed promises, against the simulator over real sockets: history, then live bars, in order, each once."""

from __future__ import annotations

import asyncio
import gc
import time
from pathlib import Path
from typing import Any

import pytest
from feed_rigs import KINDS, START_MS, SYMBOLS, figures, rigged
from simulated import TableMarket, eventually

from tapewatch.feeds import Instrument, Quote, SeriesPlan
from tapewatch.model import MINUTE_MS, BarClosed
from tapewatch.simulator.limits import Limits

pytestmark = pytest.mark.parametrize("kind", KINDS)


async def test_history_then_live_bars_in_order(kind: str) -> None:
    """Larger bars before the base bars they precede, base bars from the start asked for, every live bar once."""
    async with rigged(kind) as rig:
        await rig.watch(SYMBOLS)
        await rig.until_whole()
        assert rig.feed.progress == (3, 3)
        assert rig.notes.count("caught_up") == 1
        for symbol in SYMBOLS:
            events = rig.sink.events[rig.name(symbol)]
            closes = [(event.bar.close_ms, -event.bar.interval_ms) for event in events]
            assert closes == sorted(closes)
            larger = rig.history(symbol, 5 * MINUTE_MS)
            assert larger[0][0] == rig.start_ms[symbol] - 100 * MINUTE_MS
            assert larger[-1][0] == rig.start_ms[symbol] - 5 * MINUTE_MS
            first = next(event for event in events if isinstance(event, BarClosed))
            assert first.bar.open_ms >= START_MS - MINUTE_MS
            assert all(event.recv_ms >= event.bar.close_ms for event in events if isinstance(event, BarClosed))
        assert rig.sink.boundaries == sorted(set(rig.sink.boundaries))
        assert rig.market.last_ms in rig.sink.boundaries
        assert not rig.simulator.books.breaches


FAULTS: dict[str, list[dict[str, Any]]] = {
    "cut": [{"kind": "drop", "at": "2m"}, {"kind": "drop", "at": "5m", "for": "2m"}],
    "stall": [{"kind": "stall", "at": "2m", "for": "4m"}],
    "missing close": [{"kind": "missing_close", "every": "1m", "for": "1m", "probability": 0.5}],
    "out of order": [
        {"kind": "duplicate", "every": "1m", "for": "1m", "probability": 0.5},
        {"kind": "reorder", "every": "2m", "for": "1m"},
        {"kind": "late_close", "every": "3m", "for": "2m"},
    ],
    "malformed": [{"kind": "malformed", "every": "2m", "for": "1m"}],
    "REST": [
        {"kind": "missing_close", "at": "1m", "for": "8m"},
        {"kind": "http_5xx", "at": "2m", "for": "2m"},
        {"kind": "http_429", "at": "6m", "for": "1m"},
    ],
    "shutdown": [{"kind": "shutdown", "at": "3m", "for": "20s"}],
}


@pytest.mark.parametrize("trouble", FAULTS)
async def test_trouble_loses_nothing_and_doubles_nothing(kind: str, trouble: str) -> None:
    """Whatever goes wrong on the way, every bar of the exchange comes once and in order."""
    async with rigged(kind, faults=FAULTS[trouble]) as rig:
        await rig.watch(SYMBOLS)
        await rig.until_whole()
        assert rig.simulator.books.faults
        assert not rig.simulator.books.breaches


async def test_a_hole_at_the_exchange_is_an_outage(kind: str) -> None:
    """What does not exist is reported once as a range and not invented; the bars around it come."""
    hole = range(START_MS + 3 * MINUTE_MS, START_MS + 6 * MINUTE_MS, MINUTE_MS)
    market = TableMarket(SYMBOLS, minutes=12, holes={("ETHUSDT", open_ms) for open_ms in hole})
    async with rigged(kind, market) as rig:
        await rig.watch(SYMBOLS)
        await rig.until_whole()
        found = {
            open_ms
            for symbol, from_ms, to_ms in rig.notes.of("outage")
            for open_ms in range(from_ms, to_ms, MINUTE_MS)
            if symbol == rig.name("ETHUSDT")
        }
        assert found == set(hole)
        assert sum(to_ms - from_ms for _, from_ms, to_ms in rig.notes.of("outage")) == 3 * MINUTE_MS


async def test_symbols_come_and_go_at_run_time(kind: str) -> None:
    """A symbol watched later gets its history first; of one that is not watched any more nothing comes."""
    async with rigged(kind, TableMarket(SYMBOLS, minutes=16)) as rig:
        await rig.watch(["BTCUSDT", "ETHUSDT"])
        await rig.until(lambda: len(rig.live("ETHUSDT")) >= 3)
        await rig.watch(["SOLUSDT", "BTCUSDT"], base=10)
        assert rig.feed.progress[1] == 3
        await rig.until(lambda: rig.live("SOLUSDT"))
        rig.feed.unwatch([rig.name("ETHUSDT"), "UNKNOWN"])
        kept = len(rig.sink.events[rig.name("ETHUSDT")])
        assert rig.feed.progress[1] == 2
        await rig.until(lambda: rig.whole("BTCUSDT") and rig.whole("SOLUSDT"))
        assert len(rig.sink.events[rig.name("ETHUSDT")]) == kept
        for symbol in ("BTCUSDT", "SOLUSDT"):
            came = rig.history(symbol) + rig.live(symbol)
            assert came == rig.stored(symbol, int(came[0][0]))
        assert rig.history("SOLUSDT")[0][0] == rig.start_ms["SOLUSDT"]


async def test_what_an_earlier_run_decided_is_history(kind: str) -> None:
    """Bars up to the last decided one move series on and nothing more; those after it are decided, late."""
    async with rigged(kind) as rig:
        await rig.watch(["BTCUSDT"], last_open_ms=START_MS - 5 * MINUTE_MS)
        await rig.until_whole("BTCUSDT")
        assert rig.history("BTCUSDT")[-1][0] == START_MS - 5 * MINUTE_MS
        assert rig.live("BTCUSDT")[0][0] == START_MS - 4 * MINUTE_MS


async def test_an_unknown_symbol_leaves_the_others_alone(kind: str) -> None:
    """It is said that the exchange refuses it; the others come."""
    async with rigged(kind) as rig:
        await rig.watch(["NOSUCHUSDT", "BTCUSDT"])
        await rig.until_whole("BTCUSDT")
        assert any(rig.name("NOSUCHUSDT") in str(text) for text in rig.notes.of("warning"))
        assert rig.name("NOSUCHUSDT") not in rig.sink.events


async def test_instruments_and_quotes(kind: str) -> None:
    """Every symbol with its assets, state and volume; best bid and ask of those asked for."""
    async with rigged(kind) as rig:
        await rig.feed.ready()
        found = {one.symbol: one for one in await rig.feed.instruments()}
        assert set(found) == {rig.name(symbol) for symbol in SYMBOLS}
        one = found[rig.name("BTCUSDT")]
        assert isinstance(one, Instrument)
        assert (one.base, one.quote, one.trading) == ("BTC", "USDT", True)
        assert one.quote_volume_24h > 0
        quotes = await rig.feed.quotes([rig.name("BTCUSDT"), rig.name("ETHUSDT"), "NO/SUCH"])
        assert set(quotes) == {rig.name("BTCUSDT"), rig.name("ETHUSDT")}
        assert all(isinstance(quote, Quote) and 0 < quote.bid < quote.ask for quote in quotes.values())
        assert await rig.feed.quotes([]) == {}


async def test_order_books(kind: str) -> None:
    """Of those symbols that the exchange knows, around the quotes; best first, and as many levels as were asked for."""
    async with rigged(kind) as rig:
        await rig.feed.ready()
        await rig.feed.instruments()
        names = [rig.name(symbol) for symbol in SYMBOLS]
        books = await rig.feed.books([*names, "NO/SUCH"], 5.0)
        quotes = await rig.feed.quotes(names)
        assert set(books) == set(names)
        for name, book in books.items():
            assert (book.symbol, len(book.bids), len(book.asks)) == (name, 100, 100)
            assert not book.bids_whole
            assert book.middle == pytest.approx(quotes[name].bid, rel=0.02)  # time goes on between the requests
            assert book.bids[-1][0] < book.bids[0][0] < book.asks[0][0] < book.asks[-1][0]
        assert await rig.feed.books([], 5.0) == {}


@pytest.mark.alone
@pytest.mark.parametrize("fault", ["http_slow", "http_5xx"])
async def test_books_that_do_not_come_are_left_out_and_hold_up_no_bar(kind: str, fault: str) -> None:
    """After the time they may take; whatever is wrong with them, every bar comes and REST is not called failing."""
    rule = {"kind": fault, "at": "1s", "for": "1h", "endpoints": ["depth"]}
    faults = [{**rule, "delay": "1h"} if fault == "http_slow" else rule]
    async with rigged(kind, faults=faults) as rig:
        await rig.watch(SYMBOLS)
        await rig.until(lambda: rig.live("BTCUSDT"))
        while not rig.whole("BTCUSDT"):
            began_s = time.monotonic()
            assert await rig.feed.books([rig.name(symbol) for symbol in SYMBOLS], 0.3) == {}
            assert time.monotonic() - began_s < 3.0
            await asyncio.sleep(0.05)
        await rig.until_whole()
        assert rig.simulator.books.faults[fault] > 0
        assert rig.notes.count("breaker") == rig.notes.count("connection_lost") == 0


async def test_connections_say_what_they_carry(kind: str) -> None:
    """Live with their symbols once bars come; no symbol is on two of them."""
    async with rigged(kind) as rig:
        await rig.watch(SYMBOLS)
        await rig.until(lambda: all(rig.live(symbol) for symbol in SYMBOLS))
        found = rig.feed.connections()
        assert [one.state for one in found] == ["live"] * len(found)
        carried = [symbol for one in found for symbol in one.symbols]
        wanted = [] if kind == "ccxt_rest" else [rig.name(symbol) for symbol in SYMBOLS]
        assert sorted(carried) == sorted(wanted)
        assert rig.feed.emergency is False
        assert rig.notes.count("connected") == 1


@pytest.mark.parametrize("moment", ["before ready", "loading", "live", "in trouble"])
async def test_a_stop_leaves_nothing(kind: str, moment: str) -> None:
    """No task, no socket, at whatever moment it comes."""
    faults = [{"kind": "http_5xx", "at": "0s", "for": "60m"}] if moment == "in trouble" else []
    before = asyncio.all_tasks()
    async with rigged(kind, faults=faults) as rig:
        servers = asyncio.all_tasks() - before
        sockets = open_sockets()
        if moment == "loading":
            await rig.watch(SYMBOLS)
        elif moment == "live":
            await rig.watch(SYMBOLS)
            await rig.until(lambda: all(rig.live(symbol) for symbol in SYMBOLS))
        elif moment == "in trouble":
            await rig.until(lambda: rig.notes.count("rest_request") > 2)
        await rig.stop()
        gc.collect()
        own = {rig.task}
        await eventually(lambda: not [t for t in asyncio.all_tasks() - servers - before if t not in own])
        await eventually(lambda: open_sockets() <= sockets or moment == "before ready")
    await eventually(lambda: asyncio.all_tasks() <= before)


def open_sockets() -> int:
    """How many sockets this process has."""
    names = []
    for path in Path("/proc/self/fd").iterdir():
        try:
            names.append(str(path.readlink()))
        except OSError:
            continue
    return sum(name.startswith("socket:") for name in names)


async def test_values_that_a_source_lacks_are_unknown(kind: str) -> None:
    """Prices and volume are always there; quote volume, trades and taker volume are numbers or NaN, for all bars."""
    async with rigged(kind) as rig:
        await rig.watch(["BTCUSDT"])
        await rig.until(lambda: len(rig.live("BTCUSDT")) > 2)
        bars = [*rig.sink.history(rig.name("BTCUSDT")), *rig.sink.live(rig.name("BTCUSDT"))]
        known = {bar.quote_volume == bar.quote_volume for bar in bars}
        assert known == {kind == "binance"}
        assert all(value == value for bar in bars for value in figures(bar))


async def test_many_symbols_keep_the_exchanges_limits(kind: str) -> None:
    """Subscriptions of a hundred symbols and their first windows: no limit is broken, no connection is lost."""
    names = tuple(f"C{number:03d}USDT" for number in range(100))
    strict = Limits(messages_per_s=4)  # pings and pongs count too, so nobody may come near the exchange's five
    async with rigged(kind, TableMarket(names, minutes=4), rate=20.0, limits=strict) as rig:
        now_ms = await rig.feed.ready()
        rig.feed.watch([SeriesPlan(rig.name(symbol), now_ms - 2 * MINUTE_MS) for symbol in names])
        await rig.until(lambda: rig.feed.progress == (100, 100))
        await rig.until(lambda: all(rig.live(symbol) for symbol in names))
        assert not rig.simulator.books.breaches
        assert rig.notes.count("disconnected") == 0
        if kind != "ccxt_rest":
            assert sum(one.streams for one in rig.feed.connections()) == 100


async def test_a_feed_that_has_ended_is_asked_in_vain(kind: str) -> None:
    """Who still wants an order book while a run stops gets none, at once."""
    async with rigged(kind) as rig:
        await rig.feed.ready()
        await rig.feed.instruments()
        await rig.stop()
        asked = dict(rig.simulator.books.requests)
        async with asyncio.timeout(20):
            assert await rig.feed.books([rig.name(symbol) for symbol in SYMBOLS], 30.0) == {}
        assert dict(rig.simulator.books.requests) == asked
