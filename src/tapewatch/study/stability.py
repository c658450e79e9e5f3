"""Whether what a strategy won came from everywhere: by symbol, by regime, and by part of the period."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from tapewatch.model import NAN
from tapewatch.strategy.definition import REGIMES
from tapewatch.study.backtest import Backtest, Result
from tapewatch.study.bootstrap import Interval, bootstrap
from tapewatch.study.regimes import regimes_at
from tapewatch.study.trades import Columns, Trades
from tapewatch.study.words import utc

#: Of equal length, into which the period is cut.
THIRDS = 3
#: The name of trades in none of the regimes.
NO_REGIME = "none"


class Part(NamedTuple):
    """Some of the trades: how many, what they brought in quote units, and the mean R with its interval."""

    name: str
    trades: int
    net: float
    expectancy_r: Interval


class Stability(NamedTuple):
    """The trades in parts; those of a regime are in that of another one, too, where both held.

    Attributes:
        symbols, regimes, thirds: parts, symbols and regimes without trades left out.
        largest_symbol, largest_trade: the net of the one that brought most, as a share of the whole net; NaN where that
            is not above 0.
    """

    symbols: list[Part]
    regimes: list[Part]
    thirds: list[Part]
    largest_symbol: float
    largest_trade: float


def stability(backtest: Backtest, result: Result, draws: int, seed: int) -> Stability:
    """Of a backtest's trades, with intervals of so many draws."""
    assert isinstance(result.trades, Trades)
    trades = result.trades.columns
    held = regimes_of(backtest, result.trades)

    def parts(masks: Iterable[tuple[str, Any]]) -> Iterator[Part]:
        for name, mask in masks:
            some = trades.rows(mask)
            yield Part(name, len(some), float(some.net.sum()), bootstrap(some, draws, seed).expectancy_r)

    symbols = list(parts((str(name), trades.symbol == name) for name in np.unique(trades.symbol)))
    net = float(trades.net.sum())
    return Stability(
        symbols=symbols,
        regimes=list(parts((name, mask) for name, mask in held.items() if mask.any())),
        thirds=list(parts(_thirds(trades, backtest))),
        largest_symbol=max(part.net for part in symbols) / net if net > 0.0 else NAN,
        largest_trade=float(trades.net.max()) / net if net > 0.0 else NAN,
    )


def regimes_of(backtest: Backtest, trades: Trades) -> dict[str, Any]:
    """Regime -> which of the trades came of a signal in it."""
    found = backtest.found.rows(np.array(trades.candidates, np.int64))
    strategy, symbols = backtest.plan.strategy, backtest.plan.request.symbols
    named = np.full(len(trades), "", object)
    for number in np.unique(found.symbol).tolist():
        for timeframe, program, frames in backtest.reading.each(symbols[number], {}, {}):
            mine = (found.symbol == number) & (found.timeframe == strategy.timeframes.index(timeframe))
            own = frames[program.interval_ms]
            closes_ms, places = np.unique(found.decided_ms[mine], return_inverse=True)
            rows = np.searchsorted(own.open_ms, closes_ms - own.interval_ms)
            named[mine] = np.array(regimes_at(own, rows, backtest.reading.evaluator), object)[places]
    held = {name: np.array([name in one.split("+") for one in named], np.bool_) for name in REGIMES}
    return held | {NO_REGIME: named == ""}


def _thirds(trades: Columns, backtest: Backtest) -> Iterator[tuple[str, Any]]:
    first_ms = min(int(candles.open_ms[0]) for candles in backtest.candles)
    bounds = np.linspace(first_ms, backtest.days_ms[-1], THIRDS + 1).astype(np.int64)
    for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        yield f"from {utc(begin):%Y-%m-%d}", (trades.entry_ms >= begin) & (trades.entry_ms < end)
