"""A search for the parameters that make a figure large: what is tried next, what is given up, and what it came to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from tapewatch.errors import SetupError
from tapewatch.model import NAN
from tapewatch.strategy.expression import did_you_mean
from tapewatch.study.backtest import Result
from tapewatch.study.metrics import figures
from tapewatch.study.signals import Request, period
from tapewatch.study.space import Space
from tapewatch.study.sweep import BLOCKS, Sweep, Tried
from tapewatch.study.trials import Trials

if TYPE_CHECKING:
    import optuna

Sampler = Literal["tpe", "random", "grid"]
#: A parameter set as the values of the parameters in a space's order.
Row = tuple[float, ...]

#: Sets that are drawn before any of them is learnt from. It depends on nothing, so that the answer does not either.
BATCH = {"tpe": 50, "random": 1_000, "grid": 1_000}
#: Of the period, the first part after which sets are given up.
FIRST_PART = 0.25
#: Figures that are better small.
SMALL = frozenset({"max_drawdown_pct", "max_drawdown_days", "fees", "fees_quote", "ambiguous", "still_open"})

TOO_FEW = "too few trades"
GIVEN_UP = "below the median of the first part"
NO_FIGURE = "has no such figure"


@dataclass(frozen=True)
class Asked:
    """How a search is made; `workers` alone changes nothing of what it finds.

    Attributes:
        objective: the figure that is made large, or small where it is one of `SMALL` or has a `-` before it.
        trials: sets that are drawn; what is drawn twice is tried once.
        sampler: tree-structured Parzen estimator, at random, or every set of the space.
        seed: of the first two.
        min_trades: with fewer a set has no objective.
        prune: whether sets are given up that did badly in the first part of the period.
        workers: processes that try sets.
    """

    objective: str = "sharpe"
    trials: int = 200
    sampler: Sampler = "tpe"
    seed: int = 0
    min_trades: int = 30
    prune: bool = False
    workers: int = 1

    @property
    def figure(self) -> str:
        """The objective's name without its sign."""
        return self.objective.removeprefix("-")

    @property
    def sign(self) -> int:
        """-1 where the figure is made small."""
        return -1 if self.objective.startswith("-") or self.figure in SMALL else 1


class Outcome(msgspec.Struct, frozen=True):
    """What came of a set.

    Attributes:
        row: its values.
        why: it has no objective; empty where it has one.
        objective: what is made large, NaN where there is none.
        trades: how many there were over the whole period.
        first: the objective over the first part of the period, NaN where that was not asked for or has none.
        blocks: as `Tried.blocks`, empty where the set was not tried to the end.
    """

    row: Row
    why: str
    objective: float
    trades: int
    first: float
    blocks: list[list[float]]


def search(
    sweep: Sweep,
    space: Space,
    asked: Asked,
    progress: Callable[[], None] = lambda: None,
    known: MutableMapping[Row, Outcome] | None = None,
) -> Trials:
    """What was tried, each set once, in the order in which it was drawn first.

    The same arguments give the same trials, whatever the workers, and whatever of it is `known` already.

    Args:
        sweep: what tries sets.
        space: what is tried.
        asked: how.
        progress: called after each set.
        known: what came of sets; those in it are not tried again, others are added.

    Raises:
        SetupError: there is no such figure, the grid has more sets than are asked for, or candles are missing.
    """
    check(space, asked)
    drawn: dict[Row, Outcome] = {}
    known = {} if known is None else known
    runner = _Runner(sweep, space, asked, known, progress)
    drawing = _grid(space) if asked.sampler == "grid" else _sampled(space, asked, drawn)
    for rows in drawing:
        fresh = [row for row in dict.fromkeys(rows) if row not in drawn]
        drawn.update(zip(fresh, runner.outcomes(fresh), strict=True))
        for _ in range(len(rows) - len(fresh)):
            progress()
    return _trials(space, list(drawn.values()))


def draws(space: Space, asked: Asked) -> int:
    """How many sets a search draws."""
    return int(space.size) if asked.sampler == "grid" else asked.trials


def check(space: Space, asked: Asked) -> None:
    """Raises SetupError where a search cannot be made so."""
    names = _figures()
    if asked.figure not in names:
        has = did_you_mean(asked.figure, names) or f"; there are {', '.join(names)}"
        raise SetupError(f"--objective: no figure {asked.figure!r}{has}")
    if asked.sampler == "grid" and space.size > asked.trials:
        has = f"{space.size:,.0f} sets" if math.isfinite(space.size) else "no end, for a range has no steps"
        raise SetupError(f"--sampler: the grid has {has}; --trials is {asked.trials:,}")


class _Runner:
    """Sweep the sets of one batch after another."""

    def __init__(
        self,
        sweep: Sweep,
        space: Space,
        asked: Asked,
        known: MutableMapping[Row, Outcome],
        progress: Callable[[], None],
    ) -> None:
        self._sweep, self._space, self._asked, self._known, self._progress = sweep, space, asked, known, progress
        self._firsts: list[float] = []
        self._early = sweep.over(first_part_of(sweep.plan.request)) if asked.prune else None

    def outcomes(self, rows: Sequence[Row]) -> Iterator[Outcome]:
        """Of each of a batch. What is given up is below the median of all first parts so far, this batch's too."""
        firsts = self._first(rows)
        self._firsts += [first for first in firsts if not math.isnan(first)]
        least = median(self._firsts) if self._firsts else NAN
        asked = [row for row, first in zip(rows, firsts, strict=True) if row not in self._known and not first < least]
        whole = self._tried(self._sweep, asked)
        for row, first in zip(rows, firsts, strict=True):
            if row not in self._known:
                given_up = first < least
                self._known[row] = (
                    Outcome(row, GIVEN_UP, NAN, 0, first, []) if given_up else self._outcome(row, next(whole), first)
                )
            yield self._known[row]
            self._progress()

    def _first(self, rows: Sequence[Row]) -> list[float]:
        """The objective over the first part of the period, NaN where it has none or is not asked for."""
        if self._early is None:
            return [NAN] * len(rows)
        fewest = self._asked.min_trades * FIRST_PART
        tried = self._tried(self._early, [row for row in rows if row not in self._known])
        return [self._known[row].first if row in self._known else self._judged(next(tried), fewest)[1] for row in rows]

    def _tried(self, sweep: Sweep, rows: Sequence[Row]) -> Iterator[Tried]:
        sets = [dict(zip(self._space.names, row, strict=True)) for row in rows]
        return sweep.tried(sets, self._asked.workers) if sets else iter(())

    def _outcome(self, row: Row, tried: Tried, first: float) -> Outcome:
        why, objective = self._judged(tried, self._asked.min_trades)
        return Outcome(row, why, objective, int(tried.figures.get("trades", 0)), first, tried.blocks.tolist())

    def _judged(self, tried: Tried, fewest: float) -> tuple[str, float]:
        """Why it has no objective, and what is made large."""
        if tried.refused:
            return tried.refused, NAN
        if tried.figures["trades"] < fewest:
            return TOO_FEW, NAN
        objective = self._asked.sign * tried.figures[self._asked.figure]
        return (NO_FIGURE, NAN) if math.isnan(objective) else ("", objective)


def first_part_of(request: Request) -> Request:
    """The first `FIRST_PART` of what a request spans, and nothing that comes later. Raises SetupError."""
    first_ms, end_ms = period([request])
    to_ms = first_ms + round((end_ms - first_ms) * FIRST_PART)
    return replace(request, to_ms=to_ms, until_ms=to_ms)


def _grid(space: Space) -> Iterator[list[Row]]:
    rows = [tuple(one.values()) for one in space.every()]
    for start in range(0, len(rows), BATCH["grid"]):
        yield rows[start : start + BATCH["grid"]]


def _sampled(space: Space, asked: Asked, drawn: Mapping[Row, Outcome]) -> Iterator[list[Row]]:
    """Batches that a sampler draws; what came of one is looked up in `drawn` before the next.

    Each batch has a sampler of its own, seeded by its number: what is drawn depends on what was learnt, and on nothing
    else. A range with steps is drawn by the place of a value in it, so that near values are near.
    """
    import optuna
    from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    makes = optuna.samplers.TPESampler if asked.sampler == "tpe" else optuna.samplers.RandomSampler
    study = optuna.create_study(direction="maximize")
    spread: dict[str, BaseDistribution] = {
        name: IntDistribution(0, len(one.values) - 1) if one.values else FloatDistribution(one.low, one.high)
        for name, one in space.ranges.items()
    }
    size = BATCH[asked.sampler]
    for start in range(0, asked.trials, size):
        study.sampler = makes(seed=int(np.random.SeedSequence([asked.seed, start]).generate_state(1)[0]))
        trials = [study.ask(spread) for _ in range(min(size, asked.trials - start))]
        rows = [_row(space, trial.params) for trial in trials]
        yield rows
        for trial, row in zip(trials, rows, strict=True):
            _tell(study, trial, drawn[row])


def _row(space: Space, drawn: Mapping[str, float]) -> Row:
    return tuple(one.values[int(drawn[name])] if one.values else drawn[name] for name, one in space.ranges.items())


def _tell(study: optuna.Study, trial: optuna.Trial, outcome: Outcome) -> None:
    """A set without an objective is as bad as can be: a sampler that heard nothing of it would draw its like again."""
    from optuna.trial import TrialState

    if outcome.why == GIVEN_UP:
        trial.report(outcome.first, 1)
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, -math.inf if outcome.why else outcome.objective)


def _trials(space: Space, outcomes: Sequence[Outcome]) -> Trials:
    none = np.zeros((BLOCKS, 3)).tolist()
    return Trials(
        names=space.names,
        params=np.array([one.row for one in outcomes], np.float64).reshape(len(outcomes), len(space.names)),
        objective=np.array([one.objective for one in outcomes], np.float64),
        trades=np.array([one.trades for one in outcomes], np.int64),
        blocks=np.array([one.blocks or none for one in outcomes], np.float64).reshape(len(outcomes), BLOCKS, 3),
        why=[one.why for one in outcomes],
    )


def _figures() -> list[str]:
    """Names of all that an objective may be."""
    nothing = Result([], 0, {}, [0], [1.0, 1.0], 0, 1.0, 0.0, 0.0, 0.0, 0.0)
    return list(figures(nothing))
