"""Whether the best set of a search would survive: everything that is known of that, and one honest sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isnan, sqrt
from typing import Any

import numpy as np

from tapewatch.model import DAY_MS
from tapewatch.study.backtest import Backtest
from tapewatch.study.bootstrap import Bootstrapped, Interval, bootstrap
from tapewatch.study.deflated import Deflated, deflated
from tapewatch.study.metrics import DAYS_A_YEAR
from tapewatch.study.overfitting import Overfitting, overfitting
from tapewatch.study.permuted import Permuted, permuted
from tapewatch.study.plateau import Plateau, plateau
from tapewatch.study.stability import Part, Stability, stability
from tapewatch.study.sweep import Sweep
from tapewatch.study.trades import columns_of
from tapewatch.study.trials import Trials
from tapewatch.study.words import count

#: What a set must come to: the deflated Sharpe ratio at least, p at most, the probability of overfitting below. Where
#: all sets are as good, and it is chance which of them is best, few of the choices may lose instead.
DEFLATED, P, OVERFIT, LOSES = 0.95, 0.05, 0.5, 0.1
#: Of logits, from -10 to 10, the ends with what is beyond them.
BINS = 40


@dataclass(frozen=True)
class JudgedBy:
    """How a best set is judged.

    Attributes:
        neighbours: of a parameter set, those one step away.
        permutations, bootstraps: how often entries are moved, and trades drawn again.
        seed: of both.
    """

    neighbours: Callable[[Mapping[str, float]], Sequence[Mapping[str, float]]]
    permutations: int = 200
    bootstraps: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class Evidence:
    """What is known of the best set. `step_ms` is how long a step of equity is."""

    step_ms: int
    deflated: Deflated
    overfitting: Overfitting
    permuted: Permuted
    bootstrapped: Bootstrapped
    plateau: Plateau
    stability: Stability


@dataclass(frozen=True)
class Judged:
    """What is to be said of the best of a search.

    Attributes:
        sets: how many were tried.
        evidence: None where no set has an objective.
    """

    sets: int
    evidence: Evidence | None

    @property
    def survives(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons

    @cached_property
    def reasons(self) -> list[str]:
        """What speaks against it, in words."""
        return list(_against(self.evidence))

    @property
    def sentence(self) -> str:
        """The line that comes first."""
        of = f"the best of {count(self.sets, 'set')}"
        if self.evidence is None:
            return f"Nothing found: {'; '.join(self.reasons)}."
        if not self.survives:
            return f"Would not survive, {of} is no better than noise: {'; '.join(self.reasons)}."
        low, high = self.evidence.bootstrapped.expectancy_r[1:]
        return f"May survive, {of} passes every test: {low:+.3f} to {high:+.3f} R a trade in the period searched."

    @property
    def lines(self) -> list[str]:
        """The figures behind it, a line each."""
        return list(_lines(self.evidence)) if self.evidence else []

    def document(self) -> dict[str, Any]:
        """All of it in plain values."""
        said = {"survives": self.survives, "sentence": self.sentence, "reasons": self.reasons, "sets": self.sets}
        return said | (_document(self.evidence) if self.evidence else {})


def judge(sweep: Sweep, trials: Trials, asked: JudgedBy) -> Judged:
    """The best of some trials, judged over the period in which it was searched.

    Raises:
        SetupError: the archive does not hold what is needed.
    """
    best = trials.best
    if best < 0:
        return Judged(len(trials), None)
    params = trials.set_of(best)
    backtest = Backtest(sweep.plan_of(params))
    result = backtest.run()
    blocks = trials.blocks[~np.isnan(trials.objective)]
    one = deflated(result.returns, blocks, len(trials))
    evidence = Evidence(
        step_ms=max(np.diff(result.steps_ms).tolist(), default=DAY_MS),
        deflated=one,
        overfitting=overfitting(blocks),
        permuted=permuted(backtest, result, asked.permutations, asked.seed),
        bootstrapped=bootstrap(columns_of(result.trades), asked.bootstraps, asked.seed),
        plateau=plateau(sweep, one.sharpe, asked.neighbours(params)),
        stability=stability(backtest, result, asked.bootstraps, asked.seed),
    )
    return Judged(len(trials), evidence)


def _against(found: Evidence | None) -> Iterator[str]:
    if found is None:
        yield "no set makes a strategy with enough trades"
        return
    r, choice = found.bootstrapped.expectancy_r, found.overfitting
    if r.high <= 0.0:
        yield f"it loses, {_interval(r, '+.3f')} R a trade"
        return
    if not found.deflated.probability >= DEFLATED:
        yield f"that its Sharpe ratio is more than luck is only {_percent(found.deflated.probability)} sure"
    if not found.permuted.p <= P:
        yield f"its entries do no better than entries at other times (p {_number(found.permuted.p, '.3f')})"
    if len(choice.logits) and not (choice.probability < OVERFIT or choice.loss < LOSES):
        below = _percent(choice.probability)
        yield f"what is best in one half of the period is below the middle in the other in {below} of the cases"
    if not r.low > 0.0:
        yield f"its mean may be 0 or less, {_interval(r, '+.3f')} R a trade"


def _lines(found: Evidence) -> Iterator[str]:
    one, choice, moved, drawn = found.deflated, found.overfitting, found.permuted, found.bootstrapped
    yearly = sqrt(DAYS_A_YEAR * DAY_MS / found.step_ms)
    yield (
        f"  Sharpe     {one.sharpe * yearly:.2f} a year, {one.expected * yearly:.2f} expected of the best of "
        f"{count(one.sets, 'set')} without an edge: {_percent(one.probability)} sure to be more"
    )
    if len(choice.logits):
        yield (
            f"  choice     below the middle in {_percent(choice.probability)} of the other halves of the period, "
            f"loses in {_percent(choice.loss)}"
        )
    if len(moved.drawn):
        yield (
            f"  entries    {moved.expectancy_r:+.3f} R a trade, {_number(moved.elsewhere_r, '+.3f')} R at other times: "
            f"p {moved.p:.3f} of {count(len(moved.drawn), 'draw')}"
        )
    yield (
        f"  trades     {_interval(drawn.expectancy_r, '+.3f')} R, net {_interval(drawn.net, '+,.2f')}, "
        f"profit factor {_interval(drawn.profit_factor, '.2f')}"
    )
    near = found.plateau
    if near.neighbours:
        kept = "" if isnan(near.share) else f": {_percent(near.share)} keep half of its Sharpe ratio"
        yield f"  plateau    {count(len(near.neighbours), 'neighbour')}{kept}"
    yield from _parts(found.stability)


def _parts(found: Stability) -> Iterator[str]:
    won = sum(part.net > 0.0 for part in found.symbols)
    yield (
        f"  symbols    {won} of {len(found.symbols)} won; of the net the best symbol brought "
        f"{_percent(found.largest_symbol)}, the best trade {_percent(found.largest_trade)}"
    )
    for part in (*found.thirds, *found.regimes):
        yield f"  {part.name:<15} {count(part.trades, 'trade'):>13} {_interval(part.expectancy_r, '+.3f')} R"


def _document(found: Evidence) -> dict[str, Any]:
    one, choice, moved, near, parts = (
        found.deflated,
        found.overfitting,
        found.permuted,
        found.plateau,
        found.stability,
    )
    edges = np.linspace(-10.0, 10.0, BINS + 1)
    logits = np.histogram(np.clip(choice.logits, -10.0, 10.0), edges)[0]
    return {
        "step_ms": found.step_ms,
        "deflated_sharpe": one._asdict(),
        "overfitting": {
            "probability": choice.probability,
            "loss": choice.loss,
            "choices": len(choice.logits),
            "logits": {"edges": edges.tolist(), "counts": logits.tolist()},
        },
        "entries": {"expectancy_r": moved.expectancy_r, "p": moved.p, "drawn": moved.drawn.tolist()},
        "trades": {name: value._asdict() for name, value in found.bootstrapped._asdict().items()},
        "plateau": {"share": near.share, "neighbours": [other._asdict() for other in near.neighbours]},
        "stability": {
            **{name: [_part(part) for part in getattr(parts, name)] for name in ("symbols", "regimes", "thirds")},
            "largest_symbol": parts.largest_symbol,
            "largest_trade": parts.largest_trade,
        },
    }


def _part(part: Part) -> dict[str, Any]:
    return part._asdict() | {"expectancy_r": part.expectancy_r._asdict()}


def _interval(of: Interval, form: str) -> str:
    return f"{_number(of.value, form)} ({_number(of.low, form)} to {_number(of.high, form)})"


def _percent(share: float) -> str:
    return "-" if isnan(share) else f"{share:.0%}"


def _number(value: float, form: str) -> str:
    return "-" if isnan(value) else format(value, form)
