"""`tapewatch optimize`: what it says first, what it reads, what it keeps, and what it refuses."""

from __future__ import annotations

import html
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from command_line import Command, store
from core_samples import walk
from edge_markets import SALT, hashed, market
from tapewatch import strategies

#: Four days.
MINUTES = 4 * 1_440


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Command:
    """The command of this process."""
    return Command(monkeypatch, capfdbinary)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four days of minutes that wander about."""
    root = tmp_path_factory.mktemp("archive")
    store(root, walk(MINUTES, 3))
    return root


def words(archive: Path, *more: object) -> tuple[object, ...]:
    """A small search of scalp with few factors."""
    return (
        "optimize", "--strategy", "scalp", "--data", archive, "--interval", "1m", "--set", "min_factors=3", "--no-gate",
        "--account", "perpetual", "--range", "fast=3..8", "--range", "slow=13,21,34", "--trials", 12, "--min-trades", 5,
        "--permutations", 20, "--folds", 0, *more,
    )  # fmt: skip


def test_the_first_line_says_that_it_would_not_survive(command: Command, archive: Path) -> None:
    """Parameters searched on a random walk; the figures follow, and what was held out is named and not read."""
    code, lines, err = command(*words(archive, "--folds", 2))
    assert (code, err) == (0, "")
    assert lines[0].startswith(("Would not survive, the best of ", "Nothing found: ")), lines[0]
    text = "\n".join(lines)
    for said in ("scalp: 12 sets drawn by tpe", "  best       fast ", "  as it is ", "Walk-forward. ", ": not read."):
        assert said in text


def test_the_object_has_everything(command: Command, archive: Path) -> None:
    """The best, its figures and its judgement; the walk-forward; how many sets came to nothing, and why."""
    (found,) = command.objects(
        *words(archive, "--folds", 2, "--sampler", "grid", "--trials", 18, "--prune", "--objective", "expectancy_r")
    )
    assert (found["strategy"], found["sampler"], found["seed"], found["objective"]) == (
        "scalp",
        "grid",
        0,
        "expectancy_r",
    )
    assert found["drawn"] == found["trials"] == found["honesty"]["sets"] == 18
    assert found["best"]["objective"] == found["best"]["figures"]["expectancy_r"]
    assert found["best"]["params"].keys() == {"fast", "slow"}
    assert found["pruned"] > 0 == found["refused"]
    assert found["honesty"]["survives"] is found["survives"] is False
    assert found["sentence"] == found["honesty"]["sentence"]
    assert len(found["walk_forward"]["folds"]) == 2
    assert found["holdout"]["opened"] is None
    assert found["default"]["params"]["min_factors"] == 3
    assert found["hashes"].keys() == {"data", "config", "version"}


def test_a_report_says_what_the_command_says(command: Command, archive: Path, tmp_path: Path) -> None:
    """One page, of the same first line."""
    page = tmp_path / "report.html"
    (found,) = command.objects(*words(archive, "--folds", 2, "--report", page))
    assert html.escape(found["sentence"], quote=False) in page.read_text("utf-8")
    assert "--report: page.txt must end in .html" in command.refused(*words(archive, "--report", "page.txt"))


def test_processes_change_nothing(command: Command, archive: Path) -> None:
    """Two of them find what one finds, with the sets that one tries."""
    alone, shared = (command.objects(*words(archive, "--workers", count, "--folds", 2)) for count in (1, 2))
    assert alone == shared


def test_what_is_held_out_is_not_read(command: Command, archive: Path, tmp_path: Path) -> None:
    """Its candles may be anything, and everything is the same."""
    wild = [
        msgspec.structs.replace(one, close=one.close * 9.0, high=one.high * 99.0) if k >= MINUTES * 8 // 10 else one
        for k, one in enumerate(walk(MINUTES, 3))
    ]
    store(tmp_path, wild)
    calm, other = (command.objects(*words(root, "--folds", 2)) for root in (archive, tmp_path))
    assert calm == other
    assert calm[0]["holdout"]["to_ms"] == wild[-1].open_ms + 60_000


def test_a_register_that_cannot_be_written_is_told_before_the_search(
    command: Command, archive: Path, tmp_path: Path
) -> None:
    """Nothing has been tried by then."""
    study = tmp_path / "study.jsonl"
    asked = ("--open-holdout", "--holdout-register", tmp_path, "--study", study)
    code, _, err = command(*words(archive, *asked))
    assert (code, study.exists()) == (2, False)
    assert "--holdout-register" in err


def test_the_holdout_counts_who_looks(command: Command, archive: Path, tmp_path: Path) -> None:
    """The best is tried there once it is asked for; the second look is said to be the second."""
    register = tmp_path / "register.jsonl"
    open_it = ("--open-holdout", "--holdout-register", register)
    first, second = (command.objects(*words(archive, *open_it))[0] for _ in range(2))
    assert (first["holdout"]["opened"]["before"], second["holdout"]["opened"]["before"]) == (0, 1)
    assert second["holdout"]["opened"]["said"] == "opened once before: no longer unseen"
    lines = [json.loads(line) for line in register.read_text().splitlines()]
    assert [line["params"]["fast"] for line in lines] == [first["best"]["params"]["fast"]] * 2
    (alone,) = command.objects(
        "backtest", "--strategy", "scalp", "--data", archive, "--interval", "1m", "--no-gate", "--account", "perpetual",
        "--from", first["holdout"]["from_ms"], "--to", first["holdout"]["to_ms"], "--set", "min_factors=3",
        *(f"--set={name}={value}" for name, value in first["best"]["params"].items()),
    )  # fmt: skip
    figures = first["holdout"]["opened"]["figures"]
    assert {name: alone["metrics"][name] for name in figures} == figures
    text = command(*words(archive, *open_it))[1]
    assert any("opened 2 times before" in line for line in text)
    assert any(line.startswith("  unseen     ") for line in text)


def test_nothing_is_held_out_where_that_is_asked_for(command: Command, archive: Path) -> None:
    """And then nothing can be opened."""
    (found,) = command.objects(*words(archive, "--holdout", "0%"))
    assert found["holdout"] is None
    assert "--open-holdout: with --holdout 0%" in command.refused(*words(archive, "--holdout", "0", "--open-holdout"))


def test_a_killed_search_goes_on_to_the_same_answer(command: Command, archive: Path, tmp_path: Path) -> None:
    """Wherever it is killed; what was tried before is not tried again."""
    study = tmp_path / "search.jsonl"
    own = (*words(archive, "--trials", 60, "--folds", 2), "--study", study)
    wanted = command.objects(*words(archive, "--trials", 60, "--folds", 2))
    source = Path(strategies.__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-m", "tapewatch", *map(str, own)],
        env={**os.environ, "PYTHONPATH": str(source)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    for _ in range(6_000):
        if process.poll() is not None or (study.exists() and study.read_bytes().count(b"\n") > 4):
            break
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = study.read_bytes()
    assert command.objects(*own) == wanted
    after = study.read_bytes()
    assert after.startswith(before[: before.rindex(b"\n") + 1])
    study.write_bytes(after[:-7])
    assert command.objects(*own) == wanted
    assert study.read_bytes() == after


def test_a_finished_search_can_go_further(command: Command, archive: Path, tmp_path: Path) -> None:
    """With more trials it comes to what a larger search comes to; with other candles it is refused."""
    study = tmp_path / "search.jsonl"
    for trials in (12, 60):
        found = command.objects(*words(archive, "--trials", trials), "--study", study)
    assert found == command.objects(*words(archive, "--trials", 60))
    other = tmp_path / "other"
    shutil.copytree(archive, other)
    store(other, walk(MINUTES, 4))
    assert "is of another search; these differ: data" in command.refused(*words(other), "--study", study)
    assert "these differ: seed" in command.refused(*words(archive, "--seed", 1), "--study", study)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--range", "fast"], "--range: 'fast' is not parameter=range"),
        (["--range", "fast=9..1"], "--range: fast=9..1: 9 is not below 1"),
        (["--range", "fats=1..9"], "--range: no parameter 'fats'; did you mean 'fast'?"),
        (["--objective", "sharp"], "--objective: no figure 'sharp'; did you mean 'sharpe'?"),
        (["--sampler", "grid"], "--sampler: the grid has 18 sets; --trials is 12"),
        (["--ship"], "--ship: says what --dask sends"),
        (["--dask", "tcp://127.0.0.1:1", "--workers", "2"], "--workers: with --dask"),
        (["--holdout", "95%"], "--holdout: '95%' is no percentage above 0 up to 90%"),
        (["--study", "."], "--study: .: Is a directory"),
        (["--set", "x=1"], "scalp.params: no parameter 'x'"),
    ],
)
def test_mistakes_are_named(command: Command, archive: Path, more: list[str], message: str) -> None:
    """By their option, and nothing is printed."""
    assert message in command.refused(*words(archive), *more)


def test_a_strategy_without_a_range_says_what_to_do(command: Command, archive: Path, tmp_path: Path) -> None:
    """It has no `search`, and none is asked for."""
    file = tmp_path / "own.yaml"
    whole: dict[str, Any] = {
        "timeframes": ["1m"], "long": {"up": "close > open"}, "stop": 1,
        "targets": [{"at": 1, "share": "100%"}],
    }  # fmt: skip
    file.write_text(json.dumps({"own": whole}))
    said = command.refused("optimize", "--strategy", file, "--data", archive)
    assert "--range: own says nothing of what to search" in said


@pytest.mark.parametrize(("edge", "first"), [(0.4, "May survive, the best of 11 sets"), (0.0, "Would not survive")])
def test_an_edge_is_found_and_noise_is_called_noise(command: Command, tmp_path: Path, edge: float, first: str) -> None:
    """In the first line, after the walk-forward and the hold-out have had their say."""
    market(tmp_path, 5, edge=edge, bars=16_000)
    file = tmp_path / "hash.yaml"
    file.write_text(json.dumps({"hash": hashed(search={"salt": "8..18"})}))
    found = command.objects(
        "optimize", "--strategy", file, "--data", tmp_path, "--sampler", "grid", "--account", "perpetual",
        "--taker-bps", 0, "--maker-bps", 0, "--slippage-bps", 0, "--min-trades", 20, "--folds", 2, "--permutations", 60,
        "--open-holdout", "--holdout-register", tmp_path / "register.jsonl",
    )[0]  # fmt: skip
    assert found["sentence"].startswith(first), found["sentence"]
    assert found["survives"] is (edge > 0)
    if edge:
        assert found["best"]["params"] == {"salt": SALT}
        assert {fold["params"]["salt"] for fold in found["walk_forward"]["folds"]} == {SALT}
        assert found["holdout"]["opened"]["expectancy_r"]["value"] > 0
