"""`signals --model`: scores of candidates on stored candles are those of a run, to the last bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import msgspec
import pytest

from command_line import Command, store
from core_samples import walk
from model_samples import COMMON
from scored_samples import HIGH, LOW, document
from tapewatch import strategies
from tapewatch.engine import Engine, MarketSettings
from tapewatch.engine.scorers import Scoring
from tapewatch.features import FeatureSet
from tapewatch.model import Bar, BarClosed, Boundary, Judged, Signal
from tapewatch.strategy import compile_program
from tapewatch.study.signals import Request, find

PLAN = strategies.load("scalp", [("min_factors", 2)])
BARS = walk(4_500, 1)
BITCOIN = [msgspec.structs.replace(one, symbol="BTCUSDT") for one in walk(4_500, 2)]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days of two symbols, one of them BTC's."""
    root = tmp_path_factory.mktemp("archive")
    store(root, BARS)
    store(root, BITCOIN)
    return root


def all_features(at_least: float = 0.5) -> Scoring:
    """A regression in which every feature weighs something, on both timeframes."""
    names = FeatureSet.of(compile_program(PLAN, "1m")).names
    formula = {
        "kind": "logistic", "features": list(names), "base": 0.1, "calibration": {"slope": 1.0, "intercept": 0.0},
        "weights": [[0.1, 1.0 + place, (-1) ** place * 0.2] for place in range(len(names))],
    }  # fmt: skip
    return Scoring.read(COMMON | {"timeframes": ["1m", "5m"], "formula": formula}, at_least)


def of_a_run(scoring: Scoring, bars: Sequence[Bar]) -> dict[str, Signal]:
    """What an engine decides that gets the candles as they close."""
    market = MarketSettings(outlooks=True, correlation=True)
    engine = Engine("binance_spot", [PLAN], market=market, scorings=[scoring])
    found = {}
    for one in sorted(bars, key=lambda bar: (bar.close_ms, bar.symbol)):
        for event in (Boundary(one.open_ms), BarClosed(one, one.close_ms)):
            decided = [effect.signal for effect in engine.process(event) if isinstance(effect, Judged)]
            found |= {signal.id: signal for signal in decided}
    return found


@pytest.mark.parametrize("evaluator", ["interpreted", "columns"])
def test_scores_and_verdicts_are_those_of_a_run(archive: Path, evaluator: str) -> None:
    """Bit for bit, of every feature that candles tell; some pass and some are blocked by their scores alone."""
    request = Request(archive, "binance_spot", ["AAAUSDT", "BTCUSDT"], scoring=all_features())
    scoring = all_features(median(one.score or 0.0 for one in find(PLAN, request)))
    run = of_a_run(scoring, [*BARS, *BITCOIN])
    request = replace(request, scoring=scoring)
    found = {one.id: one for one in find(PLAN, request, evaluator)}  # type: ignore[arg-type]
    assert found.keys() == run.keys()
    assert len(found) > 100
    for name, one in found.items():
        assert (one.score, one.verdicts) == (run[name].score, run[name].verdicts)
    blocked = [one for one in found.values() if [v.check for v in one.verdicts if not v.passed] == ["score"]]
    passed = [one for one in found.values() if all(verdict.passed for verdict in one.verdicts)]
    assert len(blocked) > 5
    assert len(passed) > 5
    assert len({one.score for one in found.values()}) > 100


def test_processes_share_the_work_and_change_nothing(archive: Path) -> None:
    """The model goes to each."""
    request = Request(archive, "binance_spot", ["AAAUSDT", "BTCUSDT"], ["1m"], scoring=all_features())
    assert list(find(PLAN, request, workers=2)) == list(find(PLAN, request))


def test_the_command_prints_scores(run: Command, archive: Path, tmp_path: Path) -> None:
    """As text and as JSON; strategies without a model have none."""
    file = tmp_path / "m.json"
    file.write_bytes(msgspec.json.encode(document("scalp", timeframes=["1m"], feature="volume_ratio")))
    asked = ("signals", "--strategy", "scalp", "--strategy", "trend", "--data", archive, "--model", file)
    found = run.objects(*asked)
    scored = {line["score"] for line in found if (line["strategy"], line["timeframe"]) == ("scalp", "1m")}
    assert scored <= {LOW, HIGH}
    assert scored
    assert {line["score"] for line in found if line["strategy"] == "trend"} <= {None}
    text = run(*asked)[1]
    assert any(" model 73%  " in line or " model 27%  " in line for line in text)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--strategy", "trend"], "it is a model of scalp, which --strategy does not name"),
        (["--strategy", "scalp", "--certify"], "--model does not go with --certify or --store"),
    ],
)
def test_what_a_model_does_not_go_with_is_told(
    run: Command, archive: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    """In words, exit 2; so are a file that is none, one without skill, and stored signals."""
    file = tmp_path / "m.json"
    file.write_bytes(msgspec.json.encode(document("scalp")))
    assert words in run.refused("signals", "--data", archive, "--model", file, *arguments)
    file.write_bytes(msgspec.json.encode(document("scalp", skill=False)))
    assert "--model: " in run.refused("signals", "--data", archive, "--model", file, "--strategy", "scalp")
    assert "have the score that they had" in run.refused("signals", "--stored", "--model", file)
