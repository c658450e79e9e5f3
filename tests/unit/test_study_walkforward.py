"""Walk-forward: each fold knows its past alone, its tests make one account, and chance is not called an edge."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from command_line import store
from core_samples import MONDAY_MS, walk
from tapewatch import strategies
from tapewatch.model import DAY_MS, MINUTE_MS, Bar
from tapewatch.study.backtest import Backtest, Plan
from tapewatch.study.folds import WalkForward
from tapewatch.study.settings import Account
from tapewatch.study.signals import Request
from tapewatch.study.sweep import STEPS, SUM, Sweep
from tapewatch.study.trials import Trials
from tapewatch.study.walkforward import walk_forward

RULE = """
tried:
  timeframes: [1m]
  params: {at: 7}
  long:
    when: minute % 60 == at
  stop: 0.004 * close
  targets: [{at: 0.003 * close, share: 100%}]
  time_limit: 20
"""
DAYS = 6
#: The minute of the hour after which prices rise in a planted market, and the minutes that a search tries.
PLANTED, TRIED = 20, (5, 20, 35, 50)
FREE = Account(kind="perpetual", taker_bps=0, maker_bps=0, slippage_bps=0, cap_symbol=1.0)


def planted(bars: list[Bar]) -> list[Bar]:
    """The same bars with prices a tenth of a percent higher each minute, five times after a minute of the hour."""
    grown, factor = [], 1.0
    for number, bar in enumerate(bars):
        rises = PLANTED < number % 60 <= PLANTED + 5
        before, factor = factor, factor * (1.001 if rises else 0.99991)
        high, low = max(bar.high * factor, bar.open * before), min(bar.low * factor, bar.open * before)
        grown.append(msgspec.structs.replace(bar, open=bar.open * before, high=high, low=low, close=bar.close * factor))
    return grown


def searched(sweep: Sweep) -> Trials:
    """Every minute that is tried, judged by the mean return of a step."""
    sets = [{"at": float(at)} for at in TRIED]
    tried = list(sweep.tried(sets))
    blocks = np.array([one.blocks for one in tried])
    return Trials(
        ["at"],
        np.array([[one["at"]] for one in sets]),
        blocks[:, :, SUM].sum(axis=1) / blocks[:, :, STEPS].sum(axis=1),
        np.array([int(one.figures["trades"]) for one in tried]),
        blocks,
    )


Walked = Callable[..., WalkForward]
Search = Callable[[Sweep], Trials]


@pytest.fixture
def walked(tmp_path: Path) -> Walked:
    """A walk-forward over these bars."""
    (tmp_path / "rule.yaml").write_text(RULE)
    _, mapping = strategies.mapping_of(str(tmp_path / "rule.yaml"))

    def made(bars: list[Bar], folds: int = 3, search: Search = searched, **how: Any) -> WalkForward:
        root = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        store(root, bars)
        strategy = strategies.load(str(tmp_path / "rule.yaml"), [])
        whole = Plan(strategy, Request(root, "binance_spot", ["AAAUSDT"]), FREE, gate=False)

        def sweep_of(request: Request) -> Sweep:
            return Sweep(mapping, replace(whole, request=request))

        return walk_forward(sweep_of, whole.request, search, folds, **how)

    return made


def test_a_planted_edge_is_chosen_in_every_fold_and_survives(walked: Walked) -> None:
    """And the parameter that finds it does not move."""
    found = walked(planted(walk(DAYS * 1_440)))
    assert [fold.params for fold in found.folds] == [{"at": float(PLANTED)}] * 3
    assert found.survives
    assert found.sentence.startswith("May survive: +")
    assert found.parameters["at"].share == 0.0
    assert found.expectancy_r.low > 0.0
    assert found.untouched.equity[-1] < found.tested.equity[-1]


def test_noise_does_not_survive(walked: Walked) -> None:
    """Of eight random walks, whose best minute is chance, at most one does."""
    found = [walked(walk(3 * 1_440, seed), folds=2, bootstraps=200) for seed in range(1, 9)]
    assert sum(one.survives for one in found) <= 1
    assert any(one.sentence.startswith("Does not survive: ") for one in found)


def test_the_tests_are_one_account(walked: Walked) -> None:
    """Trades of all of them, and an equity that goes on where the one before ended."""
    found = walked(walk(DAYS * 1_440))
    tested = [fold.tested for fold in found.folds if fold.tested is not None]
    assert len(tested) == 3
    assert [one.trade_id for one in found.tested.trades] == [one.trade_id for of in tested for one in of.trades]
    grown = math.prod(one.equity[-1] / one.cash for one in tested)
    assert found.tested.equity[-1] / found.tested.cash == pytest.approx(grown)
    assert len(found.tested.equity) == len(found.tested.days_ms) + 1
    assert found.metrics["net_pct"] == pytest.approx((grown - 1) * 100)
    assert found.metrics["trades"] == found.document()["out_of_sample"]["trades"] == len(found.tested.trades)
    first, last = found.folds[0].split.test_from_ms, found.folds[-1].split.test_to_ms
    assert all(first <= one.entry_ms < last for one in found.tested.trades)
    assert last == MONDAY_MS + DAYS * DAY_MS


def test_a_fold_does_not_know_what_comes_after_its_training(walked: Walked) -> None:
    """Other candles after it change nothing of what its search chose and won, nor does what lies before it."""
    bars = walk(DAYS * 1_440)
    found = walked(bars, folds=2)
    split = found.folds[0].split
    cut = (split.train_to_ms - MONDAY_MS) // MINUTE_MS
    again = walked([*bars[:cut], *walk(DAYS * 1_440, 9)[cut:]], folds=2)
    one, other = found.folds[0], again.folds[0]
    assert one.trained is not None
    assert other.trained is not None
    assert (one.params, one.trained.equity) == (other.params, other.trained.equity)
    assert list(one.trained.trades) == list(other.trained.trades)
    assert one.tested != other.tested


def test_the_gap_is_what_an_outcome_takes_and_the_embargo(walked: Walked) -> None:
    """Twenty minutes each where nothing else is said; an anchored training begins with the candles."""
    found = walked(walk(DAYS * 1_440), folds=2)
    assert (found.purge_ms, found.embargo_ms) == (20 * MINUTE_MS, 20 * MINUTE_MS)
    anchored = walked(walk(DAYS * 1_440), folds=2, anchored=True, embargo_ms=0)
    assert [fold.split.train_from_ms for fold in anchored.folds] == [MONDAY_MS, MONDAY_MS]
    assert [f.split.test_from_ms - f.split.train_to_ms for f in anchored.folds] == [20 * MINUTE_MS] * 2
    assert found.folds[1].split.train_from_ms > MONDAY_MS


def test_each_test_is_the_backtest_of_the_choice(walked: Walked, tmp_path: Path) -> None:
    """With a fresh account, on the candles of the test alone."""
    bars = walk(DAYS * 1_440)
    fold = walked(bars).folds[1]
    store(tmp_path / "alone", bars)
    strategy = strategies.load(str(tmp_path / "rule.yaml"), list(fold.params.items()))
    request = Request(
        tmp_path / "alone", "binance_spot", ["AAAUSDT"], from_ms=fold.split.test_from_ms, to_ms=fold.split.test_to_ms
    )
    alone = Backtest(Plan(strategy, request, FREE, gate=False)).run()
    assert fold.tested is not None
    assert list(fold.tested.trades) == list(alone.trades)
    assert fold.tested.equity == alone.equity


def test_a_fold_without_a_choice_trades_nothing(walked: Walked) -> None:
    """Its money lies still; where no fold has one, nothing was found."""

    def none(sweep: Sweep) -> Trials:
        tried = searched(sweep)
        return replace(tried, objective=np.full(len(tried), np.nan))

    found = walked(walk(DAYS * 1_440), search=none)
    assert found.sentence.startswith("Nothing found")
    assert not found.survives
    assert set(found.tested.equity) == {FREE.cash}
    assert found.document()["folds"][0]["params"] == {}
    assert any("not traded" in line for line in found.lines)
