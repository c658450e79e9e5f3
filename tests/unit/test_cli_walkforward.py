"""`tapewatch walkforward`: what it prints and writes, and how the user's mistakes are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command_line import Command, store
from core_samples import walk
from html_pages import asks_nobody
from search_samples import RULE
from tapewatch import __version__


@pytest.fixture
def asked(tmp_path: Path) -> list[object]:
    """A search of a rule over three days of minutes, in two folds."""
    store(tmp_path, walk(3 * 1_440))
    (tmp_path / "rule.yaml").write_text(RULE)
    return [
        "walkforward", "--strategy", tmp_path / "rule.yaml", "--data", tmp_path, "--no-gate", "--folds", 2,
        "--account", "perpetual", "--taker-bps", 0, "--trials", 4, "--sampler", "random", "--min-trades", 3,
    ]  # fmt: skip


def test_it_says_first_what_is_to_be_believed(run: Command, asked: list[object]) -> None:
    """Then in and out of sample, and each fold with its choice."""
    (found,) = run.objects(*asked)
    code, lines, _ = run(*asked)
    assert code == 0
    assert lines[0] == found["sentence"]
    assert not found["survives"]
    assert [line.split()[0] for line in lines[1:6]] == ["folds", "in", "out", "as", "efficiency"]
    assert len(found["folds"]) == 2
    for fold in found["folds"]:
        assert any(f"at {fold['params']['at']:g}, every {fold['params']['every']:g}" in line for line in lines)


def test_the_same_again_whoever_does_it(run: Command, asked: list[object], tmp_path: Path) -> None:
    """By one process or two, and from a study that was kept; another seed is another search."""
    (found,) = run.objects(*asked, "--study", tmp_path / "study.jsonl")
    assert found["hashes"]["version"] == __version__
    assert run.objects(*asked, "--workers", 2) == [found]
    assert run.objects(*asked, "--study", tmp_path / "study.jsonl") == [found]
    (other,) = run.objects(*asked, "--seed", 1)
    assert [fold["params"] for fold in other["folds"]] != [fold["params"] for fold in found["folds"]]


def test_the_gap_is_as_asked(run: Command, asked: list[object]) -> None:
    """The purge is the strategy's time limit; anchored trainings begin with the candles."""
    (found,) = run.objects(*asked, "--embargo", "2h", "--anchored")
    assert (found["purge_ms"], found["embargo_ms"], found["anchored"]) == (20 * 60_000, 2 * 3_600_000, True)
    for fold in found["folds"]:
        assert fold["test_from_ms"] - fold["train_to_ms"] == found["purge_ms"] + found["embargo_ms"]
    assert len({fold["train_from_ms"] for fold in found["folds"]}) == 1


def test_trades_and_report_are_written(run: Command, asked: list[object], tmp_path: Path) -> None:
    """The trades of all tests, and a page that asks nobody."""
    (found,) = run.objects(*asked, "--trades", tmp_path / "out.jsonl", "--report", tmp_path / "out.html")
    trades = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(trades) == found["out_of_sample"]["trades"]
    assert len(trades) == sum(of["out_of_sample"]["trades"] for of in found["folds"])
    text = (tmp_path / "out.html").read_text("utf-8")
    asks_nobody(text)
    assert found["hashes"]["data"] in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--folds", "40", "--embargo", "3h"], "--folds: 40 of them leave nothing of a period of 72 hours"),
        (["--symbols", "AAAUSDT,NOPE"], "holds no NOPE of binance_spot"),
        (["--from", "2020-01-01", "--to", "2020-03-01"], "--folds: there are no candles from 2020"),
        (["--embargo", "soon"], "--embargo: 'soon' is no duration"),
        (["--range", "fats=1..3"], "--range: no parameter 'fats'"),
        (["--report", "out.txt"], "--report"),
        (["--objective", "sharp"], "--objective: no figure 'sharp'"),
    ],
)
def test_mistakes_are_named(run: Command, asked: list[object], options: list[str], words: str) -> None:
    """With the option they are in."""
    assert words in run.refused(*asked, *options)
