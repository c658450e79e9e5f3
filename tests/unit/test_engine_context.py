"""What the engine is told beside bars: quotes it asked for, standings of symbols, corrections."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_samples import bar, strategy
from tapewatch.engine import Engine
from tapewatch.gate import GateSettings
from tapewatch.model import (
    Alert,
    BarClosed,
    BarDone,
    Boundary,
    Context,
    Correction,
    Effect,
    Event,
    FetchContext,
    History,
    Judged,
    Standing,
    Universe,
    Verdict,
)

ASKING = GateSettings(max_spread=0.001)


def firing(**changes: Any) -> Any:
    """A strategy that fires on every bar."""
    return strategy("probe", **{"long": {"up": "close > 0"}, "duplicate": {"window": "0m"}} | changes)


def closed(number: int, symbol: str = "AAAUSDT") -> BarClosed:
    """Bar `number` of a symbol, received as it closes."""
    one = msgspec.structs.replace(bar(number), symbol=symbol)
    return BarClosed(one, one.close_ms)


def ready(engine: Engine, *symbols: str) -> Engine:
    """The engine with enough history of these symbols that what fires is settled."""
    for minute in range(-900, 0):
        for symbol in symbols or ("AAAUSDT",):
            engine.process(History(msgspec.structs.replace(bar(minute), symbol=symbol)))
    return engine


def feed(engine: Engine, events: Sequence[Event]) -> list[Effect]:
    """All effects of the events."""
    return [effect for event in events for effect in engine.process(event)]


def verdict(effect: Effect, check: str) -> Verdict:
    """What one check said of a candidate."""
    assert isinstance(effect, Judged)
    return next(one for one in effect.signal.verdicts if one.check == check)


def context(event: BarClosed, bid: float, ask: float) -> Context:
    """The quotes of a bar."""
    return Context(event.bar.symbol, event.bar.close_ms, bid, ask)


def test_a_candidate_waits_for_the_quotes_it_asked_for() -> None:
    """Nothing of the bar is done before they have come."""
    engine, event = ready(Engine("venue", [firing()], ASKING)), closed(0)
    asked = FetchContext("AAAUSDT", event.bar.close_ms)
    assert engine.process(event) == [asked]
    assert engine.asking == [asked]
    judged, done = [one for one in engine.process(context(event, 100.0, 100.05)) if isinstance(one, Judged | BarDone)]
    assert verdict(judged, "spread") == Verdict("spread", True)
    assert isinstance(done, BarDone)
    assert engine.asking == []


@pytest.mark.parametrize(
    ("bid", "ask", "passes"),
    [(100.0, 100.1, True), (99.95, 100.05, True), (99.9, 100.1, False), (math.nan, math.nan, True)],
)
def test_a_spread_beyond_the_limit_blocks(bid: float, ask: float, passes: bool) -> None:
    """What lies on the border passes, and so does what is not known, which is said."""
    engine, event = ready(Engine("venue", [firing()], ASKING)), closed(0)
    engine.process(event)
    said = next(verdict(one, "spread") for one in engine.process(context(event, bid, ask)) if isinstance(one, Judged))
    assert said.passed is passes
    assert (said.reason is None) is (passes and bid == bid)


def test_without_a_limit_no_quotes_are_asked_for() -> None:
    """Nor for a bar on which nothing fires."""
    assert isinstance(Engine("venue", [firing()]).process(closed(0))[0], Judged)
    quiet = Engine("venue", [firing(long={"up": "close < 0"})], ASKING)
    assert isinstance(quiet.process(closed(0))[0], BarDone)


def test_an_answer_nobody_waits_for_changes_nothing() -> None:
    """It came for a bar that was decided, or twice."""
    engine, event = ready(Engine("venue", [firing()], ASKING)), closed(0)
    engine.process(event)
    answer = context(event, 1.0, 1.0)
    assert len(engine.process(answer)) == 4
    assert engine.process(answer) == []


@given(order=st.permutations(range(4)))
def test_with_a_budget_those_of_one_close_are_decided_together(order: list[int]) -> None:
    """In whatever order quotes come, the same signals pass: the most traded symbol first."""
    engine = Engine("venue", [firing(budget={"alerts": 1, "window": "1h"})], ASKING)
    ready(engine, *(f"S{n}" for n in range(4)))
    volumes = [msgspec.structs.replace(closed(0).bar, symbol=f"S{n}", quote_volume=float(n)) for n in range(4)]
    effects = feed(engine, [BarClosed(one, one.close_ms) for one in volumes])
    assert len(effects) == 4
    assert all(isinstance(effect, FetchContext) for effect in effects)
    answers = [Context(f"S{n}", volumes[0].close_ms, 100.0, 100.0) for n in order]
    assert feed(engine, answers) == []
    decided = [effect for effect in engine.process(Boundary(volumes[0].close_ms)) if isinstance(effect, Judged)]
    assert [effect.signal.symbol for effect in decided] == ["S3", "S2", "S1", "S0"]


def test_with_a_budget_a_boundary_waits_for_the_last_quote() -> None:
    """The one whose quote is missing may be the one that is first."""
    engine = ready(Engine("venue", [firing(budget={"alerts": 1, "window": "1h"})], ASKING), "A", "B")
    first, second = closed(0, "A"), closed(0, "B")
    feed(engine, [first, second])
    assert engine.process(Boundary(first.bar.close_ms)) == []
    assert engine.process(context(first, 1.0, 1.0)) == []
    assert len([e for e in engine.process(context(second, 1.0, 1.0)) if isinstance(e, Judged)]) == 2


def test_a_symbol_that_is_not_liquid_alerts_nobody_until_it_is() -> None:
    """The verdict carries the numbers it was given; nothing known is no reason to block."""
    engine = Engine("venue", [firing()])
    assert verdict(engine.process(closed(0))[0], "liquidity").passed
    engine.process(Universe(0, (Standing("AAAUSDT", False, "800 an hour, 1,000 asked", 19_200.0),)))
    assert verdict(engine.process(closed(1))[0], "liquidity") == Verdict("liquidity", False, "800 an hour, 1,000 asked")
    engine.process(Universe(1, (Standing("AAAUSDT", True),)))
    assert verdict(engine.process(closed(2))[0], "liquidity").passed
    off = Engine("venue", [firing()], GateSettings(liquidity=False))
    off.process(Universe(0, (Standing("AAAUSDT", False, "thin"),)))
    assert verdict(off.process(closed(0))[0], "liquidity").passed


def test_a_symbol_that_is_gone_starts_anew_when_it_returns() -> None:
    """Nothing of its series is kept."""
    engine = Engine("venue", [firing(long={"two": "close[1] > 0"})])
    feed(engine, [closed(0), closed(1), closed(0, "BBBUSDT")])
    assert set(engine.positions()) == {"AAAUSDT", "BBBUSDT"}
    assert engine.process(Universe(0, gone=("AAAUSDT", "NEVERUSDT"))) == []
    assert set(engine.positions()) == {"BBBUSDT"}
    back, again = closed(5), closed(6)
    assert not [effect for effect in engine.process(back) if isinstance(effect, Judged)]
    judged = engine.process(again)[0]
    assert isinstance(judged, Judged)
    assert judged.signal.history_start_ms == back.bar.open_ms


def test_a_correction_is_passed_on_and_decides_nothing() -> None:
    """What was decided on the first values stands."""
    engine, event = Engine("venue", [firing()]), closed(0)
    engine.process(event)
    correction = Correction(event.bar, msgspec.structs.replace(event.bar, close=101.0), event.recv_ms + 5_000)
    assert engine.process(correction) == [correction]
    assert not [effect for effect in engine.process(event) if isinstance(effect, Alert)]


EVENTS = [
    closed(0),
    Boundary(60_000),
    Context("AAAUSDT", 60_000),
    Universe(1, (Standing("A", False, "thin"),), ("B",)),
    Correction(closed(0).bar, closed(1).bar, 7),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_events_survive_being_written_down(event: Event) -> None:
    """A journal holds any of them, bit for bit."""
    stored = msgspec.msgpack.encode(event)
    assert msgspec.msgpack.encode(msgspec.msgpack.decode(stored, type=Event)) == stored
