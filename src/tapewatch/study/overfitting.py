"""The probability that a search has chosen what fits the past only: combinatorially symmetric cross-validation.

The period is cut into blocks. For every half of the blocks the set that is best there is looked at in the other half:
where it ranks below the middle of all sets, the choice was worth nothing.

Source: D. H. Bailey, J. M. Borwein, M. López de Prado and Q. J. Zhu, The probability of backtest overfitting, Journal
of Computational Finance 20 (2017) 39-69.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tapewatch.model import NAN
from tapewatch.study.deflated import sharpe
from tapewatch.study.sweep import BLOCKS

#: Ratios that are made at a time, halves times sets: as many as stay near the processor.
_CELLS = 50_000


class Overfitting(NamedTuple):
    """What became of the choices.

    Attributes:
        probability: the share of choices that ranked in the lower half where they were not chosen, NaN of one set.
        loss: the share of choices whose returns there were below 0 in sum.
        logits: of each choice ln(rank / (1 - rank)), its rank there from 0 (last) to 1 (first); 0 is the middle.
    """

    probability: float
    loss: float
    logits: npt.NDArray[np.float64]


def overfitting(blocks: npt.NDArray[np.float64]) -> Overfitting:
    """Of the blocks of every set that was tried to the end; sets are compared by their Sharpe ratio.

    Of equal ones the first is chosen, and they share their rank.
    """
    if len(blocks) < 2:
        return Overfitting(NAN, NAN, np.zeros(0))
    parts = np.ascontiguousarray(blocks.transpose(2, 1, 0))
    whole, half = parts.sum(axis=1)[:, None], halves()
    logits, losses = [], 0
    for some in np.array_split(half, -(-len(half) * len(blocks) // _CELLS)):
        inside = some @ parts
        one, other = sharpe(inside), sharpe(whole - inside)
        for here, there in ((one, other), (other, one)):
            own = there[np.arange(len(some)), here.argmax(axis=1)][:, None]
            below, equal = (there < own).sum(axis=1), (there == own).sum(axis=1)
            rank = (below + (equal + 1) / 2) / (len(blocks) + 1)
            logits.append(np.log(rank / (1.0 - rank)))
            losses += int((own < 0.0).sum())
    every = np.concatenate(logits)
    return Overfitting(float((every <= 0.0).mean()), losses / len(every), every)


@cache
def halves() -> npt.NDArray[np.float64]:
    """Every way to halve the blocks, a row each, with 1 for those of one half, in which the first block is."""
    rest = np.array(list(combinations(range(1, BLOCKS), BLOCKS // 2 - 1)))
    rows = np.zeros((len(rest), BLOCKS))
    rows[:, 0] = 1.0
    rows[np.arange(len(rest))[:, None], rest] = 1.0
    return rows
