"""`tapewatch model`: trained on candles with something in them, shown, judged again; and how mistakes are told."""

from __future__ import annotations

import json
import random
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from command_line import Command, store
from core_samples import MONDAY_MS
from delivery_samples import VENUE, signal
from model_samples import TREES
from outcome_samples import outcome
from tapewatch.model import INTERVALS_MS, MINUTE_MS, Bar, Judged
from tapewatch.store import Ledger, Step

FIVE_MS = INTERVALS_MS["5m"]
HIGHS = """
highs:
  timeframes: [5m]
  long: {high: "close > highest(close, 12)[1]"}
  stop: 1.5 * atr(14)
  targets: [{at: "1.0 * atr(14)", share: 100%}]
  time_limit: 48
"""
CONFIG = """
exchange: {venue: binance_spot}
universe: {include: [BTCUSDT]}
strategies: {scalp: {timeframes: [1m]}}
channels: {out: {type: file, path: alerts.jsonl}}
alerts: {routes: [{channels: [out]}]}
ledger: {url: "sqlite:///tape.db"}
"""


def days(count: int, drift: float, seed: int) -> list[Bar]:
    """Days of five minutes that rise in the first half of each day and fall in the second."""
    draw, price, bars = random.Random(seed), 100.0, []
    for number in range(count * 288):
        opened = price
        morning = number % 288 < 144
        price *= 1.0 + draw.gauss(drift if morning else -drift, 0.001)
        spread = abs(draw.gauss(0.0, 0.0003)) * price
        high, low = max(opened, price) + spread, min(opened, price) - spread
        open_ms = MONDAY_MS + number * FIVE_MS
        bars.append(Bar("AAAUSDT", FIVE_MS, open_ms, opened, high, low, price, 10.0 + draw.random()))
    return bars


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A strategy, an archive in which the hour tells, and one in which nothing does."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "highs.yaml").write_text(HIGHS)
    store(folder / "planted", days(36, 0.00025, 1), "5m")
    store(folder / "noise", days(24, 0.0, 2), "5m")
    return folder


def train(run: Command, work: Path, archive: str, out: Path, *more: object) -> tuple[int, list[str], str]:
    """Train on an archive."""
    return run("model", "train", "--strategy", work / "highs.yaml", "--data", work / archive, "--out", out, *more)


def test_what_the_hour_tells_becomes_a_model_that_serves(run: Command, work: Path, tmp_path: Path) -> None:
    """Train says what `show` shows, and `check` on the same candles finds the same."""
    out = tmp_path / "highs.json"
    code, lines, err = train(run, work, "planted", out)
    assert (code, err) == (0, "")
    assert lines[0].startswith(f"{out}: skill: on ")
    assert any("decides by" in line and "hour" in line for line in lines)
    assert run("model", "show", out) == (0, lines, "")
    asked = ("model", "check", out, "--strategy", work / "highs.yaml", "--data", work / "planted")
    assert run(*asked) == (0, lines, "")
    shown = run.objects("model", "show", out)[0]
    stored = json.loads(out.read_text())
    judged = shown["judged"]
    assert shown["skill"] is True
    assert judged == stored["judged"]
    assert judged["skill_low"] > 0.0
    assert judged["kept_hits"] / judged["kept"] > judged["hits"] / judged["n"]
    assert "hour" in shown["features"]
    assert out.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [out]
    seeded = tmp_path / "again.json"
    assert train(run, work, "planted", seeded)[0] == 0
    assert seeded.read_bytes() == out.read_bytes()


def test_noise_is_trained_on_but_the_model_says_that_it_has_no_skill(run: Command, work: Path, tmp_path: Path) -> None:
    """Training did what was asked, a check fails."""
    out = tmp_path / "noise.json"
    code, lines, _ = train(run, work, "noise", out, "--keep", "0.4", "--judge", "40%")
    assert code == 0
    assert lines[0].startswith(f"{out}: no skill, it does not serve: on ")
    asked = ("model", "check", out, "--strategy", work / "highs.yaml", "--data", work / "noise", "--json")
    code, objects, _ = run(*asked)
    assert code == 1
    shown = json.loads(objects[0])
    assert shown["skill"] is False
    assert shown["keep"] == 0.4
    assert shown["judged"]["n"] > 0.5 * shown["trained"]["rows"]  # 40% for the judgement, less what the gate blocked


def test_signals_of_a_ledger_are_counted_with_their_outcomes(run: Command, tmp_path: Path) -> None:
    """Those that have ended, and were settled; too few of them are said."""
    config = tmp_path / "tapewatch.yaml"
    config.write_text(CONFIG)
    effects: list[Any] = []
    for number in range(6):
        raised = signal(close_ms=MONDAY_MS + number * 300 * MINUTE_MS, settled=number != 1)
        effects.append(Judged(raised, "passed", False, raised.close_ms, None))
        if number != 2:
            effects.append(outcome(number * 300, symbol="BTCUSDT", signal_id=raised.id))
    with closing(Ledger.open(f"sqlite:///{tmp_path}/tape.db")) as ledger:
        ledger.commit_step(Step(VENUE, effects=effects))
    said = run.refused("model", "train", "--strategy", "scalp", "--stored", "-c", config, "--out", tmp_path / "m.json")
    assert "too few signals that ended: 3, at least 200 are needed" in said  # of the last one the limit is not over


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--keep", "0"], "--keep: '0' is no share between 0% and 100%"),
        (["--judge", "120%"], "--judge: '120%' is no share"),
        (["--interval", "1m"], "--interval: no timeframe 1m; highs has 5m"),
        (["--stored"], "--stored is of what a run has found and stored; --data is of stored candles"),
        (["-c", "tapewatch.yaml"], "-c names a ledger for --stored"),
        (["--out", "missing/m.json"], "--out: there is no folder missing"),
    ],
)
def test_a_mistake_names_its_option(run: Command, work: Path, options: list[str], said: str) -> None:
    """Before any work."""
    whole = ["--strategy", work / "highs.yaml", "--data", work / "noise", "--out", "m.json", *options]
    assert said in run.refused("model", "train", *whole)


def test_what_goes_with_candles_alone_is_refused_with_a_ledger(run: Command) -> None:
    """As `--set`."""
    asked = ("model", "train", "--strategy", "scalp", "--out", "m.json", "--stored", "--set", "fast=3")
    assert "--stored is of what a run has found and stored; --set is of stored candles" in run.refused(*asked)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "m.json: cannot be read: No such file or directory"),
        ("{", "m.json: no scoring model: "),
        ("[]", "m.json: no scoring model: "),
        ("[" * 100_000, "m.json: no scoring model: "),
        (msgspec.json.encode(TREES | {"format": 9}).decode(), "m.json: format 9 is not known"),
    ],
)
def test_a_file_that_is_no_model_is_refused(run: Command, tmp_path: Path, text: str | None, said: str) -> None:
    """The message names it."""
    path = tmp_path / "m.json"
    if text is not None:
        path.write_text(text)
    assert said in run.refused("model", "show", path)


def test_without_scikit_learn_its_extra_is_named(
    run: Command, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any work; looking at a model does not need it."""
    monkeypatch.setitem(sys.modules, "sklearn", None)
    code, lines, err = train(run, work, "noise", tmp_path / "m.json")
    assert (code, lines) == (2, [])
    assert "model train needs scikit-learn; `pip install 'tapewatch[ml]'` does it" in err
    (tmp_path / "m.json").write_bytes(msgspec.json.encode(TREES))
    assert run("model", "show", tmp_path / "m.json")[0] == 0


def test_a_model_that_tells_all_signals_the_same_decides_by_nothing(run: Command, tmp_path: Path) -> None:
    """Its calibration is flat."""
    flat = TREES["formula"] | {"calibration": {"slope": 0.0, "intercept": 0.1}}
    (tmp_path / "m.json").write_bytes(msgspec.json.encode(TREES | {"formula": flat}))
    _, lines, _ = run("model", "show", tmp_path / "m.json")
    assert "  decides by nothing: every signal has the same score" in lines


def test_a_model_of_another_strategy_is_not_judged(run: Command, work: Path, tmp_path: Path) -> None:
    """Its name is what says whose it is; nor on a timeframe that it was not trained on."""
    path = tmp_path / "m.json"
    path.write_bytes(msgspec.json.encode(TREES))
    asked = ("model", "check", path, "--strategy", work / "highs.yaml", "--data", work / "noise", "--interval", "5m")
    assert f"--strategy: {path} scores scalp, not highs" in run.refused(*asked)
    other = ("model", "check", path, "--strategy", "scalp", "--data", work / "noise", "--interval", "5m")
    assert f"--interval: {path} scores 1m, not 5m" in run.refused(*other)
