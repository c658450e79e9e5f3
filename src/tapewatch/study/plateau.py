"""Whether a parameter set stands on a plateau or on a peak: how its neighbours do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tapewatch.model import NAN
from tapewatch.study.deflated import sharpe
from tapewatch.study.sweep import Sweep


class Neighbour(NamedTuple):
    """A parameter set one step away, and its Sharpe ratio of one step of equity."""

    params: Mapping[str, float]
    sharpe: float


class Plateau(NamedTuple):
    """Neighbours of a set, and the share of them that keep at least half of its Sharpe ratio.

    The share is NaN where there are no neighbours, or where the set's own ratio is not above 0.
    """

    neighbours: Sequence[Neighbour]
    share: float


def plateau(sweep: Sweep, own: float, neighbours: Sequence[Mapping[str, float]]) -> Plateau:
    """Of a set with its own Sharpe ratio of one step; neighbours that make no strategy are left out."""
    tried = zip(neighbours, sweep.tried(neighbours), strict=True)
    found = [Neighbour(params, float(sharpe(one.blocks.sum(axis=0)))) for params, one in tried if not one.refused]
    if not found or not own > 0.0:
        return Plateau(found, NAN)
    return Plateau(found, sum(one.sharpe >= own / 2.0 for one in found) / len(found))
