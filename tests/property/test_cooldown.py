"""The cooldown after a stop: engine, search and backtest say what a straight-line reckoning from the bars says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

import pytest
from test_outcomes import entry_of, grid, reckoned

from command_line import store
from core_samples import MONDAY_MS, bits, mapping
from engine_runs import save
from tapewatch.engine import Engine
from tapewatch.engine.state import load
from tapewatch.gate import GateSettings
from tapewatch.model import INTERVALS_MS, MINUTE_MS, Bar, BarClosed, Boundary, Event, Judged, Signal
from tapewatch.outcomes import OutcomeSettings
from tapewatch.strategy import Strategy, from_mapping
from tapewatch.study.backtest import Backtest, Plan
from tapewatch.study.settings import Account
from tapewatch.study.signals import Request, find

VENUE = "binance_spot"
SYMBOLS = ("AAAUSDT", "BBBUSDT")
#: Minutes in which nothing fires, until all is settled on 3m; then those that matter.
CALM, WILD = 2_200, 400
#: Bars that a hole keeps back are as good as others.
PATIENT = GateSettings(late_after_ms=10**9, expiry_ms=10**9)


@dataclass(frozen=True)
class Case:
    """A market and what looks at it; whether signals wait for boundaries, and how many minutes those are late."""

    seed: int
    cooldown: int
    stop: str
    limit: int
    timeframes: tuple[str, ...]
    waits: bool
    late: int

    @cached_property
    def strategy(self) -> Strategy:
        """One that fires often; a budget that is never used up makes the bars of a close wait."""
        changes: dict[str, Any] = {
            "timeframes": list(self.timeframes),
            "higher": None,
            "long": {"up": "close > open + 0.1"},
            "short": {"down": "close < open - 0.1"},
            "stop": self.stop,
            "targets": [{"at": "0.5", "share": "50%"}, {"at": "3.0", "share": "50%"}],
            "time_limit": self.limit,
            "duplicate": {"window": "0m"},
            "cooldown": f"{self.cooldown}m",
        }
        if self.waits:
            changes["budget"] = {"alerts": 1_000, "window": "20m"}
        return from_mapping("resting", mapping(**changes))

    @cached_property
    def bars(self) -> list[Bar]:
        """Prices on a coarse grid, so that levels are met exactly, with gaps, holes and long silences."""
        random, found = Random(self.seed), []
        prices, silent = dict.fromkeys(SYMBOLS, 100.0), dict.fromkeys(SYMBOLS, 0)
        for minute in range(CALM):
            found += [Bar(symbol, MINUTE_MS, MONDAY_MS + minute * MINUTE_MS, *[100.0] * 4, 1.0) for symbol in SYMBOLS]
        for minute in range(CALM, CALM + WILD):
            for symbol, price in prices.items():
                opened = grid(price + random.choice([0, 0, 0, 0, 0.05, -0.05, 0.6, -0.6]))
                close = grid(opened + random.choice([-0.4, -0.2, -0.1, 0, 0.1, 0.2, 0.4]))
                high = grid(max(opened, close) + random.choice([0, 0, 0.05, 0.3]))
                low = grid(min(opened, close) - random.choice([0, 0, 0.05, 0.3]))
                prices[symbol] = close
                silent[symbol] = max(silent[symbol] - 1, random.choice([2, 17]) if random.random() < 0.01 else 0)
                if not silent[symbol]:
                    open_ms = MONDAY_MS + minute * MINUTE_MS
                    found.append(Bar(symbol, MINUTE_MS, open_ms, opened, high, low, close, float(random.randint(1, 9))))
        return found

    @property
    def events(self) -> list[Event]:
        """Bars the moment they close, and boundaries; late ones come together."""
        events: list[Event] = []
        for place, bar in enumerate(self.bars):
            events.append(BarClosed(bar, bar.close_ms))
            last = place + 1 == len(self.bars)
            if last or (self.bars[place + 1].open_ms > bar.open_ms and bar.close_ms // MINUTE_MS % self.late == 0):
                events.append(Boundary(bar.close_ms))
        return events

    @property
    def engine(self) -> Engine:
        """A fresh one."""
        return Engine(VENUE, [self.strategy], PATIENT, outcomes=OutcomeSettings())


def case_of(seed: int) -> Case:
    """A case of any kind."""
    dice = Random(seed)
    return Case(
        seed=seed,
        cooldown=dice.choice([1, 3, 7, 20]),
        stop=dice.choice(["0.25", "0.5", "1.0", "2 * atr(5)"]),
        limit=dice.choice([1, 5, 60]),
        timeframes=dice.choice([("1m",), ("3m",), ("1m", "3m"), ("3m", "1m")]),
        waits=dice.random() < 0.5,
        late=dice.choice([1, 4, 30]),
    )


def judged_by(engine: Engine, events: Sequence[Event]) -> list[Signal]:
    """What an engine decided, in order."""
    effects = (effect for event in events for effect in engine.process(event))
    return [effect.signal for effect in effects if isinstance(effect, Judged)]


def in_order(signals: Sequence[Signal]) -> list[Signal]:
    """As a search gives them."""
    return sorted(signals, key=lambda one: (one.close_ms, one.symbol, one.timeframe, one.side))


def has_passed(signal: Signal) -> bool:
    """Whether no check blocked it."""
    return all(verdict.passed for verdict in signal.verdicts)


def verdict_of(signal: Signal) -> tuple[bool, str | None]:
    """What `cooldown` said."""
    return next((one.passed, one.reason) for one in signal.verdicts if one.check == "cooldown")


def expected(case: Case, signals: Sequence[Signal]) -> dict[str, tuple[bool, str | None]]:
    """What `cooldown` has to say by the words of docs/strategies.md, given what passed before."""
    found: dict[str, tuple[bool, str | None]] = {}
    last: dict[str, tuple[int, int]] = {}  # symbol -> close of what passed last, and of the bar that touched its stop
    for one in sorted(signals, key=lambda one: (one.close_ms, one.symbol, -INTERVALS_MS[one.timeframe], one.side)):
        close_ms, stop_ms = last.get(one.symbol, (-(10**12), 0))
        stopped = 0 < stop_ms < one.close_ms
        minutes = (one.close_ms - (stop_ms if stopped else close_ms)) / MINUTE_MS
        since = "the stop of the last one was touched" if stopped else "the last one"
        rested = minutes >= case.cooldown
        found[one.id] = (rested, None if rested else f"{minutes:g} of {case.cooldown} min since {since}")
        if has_passed(one):
            end = reckoned(entry_of(one, [case.strategy]), case.bars)
            stop_ms = end["ms"] + MINUTE_MS if end is not None and end["result"] == "stop" else 0
            last[one.symbol] = one.close_ms, stop_ms
    return found


@pytest.mark.parametrize("seed", range(20))
def test_engine_search_and_backtest_agree(tmp_path: Path, seed: int) -> None:
    """Every verdict of every candidate to the bit, and the cooldown's as the bars say."""
    case = case_of(seed)
    for symbol in SYMBOLS:
        store(tmp_path, [bar for bar in case.bars if bar.symbol == symbol], venue=VENUE)
    request = Request(tmp_path, VENUE, SYMBOLS)
    searched = list(find(case.strategy, request))
    tried = Backtest(Plan(case.strategy, request, Account()), evaluator="columns")
    lived = in_order(judged_by(case.engine, case.events))
    assert bits(lived) == bits(searched)
    assert {one.id: verdict_of(one) for one in lived} == expected(case, lived)
    traded = {tried._origins.identity(n) for n in range(len(tried._candidates.symbol))}
    assert traded == {one.id for one in lived if has_passed(one)}


@pytest.mark.parametrize("seed", range(100, 108))
def test_an_engine_saved_anywhere_remembers_the_stops(seed: int) -> None:
    """It goes on with the same verdicts."""
    case = case_of(seed)
    whole, again, events = case.engine, case.engine, case.events
    cut = Random(seed).randrange(2 * CALM, len(events))
    judged_by(whole, events[:cut])
    load(again, list(save(whole)))
    assert bits(judged_by(again, events[cut:])) == bits(judged_by(whole, events[cut:]))


def test_the_reckoning_meets_both_reasons() -> None:
    """Or the tests above could not fail."""
    case = Case(seed=1, cooldown=7, stop="0.5", limit=60, timeframes=("1m", "3m"), waits=True, late=30)
    reasons = [verdict_of(one)[1] or "" for one in judged_by(case.engine, case.events)]
    assert sum(reason.endswith("since the stop of the last one was touched") for reason in reasons) > 20
    assert sum(reason.endswith("since the last one") for reason in reasons) > 20
