"""The feed against the simulator, fast and through scripted faults: the archive's bars, each once, in order."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from feed_exchange import Notes, Sink, until, watching

from tapewatch.feeds import BinanceFeed, FeedSettings, SeriesPlan
from tapewatch.model import MINUTE_MS, Bar, BarClosed
from tapewatch.simulator import ArchiveMarket, Simulator
from tapewatch.simulator.script import FaultRule

#: An outage of 150 minutes begins 33 minutes later.
START_MS = 1_618_882_000_000 // MINUTE_MS * MINUTE_MS
SYMBOLS = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "PSGUSDT", "IOTXUSDT", "SXPUSDT")
FAULTS: list[dict[str, Any]] = [
    {"kind": "drop", "every": "41m"},
    {"kind": "stall", "every": "53m", "for": "3m"},
    {"kind": "duplicate", "every": "1m", "for": "1m", "probability": 0.1},
    {"kind": "reorder", "every": "1m", "for": "1m", "probability": 0.02},
    {"kind": "late_close", "every": "2m", "for": "3m", "probability": 0.02},
    {"kind": "missing_close", "every": "3m", "for": "1m", "probability": 0.05},
    {"kind": "malformed", "every": "7m", "for": "1m", "probability": 0.1},
    {"kind": "http_5xx", "every": "59m", "for": "10s"},
    {"kind": "http_429", "every": "83m", "for": "10s"},
    {"kind": "shutdown", "every": "97m"},
]


def values(bar: Bar) -> tuple[float, ...]:
    """What source and feed must agree on to the last bit."""
    return (bar.open_ms, bar.open, bar.high, bar.low, bar.close, bar.volume)


async def play(market: ArchiveMarket, minutes: int, rate: float, faults: list[dict[str, Any]]) -> tuple[Sink, Notes]:
    """Both sides of a run over so many minutes."""
    rules = [FaultRule.model_validate(fault) for fault in faults]
    simulator = Simulator(market, rate=rate, start_ms=START_MS, faults=rules, at_end="hold")
    await simulator.start()
    notes, sink = Notes(), Sink()
    settings = FeedSettings(
        rest_url=simulator.rest_url, ws_url=simulator.ws_url, settle_wall_s=0.05, tick_s=0.02, backoff_s=(0.2, 0.5)
    )

    def plans(now_ms: int) -> list[SeriesPlan]:
        base_ms = now_ms - 30 * MINUTE_MS
        return [SeriesPlan(s, base_ms, {5 * MINUTE_MS: base_ms - 100 * MINUTE_MS}) for s in market.symbols]

    feed = BinanceFeed(settings, sink, notes)
    task = watching(feed, plans)
    last_ms = START_MS + (minutes - 1) * MINUTE_MS
    try:
        await until(
            lambda: task.done() or all(sink.live(s) and sink.live(s)[-1].open_ms >= last_ms for s in SYMBOLS), 120
        )
    finally:
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await simulator.stop()
    return sink, notes


@pytest.mark.parametrize("faults", [[], FAULTS], ids=["quiet", "faults"])
async def test_the_archives_bars_come_once_and_in_order(market_data: Path, faults: list[dict[str, Any]]) -> None:
    """Four hours of six real symbols with an outage in them: what goes out is what is stored, bit for bit."""
    market = ArchiveMarket(market_data / "candles/scan-1m-2021-04", symbols=SYMBOLS)
    minutes = 240
    sink, notes = await play(market, minutes, 6_000.0, faults)
    end_ms = START_MS + minutes * MINUTE_MS
    for symbol in SYMBOLS:
        stored = list(market.candles(symbol).slice(START_MS, end_ms).bars())
        assert [values(bar) for bar in sink.live(symbol) if bar.open_ms < end_ms] == [values(bar) for bar in stored]
        base = [bar for bar in sink.history(symbol) if bar.interval_ms == MINUTE_MS]
        before = market.candles(symbol).slice(START_MS - 30 * MINUTE_MS, START_MS).bars()
        assert [values(bar) for bar in base] == [values(bar) for bar in before]
        late = [event for event in sink.events[symbol] if isinstance(event, BarClosed)]
        assert all(event.recv_ms >= event.bar.close_ms for event in late)
    assert {symbol for symbol, _, _ in notes.of("outage")} == set(SYMBOLS)
    if not faults:
        assert notes.count("disconnected") == notes.count("duplicate") == notes.count("malformed") == 0
    else:
        assert notes.count("duplicate")
        assert notes.count("filled")
        assert notes.count("connected") + notes.count("replaced") > 3


async def test_a_killed_exchange_that_comes_back_loses_nothing(market_data: Path) -> None:
    """Stopped for good and started again later on the same port, the exchange finds the feed where it left it."""
    market = ArchiveMarket(market_data / "candles/scan-1m-2021-04", symbols=SYMBOLS)
    first = Simulator(market, rate=600.0, start_ms=START_MS, at_end="hold")
    await first.start()
    port = int(first.rest_url.rsplit(":", 1)[1])
    notes, sink = Notes(), Sink()
    settings = FeedSettings(
        rest_url=first.rest_url, ws_url=first.ws_url, settle_wall_s=0.05, tick_s=0.02, backoff_s=(0.1, 0.2),
        rest_backoff_s=(0.05, 0.1),
    )  # fmt: skip
    feed = BinanceFeed(settings, sink, notes)
    task = watching(feed, lambda now_ms: [SeriesPlan(s, now_ms - 5 * MINUTE_MS) for s in SYMBOLS])
    await until(lambda: len(sink.live("BTCUSDT")) > 5, 30)
    await first.stop()
    await until(lambda: notes.count("attempt") >= 2)
    second = Simulator(market, rate=600.0, start_ms=START_MS + 20 * MINUTE_MS, at_end="hold", port=port)
    await second.start()
    await until(lambda: all(len(sink.live(s)) >= 30 for s in SYMBOLS), 60)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await second.stop()
    for symbol in SYMBOLS:
        stored = list(market.candles(symbol).slice(START_MS, START_MS + 30 * MINUTE_MS).bars())
        assert [values(bar) for bar in sink.live(symbol)[:30]] == [values(bar) for bar in stored]
