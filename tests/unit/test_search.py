"""A search: what is drawn, what is learnt, what is given up, and that the answer depends on what was asked only."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from command_line import store
from core_samples import walk
from tapewatch import strategies
from tapewatch.errors import SetupError
from tapewatch.strategy.ranges import Range, range_of
from tapewatch.study import search as searching
from tapewatch.study.backtest import Plan
from tapewatch.study.search import Asked, Outcome, Row, Sampler, first_part_of, search
from tapewatch.study.settings import Account
from tapewatch.study.signals import Request
from tapewatch.study.space import Space
from tapewatch.study.sweep import BLOCKS, Sweep, Tried
from tapewatch.study.trials import Trials

SPACE = Space({"a": range_of("0..20", 1.0), "b": range_of("0..1/0.05", 1.0), "c": Range(-1.0, 1.0)})
STEPPED = Space({name: one for name, one in SPACE.ranges.items() if one.values})


class Hill:
    """Stands in for a sweep: the best set is a=13, b=0.35, c=0.5, and `asked` has all that were tried."""

    def __init__(self, part: float = 1.0) -> None:
        request = Request(Path(), "venue", ["AAAUSDT"])
        self.plan = Plan(strategies.load("scalp"), request, Account())
        self.asked: list[dict[str, float]] = []
        self.early: Hill | None = None
        self.part = part

    def over(self, request: Request) -> Hill:
        """The same over less."""
        self.early = Hill(self.part * 0.25)
        return self.early

    def tried(self, sets: Iterable[Mapping[str, float]], workers: int = 1) -> Iterator[Tried]:
        """Worse the farther away; a=20 makes no strategy, a=19 few trades, a=18 no figure."""
        for one in sets:
            self.asked.append(dict(one))
            if one["a"] == 20:
                yield Tried("probe.fast: is too long", {}, np.zeros((0, 3)))
                continue
            off = abs(one["a"] - 13) / 20 + abs(one["b"] - 0.35) + abs(one.get("c", 0.5) - 0.5)
            figures = {
                "trades": self.part * (10.0 if one["a"] == 19 else 100.0),
                "sharpe": math.nan if one["a"] == 18 else 5 - off,
                "max_drawdown_pct": off,
            }
            yield Tried("", figures, np.full((BLOCKS, 3), one["a"]))


def same(found: Trials, wanted: Trials) -> bool:
    """To the bit, NaN as NaN."""
    fields = ("params", "objective", "trades", "blocks")
    arrays = [np.array_equal(getattr(found, one), getattr(wanted, one), equal_nan=True) for one in fields]
    return all(arrays) and list(found.why) == list(wanted.why)


@pytest.mark.parametrize(("sampler", "near"), [("tpe", 0.15), ("random", 0.4)])
def test_a_sampler_finds_the_hill(sampler: Sampler, near: float) -> None:
    """And one that learns finds it better than one that does not."""
    trials = search(Hill(), SPACE, Asked(trials=300, sampler=sampler))
    assert trials.names == ("a", "b", "c")
    assert 5 - trials.objective[trials.best] < near
    assert set(trials.params[:, 0]) <= set(range(21))
    assert set(trials.params[:, 1]) <= set(SPACE.ranges["b"].values)
    assert len(set(trials.params[:, 2])) == len(trials)


def test_a_grid_is_every_set_once() -> None:
    """In the order of its parameters; the best of them is the best there is."""
    trials = search(Hill(), STEPPED, Asked(trials=441, sampler="grid"))
    assert trials.params.tolist() == [list(one.values()) for one in STEPPED.every()]
    assert trials.set_of(trials.best) == {"a": 13.0, "b": 0.35}


def test_a_figure_is_made_small_where_that_is_better() -> None:
    """Drawdown of itself, another one with a sign before it; what is made large is its negative."""
    least = search(Hill(), STEPPED, Asked("max_drawdown_pct", trials=441, sampler="grid"))
    worst = search(Hill(), STEPPED, Asked("-sharpe", trials=441, sampler="grid"))
    assert (least.set_of(least.best), least.objective[least.best]) == ({"a": 13.0, "b": 0.35}, 0.0)
    assert worst.set_of(worst.best) == {"a": 0.0, "b": 1.0}


def test_a_set_that_comes_to_nothing_says_why() -> None:
    """It makes no strategy, trades too little, or has no such figure; its objective is unknown and none is best."""
    space = Space({"a": range_of("18..20", 1.0), "b": range_of("0..0.1/0.1", 1.0)})
    trials = search(Hill(), space, Asked(trials=6, sampler="grid"))
    assert trials.why[::2] == ["has no such figure", "too few trades", "probe.fast: is too long"]
    assert np.isnan(trials.objective).all()
    assert trials.best == -1
    assert trials.trades[::2].tolist() == [100, 10, 0]
    assert trials.blocks[::2, 0, 0].tolist() == [18.0, 19.0, 0.0]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_set_is_tried_once(sampler: Sampler) -> None:
    """However often a sampler draws it; progress counts every draw."""
    space, hill, count = Space({"a": range_of("0..6", 1.0), "b": range_of("0..1/1", 1.0)}), Hill(), [0]

    def progress() -> None:
        count[0] += 1

    trials = search(hill, space, Asked(trials=120, sampler=sampler), progress)
    tried = [tuple(one.values()) for one in hill.asked]
    assert len(tried) == len(set(tried)) == len(trials) <= 14
    assert [tuple(row) for row in trials.params.tolist()] == tried
    assert count[0] == 120


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_seed_repeats_a_search(sampler: Sampler) -> None:
    """Another seed makes another; fewer trials are the beginning of more."""
    asked = Asked(trials=130, sampler=sampler, seed=7)
    first, fewer = search(Hill(), SPACE, asked), search(Hill(), SPACE, replace(asked, trials=70))
    assert same(search(Hill(), SPACE, asked), first)
    assert np.array_equal(fewer.params, first.params[:70])
    assert not np.array_equal(search(Hill(), SPACE, replace(asked, seed=8)).params, first.params)


def test_a_search_is_the_same_in_another_process() -> None:
    """Nothing of it hangs on the order of hashes, or on what was drawn before."""
    program = (
        "import test_search as t; trials = t.search(t.Hill(), t.SPACE, t.Asked(trials=110));"
        "print(float(trials.params.sum()).hex(), len(trials))"
    )
    trials = search(Hill(), SPACE, Asked(trials=110))
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parent, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    ).stdout.split()  # fmt: skip
    assert told == [float(trials.params.sum()).hex(), str(len(trials))]


@pytest.mark.parametrize("prune", [False, True])
@pytest.mark.parametrize("kept", [0, 1, 49, 50, 77, 120])
def test_what_is_known_is_not_tried_again(kept: int, prune: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that goes on after any set comes to what it would have come to."""
    monkeypatch.setattr(searching, "first_part_of", lambda request: request)
    asked, known, hill = Asked(trials=120, seed=3, prune=prune), dict[Row, Outcome](), Hill()
    whole = search(hill, SPACE, asked, known=known)
    left = dict(list(known.items())[:kept])
    again = Hill()
    assert same(search(again, SPACE, asked, known=left), whole)
    assert left == known or str(left) == str(known)  # NaN is not itself
    assert again.asked == hill.asked[len(hill.asked) - len(again.asked) :]
    assert len(again.asked) == sum(one.why != searching.GIVEN_UP for one in list(known.values())[kept:])


def test_the_worse_half_is_given_up_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first part of the period, by the median of all first parts; the best is found all the same."""
    monkeypatch.setattr(searching, "first_part_of", lambda request: request)
    hill, space = Hill(), Space({**STEPPED.ranges, "a": range_of("5..20", 1.0)})
    trials = search(hill, space, Asked(trials=336, sampler="grid", prune=True))
    assert hill.early is not None
    assert len(hill.early.asked) == len(trials) == 336
    given_up = np.array([why == searching.GIVEN_UP for why in trials.why])
    assert 100 <= given_up.sum() <= 168
    assert len(hill.asked) == 336 - given_up.sum()
    assert trials.set_of(trials.best) == {"a": 13.0, "b": 0.35}
    full = search(Hill(), space, Asked(trials=336, sampler="grid"))
    assert np.array_equal(trials.objective[~given_up], full.objective[~given_up], equal_nan=True)
    known = full.objective[~np.isnan(full.objective)]
    assert full.objective[given_up].max() < np.median(known)
    assert not trials.blocks[given_up].any()


@pytest.mark.parametrize(
    ("space", "asked", "message"),
    [
        (STEPPED, Asked("sharp"), "--objective: no figure 'sharp'; did you mean 'sharpe'?"),
        (STEPPED, Asked("-skipped"), "--objective: no figure 'skipped'; there are trades, win_rate_pct,"),
        (STEPPED, Asked(sampler="grid", trials=440), "--sampler: the grid has 441 sets; --trials is 440"),
        (SPACE, Asked(sampler="grid"), "--sampler: the grid has no end, for a range has no steps"),
    ],
)
def test_what_cannot_be_searched_is_refused(space: Space, asked: Asked, message: str) -> None:
    """Before any set is tried, by the option."""
    hill = Hill()
    with pytest.raises(SetupError) as caught:
        search(hill, space, asked)
    assert str(caught.value).startswith(message)
    assert hill.asked == []


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four days of minutes."""
    root = tmp_path_factory.mktemp("archive")
    store(root, walk(5_760, 5))
    return root


def sweep_of(root: Path, **asked: Any) -> Sweep:
    """Of scalp with few factors, so that it trades."""
    request = Request(root, "binance_spot", ["AAAUSDT"], ["1m"], **asked)
    strategy = strategies.load("scalp", [("min_factors", 3)])
    whole = strategies.mapping_of("scalp")[1]
    whole["params"] = dict(strategy.params)
    return Sweep(whole, Plan(strategy, request, Account(kind="perpetual"), gate=False))


def test_a_real_sweep_is_searched(archive: Path) -> None:
    """With the objective and the blocks that its backtest has; given up is what the first day gives up."""
    space = Space({"fast": range_of("3..9", 9.0), "slow": range_of([13, 21, 34], 21.0)})
    asked = Asked("expectancy_r", trials=21, sampler="grid", min_trades=5)
    sweep = sweep_of(archive)
    trials = search(sweep, space, asked)
    best = trials.set_of(trials.best)
    (alone,) = sweep.tried([best])
    assert trials.objective[trials.best] == alone.figures["expectancy_r"] == np.nanmax(trials.objective)
    assert np.array_equal(trials.blocks[trials.best], alone.blocks)
    early = search(sweep.over(first_part_of(sweep.plan.request)), space, replace(asked, min_trades=1))
    pruned = search(sweep, space, replace(asked, prune=True))
    below = early.objective < np.nanmedian(early.objective)
    assert [why == searching.GIVEN_UP for why in pruned.why] == below.tolist()
    assert below.any()


def test_the_first_part_ends_where_the_period_says(archive: Path) -> None:
    """A quarter of what is asked for, and nothing later is read."""
    request = sweep_of(archive).plan.request
    part = first_part_of(request)
    first_ms, end_ms = searching.period([request])
    assert part.to_ms == part.until_ms == first_ms + (end_ms - first_ms) // 4
    assert part == replace(request, to_ms=part.to_ms, until_ms=part.to_ms)


@pytest.mark.parametrize("seed", range(3))
def test_an_outcome_survives_json(seed: int) -> None:
    """To the bit."""
    rng = np.random.default_rng(seed)
    outcome = Outcome((1.0, float(rng.normal())), "", float(rng.normal()), 7, 0.1, rng.normal(size=(16, 3)).tolist())
    assert msgspec.json.decode(msgspec.json.encode(outcome), type=Outcome) == outcome
