"""The gate over columns says what a run's gate says of one candidate after the other, interpreted and compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core_samples import MONDAY_MS, mapping
from tapewatch.gate import Gate, GateSettings
from tapewatch.model import INTERVALS_MS, MINUTE_MS, Rest, Side
from tapewatch.strategy import Strategy, from_mapping
from tapewatch.strategy.graph import FALSE, TRUE, UNKNOWN
from tapewatch.study.candidates import Found, in_turn, passed

SYMBOLS = ["BBBUSDT", "AAAUSDT", "CCCUSDT"]
REGIMES = {FALSE: False, UNKNOWN: None, TRUE: True}


@dataclass(frozen=True)
class Candidate:
    """As the gate reads it."""

    symbol: str
    timeframe: str
    strategy: str
    side: Side
    close_ms: int
    entry: float
    settled: bool
    regime: Mapping[str, bool | None]


@st.composite
def rules(draw: st.DrawFn) -> Strategy:
    """A strategy with checks of every kind, some of them off."""
    window, cooldown = (draw(st.sampled_from(("0m", "3m", "20m", "5h"))) for _ in range(2))
    kinds = st.lists(st.sampled_from(("trending", "ranging", "low_volatility")), max_size=2, unique=True)
    changes: dict[str, Any] = {
        "timeframes": ["5m", "1m"],
        "higher": None,
        "duplicate": {"window": window, "move": draw(st.sampled_from(("0%", "0.3%", "5%")))},
        "cooldown": cooldown,
        "regime": {"require": draw(kinds), "avoid": draw(kinds)},
    }
    if draw(st.booleans()):
        changes["budget"] = {"alerts": draw(st.integers(1, 4)), "window": draw(st.sampled_from(("2m", "30m")))}
    return from_mapping("gated", mapping(**changes))


def candidates(strategy: Strategy, seed: int, count: int) -> Found:
    """Random ones, in turn: some at the same close, of prices that hardly move and stops touched early or never."""
    dice = Random(seed)
    minutes = sorted(dice.randrange(400) for _ in range(count))
    decided_ms = MONDAY_MS + np.array(minutes, np.int64) * MINUTE_MS
    stopped = np.array([dice.choice((0, dice.randrange(1, 40))) for _ in minutes], np.int64)

    def drawn(*values: float) -> Any:
        return np.array([dice.choice(values) for _ in minutes], np.array(values).dtype)

    found = Found(
        symbol=drawn(0, 1, 2),
        timeframe=drawn(0, 1),
        decided_ms=decided_ms,
        side=drawn(-1, 1),
        close=100.0 * (1 + drawn(0.0, 0.001, 0.003, 0.0031, 0.01)),
        levels=np.zeros((count, 2)),
        moves=np.zeros((count, 3)),
        quote_24h=drawn(1.0, 2.0),
        settled=drawn(0, 1, 1, 1) > 0,
        regimes=np.column_stack([drawn(0, 1, 2, 2, 2)] * len(strategy.regimes) or [np.zeros((count, 0))]),
        factors=np.zeros((count, 0), np.int8),
        stopped_ms=np.where(stopped > 0, decided_ms + stopped * MINUTE_MS, 0),
    )
    return in_turn(found, strategy, SYMBOLS)


def judged(found: Found, strategy: Strategy) -> list[int]:
    """The rows that a run's gate lets through."""
    gate, rows = Gate(GateSettings()), []
    for k in range(len(found.symbol)):
        close_ms = int(found.decided_ms[k])
        regimes = zip(strategy.regimes, found.regimes[k].tolist(), strict=True)
        one = Candidate(
            SYMBOLS[found.symbol[k]],
            strategy.timeframes[found.timeframe[k]],
            strategy.name,
            "long" if found.side[k] > 0 else "short",
            close_ms,
            float(found.close[k]),
            bool(found.settled[k]),
            {name: REGIMES[code] for name, code in regimes},
        )
        if gate.judge(one, strategy, close_ms).passed:
            gate.remember(one, strategy)
            gate.stopped(Rest(one.symbol, one.strategy, close_ms, int(found.stopped_ms[k])))
            rows.append(k)
    return rows


@settings(max_examples=200)
@given(rules(), st.integers(0, 2**32), st.sampled_from((0, 1, 20, 300)))
def test_the_loop_is_the_gate(strategy: Strategy, seed: int, count: int) -> None:
    """Of any candidates and checks, the same rows pass."""
    found = candidates(strategy, seed, count)
    numbered = replace_levels(found, np.arange(count))
    wanted = judged(found, strategy)
    for compiled in (False, True):
        assert passed(numbered, strategy, compiled=compiled).levels[:, 0].tolist() == wanted


def replace_levels(found: Found, numbers: Any) -> Found:
    """With a number in each row, so that it shows which passed."""
    return found._replace(levels=np.column_stack((numbers, numbers)).astype(np.float64))


@pytest.mark.parametrize("window", ["1h", "40h"])
def test_what_the_gate_has_forgotten_is_no_duplicate(window: str) -> None:
    """It remembers so many of a symbol: the last of a kind may be gone before its window is over."""
    strategy = from_mapping("gated", mapping(timeframes=["5m", "1m"], higher=None, duplicate={"window": window}))
    strategy = replace(strategy, duplicate=replace(strategy.duplicate, move=0.0), cooldown_ms=0)
    history = GateSettings().history_size
    count = history + 5
    kinds = np.array([0, *[1] * (count - 2), 0])
    found = Found(
        symbol=np.zeros(count, np.int64),
        timeframe=kinds,
        decided_ms=MONDAY_MS + np.arange(count) * INTERVALS_MS["5m"],
        side=np.ones(count, np.int64),
        close=np.array([100.0, *(100.0 + 0.1 * k for k in range(count - 2)), 100.0]),
        levels=np.zeros((count, 2)),
        moves=np.zeros((count, 3)),
        quote_24h=np.zeros(count),
        settled=np.ones(count, np.bool_),
        regimes=np.zeros((count, 0), np.int8),
        factors=np.zeros((count, 0), np.int8),
        stopped_ms=np.zeros(count, np.int64),
    )
    rows = judged(found, strategy)
    assert rows[-1] == count - 1
    assert len(rows) > history
    assert passed(replace_levels(found, np.arange(count)), strategy).levels[:, 0].tolist() == rows
