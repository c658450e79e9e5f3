"""What the same entries would have brought at other times: whether it matters when a strategy enters.

All entries are moved by the same share of the history, from its end on to its begin, so that those that came together
still do. Each lands on a settled bar of its symbol that was as volatile as its own, and keeps its side, its share of
the account, and the ways to stop and targets as shares of the price: nothing but the time is another one.

Source of p: B. Phipson and G. K. Smyth, Permutation p-values should never be zero, Statistical Applications in Genetics
and Molecular Biology 9 (2010) 39.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tapewatch.archive.candles import Candles, Floats, Times
from tapewatch.model import NAN
from tapewatch.study.backtest import Backtest, Result
from tapewatch.study.candidates import Found, in_turn
from tapewatch.study.signals import NEVER_MS, settled_from_ms
from tapewatch.study.trades import Trades, columns_of

#: Bars whose mean true range says how volatile a bar was, and into how many equal parts bars are sorted by it.
RANGE_BARS, PARTS = 14, 10


class Permuted(NamedTuple):
    """What moved entries brought.

    Attributes:
        expectancy_r: the mean R of the closed trades as they were.
        drawn: the same of each draw, NaN where none closed.
        p: how often entries at other times do as well, (1 + those that did) / (1 + draws); NaN without trades.
    """

    expectancy_r: float
    drawn: Floats
    p: float

    @property
    def elsewhere_r(self) -> float:
        """The mean of the draws in which something closed, NaN where there is none."""
        return _mean(self.drawn[~np.isnan(self.drawn)])


def permuted(backtest: Backtest, result: Result, draws: int, seed: int) -> Permuted:
    """Of so many draws, with the account of the backtest; the gate is not asked about them again."""
    assert isinstance(result.trades, Trades)
    if not len(result.trades):
        return Permuted(NAN, np.zeros(0), NAN)
    entered = backtest.found.rows(np.array(result.trades.candidates, np.int64))
    shifts = np.random.default_rng(seed).random(draws)
    drawn = np.array([_mean(trades.r) for trades in backtest.traded(_moved(backtest, entered, shifts), draws)])
    own = _mean(columns_of(result.trades).r)
    return Permuted(own, drawn, float(1 + (~(drawn < own)).sum()) / (1 + draws))


def _moved(backtest: Backtest, entered: Found, shifts: Floats) -> Iterator[Found]:
    """The entries, moved by each of these shares of the history."""
    strategy, request = backtest.plan.strategy, backtest.plan.request
    closes_ms = np.tile(entered.decided_ms, (len(shifts), 1))
    close = np.tile(entered.close, (len(shifts), 1))
    for number in np.unique(entered.symbol).tolist():
        for timeframe, program, frames in backtest.reading.each(request.symbols[number], {}, {}):
            mine = (entered.symbol == number) & (entered.timeframe == strategy.timeframes.index(timeframe))
            own = frames[program.interval_ms]
            ends_ms = own.open_ms + own.interval_ms
            settled_ms = settled_from_ms(program, frames)
            asked = ends_ms >= max(settled_ms, request.from_ms or settled_ms)
            asked &= ends_ms < (NEVER_MS if request.to_ms is None else request.to_ms)
            rows = _drawn(own, np.flatnonzero(asked), np.searchsorted(ends_ms, entered.decided_ms[mine]), shifts)
            closes_ms[:, mine], close[:, mine] = ends_ms[rows], own.close[rows]
    for k in range(len(shifts)):
        scale = (close[k] / entered.close)[:, None]
        levels, moves = entered.levels * scale, entered.moves * scale
        moved = entered._replace(decided_ms=closes_ms[k], close=close[k], levels=levels, moves=moves)
        yield in_turn(moved, strategy, request.symbols)


def _drawn(own: Candles, settled: Times, rows: Times, shifts: Floats) -> Times:
    """For each shift a row of bars: as far on among the settled ones that are as volatile as those in `rows`."""
    found = np.tile(rows, (len(shifts), 1))
    if not len(settled):
        return found
    volatility = _volatility(own)
    part = np.searchsorted(np.quantile(volatility[settled], np.arange(1, PARTS) / PARTS), volatility)
    for number in np.unique(part[rows]).tolist():
        alike, mine = settled[part[settled] == number], part[rows] == number
        steps = (shifts * len(alike)).astype(np.int64)[:, None]
        if len(alike):
            found[:, mine] = alike[(np.searchsorted(alike, rows[mine]) + steps) % len(alike)]
    return found


def _volatility(own: Candles) -> Floats:
    """The mean true range of each bar and those before it, as a share of its close."""
    before = np.concatenate((own.open[:1], own.close[:-1]))
    reach = np.cumsum(np.maximum(own.high, before) - np.minimum(own.low, before))
    reach[RANGE_BARS:] -= reach[:-RANGE_BARS].copy()
    return reach / np.minimum(np.arange(1, len(own) + 1), RANGE_BARS) / own.close


def _mean(r: Floats) -> float:
    return float(r.mean()) if len(r) else NAN
