"""What becomes of signals and random entries, beside a straight-line reckoning from the bars alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from core_samples import MONDAY_MS, bits, mapping
from engine_runs import save
from tapewatch.draw import drawn
from tapewatch.engine import Engine
from tapewatch.engine.series import Runner, Series
from tapewatch.engine.state import load
from tapewatch.gate import GateSettings
from tapewatch.model import (
    INTERVALS_MS,
    MINUTE_MS,
    Bar,
    BarClosed,
    Boundary,
    Context,
    ControlDone,
    Effect,
    Event,
    FetchContext,
    History,
    Judged,
    Outcome,
    Side,
    Signal,
)
from tapewatch.outcomes import OutcomeSettings
from tapewatch.strategy import Strategy, compile_program, from_mapping

ONE_IN = 5
COST_BPS = 7.0
#: Minutes after which what is read of the 1m frame is settled.
HISTORY = 700


@dataclass(frozen=True)
class Market:
    """Bars of two symbols, what looks at them, and after how many minutes quotes come."""

    bars: list[Bar]
    strategies: list[Strategy]
    quotes_after: int


def one_strategy(name: str, stop: str, targets: Sequence[str], limit: int) -> Strategy:
    """One that fires on most bars, on two timeframes; some of it is blocked."""
    shares = ["100%"] if len(targets) == 1 else ["50%", "50%"]
    whole = mapping(
        timeframes=["1m", "5m"],
        long={"up": "close >= open"},
        short={"down": "close < open - 0.1"},
        stop=stop,
        targets=[{"at": at, "share": share} for at, share in zip(targets, shares, strict=True)],
        time_limit=limit,
        duplicate={"window": "3m", "move": "0%"},
    )
    return from_mapping(name, whole)


WAYS = ["0.1", "0.25", "0.5", "0.3 * atr(14)", "2 * atr(5)"]
recipes = st.tuples(
    st.integers(0, 2**32), st.integers(30, 120), st.sampled_from(WAYS), st.sampled_from(WAYS), st.integers(1, 4),
    st.sampled_from([3, 60]), st.sampled_from([0, 0, 1, 4]),
)  # fmt: skip
Recipe = tuple[int, int, str, str, int, int, int]


def market_of(recipe: Recipe) -> Market:
    """Prices on a coarse grid, so that levels are met exactly; gaps, holes, long and short limits."""
    seed, minutes, stop, target, near, far, quotes_after = recipe
    random = Random(seed)
    chosen = [one_strategy("near", stop, [target], near), one_strategy("far", "1.5", ["0.8", "3.0"], far)]
    prices, bars = {"AAAUSDT": 100.0, "BBBUSDT": 20.0}, []
    for minute in range(HISTORY + minutes):
        for symbol, price in prices.items():
            opened = grid(price + random.choice([0, 0, 0, 0, 0.05, -0.05, 0.6, -0.6]))
            close = grid(max(1.0, opened + random.choice([-0.4, -0.2, -0.1, -0.05, 0, 0.05, 0.1, 0.2, 0.4])))
            high = grid(max(opened, close) + random.choice([0, 0, 0.05, 0.3]))
            low = grid(max(0.5, min(opened, close) - random.choice([0, 0, 0.05, 0.3])))
            prices[symbol] = close
            if random.random() > 0.03:
                open_ms = MONDAY_MS + minute * MINUTE_MS
                bars.append(Bar(symbol, MINUTE_MS, open_ms, opened, high, low, close, float(random.randint(1, 9))))
    return Market(bars, chosen, quotes_after)


def grid(price: float) -> float:
    """A price on the grid."""
    return round(max(price, 0.5) * 20) / 20


def engine_of(market: Market) -> Engine:
    """A fresh one."""
    gate = GateSettings(max_spread=0.5 if market.quotes_after else None)
    return Engine("v", market.strategies, gate, outcomes=OutcomeSettings(COST_BPS, ONE_IN))


def events_of(market: Market) -> list[Event]:
    """History, then live bars, some late, with their boundaries."""
    events: list[Event] = []
    for place, bar in enumerate(market.bars):
        if bar.open_ms < MONDAY_MS + HISTORY * MINUTE_MS:
            events.append(History(bar))
            continue
        events.append(BarClosed(bar, bar.close_ms + (30_000 if place % 9 == 0 else 5)))
        if place + 1 == len(market.bars) or market.bars[place + 1].open_ms > bar.open_ms:
            events.append(Boundary(bar.close_ms))
    return events


def play(engine: Engine, events: Sequence[Event], quotes_after: int) -> list[list[Effect]]:
    """What an engine says; what it asks for comes so many minutes later, at the end at the latest."""
    said: list[list[Effect]] = []
    asked: list[tuple[int, FetchContext]] = [(0, one) for one in engine.asking]

    def answer(now_ms: int) -> None:
        for one in [one for one in asked if one[0] <= now_ms]:
            asked.remove(one)
            said.append(engine.process(Context(one[1].symbol, one[1].close_ms, 99.0, 99.1)))

    for event in events:
        effects = engine.process(event)
        said.append(effects)
        asked += [(one.close_ms + quotes_after * MINUTE_MS, one) for one in effects if isinstance(one, FetchContext)]
        if isinstance(event, Boundary):
            answer(event.close_ms)
    answer(2**62)
    return said


@dataclass(frozen=True)
class Entry:
    """What the reckoning begins with."""

    symbol: str
    side: Side
    close_ms: int
    interval_ms: int
    limit: int
    entry: float
    stop: float
    target: float


def reckoned(one: Entry, bars: Sequence[Bar]) -> dict[str, Any] | None:
    """Where an entry ended and what it brought, by the words of docs/outcomes.md; None where it has not ended."""
    way = [bar for bar in bars if bar.open_ms >= one.close_ms and bar.symbol == one.symbol]
    over_ms, long = one.close_ms + one.limit * one.interval_ms, one.side == "long"
    prices = [one.entry]  # that were seen before it ended
    for bar in way:
        stopped = bar.low <= one.stop if long else bar.high >= one.stop
        hit = bar.high >= one.target if long else bar.low <= one.target
        beyond = bar.open <= one.stop if long else bar.open >= one.stop
        if bar.open_ms >= over_ms:
            result, price, ambiguous = "time", bar.open, False
        elif stopped:
            result, price, ambiguous = "stop", bar.open if beyond else one.stop, hit and not beyond
        elif hit:
            result, price, ambiguous = "target", one.target, False
            prices.append(min(bar.low, price) if long else max(bar.high, price))  # what is beyond it is not had
        else:
            prices += [bar.high, bar.low]
            continue
        prices.append(price)
        risk, sign = abs(one.entry - one.stop), 1 if long else -1
        ways = [(seen - one.entry) * sign / risk for seen in prices]
        gross_r = (price - one.entry) * sign / risk
        begun = (bar.open_ms - one.close_ms) // one.interval_ms
        return {
            "result": result,
            "price": price,
            "ms": bar.open_ms,
            "bars": min(begun, one.limit) if result == "time" else begun + 1,
            "mfe_r": max(ways),
            "mae_r": min(ways),
            "gross_r": gross_r,
            "net_r": gross_r - COST_BPS / 10_000 * one.entry / risk,
            "gross_pct": (price - one.entry) * sign / one.entry * 100,
            "risk_pct": risk / one.entry * 100,
            "ambiguous": ambiguous,
        }
    return None


def entry_of(signal: Signal, strategies: Sequence[Strategy]) -> Entry:
    """Of a signal."""
    limit = next(one.time_limit for one in strategies if one.name == signal.strategy)
    interval_ms = INTERVALS_MS[signal.timeframe]
    levels = signal.entry, signal.stop, signal.targets[0].price
    return Entry(signal.symbol, signal.side, signal.close_ms, interval_ms, limit, *levels)


def drawn_entries(market: Market, bars: Sequence[Bar]) -> list[tuple[tuple[str, str, str, int, str], Entry]]:
    """The random entries of a market: who they are, and with which levels."""
    found = []
    for strategy in market.strategies:
        for timeframe in strategy.timeframes:
            program = compile_program(strategy, timeframe)
            for symbol in ("AAAUSDT", "BBBUSDT"):
                runner, count = Runner(program), dict.fromkeys(program.frames, 0)
                for bar in [one for one in bars if one.symbol == symbol and one.interval_ms in program.frames]:
                    count[bar.interval_ms] += 1
                    result = runner.feed(bar, force=True)
                    settled = all(count[frame] > program.settled_at[frame] for frame in program.frames)
                    live = bar.close_ms > MONDAY_MS + HISTORY * MINUTE_MS
                    if result is None or not settled or not live:
                        continue
                    for plan in program.sides:
                        if drawn(symbol, strategy.name, timeframe, plan.side, bar.close_ms, ONE_IN):
                            sign = 1 if plan.side == "long" else -1
                            ways = [result[1].of(node) for node in (plan.stop, plan.targets[0][0])]
                            levels = bar.close, bar.close - sign * ways[0], bar.close + sign * ways[1]
                            who = symbol, strategy.name, timeframe, bar.close_ms, plan.side
                            timed = bar.close_ms, bar.interval_ms, strategy.time_limit
                            found.append((who, Entry(symbol, plan.side, *timed, *levels)))
    return found


def built(market: Market) -> list[Bar]:
    """The bars of both timeframes and of what they look up, larger first at the same close."""
    programs = [compile_program(one, timeframe) for one in market.strategies for timeframe in one.timeframes]
    found = []
    for symbol in ("AAAUSDT", "BBBUSDT"):
        mine = [bar for bar in market.bars if bar.symbol == symbol]
        series = Series(MINUTE_MS, programs)
        series.start(mine[0].open_ms)
        found += [bar for base in mine for bar in series.closed_by(base)]
    return found


@settings(max_examples=12, deadline=None)
@given(recipes)
def test_every_outcome_is_what_the_bars_say(recipe: Recipe) -> None:
    """Each signal that ended has one, with the same result, bar, prices and R, whenever it was decided."""
    market = market_of(recipe)
    said = [effect for effects in play(engine_of(market), events_of(market), market.quotes_after) for effect in effects]
    judged = {one.signal.id: one for one in said if isinstance(one, Judged)}
    outcomes = [one for one in said if isinstance(one, Outcome)]
    assert len({one.signal_id for one in outcomes}) == len(outcomes)
    by_id = {one.signal_id: one for one in outcomes}
    states = {one.state for one in judged.values()}
    assert states == {"passed", "blocked"} or len(judged) < 20
    for identity, one in judged.items():
        expected = reckoned(entry_of(one.signal, market.strategies), market.bars)
        if expected is None:
            assert identity not in by_id
            continue
        outcome = by_id.pop(identity)
        assert {name: getattr(outcome, name) for name in expected} == expected
        assert (outcome.state, outcome.strength) == (one.state, one.signal.strength)
        place = next(
            n for n, bar in enumerate(market.bars) if (bar.symbol, bar.open_ms) == (outcome.symbol, outcome.ms)
        )
        assert outcome.late == (place % 9 == 0)
    assert by_id == {}


@settings(max_examples=8, deadline=None)
@given(recipes)
def test_every_random_entry_is_what_the_bars_say(recipe: Recipe) -> None:
    """Those of the bars drawn, live and settled alone, with the levels that a signal would have there."""
    market = market_of(recipe)
    said = play(engine_of(market), events_of(market), market.quotes_after)
    controls = [effect for effects in said for effect in effects if isinstance(effect, ControlDone)]
    expected = {who: reckoned(entry, market.bars) for who, entry in drawn_entries(market, built(market))}
    ended = {who: one for who, one in expected.items() if one is not None}
    found = {(one.symbol, one.strategy, one.timeframe, one.close_ms, one.side): one for one in controls}
    assert len(found) == len(controls)
    assert found.keys() == ended.keys()
    assert found  # one in five of 30 minutes, on both sides
    for who, one in found.items():
        values = {"result": one.result, "gross_pct": one.gross_pct, "risk_pct": one.risk_pct}
        assert values == {name: ended[who][name] for name in values}


@settings(max_examples=8, deadline=None)
@given(recipes, st.data())
def test_what_is_followed_and_saved_anywhere_goes_on_as_it_would_have(recipe: Recipe, data: st.DataObject) -> None:
    """With the same effects, to the last bit."""
    market = market_of(recipe)
    events = events_of(market)
    cut = data.draw(st.integers(0, len(events)))
    whole, again = engine_of(market), engine_of(market)
    for event in events[:cut]:
        whole.process(event)
    load(again, list(save(whole)))
    assert again.followed() == whole.followed()
    later = [bits(one) for one in play(whole, events[cut:], market.quotes_after)]
    assert [bits(one) for one in play(again, events[cut:], market.quotes_after)] == later


def test_who_follows_nothing_is_of_another_make() -> None:
    """And says nothing of outcomes."""
    market = market_of((1, 60, "0.1", "0.1", 2, 3, 0))
    plain = Engine("v", market.strategies)
    assert plain.fingerprint != engine_of(market).fingerprint
    said = [effect for effects in play(plain, events_of(market), 0) for effect in effects]
    assert any(isinstance(effect, Judged) for effect in said)
    assert not any(isinstance(effect, Outcome | ControlDone) for effect in said)
    assert plain.followed() == {}
