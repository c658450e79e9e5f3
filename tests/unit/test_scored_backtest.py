"""`backtest --model`: what a model blocks at the gate of a run is not traded in a backtest either."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from command_line import Command, store
from core_samples import walk
from paper_markets import CALM, Tape, asked, backtest_of, comparable, exits, run, write
from scored_samples import document, scoring
from tapewatch import strategies
from tapewatch.study.backtest import Backtest, Plan, Result
from tapewatch.study.document import config_hash
from tapewatch.study.settings import Account
from tapewatch.study.signals import Request, find

FREE = Account(kind="perpetual", taker_bps=0, maker_bps=0, slippage_bps=0)
#: Longs are likely, shorts are not.
LONGS = scoring(strategy="asked", feature="side", at=0.0)


def test_only_what_the_model_lets_through_is_traded_as_in_a_run(tmp_path: Path) -> None:
    """To the fill; the gate does not remember what was blocked, so no duplicate or cooldown comes of it."""
    tape = Tape().ask(-1).calm(2).ask().calm(1).to(10_400).ask(-1).ask().calm(1).to(10_000).calm(2)
    request = replace(write(tmp_path, [tape]), scoring=LONGS)
    result = run(request, asked(cooldown="2m"), FREE, blocked=True)
    assert [trade.side for trade in result.trades] == ["long", "long"]
    assert exits(result) == [(CALM + 5, 104.0, "target"), (CALM + 9, 102.0, "stop")]


def test_a_model_counts_before_a_budget_and_among_watched_symbols(tmp_path: Path) -> None:
    """Of two symbols with one alert for both, the short that came first takes nothing of it."""
    first, second = Tape().ask(-1).calm(6), Tape("BBBUSDT").calm(2).ask().calm(1).to(10_400).calm(2)
    request = replace(write(tmp_path, [first, second]), scoring=LONGS)
    result = run(request, asked(budget={"alerts": 1, "window": "1h"}), FREE, blocked=True)
    assert [(trade.symbol, trade.side) for trade in result.trades] == [("BBBUSDT", "long")]
    plain = backtest_of(replace(request, scoring=None), asked(budget={"alerts": 1, "window": "1h"}), FREE).run()
    assert ([trade.side for trade in plain.trades], plain.still_open) == ([], 1)


def test_without_the_gate_nobody_asks_the_model(tmp_path: Path) -> None:
    """As nobody asks its other checks."""
    request = write(tmp_path, [Tape().ask(-1).calm(1).to(9_600).calm(2)])
    asked_too, alone = (
        backtest_of(replace(request, scoring=one), asked(), FREE, gate=False).run() for one in (LONGS, None)
    )
    assert comparable(asked_too) == comparable(alone)
    assert len(alone.trades) == 1


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days of two symbols."""
    root = tmp_path_factory.mktemp("archive")
    store(root, walk(4_500, 1))
    store(root, [msgspec.structs.replace(one, symbol="BBBUSDT") for one in walk(4_500, 2)])
    return root


def test_trades_are_of_signals_that_pass_in_signals(archive: Path) -> None:
    """On all timeframes or on one, in one process or in two; and the model is part of what was asked for."""
    plan = strategies.load("scalp", [("min_factors", 2)])
    model = scoring(strategy="scalp", at=1.2)
    for intervals in ([], ["1m"]):
        request = Request(archive, "binance_spot", ["AAAUSDT", "BBBUSDT"], intervals, scoring=model)
        found = [one for one in find(plan, request) if all(verdict.passed for verdict in one.verdicts)]
        assert len(found) > 10
        tried = Plan(plan, request, replace(FREE, on_opposite="reverse"))
        result = Backtest(tried, workers=2).run()
        assert signal_ids(result) <= {one.id for one in found}
        assert comparable(result) == comparable(Backtest(tried).run())
        assert len(found) == len(Backtest(tried).found.symbol)
        without = replace(tried, request=replace(request, scoring=None))
        other = replace(tried, request=replace(request, scoring=replace(model, at_least=0.9)))
        assert len({config_hash(one) for one in (tried, without, other)}) == 3


def signal_ids(result: Result) -> set[str]:
    """Of closed trades."""
    return {trade.signal_id for trade in result.trades}


def test_the_command_asks_a_model(run: Command, archive: Path, tmp_path: Path) -> None:
    """JSON and text say so; fewer are traded than without it."""
    file = tmp_path / "m.json"
    file.write_bytes(msgspec.json.encode(document("scalp", timeframes=["1m"], at=1.2)))
    command = ("backtest", "--strategy", "scalp", "--set", "min_factors=2", "--data", archive, "--interval", "1m")
    (with_it,), (without,) = run.objects(*command, "--model", file), run.objects(*command)
    assert (with_it["model"], without["model"]) == ({"at_least": 0.5}, None)
    assert 0 < with_it["trades"] < without["trades"]
    assert with_it["hashes"]["config"] != without["hashes"]["config"]
    report = tmp_path / "r.html"
    text = "\n".join(run(*command, "--model", file, "--report", report)[1])
    assert "  model      a score of at least 50.0% is asked of every signal" in text
    assert "on, with a model that asks for a score of 50.0%" in report.read_text()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--strategy", "trend"], "it is a model of scalp, which --strategy does not name"),
        (["--strategy", "scalp", "--no-gate"], "--model is asked by the gate, which --no-gate leaves out"),
    ],
)
def test_what_a_model_does_not_go_with_is_told(
    run: Command, archive: Path, tmp_path: Path, more: list[str], words: str
) -> None:
    """Exit 2."""
    file = tmp_path / "m.json"
    file.write_bytes(msgspec.json.encode(document("scalp")))
    assert words in run.refused("backtest", "--data", archive, "--model", file, *more)
