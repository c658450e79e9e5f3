"""momentum, trend and scalp on wild and on real candles: each factor can block, nothing breaks, nothing is NaN."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path

import pytest

from engine_runs import candidates
from tapewatch import strategies
from tapewatch.archive.reader import inventory, series
from tapewatch.model import INTERVALS_MS, MINUTE_MS, Bar, Signal
from tapewatch.strategy import Strategy
from tapewatch.study.signals import Request, find
from tapewatch.study.why import explain

VENUE = "binance_spot"
#: Set -> the timeframes of its candles that strategies can be served from.
SETS = {"scan-5m-2025-04": "5m", "scan-1m-2021-04": "1m"}
#: Outages of the exchange in the set of minutes: no candle opens in [from, to).
OUTAGES = ((1_618_884_000_000, 1_618_893_000_000), (1_619_323_260_000, 1_619_340_300_000))


def timeframes(plan: Strategy, smallest: str) -> list[str]:
    """What a set with candles of `smallest` can serve."""
    return [name for name in plan.timeframes if INTERVALS_MS[name] >= INTERVALS_MS[smallest]]


def wild(count: int, seed: int) -> list[Bar]:
    """Minutes of a market with calm and mad hours: moves of several percent, volume of twenty times its mean."""
    draw = random.Random(seed)
    price, bars = 100.0, []
    for minute in range(count):
        mad = minute // 90 % 4 == 3
        opened, drift = price, 0.004 * math.sin(minute / 150) if mad else 0.0
        price = max(5.0, price * (1 + drift + draw.gauss(0, 0.012 if mad else 0.002)))
        high, low = max(opened, price) * (1 + draw.random() * 0.002), min(opened, price) * (1 - draw.random() * 0.002)
        volume = draw.lognormvariate(2, 0.5) * (draw.choice([1, 1, 1, 20]) if mad else 1)
        bars.append(Bar("AAAUSDT", MINUTE_MS, minute * MINUTE_MS, opened, high, low, price, volume))
    return bars


@pytest.mark.parametrize("name", strategies.shipped())
def test_each_factor_can_block(market_data: Path, name: str) -> None:
    """For every factor of either side there is a real bar on which it was not met, and had it been, all would have
    fired: it alone blocked. `why` says so of that bar.
    """
    root = market_data / "candles" / "scan-5m-2025-04"
    plan = replace(strategies.load(name), timeframes=("5m",) if name != "trend" else ("15m",))
    if name == "momentum":  # moves of 5% are rare; a move of 2% shows the same
        plan = replace(plan, params={**plan.params, "pct": 0.02})
    request = Request(root, VENUE, symbols_of(root, 6))
    fired = {one.id for one in find(plan, request)}
    for side, factors in plan.sides.items():
        assert any(f"/{side}/" in identity for identity in fired)
        for factor in factors:
            met = replace(plan, sides={**plan.sides, side: {**factors, factor: "close > 0"}})
            blocked = [one for one in find(met, request) if one.id not in fired]
            assert any(_blocks(plan, one, factor, request) for one in blocked[::-1]), (side, factor)


def _blocks(plan: Strategy, one: Signal, factor: str, request: Request) -> bool:
    """Whether `why` says of a bar on which one more factor would have made the side fire that this one was unmet."""
    asked = replace(request, symbols=[one.symbol])
    (why,) = (w for w in explain(plan, one.timeframe, one.symbol, one.close_ms, asked) if w.side == one.side)
    assert not why.fired
    assert len(why.short) == 1
    return factor in [one.name for one in why.factors if one.met is False]


@pytest.mark.parametrize("name", ["momentum", "trend"])
def test_a_wild_market_makes_them_fire(name: str) -> None:
    """Without real data too: both sides fire on every timeframe, and every signal is sound."""
    plan = strategies.load(name, [("pct", 0.02)] if name == "momentum" else [])
    found = candidates(VENUE, plan, wild(40_000, 7))
    assert {one.side for one in found} == {"long", "short"}
    assert {one.timeframe for one in found} == set(plan.timeframes)
    for one in found:
        assert_sound(one)


def test_momentum_is_its_definition() -> None:
    """A move up in percent and in ATR on unusual volume, with the trend above; each part can be switched off."""
    bars = wild(40_000, 7)
    whole = {one.id for one in candidates(VENUE, strategies.load("momentum", [("pct", 0.02)]), bars)}
    for setting in (("use_atr", 0.0), ("use_trend", 0.0), ("vol_z", -9.0), ("pct", 0.0)):
        settings = dict([("pct", 0.02), setting])
        more = {one.id for one in candidates(VENUE, strategies.load("momentum", settings.items()), bars)}
        assert whole <= more
        if setting[0] != "pct":  # a move of two ATR is one of 2% in this market
            assert len(more) > len(whole)


def assert_sound(one: Signal) -> None:
    """Every number that is used is one, and on the right side of entry."""
    numbers = [one.entry, one.stop, one.atr, one.strength, one.risk_reward, one.volume]
    numbers += [one.stop_distance_pct, one.profit_distance_pct, *(target.price for target in one.targets)]
    assert all(math.isfinite(number) for number in numbers), one
    sign = 1 if one.side == "long" else -1
    assert sign * (one.entry - one.stop) > 0
    assert all(sign * (target.price - one.entry) > 0 for target in one.targets)
    assert 0 <= one.strength <= 10
    assert 0 < one.confidence.met <= one.confidence.asked == len(one.factors)
    assert sum(target.share for target in one.targets) == pytest.approx(100)
    assert len(one.verdicts) == 10


def searched(root: Path, name: str, smallest: str, symbols: list[str]) -> list[Signal]:
    """All signals of a strategy on every timeframe that can be served, each of them sound."""
    plan = strategies.load(name)
    found = list(find(plan, Request(root, VENUE, symbols, timeframes(plan, smallest))))
    for one in found:
        assert_sound(one)
        assert one.timeframe != "1m" or not any(start <= one.open_ms < end for start, end in OUTAGES)
    assert len({one.id for one in found}) == len(found)
    return found


def symbols_of(root: Path, count: int | None) -> list[str]:
    """The set's symbols, or `count` of them spread over it."""
    names = sorted({stored.symbol for stored in inventory(root)})
    return names if count is None else names[:: len(names) // count][:count]


@pytest.mark.parametrize("name", strategies.shipped())
@pytest.mark.parametrize("folder", SETS)
def test_a_sample_of_real_markets(market_data: Path, folder: str, name: str) -> None:
    """No exception, every signal sound, outages inside."""
    root = market_data / "candles" / folder
    found = searched(root, name, SETS[folder], ["BTCUSDT", "ETHUSDT", *symbols_of(root, 4)])
    assert {one.side for one in found} == {"long", "short"}


@pytest.mark.slow
@pytest.mark.parametrize("name", strategies.shipped())
@pytest.mark.parametrize("folder", SETS)
def test_whole_sets_of_real_markets(market_data: Path, folder: str, name: str) -> None:
    """All symbols of both sets, every strategy, every timeframe that they can serve."""
    root = market_data / "candles" / folder
    found = searched(root, name, SETS[folder], symbols_of(root, None))
    assert {one.timeframe for one in found} == set(timeframes(strategies.load(name), SETS[folder]))


@pytest.mark.parametrize("name", strategies.shipped())
def test_outages_are_what_live_sees(market_data: Path, name: str) -> None:
    """No candle is invented: what the engine finds bar by bar over two outages is what a search finds, to the id."""
    root = market_data / "candles" / "scan-1m-2021-04"
    plan = strategies.load(name, [("pct", 0.01)] if name == "momentum" else [])
    bars = series(root, VENUE, "ETHUSDT", "1m")
    for start, end in OUTAGES:
        assert not len(bars.slice(start, end))
    live = candidates(VENUE, plan, bars.bars())
    found = list(find(plan, Request(root, VENUE, ["ETHUSDT"])))
    assert {(one.id, one.entry, one.stop, one.strength) for one in live} == {
        (one.id, one.entry, one.stop, one.strength) for one in found
    }
    assert any(one.close_ms > OUTAGES[1][1] for one in found)
