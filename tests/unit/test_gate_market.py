"""The gate's checks that look at the user and the market: muted, regime, budget; and the boundary at which they are."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from core_samples import MONDAY_MS, bar, strategy, walk
from engine_runs import candidates
from tapewatch.engine import Engine
from tapewatch.gate import Gate, GateSettings, Judgement
from tapewatch.model import (
    DAY_MS,
    MINUTE_MS,
    Alert,
    Bar,
    BarClosed,
    BarDone,
    Boundary,
    Effect,
    History,
    Judged,
    LastPassed,
    Mute,
    Signal,
)
from tapewatch.strategy import Strategy
from tapewatch.study.signals import Request, find

SIGNAL = candidates("venue", strategy(long={"up": "close > 0"}), walk(1))[0]
SETTLED = 900


def signal(after_ms: int = 0, **changes: Any) -> Signal:
    """A settled candidate whose bar closed `after_ms` after Monday."""
    fields = {"settled": True, "close_ms": MONDAY_MS + after_ms, "entry": 100.0} | changes
    return msgspec.structs.replace(SIGNAL, **fields)


def verdict(judgement: Judgement, check: str) -> tuple[bool, str | None]:
    """What one check said."""
    return next((one.passed, one.reason) for one in judgement.verdicts if one.check == check)


def of_kind(effects: Iterable[Effect], kind: type) -> list[Any]:
    """The effects of one kind."""
    return [effect for effect in effects if isinstance(effect, kind)]


def always(name: str = "probe", **changes: Any) -> Strategy:
    """A strategy that fires on every bar, with no rest between signals."""
    return strategy(name, **{"long": {"up": "close > 0"}, "duplicate": {"window": "0m"}} | changes)


# --- muted ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["AAAUSDT", "probe"])
@pytest.mark.parametrize(("before_ms", "passes"), [(2 * MINUTE_MS, False), (1, False), (0, True), (-1, True)])
def test_muted_blocks_what_closes_before_the_end(target: str, before_ms: int, passes: bool) -> None:
    """Up to the last ms; at the end itself a signal passes again."""
    gate = Gate(GateSettings())
    gate.mute(target, MONDAY_MS + before_ms)
    said = verdict(gate.judge(signal(), strategy(), MONDAY_MS), "muted")
    assert said[0] is passes
    assert (said[1] is None) is passes
    if before_ms == 2 * MINUTE_MS:
        assert said[1] == f"{target} is muted for 2 more min"


def test_muted_is_the_target_alone_and_can_end() -> None:
    """Other symbols and strategies pass; a time that has passed ends it; strategy and symbol are apart."""
    gate = Gate(GateSettings())
    gate.mute("AAAUSDT", MONDAY_MS + DAY_MS)
    assert gate.judge(signal(symbol="B"), strategy(), MONDAY_MS).passed
    gate.mute("AAAUSDT", 0)
    assert gate.judge(signal(), strategy(), MONDAY_MS).passed
    gate.mute("other", MONDAY_MS + DAY_MS)
    assert gate.judge(signal(), strategy(), MONDAY_MS).passed


def test_the_engine_takes_mutes_as_events() -> None:
    """From the event on candidates are stored as blocked and alert nobody; what was muted does not count as passed."""
    engine = Engine("venue", [always(cooldown="10m")])
    for one in walk(SETTLED):
        engine.process(History(one))
    assert engine.process(Mute("probe", bar(SETTLED).close_ms + 1)) == []
    muted = engine.process(BarClosed(bar(SETTLED), bar(SETTLED).close_ms))
    assert [type(effect) for effect in muted] == [Judged, BarDone]
    assert muted[0].state == "blocked"
    heard = engine.process(BarClosed(bar(SETTLED + 1), bar(SETTLED + 1).close_ms))
    assert len(of_kind(heard, Alert)) == 1


# --- regime --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "regime", "reason"),
    [
        ({"require": ["trending"]}, {"trending": True}, None),
        ({"require": ["trending"]}, {"trending": False}, "the market is not trending"),
        ({"require": ["trending"]}, {"trending": None}, "the market is not trending"),
        ({"avoid": ["ranging"]}, {"ranging": True}, "the market is ranging"),
        ({"avoid": ["ranging"]}, {"ranging": False}, None),
        ({"avoid": ["ranging"]}, {"ranging": None}, None),
        (
            {"require": ["trending", "low_volatility"], "avoid": ["high_volatility"]},
            {"trending": True, "low_volatility": False, "high_volatility": True},
            "the market is not low_volatility, high_volatility",
        ),
        (None, {"trending": False}, None),
    ],
)
def test_regime_asks_for_all_and_none_of_them(wanted: Any, regime: dict[str, bool | None], reason: str | None) -> None:
    """What is unknown is neither there when required nor something to avoid."""
    judgement = Gate(GateSettings()).judge(signal(regime=regime), strategy(regime=wanted), MONDAY_MS)
    assert verdict(judgement, "regime") == (reason is None, reason)


def test_regimes_of_a_signal_are_those_of_the_language() -> None:
    """What the gate filters by is the condition of the same name on the signal's timeframe, unknown at first."""
    conditions = {name: f"{name}()" for name in ("trending", "ranging", "high_volatility", "low_volatility")}
    plan = always(
        long={"up": "close > 0", **conditions},
        fire={"at_least": 1},
        timeframes=["1m", "5m"],
        regime={"require": ["trending", "low_volatility"], "avoid": ["ranging", "high_volatility"]},
    )
    found = candidates("venue", plan, walk(4000, 5))
    seen = set()
    for one in found:
        for factor in one.factors[1:]:
            assert one.regime[factor.name] is factor.met
            seen.add((factor.name, factor.met))
        holds = one.regime["trending"] and one.regime["low_volatility"]
        passes = bool(holds) and not (one.regime["ranging"] or one.regime["high_volatility"])
        assert [v.passed for v in one.verdicts if v.check == "regime"] == [passes]
    assert seen == {(name, met) for name in conditions for met in (True, False, None)}


# --- parameters by regime ------------------------------------------------------------------------------------------


def test_a_parameter_has_its_value_by_the_first_regime_that_holds() -> None:
    """Else, and where the regime is unknown, its default; on `higher` the regime of the larger timeframe decides."""
    params = {"edge": {"default": 1, "high_volatility": 2, "trending": 3, "low_volatility": 4}}
    regimes = {name: f"{name}()" for name in ("high_volatility", "trending", "low_volatility")}
    above = {f"above_{name}": f"higher({name}())" for name in regimes}
    plan = always(
        params=params,
        long={"edge": "close + edge > 0", "above": "higher(hl2 - hl2 + edge) > 0", **regimes, **above},
        fire={"at_least": 1},
    )
    found = candidates("venue", plan, walk(4000, 5))
    seen = set()
    for one in found:
        met = {factor.name: factor.met for factor in one.factors}
        for prefix, factor in (("", one.factors[0]), ("above_", one.factors[1])):
            if factor.met is None:  # no larger bar has closed yet
                continue
            values = {"high_volatility": 2.0, "trending": 3.0, "low_volatility": 4.0}
            expected = next((value for name, value in values.items() if met[prefix + name]), 1.0)
            assert factor.left == (one.entry if not prefix else 0.0) + expected
            seen.add((prefix, expected))
    assert seen == {(prefix, value) for prefix in ("", "above_") for value in (1.0, 2.0, 3.0, 4.0)}


def test_setting_a_parameter_sets_it_for_every_regime() -> None:
    """`--set` and a configuration's number take the place of all values; a mapping takes theirs."""
    from tapewatch.strategy import from_mapping, merged, with_params

    base = {
        "timeframes": ["1m"], "params": {"edge": {"default": 1, "trending": 2}}, "long": {"up": "close > edge"},
        "stop": 1, "targets": [{"at": 1, "share": "100%"}],
    }  # fmt: skip
    assert from_mapping("s", base).by_regime == {"edge": {"trending": 2.0}}
    fixed = from_mapping("s", with_params(base, [("edge", 5.0)], "s"))
    assert (fixed.params, fixed.by_regime) == ({"edge": 5.0}, {})
    other = from_mapping("s", merged(base, {"params": {"edge": {"default": 3, "ranging": 4}}}))
    assert (other.params, other.by_regime) == ({"edge": 3.0}, {"edge": {"ranging": 4.0}})


# --- budget --------------------------------------------------------------------------------------------------------


def test_budget_counts_what_passed_in_the_window() -> None:
    """All symbols together; what passed exactly a window ago no longer counts, a ms less does; blocked never do."""
    plan = strategy(budget={"alerts": 2, "window": "10m"}, duplicate={"window": "0m"})
    gate = Gate(GateSettings())

    def judge(after_ms: int, symbol: str) -> tuple[bool, str | None]:
        one = signal(after_ms, symbol=symbol)
        judgement = gate.judge(one, plan, one.close_ms)
        if judgement.passed:
            gate.remember(one, plan)
        return verdict(judgement, "budget")

    assert judge(0, "A") == (True, None)
    assert judge(MINUTE_MS, "B") == (True, None)
    assert judge(2 * MINUTE_MS, "C") == (False, "2 of 2 within 10 min are used")
    assert judge(10 * MINUTE_MS - 1, "C") == (False, "2 of 2 within 10 min are used")
    assert judge(10 * MINUTE_MS, "C") == (True, None)
    assert judge(10 * MINUTE_MS, "D") == (False, "2 of 2 within 10 min are used")


def test_budgets_are_each_strategys_own() -> None:
    """One strategy's alerts do not use another's."""
    gate = Gate(GateSettings())
    gate.remember(signal(strategy="other"), strategy("other", budget={"alerts": 1}))
    plan = strategy(budget={"alerts": 1, "window": "1h"}, duplicate={"window": "0m"})
    assert gate.judge(signal(MINUTE_MS), plan, MONDAY_MS + MINUTE_MS).passed


def budgeted(**changes: Any) -> Strategy:
    """Fires on each bar, may alert once in ten minutes."""
    return always(**{"budget": {"alerts": 1, "window": "10m"}} | changes)


def ready(plan: Strategy, volumes: dict[str, float], passed: Iterable[LastPassed] = ()) -> Engine:
    """An engine whose symbols have settled histories, traded by their volumes."""
    engine = Engine("venue", [plan], passed=passed)
    for symbol, volume in volumes.items():
        for one in walk(SETTLED):
            engine.process(History(msgspec.structs.replace(one, symbol=symbol, quote_volume=volume)))
    return engine


def closed(minute: int, symbol: str, late_ms: int = 0) -> BarClosed:
    """A minute of a symbol, received so long after its close."""
    one = bar(minute, symbol=symbol)
    return BarClosed(one, one.close_ms + late_ms)


def test_bars_wait_for_their_boundary_and_the_most_traded_is_first() -> None:
    """No effect before it (a crash then decides them again); then by 24 h quote volume, the largest first, by name."""
    engine = ready(budgeted(), {"C": 5.0, "A": 1.0, "B": 5.0, "D": 9.0})
    for symbol in ("A", "C", "D", "B"):
        assert engine.process(closed(SETTLED, symbol)) == []
    assert engine.process(Boundary(bar(SETTLED).open_ms)) == []
    effects = engine.process(Boundary(bar(SETTLED).close_ms))
    assert [one.symbol for one in of_kind(effects, BarDone)] == ["D", "B", "C", "A"]
    assert [one.signal.symbol for one in of_kind(effects, Judged) if one.state == "passed"] == ["D"]
    assert engine.process(Boundary(bar(SETTLED).close_ms)) == []


def test_volume_counts_a_day_and_no_more() -> None:
    """What was traded more than 24 hours ago does not raise a symbol; unknown quote volume is volume x close."""
    engine = Engine("venue", [budgeted()])
    for minute in range(24 * 60 + 60):
        for symbol, early, later in (("A", 1e9, 1.0), ("B", 1.0, 2.0)):
            engine.process(History(bar(minute, symbol=symbol, quote_volume=early if minute < 60 else later)))
        engine.process(History(bar(minute, 100.0, symbol="C", volume=0.015)))
    last = 24 * 60 + 60
    for symbol in "ABC":
        engine.process(closed(last, symbol))
    effects = engine.process(Boundary(bar(last).close_ms))
    assert [one.symbol for one in of_kind(effects, BarDone)] == ["B", "C", "A"]


def test_a_bar_after_its_boundary_is_judged_at_once() -> None:
    """It is late, and gets what is left of the budget."""
    engine = ready(budgeted(), {"A": 1.0, "B": 9.0})
    engine.process(closed(SETTLED, "A"))
    passed = engine.process(Boundary(bar(SETTLED).close_ms))
    assert [one.state for one in of_kind(passed, Judged)] == ["passed"]
    late = engine.process(closed(SETTLED, "B", 20_000))
    assert [type(effect) for effect in late] == [Judged, BarDone]
    assert (late[0].late, late[0].state) == (True, "blocked")


def test_bars_of_later_boundaries_go_on_waiting() -> None:
    """One boundary decides what closed up to it; several minutes are decided in order of time."""
    engine = ready(budgeted(budget={"alerts": 100}), {"A": 1.0, "B": 9.0})
    for minute in range(SETTLED, SETTLED + 3):
        for symbol in "AB":
            assert engine.process(closed(minute, symbol)) == []
    effects = engine.process(Boundary(bar(SETTLED + 1).close_ms))
    assert [(one.open_ms, one.symbol) for one in of_kind(effects, BarDone)] == [
        (bar(minute).open_ms, symbol) for minute in (SETTLED, SETTLED + 1) for symbol in "BA"
    ]
    assert len(of_kind(engine.process(Boundary(bar(SETTLED + 9).close_ms)), BarDone)) == 2


def test_without_a_budget_nothing_waits() -> None:
    """Each bar is decided as it comes."""
    engine = ready(always(), {"A": 1.0})
    assert of_kind(engine.process(closed(SETTLED, "A")), BarDone)


def test_a_budget_goes_on_after_a_restart() -> None:
    """What the ledger has of the window counts; what is older does not."""
    before = ready(budgeted(budget={"alerts": 2, "window": "10m"}), {"A": 1.0})
    passed: list[LastPassed] = []
    for minute in range(SETTLED, SETTLED + 4):
        before.process(closed(minute, "A"))
        passed += of_kind(before.process(Boundary(bar(minute).close_ms)), LastPassed)
    assert len(passed) == 2
    after = ready(budgeted(budget={"alerts": 2, "window": "10m"}), {"A": 1.0}, [passed[1], *passed])
    states = []
    for minute in range(SETTLED + 4, SETTLED + 12):
        after.process(closed(minute, "A"))
        (judged,) = of_kind(after.process(Boundary(bar(minute).close_ms)), Judged)
        states.append(judged.state)
    assert states == ["blocked"] * 6 + ["passed", "passed"]


# --- live and research -----------------------------------------------------------------------------------------------


def market(symbols: Iterable[str], minutes: int, seed: int) -> dict[str, list[Bar]]:
    """Walks of several symbols; some bars are missing, but none that ends a larger bar; one has no quote volume."""
    draw = random.Random(seed)
    result = {}
    for number, symbol in enumerate(symbols):
        holes = {draw.randrange(minutes // 5) * 5 + draw.randrange(4) for _ in range(minutes // 100)}
        bars = walk(minutes, seed * 100 + number, holes=holes)
        scale = draw.choice([0.5, 1.0, 1.0, 3.0])
        result[symbol] = [
            msgspec.structs.replace(
                one, symbol=symbol, quote_volume=float("nan") if number == 1 else one.quote_volume * scale
            )
            for one in bars
        ]
    return result


def stored(root: Path, bars: dict[str, list[Bar]]) -> Request:
    """The same bars as an archive."""
    for symbol, series in bars.items():
        columns: dict[str, Any] = {"open_time": [one.open_ms for one in series]}
        columns |= {name: [getattr(one, name) for one in series] for name in Bar.__struct_fields__[3:-1]}
        folder = root / "venue" / symbol
        folder.mkdir(parents=True)
        pl.DataFrame(columns).write_parquet(folder / "1m.parquet")
    return Request(root, "venue", sorted(bars))


def live_verdicts(plan: Strategy, bars: dict[str, list[Bar]], seed: int) -> dict[str, list[tuple[str, bool, Any]]]:
    """Every candidate's verdicts from the engine; the bars of a minute come in any order, then its boundary."""
    engine, draw = Engine("venue", [plan]), random.Random(seed)
    minutes: dict[int, list[Bar]] = {}
    for series in bars.values():
        for one in series:
            minutes.setdefault(one.close_ms, []).append(one)
    found = {}
    for close_ms, group in sorted(minutes.items()):
        draw.shuffle(group)
        events: list[Any] = [*(BarClosed(one, one.close_ms) for one in group), Boundary(close_ms)]
        for event in events:
            for judged in of_kind(engine.process(event), Judged):
                found[judged.signal.id] = [(v.check, v.passed, v.reason) for v in judged.signal.verdicts]
    return found


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_live_and_research_spend_a_budget_alike(tmp_path: Path, seed: int) -> None:
    """Several symbols, two timeframes, holes: every candidate has the same verdicts, reasons too."""
    plan = strategy(
        timeframes=["1m", "5m"],
        long={"up": "close > sma(close, 5)", "busy": "volume > sma(volume, 10)"},
        short={"down": "close < sma(close, 5)", "busy": "volume > 2 * sma(volume, 10)"},
        budget={"alerts": 3, "window": "7m"},
        cooldown="2m",
    )
    bars = market("ABCDE", 2200, seed)
    live = live_verdicts(plan, bars, seed)
    research = {
        one.id: [(v.check, v.passed, v.reason) for v in one.verdicts] for one in find(plan, stored(tmp_path, bars))
    }
    assert live.keys() == research.keys()
    budgets = [said for verdicts in research.values() for said in verdicts if said[0] == "budget"]
    assert {said[1] for said in budgets} == {True, False}
    assert live == research
