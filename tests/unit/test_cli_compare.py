"""`tapewatch compare`: what it prints, that both have the same ground, and how the user's mistakes are told."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from command_line import Command, store
from core_samples import walk

ONLY = """
{name}:
  timeframes: [1m]
  symbols: [{symbol}]
  long:
    when: minute % 7 == {at}
  stop: 0.01 * close
  targets: [{{at: 0.002 * close, share: 100%}}]
  time_limit: 5
"""


@pytest.fixture
def asked(tmp_path: Path) -> list[object]:
    """Where two are compared: three days of minutes of two symbols."""
    for number, symbol in enumerate(("AAAUSDT", "BBBUSDT"), 1):
        store(tmp_path, [msgspec.structs.replace(bar, symbol=symbol) for bar in walk(3 * 1_440, number)])
    return ["--data", tmp_path, "--account", "perpetual", "--bootstraps", 200]


def test_both_are_what_their_backtests_are(run: Command, asked: list[object]) -> None:
    """Figures, parameters and symbols; without costs that differ, since there is one account."""
    three = ["--set", "min_factors=3"]
    (found,) = run.objects("compare", "scalp", "scalp", "--set-a", "min_factors=3", "--set-b", "fast=5", *asked)
    (alone,) = run.objects("backtest", "--strategy", "scalp", *asked[:-2], *three)
    assert found["a"]["params"] == alone["params"]
    assert found["b"]["params"]["fast"] == 5
    assert {name: alone["metrics"][name] for name in found["a"]["metrics"]} == found["a"]["metrics"]
    assert found["compared"]["net_pct"]["a"] == pytest.approx(alone["metrics"]["net_pct"])
    assert sum(of["a_trades"] for of in found["symbols"].values()) == alone["trades"]
    assert found["together"]["trades"] + found["together"]["only_a"] == alone["trades"]
    assert found["hashes"]["data"] == alone["hashes"]["data"]
    assert found["hashes"]["config_a"] == alone["hashes"]["config"]
    assert run.objects("compare", "scalp", "scalp", "--set-a", "min_factors=3", "--set-b", "fast=5", *asked) == [found]


def test_the_first_line_says_who_is_better_or_that_it_cannot_be_told(run: Command, asked: list[object]) -> None:
    """The same twice is not told apart; what pays for fewer trades is better."""
    code, lines, _ = run("compare", "scalp", "scalp", "--set-a", "min_factors=3", "--set-b", "min_factors=3", *asked)
    assert code == 0
    assert lines[0].startswith("it cannot be told which is better: ")
    code, lines, _ = run("compare", "scalp", "scalp", "--set-a", "min_factors=2", "--set-b", "min_factors=5", *asked)
    assert lines[0].startswith("B is better")
    assert any(line.split()[:1] == ["BBBUSDT"] for line in lines)


def test_only_symbols_that_both_watch(run: Command, asked: list[object], tmp_path: Path) -> None:
    """Others would be one's alone; where there is none, that is said."""
    for name, symbol in (("first", "AAAUSDT"), ("second", "BBBUSDT")):
        (tmp_path / f"{name}.yaml").write_text(ONLY.format(name=name, symbol=symbol, at=3))
    (found,) = run.objects("compare", tmp_path / "first.yaml", "scalp", "--set-b", "min_factors=3", *asked)
    assert list(found["symbols"]) == ["AAAUSDT"]
    assert "--symbols: first and second watch none of them both" in run.refused(
        "compare", tmp_path / "first.yaml", tmp_path / "second.yaml", *asked
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set-a", "fast"], "--set-a: 'fast' is not parameter=number"),
        (["--set-b", "fats=3"], "no parameter 'fats'"),
        (["--interval", "3m"], "--interval: no timeframe 3m"),
    ],
)
def test_mistakes_are_named(run: Command, asked: list[object], options: list[str], words: str) -> None:
    """With the option they are in."""
    assert words in run.refused("compare", "scalp", "scalp", *options, *asked)
