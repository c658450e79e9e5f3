"""The file of a search: it goes on where it ended, and belongs to one search only."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command_line import store
from core_samples import walk
from tapewatch import strategies
from tapewatch.errors import SetupError
from tapewatch.model import NAN
from tapewatch.paper.instruments import Instrument
from tapewatch.strategy.ranges import range_of
from tapewatch.study.backtest import Plan
from tapewatch.study.search import Asked, Outcome
from tapewatch.study.searched import StudyFile, header_of
from tapewatch.study.settings import Account
from tapewatch.study.signals import Request
from tapewatch.study.space import Space
from tapewatch.universe import Rules

HEADER = {"format": 1, "seed": 1, "data": "ab"}
REQUEST = Request(Path(), "venue", ["AAAUSDT"], from_ms=5)
BLOCKS = np.random.default_rng(1).normal(size=(16, 3)).tolist()
OUTCOMES = [
    Outcome((1.0, 0.1), "", -0.1 / 3, 77, NAN, BLOCKS),
    Outcome((2.0, 1e-9), "too few trades", NAN, 3, 0.25, BLOCKS),
    Outcome((3.0, 0.3), "probe.fast: “too” long\n", NAN, 0, NAN, []),
]


def kept(path: Path, request: Request = REQUEST, header: Any = HEADER) -> dict[Any, Outcome]:
    """What a file knows of a request."""
    file = StudyFile(path, header)
    try:
        return dict(file.known(request))
    finally:
        file.close()


def filled(path: Path, request: Request = REQUEST) -> Path:
    """A file with some outcomes."""
    file = StudyFile(path, HEADER)
    known = file.known(request)
    for one in OUTCOMES:
        known[one.row] = one
    file.close()
    return path


def test_what_is_written_is_known_again(tmp_path: Path) -> None:
    """To the bit, of each period its own."""
    path = filled(filled(tmp_path / "search.jsonl"), replace(REQUEST, to_ms=9))
    for request in (REQUEST, replace(REQUEST, to_ms=9)):
        assert str(list(kept(path, request).values())) == str(OUTCOMES)  # NaN is not itself
    assert kept(path, replace(REQUEST, from_ms=None)) == {}
    assert len(path.read_bytes().splitlines()) == 1 + 2 * len(OUTCOMES)


@pytest.mark.parametrize("cut", [1, 10, 500])
def test_a_torn_last_line_is_cut_off(tmp_path: Path, cut: int) -> None:
    """What was before it is known, and what is added comes after that."""
    path = filled(tmp_path / "search.jsonl")
    whole = path.read_bytes()
    last = len(whole.splitlines(keepends=True)[-1])
    path.write_bytes(whole[: -min(cut, last - 1)])
    assert list(kept(path)) == [one.row for one in OUTCOMES[:2]]
    file = StudyFile(path, HEADER)
    file.known(REQUEST)[OUTCOMES[2].row] = OUTCOMES[2]
    file.close()
    assert path.read_bytes() == whole


def test_a_torn_header_is_written_again(tmp_path: Path) -> None:
    """Nothing came after it."""
    path = filled(tmp_path / "search.jsonl")
    whole = path.read_bytes()
    path.write_bytes(whole[:10])
    assert kept(path) == {}
    assert path.read_bytes() == whole.splitlines(keepends=True)[0]


@pytest.mark.parametrize("text", ["precious", "precious\n", '{"a": 1}\n', "[1]\n", '"x"\n'])
def test_another_file_is_left_alone(tmp_path: Path, text: str) -> None:
    """Whether or not its last line is whole."""
    path = tmp_path / "notes.txt"
    path.write_text(text)
    with pytest.raises(SetupError, match=r"--study: .*notes.txt: is no file of a search"):
        StudyFile(path, HEADER)
    assert path.read_text() == text


def test_a_line_that_is_none_is_named(tmp_path: Path) -> None:
    """It is not left out in silence."""
    path = filled(tmp_path / "search.jsonl")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:2], '{"row": "x"}\n', *lines[2:]]))
    with pytest.raises(SetupError, match="line 3 is none of a search"):
        StudyFile(path, HEADER)


def test_a_file_of_another_search_is_refused(tmp_path: Path) -> None:
    """By what differs."""
    path = filled(tmp_path / "search.jsonl")
    with pytest.raises(SetupError, match=r"is of another search; these differ: seed, data$"):
        StudyFile(path, {**HEADER, "seed": 2, "data": "cd"})
    with pytest.raises(SetupError, match="or one of another version"):
        StudyFile(path, {**HEADER, "format": 2})


def test_two_searches_cannot_have_one_file(tmp_path: Path) -> None:
    """The second is told so, and the first goes on."""
    path = tmp_path / "search.jsonl"
    first = StudyFile(path, HEADER)
    with pytest.raises(SetupError, match="another search is at it"):
        StudyFile(path, HEADER)
    first.known(REQUEST)[OUTCOMES[0].row] = OUTCOMES[0]
    first.close()
    assert len(kept(path)) == 1


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """With what the system says."""
    with pytest.raises(SetupError, match=r"--study: .*: Is a directory"):
        StudyFile(tmp_path, HEADER)
    with pytest.raises(SetupError, match="No such file"):
        StudyFile(tmp_path / "no" / "file", HEADER)


def test_the_header_has_all_that_a_search_depends_on(tmp_path: Path) -> None:
    """Each change of what decides changes it, in what it says it is; workers and the number of sets do not."""
    store(tmp_path, walk(300, 1))
    request = Request(tmp_path, "binance_spot", ["AAAUSDT"])
    plan = Plan(strategies.load("scalp"), request, Account())
    space = Space({"fast": range_of("5..9", 9.0)})
    first = header_of(plan, space, Asked())
    end_ms = math.floor(walk(300, 1)[200].open_ms)
    changed: dict[str, tuple[Plan, Space, Asked]] = {
        "strategy": (replace(plan, strategy=strategies.load("scalp", [("slow", 22)])), space, Asked()),
        "intervals": (replace(plan, request=replace(request, intervals=["1m"])), space, Asked()),
        "history_start": (replace(plan, request=replace(request, starts={0: 1})), space, Asked()),
        "account": (replace(plan, account=Account(cash=5.0)), space, Asked()),
        "gate": (replace(plan, gate=False), space, Asked()),
        "universe": (replace(plan, universe=Rules(min_volume_24h=1.0)), space, Asked()),
        "instruments": (replace(plan, instruments={"AAAUSDT": Instrument(tick="0.5")}), space, Asked()),
        "search": (plan, Space({"fast": range_of("5..10", 9.0)}), Asked()),
        "objective": (plan, space, Asked("sortino")),
        "sampler": (plan, space, Asked(sampler="random")),
        "seed": (plan, space, Asked(seed=1)),
        "min_trades": (plan, space, Asked(min_trades=1)),
        "prune": (plan, space, Asked(prune=True)),
    }
    for name, other in changed.items():
        now = header_of(*other)
        assert [key for key in first if first[key] != now[key]] == [name]
    shorter = header_of(replace(plan, request=replace(request, to_ms=end_ms)), space, Asked())
    assert [key for key in first if first[key] != shorter[key]] == ["period", "data"]
    assert header_of(plan, space, Asked(trials=7, workers=3)) == first
