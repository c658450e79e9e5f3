"""Two strategies, or one with two parameter sets, over the same candles with the same account, compared step by step.

What one step brings depends on the market of the step, which both have had: so steps are drawn again in pairs, and the
difference is much better known than either of the two. The draws are those of `study.bootstrap`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tapewatch import __version__
from tapewatch.errors import SetupError
from tapewatch.model import DAY_MS, NAN
from tapewatch.study.backtest import Backtest, Plan, Result
from tapewatch.study.bootstrap import Interval, interval, length_of, stationary
from tapewatch.study.document import config_hash, data_hash
from tapewatch.study.metrics import DAYS_A_YEAR, metrics
from tapewatch.study.trades import Columns, columns_of

#: Trades of both together below which nothing is said of which is better.
LEAST_TRADES = 30
#: What is compared, in the order in which it is told; by the first it is decided who is better.
COMPARED = ("net_pct", "expectancy_r", "step_sharpe")
#: What is called no accident.
LEVEL = 0.05

Floats = npt.NDArray[np.float64]


class Difference(NamedTuple):
    """A figure of both, the first's over the second's with its interval of 95%, and how likely it is by accident."""

    a: float
    b: float
    over: Interval
    p: float


class Together(NamedTuple):
    """Trades of the same symbol, side and entry: how many, and their mean R in either; and those of one alone."""

    trades: int
    a_r: float
    b_r: float
    only_a: int
    only_b: int


@dataclass(frozen=True)
class Side:
    """One of the two: its plan, what it came to, and the figures of that."""

    plan: Plan
    result: Result
    trades: Columns
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """What of two is better, and by how much.

    Attributes:
        a, b: the two.
        differences: by the names of `COMPARED`.
        symbols: of each symbol that either traded: trades and net of the first, trades and net of the second.
        days: UTC days on which the first's entries brought more, those on which the second's did, and all with entries.
        together: the trades that both made.
        step_ms: how long a step is.
        hashes: of the candles, and of what was asked of each.
    """

    a: Side
    b: Side
    differences: Mapping[str, Difference]
    symbols: Mapping[str, tuple[int, float, int, float]]
    days: tuple[int, int, int]
    together: Together
    step_ms: int
    hashes: Mapping[str, str]

    @property
    def better(self) -> str:
        """`a`, `b`, or nothing where it cannot be told."""
        _, _, over, p = self.differences[COMPARED[0]]
        if len(self.a.trades) + len(self.b.trades) < LEAST_TRADES or not (p <= LEVEL and over.low * over.high > 0.0):
            return ""
        return "a" if over.value > 0.0 else "b"

    @property
    def sentence(self) -> str:
        """Who is better, or that it cannot be told, with the figures by which it is decided."""
        of_a, of_b, over, p = self.differences[COMPARED[0]]
        trades = len(self.a.trades) + len(self.b.trades)
        figures = (
            f"net {of_a:+.2f}% and {of_b:+.2f}%, {over.value:+.2f} points between them "
            f"(95% {over.low:+.2f} to {over.high:+.2f}, p {p:.3f})"
        )
        if not trades:
            return "it cannot be told which is better: neither traded"
        if self.better:
            lost = ", though both lost" if of_a < 0.0 and of_b < 0.0 else ""
            low, high = self.differences["expectancy_r"].over[1:]
            apart = (
                "" if low * high > 0.0 else "; whether its trades are better, and not only their number, cannot be told"
            )
            return f"{self.better.upper()} is better{lost}: {figures}{apart}"
        few = f"only {trades} trades: " if trades < LEAST_TRADES else ""
        return f"it cannot be told which is better: {few}{figures}"

    def document(self) -> dict[str, Any]:
        """Everything `compare --json` prints."""
        return {
            "better": self.better,
            "sentence": self.sentence,
            "a": _told(self.a),
            "b": _told(self.b),
            "compared": {name: _flat(one) for name, one in self.differences.items()},
            "symbols": {
                name: dict(zip(("a_trades", "a_net", "b_trades", "b_net"), of, strict=True))
                for name, of in self.symbols.items()
            },
            "days": dict(zip(("a_ahead", "b_ahead", "with_entries"), self.days, strict=True)),
            "together": self.together._asdict(),
            "step_ms": self.step_ms,
            "hashes": dict(self.hashes),
        }


def compare(
    plans: tuple[Plan, Plan], draws: int, seed: int, progress: Callable[[], None] = lambda: None, workers: int = 1
) -> Comparison:
    """Trade both, on the symbols that both watch, and draw their steps again so many times.

    Args:
        plans: the two; they differ in nothing but their strategies.
        draws: how often.
        seed: the same gives the same again.
        progress: called after each symbol of each.
        workers: processes that look for signals.

    Raises:
        SetupError: no symbol is watched by both, or the archive does not hold what is needed.
    """
    first, second = _same_ground(*plans)
    tried = [Backtest(plan, progress, workers) for plan in (first, second)]
    a, b = (_side(backtest) for backtest in tried)
    return Comparison(
        a,
        b,
        differences(a, b, tried[0].ground.step_ms, draws, seed),
        _by_symbol(a.trades, b.trades),
        _by_day(a.trades, b.trades),
        _together(a.trades, b.trades),
        tried[0].ground.step_ms,
        {
            "data": data_hash(tried[0].ground),
            "config_a": config_hash(first),
            "config_b": config_hash(second),
            "version": __version__,
        },
    )


def differences(a: Side, b: Side, step_ms: int, draws: int, seed: int) -> dict[str, Difference]:
    """The figures of both and their differences. The same draws are made of both, with the R of a step's entries."""
    both = _steps(a), _steps(b)
    count, rng = len(both[0]), np.random.default_rng(seed)
    drawn = [np.bincount(stationary(count, _length(a, b, step_ms), rng), minlength=count) for _ in range(draws)]
    weights = np.array([np.ones(count), *drawn])
    of_a, of_b = (_figures(weights @ steps, count, math.sqrt(DAYS_A_YEAR * DAY_MS / step_ms)) for steps in both)
    found = {}
    for name, own, other in zip(COMPARED, of_a, of_b, strict=True):
        over = own - other
        found[name] = Difference(
            float(own[0]), float(other[0]), Interval(float(over[0]), *interval(over[1:])), _p(over[1:])
        )
    return found


def _steps(side: Side) -> Floats:
    """A row for each step: the log of its growth, its return and the square; the R and the count of its entries."""
    returns, trades = side.result.returns, side.trades
    rows = np.searchsorted(side.result.steps_ms, trades.entry_ms, side="right")
    grown = np.log1p(np.maximum(returns, -1.0 + 1e-12))
    known = [np.bincount(rows, weights, minlength=len(returns)) for weights in (trades.r, np.ones(len(trades)))]
    return np.column_stack((grown, returns, returns**2, *known))


def _figures(sums: Floats, count: int, yearly: float) -> Floats:
    """A row for each of `COMPARED`, of rows of sums over the steps."""
    grown, returns, squares, r, trades = sums.T
    mean = returns / count
    spread = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    with np.errstate(invalid="ignore", divide="ignore"):
        sharpe = np.where(spread > 0.0, mean / spread * yearly, NAN)
        return np.array([np.expm1(grown) * 100, np.where(trades > 0.0, r / trades, NAN), sharpe])


def _length(a: Side, b: Side, step_ms: int) -> float:
    """The mean length of blocks in steps: not shorter than what a trade of either lasts on the mean."""
    held_ms = [float((one.trades.exit_ms - one.trades.entry_ms).mean()) for one in (a, b) if len(one.trades)]
    return max(length_of(len(a.result.returns)), max(held_ms, default=0.0) / step_ms)


def _p(over: Floats) -> float:
    """How likely a difference is by accident, two-sided: twice the share of draws beyond nothing, one more counted."""
    known = over[~np.isnan(over)]
    if not len(known):
        return NAN
    fewer = min(int((known <= 0.0).sum()), int((known >= 0.0).sum()))
    return min(1.0, 2.0 * (1 + fewer) / (1 + len(known)))


def _same_ground(a: Plan, b: Plan) -> tuple[Plan, Plan]:
    both = [symbol for symbol in a.request.symbols if symbol in set(b.request.symbols)]
    if not both:
        raise SetupError(f"--symbols: {a.strategy.name} and {b.strategy.name} watch none of them both")
    first, second = (replace(plan, request=replace(plan.request, symbols=both)) for plan in (a, b))
    return first, second


def _side(backtest: Backtest) -> Side:
    result = backtest.run()
    return Side(backtest.plan, result, columns_of(result.trades), metrics(result))


def _told(side: Side) -> dict[str, Any]:
    strategy = side.plan.strategy
    figures = {name: value for name, value in side.metrics.items() if isinstance(value, int | float)}
    return {"strategy": strategy.name, "params": dict(strategy.params), "metrics": figures}


def _flat(one: Difference) -> dict[str, float]:
    return {
        "a": one.a,
        "b": one.b,
        "difference": one.over.value,
        "low": one.over.low,
        "high": one.over.high,
        "p": one.p,
    }


def _by_symbol(a: Columns, b: Columns) -> dict[str, tuple[int, float, int, float]]:
    found = {}
    for name in sorted({*a.symbol.tolist(), *b.symbol.tolist()}):
        of_a, of_b = a.net[a.symbol == name], b.net[b.symbol == name]
        found[name] = (len(of_a), float(of_a.sum()), len(of_b), float(of_b.sum()))
    return found


def _by_day(a: Columns, b: Columns) -> tuple[int, int, int]:
    days, place = np.unique(np.concatenate((a.entry_ms, b.entry_ms)) // DAY_MS, return_inverse=True)
    net = np.bincount(place, np.concatenate((a.net, -b.net)), minlength=len(days))
    return int((net > 0.0).sum()), int((net < 0.0).sum()), len(days)


def _together(a: Columns, b: Columns) -> Together:
    of_a, of_b = _entries(a), _entries(b)
    both = of_a.keys() & of_b.keys()
    mean_a, mean_b = (math.fsum(of[key] for key in both) / len(both) if both else NAN for of in (of_a, of_b))
    return Together(len(both), mean_a, mean_b, len(of_a) - len(both), len(of_b) - len(both))


def _entries(trades: Columns) -> dict[tuple[str, str, int], float]:
    keys = zip(trades.symbol.tolist(), trades.side.tolist(), trades.entry_ms.tolist(), strict=True)
    return dict(zip(keys, trades.r.tolist(), strict=True))
