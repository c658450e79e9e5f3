"""A search repeated as time goes by: in each fold on the past alone, its choice then traded on what came next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from tapewatch.archive.reader import intervals_of
from tapewatch.errors import SetupError
from tapewatch.model import INTERVALS_MS, NAN
from tapewatch.record import HOUR_MS
from tapewatch.study.backtest import Backtest, Plan, Result
from tapewatch.study.bootstrap import bootstrap
from tapewatch.study.folds import Fold, Moves, WalkForward
from tapewatch.study.membership import within
from tapewatch.study.signals import Request, asked_of, period
from tapewatch.study.splits import Split, splits
from tapewatch.study.sweep import Sweep
from tapewatch.study.trades import Trade, columns_of
from tapewatch.study.trials import Trials
from tapewatch.study.words import moment


def walk_forward(
    sweep_of: Callable[[Request], Sweep],
    request: Request,
    searched: Callable[[Sweep], Trials],
    folds: int,
    *,
    anchored: bool = False,
    embargo_ms: int | None = None,
    bootstraps: int = 1_000,
    seed: int = 0,
) -> WalkForward:
    """Search in the training of each fold, and trade the best set in its test.

    Args:
        sweep_of: what is searched, of a part of the period.
        request: the whole period; no candle after it is read.
        searched: what a search of it tried.
        folds: how many.
        anchored: as `splits.splits`.
        embargo_ms: as `splits.splits`; None is as long as an outcome may take.
        bootstraps: draws for the interval of what was won out of sample.
        seed: of these.

    Raises:
        SetupError: the period is too short, or the archive does not hold what is needed.
    """
    plan = sweep_of(request).plan
    purge_ms = plan.strategy.time_limit * max(INTERVALS_MS[name] for name in asked_of(plan.strategy, request))
    embargo_ms = purge_ms if embargo_ms is None else embargo_ms
    from_ms, to_ms = period([request])
    gaps = {"purge_ms": purge_ms, "embargo_ms": embargo_ms, "whole_ms": _whole_ms(request)}
    parts = splits(from_ms, to_ms, folds, **gaps, anchored=anchored)
    trials, found = [], []
    for split in parts:
        sweep = sweep_of(_within(request, split.train_from_ms, split.train_to_ms))
        trials.append(searched(sweep))
        found.append(_traded(split, sweep, trials[-1], _within(request, split.test_from_ms, split.test_to_ms)))
    tested = _joined([fold.tested for fold in found], parts, plan.account.cash)
    untouched = _joined([fold.untouched for fold in found], parts, plan.account.cash)
    expectancy_r = bootstrap(columns_of(tested.trades), bootstraps, seed).expectancy_r
    return WalkForward(found, purge_ms, embargo_ms, anchored, tested, untouched, expectancy_r, _moves(found, trials))


def _within(request: Request, from_ms: int, to_ms: int) -> Request:
    """A part of the period with the symbols that were there, as if it were the end of all candles."""
    symbols = within(request.root, request.venue, request.symbols, from_ms, to_ms)
    if not symbols:
        raise SetupError(f"--folds: there are no candles from {moment(from_ms)} to {moment(to_ms)}")
    return replace(request, symbols=symbols, from_ms=from_ms, to_ms=to_ms, until_ms=to_ms)


def _whole_ms(request: Request) -> int:
    smallest = (INTERVALS_MS[intervals_of(request.root, request.venue, one)[0]] for one in request.symbols)
    return max(HOUR_MS, *smallest)


def _traded(split: Split, sweep: Sweep, tried: Trials, test: Request) -> Fold:
    def traded(plan: Plan, request: Request) -> Result:
        return Backtest(replace(plan, request=request)).run()

    train = sweep.plan.request
    untouched = traded(sweep.plan, test)
    if tried.best < 0:
        return Fold(split, len(tried), {}, None, None, untouched)
    params = tried.set_of(tried.best)
    chosen = sweep.plan_of(params)
    return Fold(split, len(tried), params, traded(chosen, train), traded(chosen, test), untouched)


def _joined(results: Sequence[Result | None], parts: Sequence[Split], cash: float) -> Result:
    """Tests one after the other as one result; one that is None had its money lie still."""
    trades: list[Trade] = []
    equity, days_ms, skipped = [cash], list[int](), Counter[str]()
    known = [one for one in results if one is not None]
    for one, part in zip(results, parts, strict=True):
        if one is None:
            days_ms.append(part.test_to_ms)
            equity.append(equity[-1])
            continue
        scale = equity[-1] / one.cash
        trades += one.trades
        days_ms += one.days_ms
        equity += [value * scale for value in one.equity[1:]]
        skipped.update(one.skipped)
    lasted = [part.test_to_ms - part.test_from_ms for part in parts]
    exposed = sum(one.exposure * ms for one, ms in zip(results, lasted, strict=True) if one is not None)
    return Result(
        trades=trades,
        still_open=sum(one.still_open for one in known),
        skipped=dict(skipped),
        days_ms=days_ms,
        equity=equity,
        bars=sum(one.bars for one in known),
        cash=cash,
        gross=sum(one.gross for one in known),
        fees=sum(one.fees for one in known),
        funding=sum(one.funding for one in known),
        exposure=exposed / sum(lasted),
    )


def _moves(folds: Sequence[Fold], trials: Sequence[Trials]) -> dict[str, Moves]:
    names, found = trials[0].names, {}
    for place, name in enumerate(names):
        tried = np.concatenate([one.params[:, place] for one in trials])
        values = [fold.params[name] for fold in folds if fold.params]
        steps = np.abs(np.diff(values)) if len(values) > 1 else np.zeros(0)
        wide = float(np.ptp(tried)) if len(tried) else 0.0
        found[name] = Moves(values, float(steps.mean()) / wide if len(steps) and wide > 0.0 else NAN)
    return found
