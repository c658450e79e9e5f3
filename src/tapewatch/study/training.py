"""A scoring model trained walk-forward on past signals, and judged on later ones.

In time order the signals are cut in two: the last share is for the judgement alone. The rest is walked through in
blocks: each is foretold by what was learned of the blocks before it. What was foretold that way decides between the
kinds, calibrates the one that did better, and sets the threshold. No signal is learned from whose outcome was known
later than an embargo before what is foretold (M. López de Prado, Advances in Financial Machine Learning, 2018, 7.4).

All settled candidates are learned from, those that the gate blocks too, each by what it tells alone; calibration,
threshold and judgement are of those that it let through, each the same, since these become alerts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from tapewatch.errors import SetupError
from tapewatch.features import VERSION
from tapewatch.model import INTERVALS_MS
from tapewatch.record import FEW
from tapewatch.scoring import Document, Formula, Trained
from tapewatch.strategy import Strategy
from tapewatch.study.examples import Examples
from tapewatch.study.judging import judged_on
from tapewatch.study.labels import uniqueness
from tapewatch.study.learners import KINDS, calibration_of, learned, log_odds, scores

#: Blocks of the training; the first one is only learned from.
BLOCKS = 5
#: Signals that must have passed the gate: fewer, walked through or judged, show nothing.
LEAST = 100


@dataclass(frozen=True)
class Asked:
    """How a model is trained.

    Attributes:
        keep: the share of signals that the threshold lets through.
        judge: the share of signals, the last ones, that the judgement is of.
        cost_bps: what a round trip costs, of the entry.
        seed: of all draws.
    """

    keep: float = 0.2
    judge: float = 0.3
    cost_bps: float = 20.0
    seed: int = 0


@dataclass(frozen=True)
class Walk:
    """What was foretold of the examples of the training that passed the gate, block by block.

    Attributes:
        formula: learned of all of the training, calibrated on these.
        brier: the mean squared distance of what was foretold from the hits.
    """

    formula: Formula
    brier: float


def train(strategy: Strategy, timeframes: list[str], examples: Examples, asked: Asked) -> Document:
    """A model with its judgement, of examples by close. The same input gives the same document.

    Raises:
        SetupError: there are too few examples, or scikit-learn is missing.
    """
    embargo_ms = embargo_of(strategy, timeframes)
    past, later = parted(examples, asked.judge, embargo_ms)
    walks = [_walked(kind, past, embargo_ms, asked.seed) for kind in KINDS]
    best = min(walks, key=lambda walk: walk.brier)
    passed = scores(best.formula, past.rows(past.passed))
    threshold = float(np.quantile(passed, 1.0 - asked.keep, method="higher"))
    judged = judged_on(later, scores(best.formula, later), threshold, asked.cost_bps, asked.seed)
    span = int(past.close_ms[0]), int(past.close_ms[-1])
    return Document(
        feature_version=VERSION,
        strategy=strategy.name,
        timeframes=timeframes,
        trained=Trained(*span, past.n, {"strategy": _hash(strategy), "examples": examples.hash}),
        judged=judged,
        skill=judged.skill_low > 0.0,
        keep=asked.keep,
        threshold=threshold,
        formula=best.formula,
    )


def judged_again(document: Document, examples: Examples, cost_bps: float) -> Document:
    """The document with a judgement on other signals: those that are as late as the ones it was judged on, or later.

    On the candles it was trained on it comes out the same.

    Raises:
        SetupError: there are too few.
    """
    later = examples.rows((examples.close_ms >= document.judged.from_ms) & examples.passed)
    if later.n < LEAST:
        raise too_few("signals that passed the gate and are later than its training", later.n, LEAST)
    judged = judged_on(later, scores(document.formula, later), document.threshold, cost_bps, 0)
    return msgspec.structs.replace(document, judged=judged, skill=judged.skill_low > 0.0)


def _hash(strategy: Strategy) -> str:
    return hashlib.blake2b(repr(strategy).encode(), digest_size=16).hexdigest()


def embargo_of(strategy: Strategy, timeframes: list[str]) -> int:
    """The longest that an outcome may take: for so long what is learned must have been known, in ms."""
    return strategy.time_limit * max(INTERVALS_MS[timeframe] for timeframe in timeframes)


def parted(examples: Examples, judge: float, embargo_ms: int) -> tuple[Examples, Examples]:
    """What is learned from, and what of the rest passed the gate. Raises SetupError when one is too little."""
    if examples.n < 2 * LEAST:
        raise too_few("signals that ended", examples.n, 2 * LEAST)
    cut_ms = int(examples.close_ms[min(round((1.0 - judge) * examples.n), examples.n - 1)])
    past = examples.rows(examples.known_ms <= cut_ms - embargo_ms)
    later = examples.rows((examples.close_ms >= cut_ms) & examples.passed)
    if past.n < LEAST:
        raise too_few("signals to learn from that ended well before the judged part", past.n, LEAST)
    if later.n < LEAST:
        raise too_few("signals that passed the gate in the judged part", later.n, LEAST)
    return past, later


def too_few(what: str, count: int, least: int) -> SetupError:
    """What is said where examples are not enough."""
    return SetupError(f"too few {what}: {count:,}, at least {least:,} are needed: take more symbols or more time")


def _walked(kind: Any, past: Examples, embargo_ms: int, seed: int) -> Walk:
    weights = uniqueness(past.close_ms, past.known_ms)
    rows, odds = [], []
    for before, block in blocks(past, embargo_ms):
        formula = learned(kind, past.rows(before), weights[before], seed)
        rows.append(block)
        odds.append(log_odds(formula, past.rows(block)))
    seen = np.concatenate(rows) if rows else np.empty(0, np.int64)
    if len(seen) < LEAST:
        raise too_few("signals that passed the gate in the training's blocks", len(seen), LEAST)
    hit, foretold = past.hit[seen], np.concatenate(odds)
    _both(hit)
    calibration = calibration_of(foretold, hit)
    told = 1.0 / (1.0 + np.exp(-(calibration.slope * foretold + calibration.intercept)))
    brier = float(((told - hit) ** 2).mean())
    formula = msgspec.structs.replace(learned(kind, past, weights, seed), calibration=calibration)
    return Walk(formula, brier)


def blocks(past: Examples, embargo_ms: int) -> Iterator[tuple[Any, Any]]:
    """Of each block but the first: the rows that it is foretold from, and those of its rows that passed the gate.

    Blocks are of as many rows each; one is left out whose past has hardly any hits, or hardly any misses.
    """
    edges = [round(past.n * number / BLOCKS) for number in range(BLOCKS + 1)]
    for first, end in pairwise(edges[1:]):
        before = np.flatnonzero(past.known_ms <= past.close_ms[first] - embargo_ms)
        block = first + np.flatnonzero(past.passed[first:end])
        hits = int(past.hit[before].sum())
        if len(block) and min(hits, len(before) - hits) >= FEW:
            yield before, block


def _both(hit: Any) -> None:
    hits = int(hit.sum())
    if min(hits, len(hit) - hits) < FEW:
        raise SetupError(f"{hits:,} of {len(hit):,} signals hit: {FEW} hits and {FEW} misses are needed")
