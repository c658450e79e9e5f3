"""A search with everything that says how far its best is to be believed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import isnan
from typing import Any

from tapewatch import __version__
from tapewatch.study.backtest import Backtest, Result
from tapewatch.study.bootstrap import Interval, bootstrap
from tapewatch.study.document import config_hash, data_hash
from tapewatch.study.folds import WalkForward
from tapewatch.study.ground import Ground
from tapewatch.study.holdout import Holdout, Opening, Register, said
from tapewatch.study.judgement import Judged, JudgedBy, judge
from tapewatch.study.metrics import figures
from tapewatch.study.search import GIVEN_UP, NO_FIGURE, TOO_FEW, Asked, Outcome, Row, draws, search
from tapewatch.study.signals import Request
from tapewatch.study.space import Space
from tapewatch.study.sweep import Sweep
from tapewatch.study.trades import columns_of
from tapewatch.study.trials import Trials
from tapewatch.study.walkforward import walk_forward
from tapewatch.study.words import count, moment

Known = Callable[[Request], MutableMapping[Row, Outcome]]


@dataclass(frozen=True)
class Doubts:
    """What a best set is put to: folds of the walk-forward, 0 for none; times that entries are moved."""

    folds: int = 4
    permutations: int = 200


@dataclass(frozen=True)
class Unseen:
    """What the best set came to in what was held out, and who had looked there before."""

    result: Result
    expectancy_r: Interval
    earlier: list[Opening]

    @property
    def survives(self) -> bool:
        """Whether it won anything there at all."""
        return self.expectancy_r.value > 0.0


@dataclass(frozen=True)
class Optimized:
    """A search, judged.

    Attributes:
        sweep: what was searched.
        asked: how.
        drawn: sets, some of them perhaps more than once.
        trials: what was tried.
        default: the figures of the strategy with the parameters that it has by itself.
        best: those of the best set, empty where there is none.
        judged: what its own period says of it.
        walk: what searching as time goes by had brought; None where that was not asked for.
        holdout: what was held out; None where nothing was.
        unseen: what the best came to there; None as long as it was not opened.
    """

    sweep: Sweep
    asked: Asked
    drawn: int
    trials: Trials
    default: Mapping[str, float]
    best: Mapping[str, float]
    judged: Judged
    walk: WalkForward | None
    holdout: Holdout | None = None
    unseen: Unseen | None = None

    @property
    def survives(self) -> bool:
        """Whether nothing speaks against the best set."""
        walked, seen = self.walk is None or self.walk.survives, self.unseen is None or self.unseen.survives
        return self.judged.survives and walked and seen

    @property
    def sentence(self) -> str:
        """The line that comes first."""
        if self.unseen is not None and self.judged.survives and not self.unseen.survives:
            value = self.unseen.expectancy_r.value
            brought = "it does not trade" if isnan(value) else f"{_said(value, '+.3f', ' R')} a trade"
            return f"Does not survive: {brought} in what was held out."
        if self.walk is not None and self.judged.survives and not self.walk.survives:
            return self.walk.sentence
        return self.judged.sentence

    @cached_property
    def params(self) -> dict[str, float]:
        """The best set, empty where there is none."""
        return self.trials.set_of(self.trials.best) if self.trials.best >= 0 else {}

    @property
    def counts(self) -> dict[str, int]:
        """Of the sets: those that make no strategy, trade too little, have no such figure, were given up."""
        why = list(self.trials.why)
        named = {"too_few_trades": TOO_FEW, "without_figure": NO_FIGURE, "pruned": GIVEN_UP}
        counted = {name: why.count(text) for name, text in named.items()}
        return {"refused": sum(map(bool, why)) - sum(counted.values()), **counted}

    @property
    def lines(self) -> list[str]:
        """All that is known, a line each."""
        return list(self._lines())

    def _lines(self) -> Iterator[str]:
        asked, trials = self.asked, self.trials
        words = {
            "refused": "make no strategy",
            "too_few_trades": "trade too little",
            "without_figure": f"have no {asked.figure}",
            "pruned": "given up",
        }
        left = [f"{number:,} {words[name]}" for name, number in self.counts.items() if number]
        yield (
            f"{self.sweep.plan.strategy.name}: {count(self.drawn, 'set')} drawn by {asked.sampler}, "
            f"{len(trials):,} tried" + (f"; {', '.join(left)}" if left else "")
        )
        if self.params:
            yield f"  best       {', '.join(f'{name} {value:g}' for name, value in self.params.items())}"
            yield f"  {asked.figure:<10} {_said(self.best[asked.figure])}; {_said(self.default[asked.figure])} as it is"
            yield f"  in sample  {_shown(self.best)}"
        yield f"  as it is   {_shown(self.default)}"
        yield from self.judged.lines
        if self.walk is not None:
            yield f"Walk-forward. {self.walk.sentence}"
            yield from self.walk.lines
        if self.holdout is not None:
            yield from self._held_out(self.holdout)

    def _held_out(self, holdout: Holdout) -> Iterator[str]:
        part = f"{moment(holdout.from_ms)} to {moment(holdout.to_ms)}"
        if self.unseen is None:
            yield f"Held out {part}: not read."
            return
        yield f"Held out {part}: {said(self.unseen.earlier)}."
        yield f"  unseen     {_shown(figures(self.unseen.result))}"
        told = [_said(one, "+.3f") for one in self.unseen.expectancy_r]
        yield f"  expectancy {told[0]} R a trade ({told[1]} to {told[2]})"

    def document(self) -> dict[str, Any]:
        """All of it in plain values."""
        plan, trials = self.sweep.plan, self.trials
        found = {"params": self.params, "objective": float(trials.objective[trials.best]), "figures": dict(self.best)}
        return {
            "strategy": plan.strategy.name,
            "survives": self.survives,
            "sentence": self.sentence,
            "objective": self.asked.objective,
            "best": found if self.params else None,
            "default": {"params": dict(plan.strategy.params), "figures": dict(self.default)},
            "sampler": self.asked.sampler,
            "seed": self.asked.seed,
            "drawn": self.drawn,
            "trials": len(trials),
            **self.counts,
            "honesty": self.judged.document(),
            "walk_forward": None if self.walk is None else self.walk.document(),
            "holdout": self._holdout(),
            "hashes": {
                "data": data_hash(Ground.of(plan.request, plan.account)),
                "config": config_hash(plan),
                "version": __version__,
            },
        }

    def _holdout(self) -> dict[str, Any] | None:
        if self.holdout is None:
            return None
        found: dict[str, Any] = {"from_ms": self.holdout.from_ms, "to_ms": self.holdout.to_ms, "opened": None}
        if self.unseen is not None:
            found["opened"] = {
                "before": len(self.unseen.earlier),
                "said": said(self.unseen.earlier),
                "figures": figures(self.unseen.result),
                "expectancy_r": self.unseen.expectancy_r._asdict(),
            }
        return found


def optimize(
    sweep: Sweep,
    space: Space,
    asked: Asked,
    doubts: Doubts,
    progress: Callable[[], None] = lambda: None,
    known: Known = lambda _: {},
) -> Optimized:
    """Search, and judge the best set that was found.

    Args:
        sweep: what is searched; what its request does not reach to is read by nothing.
        space: what is tried.
        asked: how; the seed is also that of what is drawn for its judgement.
        doubts: what the best is put to.
        progress: called after each draw of the search and of each fold's.
        known: of a request, what came of sets over it.

    Raises:
        SetupError: what is asked for cannot be searched, or the archive does not hold what is needed.
    """

    def searched(part: Sweep) -> Trials:
        return search(part, space, asked, progress, known(part.plan.request))

    trials = searched(sweep)
    sets = [{}] if trials.best < 0 else [{}, trials.set_of(trials.best)]
    default, *best = (tried.figures for tried in sweep.tried(sets))
    by = JudgedBy(space.neighbours, doubts.permutations, seed=asked.seed)
    return Optimized(
        sweep=sweep,
        asked=asked,
        drawn=draws(space, asked),
        trials=trials,
        default=default,
        best=best[0] if best else {},
        judged=judge(sweep, trials, by),
        walk=walk_forward(sweep.over, sweep.plan.request, searched, doubts.folds, seed=asked.seed)
        if doubts.folds
        else None,
    )


def opened(found: Optimized, register: Register, now_ms: int) -> Optimized:
    """With what the best set comes to in what was held out; without one of these two there is nothing to look at.

    The register has the opening before anything is read. Raises SetupError.
    """
    holdout = found.holdout
    if holdout is None or not found.params:
        return found
    plan = found.sweep.plan_of(found.params)
    request = holdout.unseen
    opening = Opening(
        opened_ms=now_ms,
        venue=request.venue,
        symbols=tuple(request.symbols),
        from_ms=holdout.from_ms,
        to_ms=holdout.to_ms,
        strategy=plan.strategy.name,
        params=dict(plan.strategy.params),
    )
    earlier = register.open(opening)
    result = Backtest(replace(plan, request=request)).run()
    interval = bootstrap(columns_of(result.trades), 1_000, found.asked.seed).expectancy_r
    return replace(found, unseen=Unseen(result, interval, earlier))


def _shown(of: Mapping[str, float]) -> str:
    return (
        f"{count(int(of['trades']), 'trade')}, net {_said(of['net_pct'], '+,.2f', '%')}, "
        f"{_said(of['expectancy_r'], '+.3f', ' R')}, Sharpe {_said(of['sharpe'])}, "
        f"drawdown {_said(of['max_drawdown_pct'], ',.2f', '%')}"
    )


def _said(value: float, form: str = ",.2f", unit: str = "") -> str:
    return "-" if isnan(value) else f"{value:{form}}{unit}"
