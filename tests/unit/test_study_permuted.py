"""Entries at other times: what stays, where they land, and what that says of noise and of an edge."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_markets import FREE, SALT, hashed, market
from tapewatch.strategy import from_mapping
from tapewatch.study.backtest import Backtest, Plan, Result
from tapewatch.study.candidates import Found
from tapewatch.study.permuted import PARTS, RANGE_BARS, permuted
from tapewatch.study.signals import settled_from_ms
from tapewatch.study.trades import columns_of


def made(root: Path, salt: float, *, edge: float = 0.0, **changes: object) -> tuple[Backtest, Result]:
    """A backtest of random entries, or of those after which prices rise."""
    strategy = from_mapping("hashed", hashed(params={"salt": salt}, **changes))
    backtest = Backtest(Plan(strategy, market(root, 3, edge=edge), FREE))
    return backtest, backtest.run()


def moved(backtest: Backtest, result: Result, draws: int, monkeypatch: pytest.MonkeyPatch) -> list[Found]:
    """The entries of each draw."""
    taken: list[Found] = []

    def traded(self: Backtest, others: Iterable[Found], count: int) -> list[object]:
        taken.extend(others)
        return []

    with monkeypatch.context() as patch:
        patch.setattr(Backtest, "traded", traded)
        permuted(backtest, result, draws, seed=1)
    return taken


def test_nothing_but_the_time_is_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many, as far from stop and target, on settled bars of the same tenth of volatility, in turn."""
    backtest, result = made(tmp_path, 7.0)
    own = backtest.candles[0]
    ends_ms = own.open_ms + own.interval_ms
    before = np.concatenate((own.open[:1], own.close[:-1]))
    true_range = np.maximum(own.high, before) - np.minimum(own.low, before)
    mean = np.array([true_range[max(0, k - RANGE_BARS + 1) : k + 1].mean() for k in range(len(own))])
    _, program, frames = next(iter(backtest.reading.each("AAAUSDT", {}, {})))
    settled = ends_ms >= settled_from_ms(program, frames)
    bounds = np.quantile((mean / own.close)[settled], np.arange(1, PARTS) / PARTS)
    part = dict(zip(ends_ms.tolist(), np.searchsorted(bounds, mean / own.close).tolist(), strict=True))
    entered = backtest.found.rows(np.array(result.trades.candidates))
    ways = np.sort(entered.levels / entered.close[:, None], axis=0)
    shapes = set()
    for found in moved(backtest, result, 20, monkeypatch):
        rows = np.searchsorted(ends_ms, found.decided_ms)
        assert (ends_ms[rows] == found.decided_ms).all()
        assert settled[rows].all()
        assert (found.close == own.close[rows]).all()
        assert (np.diff(found.decided_ms) >= 0).all()
        assert np.sort(found.levels / found.close[:, None], axis=0) == pytest.approx(ways, rel=1e-12)
        assert Counter(map(part.get, found.decided_ms.tolist())) == Counter(map(part.get, entered.decided_ms.tolist()))
        shapes.add(tuple(found.decided_ms.tolist()))
    assert len(shapes) == 20


def test_entries_stay_within_what_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closes from `from_ms` to before `to_ms`."""
    strategy = from_mapping("hashed", hashed())
    request = market(tmp_path, 3)
    first_ms = Backtest(Plan(strategy, request, FREE)).days_ms[0]
    request = replace(request, from_ms=first_ms, to_ms=first_ms + 2 * 86_400_000)
    backtest = Backtest(Plan(strategy, request, FREE))
    for found in moved(backtest, backtest.run(), 10, monkeypatch):
        assert found.decided_ms.min() >= request.from_ms
        assert found.decided_ms.max() < request.to_ms


def test_an_edge_is_in_the_time_of_its_entries_and_noise_is_not(tmp_path: Path) -> None:
    """No draw of an edge does as well; of noise, the share that does is p, with the entries themselves among them."""
    backtest, result = made(tmp_path / "edge", SALT, edge=0.3)
    found = permuted(backtest, result, 99, seed=1)
    assert found.p == 0.01
    assert found.expectancy_r == columns_of(result.trades).r.mean() > found.drawn.max()
    backtest, result = made(tmp_path / "noise", 7.0)
    found = permuted(backtest, result, 99, seed=1)
    assert found.p == (1 + (found.drawn >= found.expectancy_r).sum()) / 100 > 0.05
    assert (permuted(backtest, result, 99, seed=1).drawn == found.drawn).all()
    assert (permuted(backtest, result, 99, seed=2).drawn != found.drawn).any()


def test_the_same_entries_come_to_the_same_trades(tmp_path: Path) -> None:
    """The account of `traded` is that of the run."""
    backtest, result = made(tmp_path, 7.0)
    (again,) = backtest.traded([backtest.found], 1)
    assert (again.r == columns_of(result.trades).r).all()
    assert (again.net == columns_of(result.trades).net).all()


def test_without_trades_there_is_no_p(tmp_path: Path) -> None:
    """Nothing to move."""
    backtest, result = made(tmp_path, 7.0, long={"never": "volume < 0"})
    found = permuted(backtest, result, 10, seed=1)
    assert math.isnan(found.p)
    assert not len(found.drawn)
