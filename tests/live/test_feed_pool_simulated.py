"""The pool against the simulator: its books stay clean whatever is cut, however often."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from feed_exchange import Notes, Sink, until, watching
from simulated import START_MS, TableMarket, serving

from tapewatch.feeds import BinanceFeed, ExchangeClock, FeedSettings, FrameCounts, SeriesPlan
from tapewatch.feeds.pool import Pool
from tapewatch.feeds.port import Ticker
from tapewatch.feeds.wire import TICKERS, KlineEvent, kline_stream
from tapewatch.model import MINUTE_MS
from tapewatch.simulator import Simulator
from tapewatch.simulator.limits import Limits
from tapewatch.simulator.script import FaultRule

SYMBOLS = (*(f"SYM{n:02}USDT" for n in range(38)), "ÄÖÜUSDT", "币安人生USDT")
NAMES = [kline_stream(symbol, MINUTE_MS) for symbol in SYMBOLS]


class Bars:
    """What a pool brought from a simulator."""

    def __init__(self) -> None:
        self.notes, self.counts = Notes(), FrameCounts()
        self.bars: Counter[tuple[str, int]] = Counter()
        self.tickers: list[Ticker] = []
        self.pool: Pool

    def bar(self, event: KlineEvent) -> None:
        """Take a closed bar."""
        self.bars[event.k.s, event.k.t] += 1

    def at(self, open_ms: int) -> set[str]:
        """The symbols whose bars of one minute came."""
        return {symbol for symbol, at_ms in self.bars if at_ms == open_ms}

    def minutes(self) -> Iterator[tuple[int, set[str]]]:
        """Each minute with the symbols whose bars came."""
        for open_ms in sorted({open_ms for _, open_ms in self.bars}):
            yield open_ms, self.at(open_ms)


@asynccontextmanager
async def fed(simulator: Simulator, names: list[str], **changes: Any) -> AsyncIterator[Bars]:
    """A pool of five connections, and what it brings."""
    values: dict[str, Any] = {"streams_per_connection": 9, "backoff_s": (0.05, 0.1, 0.2), **changes}
    settings = FeedSettings(rest_url=simulator.rest_url, ws_url=simulator.ws_url, **values)
    bars = Bars()
    ignored = lambda _: None  # noqa: E731
    bars.pool = Pool(
        settings, ExchangeClock(), bars.counts, bars.notes, bars.bar, bars.tickers.extend, ignored, ignored
    )  # fmt: skip
    bars.pool.want(names)
    task = asyncio.create_task(bars.pool.run())
    try:
        yield bars
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_every_bar_over_five_connections() -> None:
    """Ten minutes of forty symbols, non-ASCII ones among them, and the whole market's ticker: each bar once."""
    async with serving(TableMarket(SYMBOLS, 10), rate=60.0) as simulator, fed(simulator, [*NAMES, TICKERS]) as fed_by:
        await until(lambda: len({open_ms for _, open_ms in fed_by.bars}) >= 6 and fed_by.tickers, 60)
        minutes = list(fed_by.minutes())[1:-1]
        assert all(symbols == set(SYMBOLS) for _, symbols in minutes)
        assert set(fed_by.bars.values()) == {1}
        assert {ticker.symbol for ticker in fed_by.tickers} == set(SYMBOLS)
        assert len(fed_by.pool.states()) == 5
        assert not simulator.books.breaches


@pytest.mark.slow
async def test_all_cut_at_once_again_and_again() -> None:
    """Five connections cut together two dozen times, half of it while they subscribe: no limit is broken."""
    faults = [FaultRule.model_validate({"kind": "drop", "every": "1m"})]
    limits = Limits(connections=120)
    market = TableMarket(SYMBOLS, 60)
    async with serving(market, rate=120.0, faults=faults, limits=limits) as simulator:
        async with fed(simulator, NAMES, attempts_per_5m=120) as fed_by:
            await until(lambda: simulator.books.faults["drop"] >= 24, 60)
            assert fed_by.notes.count("disconnected") >= 50
            assert 60 < fed_by.pool._common.attempts.used <= 120
        assert not simulator.books.breaches


@pytest.mark.slow
async def test_ages_pings_and_shutdowns_leave_no_hole() -> None:
    """Connections that age in seconds and servers that say they go: every minute's bars come, in overlap."""
    faults = [FaultRule.model_validate({"kind": "shutdown", "every": "3m", "for": "90s"})]
    limits = Limits(max_age_s=6.0, ping_s=1.0, pong_s=2.0, connections=1000)
    market = TableMarket(SYMBOLS, 60)
    async with serving(market, rate=60.0, faults=faults, limits=limits) as simulator:
        async with fed(simulator, NAMES, max_age_s=4.0, attempts_per_5m=900) as fed_by:
            await until(lambda: len({open_ms for _, open_ms in fed_by.bars}) >= 15, 60)
            assert fed_by.notes.count("replaced") >= 15
            assert fed_by.notes.of("disconnected") == []
            minutes = list(fed_by.minutes())[1:-1]
            assert [set(SYMBOLS) - symbols for _, symbols in minutes] == [set()] * len(minutes)
            assert [open_ms for open_ms, _ in minutes] == list(
                range(minutes[0][0], minutes[-1][0] + MINUTE_MS, MINUTE_MS)
            )
        assert not simulator.books.breaches


async def test_symbols_change_all_the_time() -> None:
    """Hundreds of changes a second over five connections while bars flow: what is wanted in the end is what comes."""
    async with serving(TableMarket(SYMBOLS, 60), rate=60.0) as simulator, fed(simulator, NAMES) as fed_by:
        await until(lambda: fed_by.bars, 30)
        for n in range(300):
            fed_by.pool.drop([NAMES[n % 40], NAMES[(n * 7) % 40]])
            fed_by.pool.want([NAMES[(n * 3) % 40]])
            await asyncio.sleep(0.003)
        fed_by.pool.drop(NAMES[:10])
        fed_by.pool.want(NAMES[10:])
        await until(lambda: all(fed_by.pool._places[name].carries(name) for name in NAMES[10:]), 30)
        await until(lambda: sum(state.streams for state in fed_by.pool.states()) == 30)
        await asyncio.sleep(1.5)
        fed_by.bars.clear()
        await until(lambda: len({open_ms for _, open_ms in fed_by.bars}) >= 3, 30)
        minutes = list(fed_by.minutes())[1:-1]
        assert minutes
        assert all(symbols == set(SYMBOLS[10:]) for _, symbols in minutes)
        assert not simulator.books.breaches


async def test_a_paced_clock_waits_for_every_connection() -> None:
    """At a high rate simulated time stands at each boundary until it is acknowledged on all connections."""
    async with serving(TableMarket(SYMBOLS, 30), rate=6_000.0) as simulator, fed(simulator, NAMES) as fed_by:
        fed_by.pool.pace(START_MS)
        await until(lambda: len(fed_by.pool.states()) == 5 and all(s.state == "live" for s in fed_by.pool.states()))
        # The first minute lasts 10 ms, in which not all of them were subscribed.
        fed_by.pool.pace(START_MS + MINUTE_MS)
        for boundary_ms in range(START_MS + 2 * MINUTE_MS, START_MS + 20 * MINUTE_MS, MINUTE_MS):
            await until(lambda open_ms=boundary_ms - MINUTE_MS: fed_by.at(open_ms) == set(SYMBOLS), 20)
            assert max(open_ms for _, open_ms in fed_by.bars) == boundary_ms - MINUTE_MS
            fed_by.pool.pace(boundary_ms)
        assert set(fed_by.bars.values()) == {1}
        assert not simulator.books.breaches


FAULTS: list[dict[str, Any]] = [
    {"kind": "drop", "every": "31m"},
    {"kind": "stall", "every": "23m", "for": "3m"},
    {"kind": "shutdown", "every": "37m"},
    {"kind": "duplicate", "every": "1m", "for": "1m", "probability": 0.05},
    {"kind": "reorder", "every": "1m", "for": "1m", "probability": 0.02},
    {"kind": "missing_close", "every": "3m", "for": "1m", "probability": 0.05},
    {"kind": "malformed", "every": "7m", "for": "1m", "probability": 0.05},
]


@pytest.mark.parametrize("faults", [[], FAULTS], ids=["quiet", "faults"])
async def test_a_feed_over_five_connections_loses_and_doubles_nothing(faults: list[dict[str, Any]]) -> None:
    """Three hours of forty symbols: what goes out is what the market had, each bar once, in order."""
    market, rules = TableMarket(SYMBOLS, 200), [FaultRule.model_validate(fault) for fault in faults]
    limits = Limits(weight_per_minute=60_000)
    async with serving(market, rate=6_000.0, faults=rules, limits=limits, at_end="hold") as simulator:
        notes, sink = Notes(), Sink()
        settings = FeedSettings(
            rest_url=simulator.rest_url, ws_url=simulator.ws_url, settle_wall_s=0.05, tick_s=0.02,
            backoff_s=(0.2, 0.5), streams_per_connection=9,
        )  # fmt: skip
        feed = BinanceFeed(settings, sink, notes)
        task = watching(feed, lambda now_ms: [SeriesPlan(symbol, now_ms - 5 * MINUTE_MS) for symbol in SYMBOLS])
        last_ms = START_MS + 180 * MINUTE_MS
        try:
            await until(
                lambda: task.done() or all(sink.live(s) and sink.live(s)[-1].open_ms >= last_ms for s in SYMBOLS), 150
            )
            assert not task.done()
            assert len(feed.connections()) == 5
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        for symbol in SYMBOLS:
            came = [(bar.open_ms, bar.close) for bar in sink.live(symbol) if bar.open_ms <= last_ms]
            stored = market.candles(symbol).slice(START_MS, last_ms + MINUTE_MS).bars()
            assert came == [(bar.open_ms, bar.close) for bar in stored]
        assert not simulator.books.breaches
        if faults:
            assert notes.count("disconnected") >= 5
            assert notes.count("replaced") >= 5
