"""Parameter sets tried over the same candles: what a backtest of each comes to, wherever and however often tried."""

from __future__ import annotations

import multiprocessing
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np
import pytest

from command_line import store
from core_samples import MONDAY_MS, walk
from tapewatch import strategies
from tapewatch.model import DAY_MS, MINUTE_MS
from tapewatch.strategy.ranges import range_of
from tapewatch.study import stock
from tapewatch.study.backtest import Backtest, Plan
from tapewatch.study.metrics import figures
from tapewatch.study.settings import Account
from tapewatch.study.shared import Shelf
from tapewatch.study.signals import Request
from tapewatch.study.sweep import BLOCKS, Sweep, Tried, blocks_of

SETS = [{"fast": fast, "slow": slow, "min_factors": 3} for fast in (3.0, 5.0) for slow in (8.0, 13.0)]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two symbols, five days of minutes of each, one with a hole."""
    root = tmp_path_factory.mktemp("archive")
    for seed, symbol in enumerate(("AAAUSDT", "BBBUSDT")):
        bars = walk(7_200, seed, holes=range(700, 700 + 40 * seed))
        store(root, [msgspec.structs.replace(one, symbol=symbol) for one in bars])
    return root


def sweep_of(root: Path, name: str = "scalp", account: Account | None = None, **asked: Any) -> Sweep:
    """Of a shipped strategy."""
    request = Request(root, "binance_spot", ["AAAUSDT", "BBBUSDT"], ["1m"], **asked)
    plan = Plan(strategies.load(name), request, account or Account(kind="perpetual"))
    return Sweep(strategies.mapping_of(name)[1], plan)


def same(found: Tried, wanted: Tried) -> bool:
    """To the bit, NaN as NaN."""
    texts = [{name: float(value).hex() for name, value in one.figures.items()} for one in (found, wanted)]
    return found.refused == wanted.refused and texts[0] == texts[1] and np.array_equal(found.blocks, wanted.blocks)


CASES: dict[str, tuple[str, bool, dict[str, Any], dict[str, Any]]] = {
    "scalp": ("scalp", True, {"intervals": ["1m"]}, {}),
    "scalp in a part of the time": (
        "scalp",
        True,
        {"from_ms": MONDAY_MS + DAY_MS, "to_ms": MONDAY_MS + 3 * DAY_MS},
        {},
    ),
    "scalp with a budget": ("scalp", True, {"intervals": ["1m"]}, {"budget": {"alerts": 2, "window": "1h"}}),
    "scalp with a pause": ("scalp", True, {"intervals": ["1m"]}, {"cooldown": "40m", "fire": "any"}),
    "momentum": ("momentum", False, {}, {}),
    "trend": ("trend", False, {}, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_set_comes_to_what_its_backtest_says(archive: Path, case: str) -> None:
    """Every figure and every block, to the bit, of random sets."""
    name, gate, asked, changes = CASES[case]
    mapping = strategies.mapping_of(name)[1] | changes
    request = Request(archive, "binance_spot", ["BBBUSDT", "AAAUSDT"], **asked)
    plan = Plan(strategies.from_mappings({name: mapping})[0], request, Account(kind="perpetual"), gate=gate)
    sweep, dice = Sweep(mapping, plan), Random(1)
    ranges = {key: range_of(written, plan.strategy.params[key]) for key, written in mapping["search"].items()}
    drawn = [{key: dice.choice(one.values or (one.low, one.high)) for key, one in ranges.items()} for _ in range(6)]
    sets = [params | ({"min_factors": 3} if name == "scalp" else {}) for params in drawn]
    found = list(sweep.tried(sets))
    for params, one in zip(sets, found, strict=True):
        result = Backtest(sweep.plan_of(params), evaluator="columns").run()
        assert same(one, Tried("", figures(result), blocks_of(result.returns)))
    assert len({one.figures["net"] for one in found}) > 3


def test_steps_are_hours_where_there_are_few_days(archive: Path) -> None:
    """All of them are counted in some block."""
    sweep = sweep_of(archive)
    (one,) = sweep.tried(SETS[:1])
    result = Backtest(sweep.plan_of(SETS[0])).run()
    assert sweep.step_ms == result.steps_ms[1] - result.steps_ms[0] == 60 * MINUTE_MS
    assert one.blocks.shape == (BLOCKS, 3)
    assert one.blocks[:, 0].sum() == len(result.returns) == 120
    assert one.blocks[:, 1].sum() == pytest.approx(result.returns.sum())


def test_a_set_that_makes_no_strategy_is_refused_with_the_reason(archive: Path) -> None:
    """And the others are tried."""
    first, second = sweep_of(archive).tried([{"fast": 2.5}, SETS[0]])
    assert "length of ema must be a whole number" in first.refused
    assert (first.figures, second.refused) == ({}, "")


def test_processes_come_to_the_same(archive: Path) -> None:
    """In the order of the sets, however often they are asked."""
    sweep = sweep_of(archive)
    wanted = list(sweep.tried(SETS))
    for _ in range(2):
        assert all(map(same, sweep.tried(SETS, workers=2), wanted))
    request = replace(sweep.plan.request, to_ms=MONDAY_MS + 4 * DAY_MS)
    shorter = list(sweep.over(request).tried(SETS, workers=2))
    assert all(map(same, shorter, sweep.over(request).tried(SETS)))
    assert not any(map(same, shorter, wanted))


def test_processes_end_with_the_last_sweep_that_uses_them(archive: Path) -> None:
    """Before anything else happens, also where some of the sets have not been asked for."""
    before = set(multiprocessing.active_children())
    sweep = sweep_of(archive)
    other = sweep.over(sweep.plan.request)
    begun = other.tried(SETS * 20, workers=2)
    next(begun)
    assert len(set(multiprocessing.active_children()) - before) == 1
    del sweep
    assert len(set(multiprocessing.active_children()) - before) == 1
    del begun, other
    assert set(multiprocessing.active_children()) <= before


def test_sets_are_taken_as_they_are_asked_for(archive: Path) -> None:
    """An endless search costs what is looked at."""
    taken = []

    def endless() -> Any:
        while True:
            taken.append(SETS[0])
            yield SETS[0]

    found = sweep_of(archive).tried(endless())
    assert next(found).refused == ""
    assert len(taken) < 100


def test_pickled_it_is_small_and_reads_the_same_archive(archive: Path) -> None:
    """Without the candles."""
    sweep = sweep_of(archive)
    wanted = list(sweep.tried(SETS[:1]))
    pickled = pickle.dumps(sweep)
    assert len(pickled) < 20_000
    assert same(*wanted, *pickle.loads(pickled).tried(SETS[:1]))


def test_shipped_it_needs_no_archive(archive: Path, tmp_path: Path) -> None:
    """The candles go along where that is asked for."""
    shutil.copytree(archive, tmp_path / "archive")
    sweep = sweep_of(tmp_path / "archive")
    wanted = list(sweep.tried(SETS[:1]))
    shipped = Sweep(strategies.mapping_of("scalp")[1], sweep.plan, ship=True)
    pickled = pickle.dumps(shipped)
    shutil.rmtree(tmp_path / "archive")
    assert same(*wanted, *pickle.loads(pickled).tried(SETS[:1]))


def test_candles_that_have_not_closed_are_not_there(archive: Path, tmp_path: Path) -> None:
    """Whatever is stored after `until_ms`, nothing of it is read."""
    until_ms = MONDAY_MS + 4 * DAY_MS
    wanted = list(sweep_of(archive, until_ms=until_ms, to_ms=until_ms).tried(SETS))
    for seed, symbol in enumerate(("AAAUSDT", "BBBUSDT")):
        known = walk(7_200, seed, holes=range(700, 700 + 40 * seed))[: 5_760 - 40 * seed]
        later = walk(5_000, 99, start_ms=until_ms)
        store(tmp_path, [msgspec.structs.replace(one, symbol=symbol) for one in (*known, *later)])
    found = list(sweep_of(tmp_path, until_ms=until_ms, to_ms=until_ms).tried(SETS))
    assert all(map(same, found, wanted))
    assert wanted[0].blocks[:, 0].sum() == 96


def test_a_shelf_has_room_for_so_many_bytes() -> None:
    """What was not asked for the longest time goes; what is there is not made again."""
    shelf, made = Shelf(2_000), list[str]()

    def get(key: str, rows: int = 100) -> Any:
        def make() -> Any:
            made.append(key)
            return np.zeros(rows)

        return shelf.get(key, make)

    for key in ("a", "b", "a", "c", "a", "b"):
        get(key)
    assert made == ["a", "b", "c", "b"]
    assert len(get("large", 1_000)) == 1_000
    get("large", 1_000)
    get("a")
    assert made == ["a", "b", "c", "b", "large", "a"]
    assert shelf.held_bytes == 800


def test_a_graph_that_has_grown_is_begun_anew(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Endless values of a parameter need no endless memory, and change nothing."""
    sets = [{**SETS[0], "spike": 1.0 + k / 64} for k in range(70)]
    wanted = list(sweep_of(archive).tried(sets))
    monkeypatch.setattr(stock, "MOST_NODES", 60)
    sweep = sweep_of(archive)
    assert all(map(same, sweep.tried(sets), wanted))
    assert len(sweep._stock.library) < 200
