"""How good the scores of a model were: Brier score against the hit rate, reliability, precision, all on later signals.

The yardstick is the Brier score p (1 - p) of telling each signal the hit rate p that these very signals turned out to
have: no constant does better, though nobody could know it before. Its source, and that of the skill score
1 - brier / yardstick: G. W. Brier, Verification of forecasts expressed in terms of probability, Monthly Weather Review
78 (1950) 1-3. Signals come in bunches, over time and over symbols, so that the interval is of a bootstrap that draws
whole stretches of time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tapewatch.errors import SetupError
from tapewatch.record import Sums
from tapewatch.scoring import Bin, Judged
from tapewatch.study.examples import Examples

#: Stretches of time that are drawn whole, and how often as many of them are drawn.
STRETCHES, DRAWS = 20, 2_000
DECILES = 10


def judged_on(examples: Examples, told: Any, threshold: float, cost_bps: float, seed: int) -> Judged:
    """How the scores that were told of examples did, of which there is at least one.

    Raises:
        SetupError: the examples' time is too short for an interval.
    """
    hit, kept = examples.hit.astype(np.float64), told >= threshold
    skill, low, high = skill_of(examples, told, seed)
    rate = hit.mean()
    return Judged(
        from_ms=int(examples.close_ms[0]),
        to_ms=int(examples.close_ms[-1]),
        n=examples.n,
        hits=int(hit.sum()),
        brier=float(((told - hit) ** 2).mean()),
        base_brier=float(rate * (1.0 - rate)),
        skill=skill,
        skill_low=low,
        skill_high=high,
        kept=int(kept.sum()),
        kept_hits=int(hit[kept].sum()),
        net_r=net_r(examples, cost_bps),
        kept_net_r=net_r(examples.rows(kept), cost_bps),
        deciles=deciles(told, hit),
    )


def skill_of(examples: Examples, told: Any, seed: int) -> tuple[float, float, float]:
    """The Brier skill score and its interval at 95%: percentiles over draws of stretches of time, with replacement."""
    first_ms, last_ms = int(examples.close_ms[0]), int(examples.close_ms[-1])
    length_ms = (last_ms - first_ms) // STRETCHES + 1
    lasted_ms = (examples.known_ms - examples.close_ms).mean()
    if length_ms < lasted_ms:
        raise SetupError("the judged signals span too short a time beside what they took to end: take more time")
    stretch = (examples.close_ms - first_ms) // length_ms
    hit = examples.hit.astype(np.float64)
    columns = (hit.mean() - hit) ** 2, (told - hit) ** 2
    sums = np.column_stack([np.bincount(stretch, column, minlength=STRETCHES) for column in columns])
    random = np.random.default_rng(seed)
    drawn = random.multinomial(STRETCHES, np.full(STRETCHES, 1.0 / STRETCHES), DRAWS) @ sums
    low, high = np.percentile(_skill(drawn), [2.5, 97.5])
    return float(_skill(sums.sum(axis=0, keepdims=True))[0]), float(low), float(high)


def _skill(sums: Any) -> Any:
    """Of rows of squared distances, of the hit rate and of the scores; 0 where the hit rate is never wrong."""
    yardstick, distance = sums.T
    return np.where(yardstick > 0.0, 1.0 - distance / np.where(yardstick > 0.0, yardstick, 1.0), 0.0)


def net_r(examples: Examples, cost_bps: float) -> float | None:
    """R a signal after costs, as the record counts it; None of none."""
    if not examples.n:
        return None
    gross_pct, risk_pct = float(examples.gross_pct.sum()), float(examples.risk_pct.sum())
    return Sums(examples.n, 0, gross_pct, 0.0, risk_pct).net_r(cost_bps)


def deciles(told: Any, hit: Any) -> list[Bin]:
    """Tenths by score, the lowest first; equal scores in their order of time."""
    parts = np.array_split(np.argsort(told, kind="stable"), DECILES)
    return [Bin(len(part), float(told[part].mean()), int(hit[part].sum())) for part in parts if len(part)]
