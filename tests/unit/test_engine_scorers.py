"""Scores of candidates in the engine: what they are made of, what the gate makes of them, and what stays as it was."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import msgspec
import pytest

from core_samples import CHECKS, strategy, walk
from cut_runs import BARS, EVENTS, OFTEN, VENUE, run
from engine_runs import candidates
from model_samples import COMMON
from scored_samples import HIGH, LOW, document, scoring
from tapewatch import strategies
from tapewatch.engine import Engine, MarketSettings
from tapewatch.engine.scorers import Scorers, Scoring
from tapewatch.errors import SetupError
from tapewatch.features import FeatureSet, features_of
from tapewatch.gate import Gate, GateSettings, Scored
from tapewatch.live.makeup import Makeup
from tapewatch.live.replay import verify
from tapewatch.model import Context, FetchContext, Judged, Signal
from tapewatch.scoring import MOST_TREES
from tapewatch.store.rows import signal_of
from tapewatch.strategy import compile_program

PLAN = strategy("often", long={"up": "close > open"}, duplicate={"window": "0m"})
FOUND = [one for one in candidates(VENUE, PLAN, BARS) if one.settled]


def judged(engine: Engine, answer: Context | None = None) -> list[Judged]:
    """What an engine decides of some hours; quotes it asks for are as given."""
    effects = []
    for event in EVENTS:
        some = engine.process(event)
        for one in [effect for effect in some if isinstance(effect, FetchContext)]:
            assert answer is not None
            some += engine.process(msgspec.structs.replace(answer, symbol=one.symbol, close_ms=one.close_ms))
        effects += some
    return [one for one in effects if isinstance(one, Judged)]


def test_a_score_below_what_is_asked_blocks_with_numbers() -> None:
    """One at the border passes; what the model does not know passes and says so; without a model there is no check."""
    gate, signal = Gate(GateSettings()), FOUND[0]

    def said(scored: Scored | None) -> tuple[bool, str | None]:
        judgement = gate.judge(signal, PLAN, signal.close_ms, scored=scored)
        names = [verdict.check for verdict in judgement.verdicts]
        if scored is None:
            assert names == CHECKS
            return judgement.passed, None
        assert names == [*CHECKS[:8], "score", *CHECKS[8:]]
        verdict = judgement.verdicts[8]
        assert judgement.passed is verdict.passed
        return verdict.passed, verdict.reason

    assert said(None) == (True, None)
    assert said(Scored(0.6, 0.6)) == (True, None)
    assert said(Scored(0.554, 0.6)) == (False, "the model gives it 55.4%, at least 60.0% is asked")
    assert said(Scored(None, 0.6)) == (True, "the model knows no signals of this timeframe")


def test_a_signal_has_the_score_of_its_features_and_passes_by_it() -> None:
    """The same candidates as without a model; what is blocked does not count as passed."""
    plain = judged(Engine(VENUE, [PLAN]))
    scored = judged(Engine(VENUE, [PLAN], scorings=[scoring()]))
    assert [one.signal.id for one in scored] == [one.signal.id for one in plain]
    known = FeatureSet.of(compile_program(PLAN, "1m"))
    model = scoring().model
    assert {one.signal.score for one in scored} == {LOW, HIGH}
    for one in scored:
        signal = one.signal
        assert signal.score == model.score(features_of(signal, known)) == (HIGH if signal.volume_ratio > 1 else LOW)
        assert (one.state == "passed") is (signal.score == HIGH and signal.settled)
    assert {one.signal.score for one in plain} == {None}


def test_the_score_reads_what_was_answered_for_the_signal() -> None:
    """It is made when the gate decides, of the context that came."""
    model = scoring(feature="context.spread_bps", at=5.0)
    for bid, score in ((99.99, LOW), (99.0, HIGH)):
        engine = Engine(VENUE, [PLAN], market=MarketSettings(asks=True), scorings=[model])
        found = judged(engine, Context("", 0, bid=bid, ask=100.0))
        assert {one.signal.score for one in found if one.signal.settled} == {score}


def test_other_strategies_and_timeframes_have_no_score() -> None:
    """Of a timeframe that the model was not trained on the verdict says so; of another strategy there is none."""
    wide = strategy("often", timeframes=["1m", "5m"], long={"up": "close > open"}, duplicate={"window": "0m"})
    other = strategy("other", long={"up": "close > open"})
    for one in judged(Engine(VENUE, [wide, other], scorings=[scoring()])):
        signal = one.signal
        said = [verdict for verdict in signal.verdicts if verdict.check == "score"]
        assert (signal.score is not None) is ((signal.strategy, signal.timeframe) == ("often", "1m"))
        assert len(said) == (signal.strategy == "often")
        assert all(verdict.passed and verdict.reason for verdict in said) or signal.timeframe == "1m"


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ([document("else")], "the model: it is a model of 'else', and there is no such strategy"),
        ([document(), document()], "the model: there is another model of often on 1m"),
        (
            [document(others=("value.rsi(close, 6)", "factor.gone"))],
            "often was another strategy when it was trained: it has no value.rsi(close, 6), factor.gone now",
        ),
    ],
)
def test_a_model_that_does_not_fit_its_strategy_is_refused(models: list[dict[str, object]], words: str) -> None:
    """In words."""
    with pytest.raises(SetupError) as refused:
        Engine(VENUE, [PLAN], scorings=[Scoring.read(one) for one in models])
    assert words in str(refused.value)


def test_a_model_without_skill_does_not_serve() -> None:
    """It is refused as it is read."""
    with pytest.raises(SetupError, match="no skill"):
        Scoring.read(document(skill=False))


def test_without_an_own_threshold_that_of_the_training_is_asked() -> None:
    """And it is written with what is asked."""
    assert scoring().at_least == 0.5
    assert scoring(0.0).at_least == 0.0
    assert Scoring.read(**scoring(0.7).written()).written() == scoring(0.7).written()


def test_features_that_a_model_reads_are_known() -> None:
    """Of trees those of its nodes, of a regression those that weigh."""
    assert scoring(others=("strength",)).reads == {"volume_ratio"}
    formula = {
        "kind": "logistic", "features": ["strength", "hour"], "base": 0.0,
        "weights": [[0.0, 1.0, 0.0], [0.0, 1.0, 2.0]], "calibration": {"slope": 1.0, "intercept": 0.0},
    }  # fmt: skip
    assert Scoring.read(COMMON | {"formula": formula}).reads == {"hour"}


def test_an_engine_without_models_is_what_it_was() -> None:
    """Models make another engine, and so does what is asked of one; the same one is made again from a beginning."""
    makeups = [Makeup(VENUE, OFTEN, GateSettings(), scorings=one) for one in ((), (scoring(),), (scoring(0.6),))]
    prints = [makeup.fingerprint for makeup in makeups]
    assert len(set(prints)) == 3
    assert prints[0] == Engine(VENUE, strategies.from_mappings(OFTEN), GateSettings()).fingerprint
    for makeup in makeups:
        begin = makeup.begin(makeup.engine(), [])
        assert Makeup.of(begin).engine().fingerprint == begin.fingerprint == makeup.fingerprint


def test_a_run_with_a_model_goes_on_after_cuts_and_a_replay_needs_no_file(tmp_path: Path) -> None:
    """From beginning and snapshot; scores and verdicts are those of the ledger."""
    for first in range(0, 900, 300):
        with run(tmp_path, scorings=(scoring(),)) as one:
            one.feed(EVENTS[first : first + 300])
            if first == 300:
                one.save()
    with run(tmp_path, scorings=(scoring(),)) as one:
        result = verify([tmp_path / "journal"], one.ledger, VENUE)
        assert result.equal, result.differences
        stored = [signal["score"] for signal in one.ledger.stored_signals()]
        assert result.signals == len(stored) > 30
        assert set(stored) == {LOW, HIGH}


def test_a_stored_signal_without_a_score_is_read() -> None:
    """What was stored before there were models has none; with one it comes back to the bit."""
    signal = FOUND[0]
    body = msgspec.json.encode(signal).decode()
    assert signal_of(body.replace('"score":null,', "")).score is None
    with_one: Signal = msgspec.structs.replace(signal, score=0.1 + 0.2)
    assert signal_of(msgspec.json.encode(with_one).decode()).score == 0.1 + 0.2


@pytest.mark.alone
def test_a_score_costs_less_than_a_tenth_of_a_millisecond() -> None:
    """Of a shipped strategy's features, by the most trees that are read."""
    plan = strategies.load("scalp", [("min_factors", 1)])
    found = candidates(VENUE, plan, walk(600), "1m")
    known = FeatureSet.of(compile_program(plan, "1m"))
    tree: list[list[object]] = [
        [place % 3, float(place), True, 2 * place + 1, 2 * place + 2, 0.0] for place in range(7)
    ] + [[None, 0.0, False, 0, 0, 0.001 * place] for place in range(8)]
    formula = document()["formula"] | {"features": list(known.names), "trees": [tree] * MOST_TREES}
    model = Scoring.read(document("scalp", formula=formula))
    scorers = Scorers([model], [compile_program(plan, "1m")])
    best = min(timed(scorers, found) for _ in range(5))
    assert len(found) > 40
    assert best < 100e-6


def timed(scorers: Scorers, found: list[Signal]) -> float:
    """Seconds a signal."""
    started = perf_counter()
    for signal in found:
        scorers.of(signal)
    return (perf_counter() - started) / len(found)
