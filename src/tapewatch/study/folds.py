"""What a walk-forward found: its folds, their tests as one, and what is to be said of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from tapewatch.model import DAY_MS, NAN
from tapewatch.record import HOUR_MS
from tapewatch.study.backtest import Result
from tapewatch.study.bootstrap import Interval
from tapewatch.study.metrics import metrics
from tapewatch.study.splits import Split
from tapewatch.study.words import count, moment

#: Trades out of sample below which nothing is said of what they would go on to bring.
LEAST_TRADES = 30
#: Of a result, what is shown in and out of sample.
SHOWN = ("trades", "net_pct", "expectancy_r", "win_rate_pct", "profit_factor", "sharpe", "max_drawdown_pct")


@dataclass(frozen=True)
class Fold:
    """A search in its training and what its choice came to.

    Attributes:
        split: when.
        sets: how many the search tried.
        params: its choice; empty where no set had an objective, and nothing is traded in the test.
        trained, tested: the choice in either part, each with a fresh account; None without a choice.
        untouched: the strategy with the parameters that it has by itself, in the test.
    """

    split: Split
    sets: int
    params: Mapping[str, float]
    trained: Result | None
    tested: Result | None
    untouched: Result


class Moves(NamedTuple):
    """A parameter's choice in each fold, and how far it goes from fold to fold on the mean, as a share of its range.

    What is chosen blindly goes a third of its range.
    """

    values: Sequence[float]
    share: float


@dataclass(frozen=True)
class WalkForward:
    """All folds, and their tests as one.

    Attributes:
        folds: in the order of time.
        purge_ms, embargo_ms, anchored: how they were split.
        tested, untouched: the tests one after the other, of the choices and of the strategy as it is: closed trades,
            and the equity as if each account had begun with what the one before it ended with.
        expectancy_r: of the trades of the choices, with its interval of 95%.
        parameters: how steady each is.
    """

    folds: Sequence[Fold]
    purge_ms: int
    embargo_ms: int
    anchored: bool
    tested: Result
    untouched: Result
    expectancy_r: Interval
    parameters: Mapping[str, Moves]

    @property
    def survives(self) -> bool:
        """Whether what was won out of sample is more than chance."""
        return len(self.tested.trades) >= LEAST_TRADES and self.expectancy_r.low > 0.0

    @property
    def sentence(self) -> str:
        """The line that comes first."""
        traded, (value, low, high) = count(len(self.tested.trades), "trade"), self.expectancy_r
        if not any(fold.params for fold in self.folds):
            return "Nothing found: in no fold does a set make a strategy with enough trades."
        if len(self.tested.trades) < LEAST_TRADES:
            return f"Does not survive: only {traded} out of sample, too few to say what more of them would bring."
        figures = f"{value:+.3f} R a trade out of sample (95% {low:+.3f} to {high:+.3f}, {traded})"
        if self.survives:
            return f"May survive: {figures}."
        return f"Does not survive: {figures}{', which may be chance' if value > 0.0 else ''}."

    @property
    def efficiency(self) -> float:
        """Growth a day out of sample over growth a day in sample; NaN where nothing was won in sample.

        Source: R. Pardo, The Evaluation and Optimization of Trading Strategies, 2nd ed. 2008, ch. 11.
        """
        within = [_growth(fold.trained, _days(fold.split.train_from_ms, fold.split.train_to_ms)) for fold in self.folds]
        out = [_growth(fold.tested, _days(fold.split.test_from_ms, fold.split.test_to_ms)) for fold in self.folds]
        trained = sum(within) / len(within)
        return sum(out) / len(out) / trained if trained > 0.0 else NAN

    @property
    def lines(self) -> list[str]:
        """The figures behind the sentence, a line each."""
        ways = "from the first candle on" if self.anchored else "half of the period each"
        gap_hours = (self.purge_ms + self.embargo_ms) / HOUR_MS
        lines = [
            f"  folds      {len(self.folds)}, trained {ways}, {gap_hours:.3g} hours before each test",
            f"  in         {_line([_figures(fold.trained) for fold in self.folds])}",
            f"  out        {_line([_figures(self.tested)])}",
            f"  as it is   {_line([_figures(self.untouched)])}, untouched by any search",
            f"  efficiency {_said(self.efficiency, '.2f')}: growth a day out of sample over that in sample",
        ]
        for fold in self.folds:
            chosen = ", ".join(f"{name} {value:g}" for name, value in fold.params.items()) or "no set traded enough"
            lines.append(f"  {moment(fold.split.test_from_ms)}  {_line([_figures(fold.tested)])}; {chosen}")
        lines += [
            f"  {name:<10} goes {of.share:.0%} of its range from fold to fold; 33% is blind"
            for name, of in self.parameters.items()
            if not math.isnan(of.share)
        ]
        return lines

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """All figures of the tests as one."""
        return metrics(self.tested)

    def document(self) -> dict[str, Any]:
        """All of it in plain values."""
        return {
            "survives": self.survives,
            "sentence": self.sentence,
            "anchored": self.anchored,
            "purge_ms": self.purge_ms,
            "embargo_ms": self.embargo_ms,
            "efficiency": self.efficiency,
            "expectancy_r": self.expectancy_r._asdict(),
            "out_of_sample": self.metrics,
            "untouched": _figures(self.untouched),
            "parameters": {
                name: {"values": list(of.values), "moves": of.share} for name, of in self.parameters.items()
            },
            "folds": [_fold(fold) for fold in self.folds],
        }


def _growth(result: Result | None, days: float) -> float:
    """The log of the account's growth, a day; what was not traded did not grow."""
    if result is None:
        return 0.0
    return math.log(max(result.equity[-1] / result.cash, 1e-12)) / days


def _days(from_ms: int, to_ms: int) -> float:
    return (to_ms - from_ms) / DAY_MS


def _figures(result: Result | None) -> dict[str, float]:
    if result is None:
        return {}
    found = metrics(result)
    return {name: found[name] for name in SHOWN}


def _line(parts: Sequence[Mapping[str, float]]) -> str:
    """The main figures of parts that were traded, trades summed and the others as their mean."""
    known = [part for part in parts if part]
    if not known:
        return "not traded"

    def mean(name: str) -> float:
        values = [part[name] for part in known if not math.isnan(part[name])]
        return sum(values) / len(values) if values else NAN

    trades = int(sum(part["trades"] for part in known))
    return (
        f"{count(trades, 'trade')}, net {_said(mean('net_pct'), '+.2f', '%')}, "
        f"{_said(mean('expectancy_r'), '+.3f', ' R')}, Sharpe {_said(mean('sharpe'), '.2f')}, "
        f"drawdown {_said(mean('max_drawdown_pct'), '.2f', '%')}"
    )


def _said(value: float, form: str, unit: str = "") -> str:
    return "-" if math.isnan(value) else f"{value:{form}}{unit}"


def _fold(fold: Fold) -> dict[str, Any]:
    return {
        "train_from_ms": fold.split.train_from_ms,
        "train_to_ms": fold.split.train_to_ms,
        "test_from_ms": fold.split.test_from_ms,
        "test_to_ms": fold.split.test_to_ms,
        "sets": fold.sets,
        "params": dict(fold.params),
        "in_sample": _figures(fold.trained),
        "out_of_sample": _figures(fold.tested),
        "untouched": _figures(fold.untouched),
    }
