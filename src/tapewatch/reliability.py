"""Whether what is said of a signal holds: its strength, by decile and in one figure, and the hit rate told with it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from functools import reduce
from heapq import heappop, heappush
from math import erfc, inf, isnan, sqrt
from typing import NamedTuple

from tapewatch.model import NAN, Rate
from tapewatch.record import ENOUGH, Sums, rate_of, share


class Decile(NamedTuple):
    """Signals whose strength is from `low` to below `low + 1`, the last one with 10."""

    low: int
    rate: Rate
    net_r: float


class Reliability(NamedTuple):
    """Whether stronger signals do better.

    Attributes:
        deciles: ten, the weakest first.
        rho: Spearman's rank correlation of strength with hits, NaN where one of them does not vary.
        p: how often chance alone would correlate as much, either way; NaN beside a NaN.
    """

    deciles: tuple[Decile, ...]
    rho: float
    p: float


def reliability(found: Iterable[tuple[float, Sums]], cost_bps: float) -> Reliability:
    """Of signals with their strengths: by decile of strength, and in one figure. Unknown strengths are left out."""
    known = [one for one in found if not isnan(one[0])]
    deciles = []
    for low in range(10):
        inside = [one for one in known if low <= one[0] < (low + 1 if low < 9 else inf)]
        sums = reduce(Sums.plus, (one[1] for one in inside), Sums())
        deciles.append(Decile(low, rate_of(sums.hits, sums.n), sums.net_r(cost_bps)))
    return Reliability(tuple(deciles), *spearman([one[0] for one in known], [float(one[1].hits) for one in known]))


class Past(NamedTuple):
    """A signal that has ended: whose record it is in, the close of its bar, when its end was known, whether it hit."""

    kind: Hashable
    close_ms: int
    known_ms: int
    hit: bool


class Foretold(NamedTuple):
    """The hit rates that were told with signals, beside what came.

    Attributes:
        told: the mean of what was told.
        came: how many of these signals hit.
        brier: the mean of (told - hit)², hit as 1 or 0; always telling the true rate p gives p (1 - p).
    """

    told: float
    came: Rate
    brier: float


def foretold(every: Iterable[Past]) -> Foretold:
    """With each signal the hit rate of its kind is told that was known by its close, if that is of `ENOUGH` signals."""
    waiting: list[tuple[int, int, Past]] = []
    known: dict[Hashable, tuple[int, int]] = {}
    told: list[tuple[float, bool]] = []
    for number, one in enumerate(sorted(every, key=lambda past: past.close_ms)):
        while waiting and waiting[0][0] <= one.close_ms:
            past = heappop(waiting)[2]
            hits, n = known.get(past.kind, (0, 0))
            known[past.kind] = hits + past.hit, n + 1
        hits, n = known.get(one.kind, (0, 0))
        if n >= ENOUGH:
            told.append((hits / n, one.hit))
        heappush(waiting, (one.known_ms, number, one))
    count = len(told)
    return Foretold(
        share(sum(p for p, _ in told), count),
        rate_of(sum(hit for _, hit in told), count),
        share(sum((p - hit) ** 2 for p, hit in told), count),
    )


class Tenth(NamedTuple):
    """Signals whose score is from `low` to below `low + 10` percent, the last with 100: what was told, and came."""

    low: int
    told: float
    came: Rate


class Sifted(NamedTuple):
    """What a model was worth: of the signals that nothing else blocked, and of those of them that it let pass.

    Attributes:
        every, kept: how many there were, and hits among them.
        every_net_r, kept_net_r: R after costs, as `Sums.net_r`.
        told: the mean score.
        brier: the mean of (score - hit)², hit as 1 or 0.
        base_brier: what telling each the hit rate of all would have had, which nobody knew then.
        tenths: ten, the lowest scores first.
    """

    every: Rate
    kept: Rate
    every_net_r: float
    kept_net_r: float
    told: float
    brier: float
    base_brier: float
    tenths: tuple[Tenth, ...]


def sifted(found: Sequence[tuple[float, bool, Sums]], cost_bps: float) -> Sifted:
    """Of signals with their scores, whether the model let them pass, and what became of them."""
    every = reduce(Sums.plus, (sums for _, _, sums in found), Sums())
    kept = reduce(Sums.plus, (sums for _, passed, sums in found if passed), Sums())
    tenths = []
    for low in range(10):
        inside = [(score, sums.hits) for score, _, sums in found if min(9, int(10.0 * score)) == low]
        n = len(inside)
        tenths.append(
            Tenth(10 * low, share(sum(score for score, _ in inside), n), rate_of(sum(h for _, h in inside), n))
        )
    return Sifted(
        rate_of(every.hits, every.n),
        rate_of(kept.hits, kept.n),
        every.net_r(cost_bps),
        kept.net_r(cost_bps),
        share(sum(score for score, _, _ in found), every.n),
        share(sum((score - sums.hits) ** 2 for score, _, sums in found), every.n),
        every.rate * (1.0 - every.rate),
        tuple(tenths),
    )


def spearman(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Spearman's rank correlation, ties by their mean rank, and its two-sided p by the normal z = rho sqrt(n - 1).

    Source: M. G. Kendall, Rank Correlation Methods (1948), chapter 4.
    """
    n = len(first)
    if n < 2:
        return NAN, NAN
    one, two = ranks(first), ranks(second)
    mean = (n + 1) / 2.0
    together = sum((a - mean) * (b - mean) for a, b in zip(one, two, strict=True))
    apart = sqrt(sum((a - mean) ** 2 for a in one) * sum((b - mean) ** 2 for b in two))
    if apart == 0.0:
        return NAN, NAN
    rho = together / apart
    return rho, erfc(abs(rho) * sqrt(n - 1) / sqrt(2.0))


def ranks(values: Sequence[float]) -> list[float]:
    """The rank of each, from 1; equal ones have the mean of theirs."""
    order = sorted(range(len(values)), key=values.__getitem__)
    found = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for place in order[start:end]:
            found[place] = (start + 1 + end) / 2.0
        start = end
    return found
