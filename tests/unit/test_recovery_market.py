"""What is known around signals is the same after a restart, and in a replay."""

from __future__ import annotations

import json
import math
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from core_samples import mapping
from cut_runs import OUTCOMES, VENUE, run
from market_samples import HISTORY, market
from market_samples import closing as closing_of
from tapewatch.engine import MarketSettings
from tapewatch.gate import GateSettings
from tapewatch.live.makeup import Makeup
from tapewatch.live.replay import verify
from tapewatch.model import Alert, Context, Effect, Event, FetchContext, History, Judged

AROUND = MarketSettings(outlooks=True, correlation=True, movers=True, asks=True, candles=5, correlated=0.97)
OFTEN = {"often": mapping(long={"up": "close > 0"}, duplicate={"window": "3m", "move": "0%"})}
ROWS = market(12)


def whole() -> tuple[list[Event], list[Effect]]:
    """Events with the answers to what was asked, and what they lead to without any interruption."""
    engine = Makeup(VENUE, OFTEN, GateSettings(), market=AROUND, outcomes=OUTCOMES).engine()
    events: list[Event] = [History(one) for row in ROWS[:HISTORY] for one in row]
    effects = [effect for event in events for effect in engine.process(event)]
    for row in ROWS[HISTORY:]:
        answers: list[Event] = []
        for event in closing_of(row):
            events.append(event)
            said = engine.process(event)
            effects += said
            answers += [_answer(effect) for effect in said if isinstance(effect, FetchContext)]
        for answer in answers:
            events.append(answer)
            effects += engine.process(answer)
    return events, effects


def _answer(asked: FetchContext) -> Context:
    known = 0.1 * (len(asked.symbol) % 3) if asked.close_ms % 120_000 else math.nan
    missing = () if known == known else ("quotes",)
    return Context(asked.symbol, asked.close_ms, 100.0, 100.0 + known, 3e5, 1e5, known, missing=missing)


EVENTS, EFFECTS = whole()
FIRST = HISTORY * len(ROWS[0])


@pytest.mark.parametrize("cuts", [[FIRST + 3], [FIRST + 7, FIRST + 9, FIRST + 40], [FIRST - 5, len(EVENTS) - 1]])
@pytest.mark.parametrize("saved", [False, True])
def test_runs_that_are_cut_off_say_the_same_of_the_market(tmp_path: Path, cuts: list[int], saved: bool) -> None:
    """With questions under way or not, from a snapshot or the journal alone: every signal, alert and chart."""
    for first, end in zip([0, *cuts], [*cuts, len(EVENTS)], strict=True):
        with run(tmp_path, OFTEN, AROUND) as one:
            asked = {(effect.symbol, effect.close_ms) for effect in _until(first) if isinstance(effect, FetchContext)}
            answered = {(event.symbol, event.close_ms) for event in EVENTS[:first] if isinstance(event, Context)}
            assert {(effect.symbol, effect.close_ms) for effect in one.engine.asking} == asked - answered
            one.feed(EVENTS[first:end])
            if saved:
                one.save()
    with run(tmp_path, OFTEN, AROUND) as one:
        stored = {signal["id"]: signal for signal in one.ledger.stored_signals()}
        judged = {effect.signal.id: effect for effect in EFFECTS if isinstance(effect, Judged)}
        assert stored.keys() == judged.keys()
        for identity, effect in judged.items():
            assert stored[identity]["state"] == effect.state
            assert stored[identity]["context"] == json.loads(msgspec.json.encode(effect.signal.context))
        assert {effect.state for effect in judged.values()} == {"passed", "blocked"}
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as ledger:
            rows = ledger.execute("SELECT alert_id, candles FROM alerts").fetchall()
        charts = {identity: [tuple(bar) for bar in json.loads(candles)] for identity, candles in rows}
        assert charts == {effect.alert_id: list(effect.candles) for effect in EFFECTS if isinstance(effect, Alert)}
        assert all(len(chart) == 5 for chart in charts.values())
        assert verify([tmp_path / "journal"], one.ledger, VENUE).equal


def _until(position: int) -> list[Effect]:
    engine = Makeup(VENUE, OFTEN, GateSettings(), market=AROUND, outcomes=OUTCOMES).engine()
    return [effect for event in EVENTS[:position] for effect in engine.process(event)]
