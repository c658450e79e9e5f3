"""The honest record: how often signals touched their target first, beside chance and after costs.

A hit is a signal that touched its first target before its stop and before its time limit. A **false positive** is a
signal that passed the gate and was no hit, so the false-positive rate is 1 - hits / n.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from math import isnan, sqrt
from typing import Literal, NamedTuple

import msgspec

from tapewatch.model import NAN, Outcome, Rate, Record, Side

#: The standard normal quantile of a two-sided interval at 95%.
Z = 1.96
#: The outcomes that `Record.last` is of.
NEWEST = 50
#: Signals in a regime from which it has a record of its own; random entries from which they have a rate.
ENOUGH = 30
#: Signals below which a hit rate says nothing, whatever its interval: they come in bunches, and end in bunches.
FEW = 10
HOUR_MS = 3_600_000
HOURS = 24
#: What `net_quote` is of.
QUOTE = 1_000.0
#: How a hit rate compares with its baseline.
Skill = Literal["better", "worse", "none", "few", "unknown"]


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The Wilson score interval at 95% of a share, as two shares; (0, 1) where there is nothing.

    With p = hits / n and z = 1.96: (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n).

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927) 209-212.
    """
    if n == 0:
        return 0.0, 1.0
    p, z2 = hits / n, Z * Z / n
    middle, half = p + z2 / 2.0, Z * sqrt(p * (1.0 - p) / n + z2 / (4.0 * n))
    low, high = (middle - half) / (1.0 + z2), (middle + half) / (1.0 + z2)
    return (0.0 if hits == 0 else max(0.0, low)), (1.0 if hits == n else min(1.0, high))


def rate_of(hits: int, n: int) -> Rate:
    """So many of so many, with the interval."""
    return Rate(n, hits, *wilson(hits, n))


def share(hits: float, n: float) -> float:
    """Of none it is NaN."""
    return hits / n if n else NAN


def difference(first: tuple[float, Rate], second: tuple[float, Rate]) -> tuple[float, float]:
    """The interval at 95% of one share less another, each with the rate that says how sure it is.

    Newcombe's hybrid score: d - sqrt((p1 - l1)² + (u2 - p2)²) to d + sqrt((u1 - p1)² + (p2 - l2)²), d = p1 - p2.

    Source: R. G. Newcombe, Interval estimation for the difference between independent proportions, Statistics in
    Medicine 17 (1998) 873-890, method 10.
    """
    (p1, one), (p2, two) = first, second
    d = p1 - p2
    return d - sqrt((p1 - one.low) ** 2 + (two.high - p2) ** 2), d + sqrt((one.high - p1) ** 2 + (p2 - two.low) ** 2)


class Kind(NamedTuple):
    """Signals whose record is one."""

    strategy: str
    side: Side
    timeframe: str


class Sums(NamedTuple):
    """Of outcomes, or of random entries, that are counted together; percentages are of the entry, before costs.

    Attributes:
        n, hits: how many, and how many touched their target first.
        gross_pct: what all brought, `won_pct` of it the hits; of random entries only the sum is kept.
        risk_pct: the ways from entry to stop.
        backfilled: how many are of history.
    """

    n: int = 0
    hits: int = 0
    gross_pct: float = 0.0
    won_pct: float = 0.0
    risk_pct: float = 0.0
    backfilled: int = 0

    def plus(self, other: Sums) -> Sums:
        """Both together."""
        n, hits, gross_pct, won_pct, risk_pct, backfilled = (a + b for a, b in zip(self, other, strict=True))
        return Sums(int(n), int(hits), gross_pct, won_pct, risk_pct, int(backfilled))

    @property
    def rate(self) -> float:
        """The share of hits, NaN of none."""
        return share(self.hits, self.n)

    def net_r(self, cost_bps: float) -> float:
        """R after costs, of entries of one size: what all brought over what all risked; NaN of none.

        A mean of each one's R is ruled by those with the narrowest stops, to which the same costs are the most.
        """
        return share(self.gross_pct - self.n * cost_bps / 100.0, self.risk_pct)

    def net_quote(self, cost_bps: float) -> float:
        """The mean result after costs of 1,000 quote units, NaN of none."""
        return QUOTE * (share(self.gross_pct, self.n) / 100.0 - cost_bps / 1e4)

    def break_even_rate(self, cost_bps: float) -> float:
        """The hit rate that brings 0 after costs, if hits and others bring what they do: lost / (won + lost).

        `won` is what a hit brings, `lost` what another one loses. NaN without hits or without others, and where no rate
        would do: the target is nearer than the costs are.
        """
        won = share(self.won_pct, self.hits) - cost_bps / 100.0
        lost = cost_bps / 100.0 - share(self.gross_pct - self.won_pct, self.n - self.hits)
        return max(0.0, lost) / (won + max(0.0, lost)) if won > 0.0 and not isnan(lost) else NAN


def sums_of(outcome: Outcome, *, backfilled: bool = False) -> Sums:
    """Of one outcome."""
    hit = outcome.result == "target"
    won_pct = outcome.gross_pct if hit else 0.0
    return Sums(1, int(hit), outcome.gross_pct, won_pct, outcome.risk_pct, int(backfilled))


def hour_of(close_ms: int) -> int:
    """The hour of the day, UTC, that a signal or a random entry belongs to: that of its bar's close."""
    return close_ms // HOUR_MS % HOURS


class Tally:
    """Outcomes of one kind: their sums, how many are of each hour, and the newest 50.

    What is newest is said by the close of its signal's bar, then by its id.
    """

    __slots__ = ("hours", "newest", "sums")

    def __init__(self) -> None:
        self.sums = Sums()
        self.hours = [0] * HOURS
        self.newest: list[tuple[int, str, bool]] = []

    def add(self, outcome: Outcome, *, backfilled: bool = False) -> None:
        """Count an outcome."""
        self.count(hour_of(outcome.close_ms), sums_of(outcome, backfilled=backfilled))
        self.note(outcome.close_ms, outcome.signal_id, hit=outcome.result == "target")

    def count(self, hour: int, sums: Sums) -> None:
        """Count outcomes of an hour without saying which of them are new."""
        self.sums = self.sums.plus(sums)
        self.hours[hour] += sums.n

    def note(self, close_ms: int, signal_id: str, *, hit: bool) -> None:
        """One that may be among the newest."""
        insort(self.newest, (close_ms, signal_id, hit))
        del self.newest[:-NEWEST]

    @property
    def last(self) -> Rate:
        """Of the newest."""
        return rate_of(sum(hit for _, _, hit in self.newest), len(self.newest))

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        both = Tally()
        both.sums = self.sums.plus(other.sums)
        both.hours = [mine + theirs for mine, theirs in zip(self.hours, other.hours, strict=True)]
        both.newest = sorted({*self.newest, *other.newest})[-NEWEST:]
        return both


class Baseline:
    """Random entries of one kind: all of them, and by the hour of the day."""

    __slots__ = ("all", "hours")

    def __init__(self) -> None:
        self.hours = [Sums() for _ in range(HOURS)]
        self.all = Sums()

    def add(self, hour: int, sums: Sums) -> None:
        """Count random entries of an hour."""
        self.hours[hour] = self.hours[hour].plus(sums)
        self.all = self.all.plus(sums)

    def at(self, hour: int) -> float:
        """The share of hits in an hour, of all hours where it had fewer than 30; NaN where all had fewer."""
        sums = self.hours[hour] if self.hours[hour].n >= ENOUGH else self.all
        return sums.rate if sums.n >= ENOUGH else NAN

    def rate(self, weights: Sequence[int]) -> float:
        """The share of hits that random entries had, with so many in each hour; of all hours where nothing weighs."""
        total = sum(weights)
        if not total:
            return self.all.rate if self.all.n >= ENOUGH else NAN
        return sum(weight * self.at(hour) for hour, weight in enumerate(weights) if weight) / total


#: Random entries of each kind and symbol.
Drawn = Mapping[Kind, Mapping[str, Baseline]]


def together(baselines: Iterable[Baseline]) -> Baseline:
    """All of them as one."""
    every = Baseline()
    for one in baselines:
        for hour, sums in enumerate(one.hours):
            every.add(hour, sums)
    return every


def record_of(kind: Kind, tally: Tally, baseline: Baseline, cost_bps: float, regime: str | None = None) -> Record:
    """The record of signals of one kind, beside random entries at the same hours."""
    sums = tally.sums
    return Record(
        strategy=kind.strategy,
        side=kind.side,
        timeframe=kind.timeframe,
        regime=regime,
        last=tally.last,
        all=rate_of(sums.hits, sums.n),
        baseline=baseline.rate(tally.hours),
        baseline_n=baseline.all.n,
        gross_r=sums.net_r(0.0),
        net_r=sums.net_r(cost_bps),
        net_quote=sums.net_quote(cost_bps),
        cost_bps=cost_bps,
        backfilled=sums.backfilled,
    )


def lift_of(rate: Rate, baseline: float, baseline_n: int) -> tuple[float, float, float]:
    """(lift, low, high) of a hit rate over its baseline, in percentage points; NaN where one of them is unknown."""
    p = share(rate.hits, rate.n)
    if isnan(p) or isnan(baseline):
        return NAN, NAN, NAN
    chance = rate_of(round(baseline * baseline_n), baseline_n)
    low, high = difference((p, rate), (baseline, chance))
    return 100.0 * (p - baseline), 100.0 * low, 100.0 * high


def skill_of(rate: Rate, baseline: float, baseline_n: int) -> Skill:
    """Whether a hit rate is better than its baseline: where the interval of the lift has 0, nothing shows it is.

    `few` is for want of signals: with fewer than `ENOUGH` where the interval has 0, with fewer than `FEW` always.
    """
    _, low, high = lift_of(rate, baseline, baseline_n)
    if 0 < rate.n < FEW:
        return "few"
    if isnan(low):
        return "unknown"
    return "better" if low > 0.0 else "worse" if high < 0.0 else "few" if rate.n < ENOUGH else "none"


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """A record with everything that judges it. Shares of one; `lift` in percentage points; NaN is unknown.

    Attributes:
        side, regime: None for all together.
        n, hits, rate, low, high: signals, those that touched their target first, the share, its interval at 95%.
        last: the same of the newest 50.
        baseline: what random entries at the same hours and sides had, `baseline_n` of them.
        lift: of the rate over the baseline, from `lift_low` to `lift_high` at 95%.
        skill: whether that is more than chance.
        break_even_rate: the hit rate that would bring 0 after costs.
        false_positive_rate: 1 - rate.
        gross_r, net_r: R before and after costs, of signals of one size; `baseline_net_r` of the random entries.
        net_quote: mean result after costs of 1,000 quote units.
        cost_bps: what a round trip costs, of the entry.
        backfilled: how many are of history.
    """

    strategy: str
    timeframe: str
    side: Side | None
    regime: str | None
    n: int
    hits: int
    rate: float
    low: float
    high: float
    last: Rate
    baseline: float
    baseline_n: int
    lift: float
    lift_low: float
    lift_high: float
    skill: Skill
    break_even_rate: float
    false_positive_rate: float
    gross_r: float
    net_r: float
    baseline_net_r: float
    net_quote: float
    cost_bps: float
    backfilled: int


def score_of(
    parts: Sequence[tuple[Kind, Tally, Baseline]],
    cost_bps: float,
    side: Side | None = None,
    regime: str | None = None,
) -> Score:
    """The score of one or both sides of a strategy's timeframe, each with its random entries.

    `side` and `regime` are what it is said to be of.
    """
    tally, chance, expected = Tally(), Sums(), 0.0
    for _, mine, baseline in parts:
        tally, chance = tally.plus(mine), chance.plus(baseline.all)
        expected += mine.sums.n * baseline.rate(mine.hours) if mine.sums.n else 0.0
    kind, sums = parts[0][0], tally.sums
    rate, base = rate_of(sums.hits, sums.n), share(expected, sums.n)
    lift, lift_low, lift_high = lift_of(rate, base, chance.n)
    return Score(
        strategy=kind.strategy,
        timeframe=kind.timeframe,
        side=side,
        regime=regime,
        n=sums.n,
        hits=sums.hits,
        rate=sums.rate,
        low=rate.low,
        high=rate.high,
        last=tally.last,
        baseline=base,
        baseline_n=chance.n,
        lift=lift,
        lift_low=lift_low,
        lift_high=lift_high,
        skill=skill_of(rate, base, chance.n),
        break_even_rate=sums.break_even_rate(cost_bps),
        false_positive_rate=1.0 - sums.rate,
        gross_r=sums.net_r(0.0),
        net_r=sums.net_r(cost_bps),
        baseline_net_r=chance.net_r(cost_bps),
        net_quote=sums.net_quote(cost_bps),
        cost_bps=cost_bps,
        backfilled=sums.backfilled,
    )


class Check(NamedTuple):
    """Signals that a check of the gate blocked, beside those that passed.

    Attributes:
        rate, net_r: theirs; R after costs, of signals of one size.
        less: by how many percentage points they hit less often, from `less_low` to `less_high` at 95%.
        right: whether blocking them was: they hit less often; False where more often, None where neither is shown.
    """

    check: str
    rate: Rate
    net_r: float
    less: float
    less_low: float
    less_high: float
    right: bool | None


def check_of(check: str, blocked: Sums, passed: Sums, cost_bps: float) -> Check:
    """What a check of the gate has kept back."""
    rate, net_r = rate_of(blocked.hits, blocked.n), blocked.net_r(cost_bps)
    if not passed.n or not blocked.n:
        return Check(check, rate, net_r, NAN, NAN, NAN, None)
    low, high = difference((passed.rate, rate_of(passed.hits, passed.n)), (blocked.rate, rate))
    right = True if low > 0.0 else False if high < 0.0 else None
    return Check(check, rate, net_r, 100.0 * (passed.rate - blocked.rate), 100.0 * low, 100.0 * high, right)
