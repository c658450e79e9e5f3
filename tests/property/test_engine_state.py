"""An engine saved anywhere and loaded again goes on with the same bits as one that was never interrupted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_evaluators import ALL, CONDITIONS, PARAMS, random_bars, random_strategies

from core_samples import bits, mapping, walk
from engine_runs import save
from tapewatch import strategies
from tapewatch.engine import Engine, MarketSettings
from tapewatch.engine.state import Saving, load
from tapewatch.errors import DataError
from tapewatch.gate import GateSettings
from tapewatch.model import (
    MINUTE_MS,
    Bar,
    BarClosed,
    Boundary,
    Context,
    Effect,
    Event,
    History,
    LastPassed,
    Mute,
    Standing,
    Universe,
)
from tapewatch.outcomes import OutcomeSettings
from tapewatch.store import codec
from tapewatch.strategy import Strategy, from_mapping
from tapewatch.strategy.catalogue import describe

ROOT = Path(__file__).parents[2]
#: One that uses every function of the language, on two timeframes, with a budget so that candidates wait.
LIVELY = {"scalp": {"timeframes": ["1m", "5m"], "params": {"min_factors": 3}}}


def every_function() -> Strategy:
    """A strategy whose factors use everything the language has; it fires on each bar."""
    factors = {"often": "close > 0"}
    for number, (name, text) in enumerate(ALL):
        given = []
        for parameter, meaning in describe(name).parameters.items():
            given.append("close > open" if parameter == "cond" else "close" if meaning.startswith("a number") else "5")
        call = f"{name}({', '.join(given)})" + (f".{text.partition('.')[2]}" if "." in text else "")
        factors[f"f{number}"] = call if text in CONDITIONS else f"{call} > 0"
    whole = mapping(params=PARAMS, long=factors, fire="any", timeframes=["1m", "5m"])
    return from_mapping("everything", whole | {"budget": {"alerts": 2, "window": "1h"}})


#: All that can be known of the market around signals.
AROUND = MarketSettings(outlooks=True, correlation=True, movers=True, asks=True, candles=7, correlated=0.99)
KINDS = (None, AROUND, MarketSettings(candles=1), MarketSettings(outlooks=True), MarketSettings(movers=True))


def made(
    chosen: Sequence[Strategy], passed: Sequence[LastPassed] = (), market: MarketSettings | None = None, **gate: Any
) -> Engine:
    """A fresh engine."""
    return Engine("venue", chosen, GateSettings(**gate), passed, market=market, outcomes=OutcomeSettings(one_in=3))


def events_of(bars: Sequence[Bar], *, history: int = 0, quotes: bool = False) -> list[Event]:
    """Bars of two symbols with boundaries, mutes, standings and quotes in between."""
    events: list[Event] = [Mute("random", 0), Universe(1, (Standing("AAAUSDT", eligible=True),))]
    for number, one in enumerate(bars):
        other = msgspec.structs.replace(one, symbol="BBBUSDT")
        if number < history:
            events += [History(one), History(other)]
            continue
        events += [BarClosed(one, one.close_ms + number), BarClosed(other, one.close_ms + 7)]
        if number % 3:
            events.append(Boundary(one.close_ms))
        if quotes:
            events += [Context(symbol, one.close_ms, 99.0, 99.1) for symbol in (one.symbol, "BBBUSDT")]
        if number % 40 == 20:
            events.append(Mute("AAAUSDT", one.close_ms + 3 * MINUTE_MS))
        if number % 70 == 35:
            events.append(Universe(one.close_ms, (Standing("AAAUSDT", eligible=False, reason="thin"),), ("BBBUSDT",)))
        if number % 70 == 50:
            events.append(Universe(one.close_ms, (Standing("AAAUSDT", eligible=True, quote_volume_24h=-0.0),)))
    return events


def told(effects: Sequence[Effect]) -> list[Any]:
    """Effects as bits."""
    return [(type(effect).__name__, bits(effect)) for effect in effects]


def run(engine: Engine, events: Sequence[Event]) -> list[Any]:
    """What an engine says to events."""
    return [told(engine.process(event)) for event in events]


def cut_and_go_on(chosen: Sequence[Strategy], events: Sequence[Event], cuts: Sequence[int], **gate: Any) -> list[Any]:
    """What an engine saved at each of the cuts, in order, says; asserts that those loaded there go on as it does."""
    whole, said, copies = made(chosen, **gate), [], []
    for cut in cuts:
        said += run(whole, events[len(said) : cut])
        pieces = list(save(whole))
        again = made(chosen, **gate)
        load(again, pieces)
        assert again.positions() == whole.positions()
        assert again.asking == whole.asking
        assert again.unfinished() == whole.unfinished()
        assert [sorted(save(again)), again.fingerprint] == [sorted(pieces), whole.fingerprint]
        copies.append(again)
    said += run(whole, events[len(said) :])
    for cut, again in zip(cuts, copies, strict=True):
        assert run(again, events[cut:]) == said[cut:]
    return said


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(random_strategies(), random_bars(), st.data())
def test_a_state_saved_anywhere_goes_on_with_the_same_bits(
    strategy: Strategy, bars: list[Bar], data: st.DataObject
) -> None:
    """Random strategies on random bars, with NaN, huge and tiny numbers, holes and still prices."""
    events = events_of(bars, history=data.draw(st.integers(0, len(bars))), quotes=data.draw(st.booleans()))
    cut_and_go_on(
        [strategy], events, [data.draw(st.integers(0, len(events)))], market=data.draw(st.sampled_from(KINDS))
    )


@pytest.mark.parametrize(("quotes", "market"), [(False, None), (True, None), (True, AROUND)])
def test_what_ships_and_every_function_go_on_from_everywhere(quotes: bool, market: MarketSettings | None) -> None:
    """Several strategies together, with candidates that wait for their boundary and for quotes."""
    often = from_mapping("often", mapping(long={"up": "close > open"}, short={}))
    chosen = [*strategies.configured({**LIVELY, "momentum": {}, "trend": {}}), every_function(), often]
    events = events_of(walk(1_000, holes=range(830, 861)), history=700, quotes=quotes)
    gate: dict[str, Any] = {"max_spread": 0.01, "market": market} if quotes else {}
    said = run(made(chosen, **gate), events)
    assert sum(name == "Alert" for step in said for name, _ in step) > 3
    assert cut_and_go_on(chosen, events, [5, *range(1_407, len(events), len(events) // 6)], **gate) == said


def test_counts_beyond_64_bits_are_kept() -> None:
    """Volumes without measure, as some coins have them, do not break the sums of larger bars."""
    bars = [msgspec.structs.replace(one, volume=1e30, quote_volume=1e35) for one in walk(44)]
    cut_and_go_on(strategies.configured(LIVELY), events_of(bars), [33])


@pytest.mark.parametrize("symbols", [1, 3])
def test_an_engine_that_goes_on_while_it_is_saved_is_saved_as_it_was(symbols: int) -> None:
    """Each event first lets what it changes be saved."""
    chosen = strategies.configured(LIVELY)
    names = ["AAAUSDT", "BBBUSDT", "CCCUSDT", "DDDUSDT"]
    events: list[Event] = []
    for one in walk(300):
        events += [BarClosed(msgspec.structs.replace(one, symbol=name), one.close_ms) for name in names]
    cut = len(events) // 2
    engine, still = made(chosen), made(chosen)
    run(engine, events[:cut])
    run(still, events[:cut])
    saving = Saving(engine)
    pieces = saving.take(symbols)
    later: list[Event] = [Universe(0, (), ("DDDUSDT",)), *events[cut:]]
    for event in later:
        saving.before(event)
        engine.process(event)
    while more := saving.take(symbols):
        pieces += more
    again = made(chosen)
    load(again, pieces)
    assert run(again, later) == run(still, later)


def test_what_passed_before_is_in_the_state() -> None:
    """An engine that was told what to remember still knows it after a restart."""
    passed = [LastPassed("AAAUSDT", "scalp", "1m", "long", 1_704_067_200_000, 100.0)]
    chosen = strategies.configured(LIVELY)
    again = made(chosen)
    load(again, save(made(chosen, passed)))
    assert list(save(again)) == list(save(made(chosen, passed))) != list(save(made(chosen)))


def test_engines_of_other_make_have_other_fingerprints() -> None:
    """A changed parameter, another gate, another strategy: none may take over the state; the same may."""
    base = strategies.configured(LIVELY)
    other = strategies.configured({"scalp": {"timeframes": ["1m", "5m"], "params": {"min_factors": 4}}})
    prints = [
        made(base).fingerprint,
        made(other).fingerprint,
        made(base, history_size=49).fingerprint,
        made(strategies.configured({"momentum": {}})).fingerprint,
        made(base, market=AROUND).fingerprint,
        made(base, market=MarketSettings(candles=64)).fingerprint,
    ]
    assert len(set(prints)) == len(prints)
    assert made(strategies.configured(LIVELY)).fingerprint == prints[0]


@given(st.binary(max_size=200), st.integers(0, 3))
def test_bytes_that_are_no_state_are_refused(junk: bytes, place: int) -> None:
    """Never another exception, never half a state without a word."""
    engine = made(strategies.configured(LIVELY))
    run(engine, events_of(walk(9)))
    pieces = list(save(engine))
    pieces.insert(min(place, len(pieces)), junk)
    with pytest.raises(DataError):
        load(made(strategies.configured(LIVELY)), pieces)


CHILD = """
import json, sys
from pathlib import Path
from test_engine_state import LIVELY, made, run
from tapewatch import strategies
from tapewatch.engine.state import load
from tapewatch.store import codec
folder = Path(sys.argv[1])
engine = made(strategies.configured({**LIVELY, "momentum": {}, "trend": {}}))
load(engine, [bytes.fromhex(line) for line in (folder / "state").read_text().split()])
print(json.dumps(repr(run(engine, codec.decode((folder / "events").read_bytes())))))
"""


def test_another_process_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    """What is saved holds in a process with other hash seeds and nothing compiled yet."""
    chosen = strategies.configured({**LIVELY, "momentum": {}, "trend": {}})
    events = events_of(walk(300))
    engine = made(chosen)
    run(engine, events[:350])
    (tmp_path / "state").write_text("\n".join(piece.hex() for piece in save(engine)))
    (tmp_path / "events").write_bytes(codec.encode(events[350:]))
    places = [str(ROOT / "tests"), str(ROOT / "tests" / "property"), str(ROOT / "src")]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places), "PYTHONHASHSEED": "77"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == repr(run(engine, events[350:]))
