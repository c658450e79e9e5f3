"""Figures of the record: intervals, chance at the same hours, what is left after costs, and what they say of skill."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.model import NAN, Rate
from tapewatch.record import (
    ENOUGH,
    NEWEST,
    Baseline,
    Kind,
    Sums,
    Tally,
    difference,
    hour_of,
    lift_of,
    rate_of,
    record_of,
    score_of,
    skill_of,
    wilson,
)

HOUR_MS = 3_600_000
LONG, SHORT = Kind("scalp", "long", "1m"), Kind("scalp", "short", "1m")
counts = st.integers(1, 100_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def tally_of(hits: int, misses: int, hour: int = 0, won: float = 1.0, lost: float = -1.0) -> Tally:
    """Signals of an hour that risked 1% each, the hits first."""
    tally = Tally()
    for n in range(hits + misses):
        hit = n < hits
        tally.count(hour, Sums(1, int(hit), won if hit else lost, won if hit else 0.0, 1.0))
        tally.note(n, f"id{n}", hit=hit)
    return tally


def chance_of(rates: dict[int, float], n: int = 1_000) -> Baseline:
    """Random entries that risked 1% each, so many in each of these hours, that brought nothing."""
    baseline = Baseline()
    for hour, rate in rates.items():
        baseline.add(hour, Sums(n, round(rate * n), 0.0, 0.0, float(n)))
    return baseline


def test_the_interval_of_the_issue() -> None:
    """488 of 816 is 59.8%, 56 to 63% at 95%."""
    low, high = wilson(488, 816)
    assert (round(100 * low, 1), round(100 * high, 1)) == (56.4, 63.1)


@given(counts)
def test_the_wilson_interval_is_where_the_score_test_rejects(given_counts: tuple[int, int]) -> None:
    """Its bounds solve (p - x)² = z² x (1 - x) / n, the test it inverts; they hold p and stay within 0 and 1."""
    hits, n = given_counts
    low, high = wilson(hits, n)
    assert 0.0 <= low <= hits / n <= high <= 1.0
    assert low < high
    for bound in (low, high):
        if 0.0 < bound < 1.0:
            assert math.isclose((hits / n - bound) ** 2, 1.96**2 * bound * (1 - bound) / n, rel_tol=1e-6, abs_tol=1e-12)


@given(counts)
def test_the_wilson_interval_is_mirrored_and_narrows(given_counts: tuple[int, int]) -> None:
    """Hits and misses are alike, and four times as many of each tell more."""
    hits, n = given_counts
    low, high = wilson(hits, n)
    assert wilson(n - hits, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)
    nearer = wilson(4 * hits, 4 * n)
    assert nearer[1] - nearer[0] < high - low


def test_of_nothing_nothing_is_known() -> None:
    """Every share is possible, and every figure is unknown rather than 0."""
    assert wilson(0, 0) == (0.0, 1.0)
    record = record_of(LONG, Tally(), Baseline(), 20.0)
    assert (record.all, record.last) == (Rate(0, 0, 0.0, 1.0), Rate(0, 0, 0.0, 1.0))
    assert all(map(math.isnan, (record.baseline, record.gross_r, record.net_r, record.net_quote)))
    score = score_of([(LONG, Tally(), Baseline())], 20.0)
    assert score.skill == "unknown"
    assert all(map(math.isnan, (score.rate, score.lift, score.break_even_rate, score.false_positive_rate)))


def test_the_interval_of_a_difference_is_newcombes() -> None:
    """The example of his paper, 56 of 70 less 48 of 80, method 10: 0.0524 to 0.3339."""
    low, high = difference((56 / 70, rate_of(56, 70)), (48 / 80, rate_of(48, 80)))
    assert (round(low, 4), round(high, 4)) == (0.0524, 0.3339)


def test_chance_is_that_of_the_hours_in_which_signals_came() -> None:
    """Each hour counts as often as it had signals; an hour with few random entries has the rate of all."""
    baseline = chance_of({1: 0.4, 2: 0.6})
    assert baseline.rate([0, 3, 1, *[0] * 21]) == pytest.approx(0.45)
    assert baseline.rate([4, 0, 0, *[0] * 21]) == pytest.approx(0.5)
    baseline.add(0, Sums(ENOUGH - 1, 0))
    assert baseline.rate([4, 0, 0, *[0] * 21]) == pytest.approx(1_000 / 2_029)
    assert baseline.rate([0] * 24) == pytest.approx(1_000 / 2_029)
    assert math.isnan(chance_of({3: 1.0}, ENOUGH - 1).rate([1] * 24))
    assert math.isnan(Baseline().rate([1] * 24))
    assert hour_of(1_704_067_200_000 + 5 * HOUR_MS + 1) == 5


def test_the_newest_fifty_are_by_their_bars() -> None:
    """Whatever the order in which they are noted, and no more of them are kept."""
    tally = Tally()
    for n in [*range(40, 80), *range(40)]:
        tally.note(n, f"id{n}", hit=n >= 60)
    assert len(tally.newest) == NEWEST
    assert (tally.last.n, tally.last.hits) == (50, 20)


def test_two_tallies_together_are_the_tally_of_both() -> None:
    """Sums, hours and newest."""
    first, second = tally_of(3, 2, hour=4), tally_of(1, 6, hour=9)
    second.newest = [(ms + 100, f"other{ms}", hit) for ms, _, hit in second.newest]
    both = first.plus(second)
    assert (both.sums.n, both.sums.hits, both.hours[4], both.hours[9]) == (12, 4, 5, 7)
    assert (both.last.n, both.last.hits) == (12, 4)


def test_r_of_many_is_what_they_brought_over_what_they_risked() -> None:
    """A signal with a narrow stop weighs as much as its money, not as its R."""
    sums = Sums(1, 1, 0.01, 0.01, 0.01).plus(Sums(1, 0, -1.0, 0.0, 1.0))
    assert sums.net_r(0.0) == pytest.approx(-0.99 / 1.01)
    assert sums.net_r(20.0) == pytest.approx((-0.99 - 0.4) / 1.01)
    assert sums.net_quote(20.0) == pytest.approx(1_000 * (-0.99 / 2 - 0.2) / 100)


@given(st.integers(1, 50), st.integers(1, 50), st.floats(0.5, 3.0), st.floats(-3.0, -0.5), st.integers(0, 40))
def test_at_the_break_even_rate_nothing_is_left(hits: int, misses: int, won: float, lost: float, cost_bps: int) -> None:
    """Hits as often as that, each bringing what hits bring, pay for the misses and the costs."""
    rate = tally_of(hits, misses, 0, won, lost).sums.break_even_rate(cost_bps)
    assert rate * (won - cost_bps / 100) + (1 - rate) * (lost - cost_bps / 100) == pytest.approx(0.0, abs=1e-9)


def test_where_a_hit_does_not_pay_for_its_costs_no_rate_does() -> None:
    """Nor is one known without hits, or without misses."""
    assert math.isnan(tally_of(50, 50, won=0.1).sums.break_even_rate(20.0))
    assert math.isnan(tally_of(0, 9).sums.break_even_rate(0.0))
    assert math.isnan(tally_of(9, 0).sums.break_even_rate(0.0))


@pytest.mark.parametrize(
    ("hits", "n", "skill"),
    [
        (700, 1_000, "better"), (500, 1_000, "worse"), (620, 1_000, "none"), (19, 30, "none"), (18, 29, "few"),
        (20, 20, "better"), (2, 20, "worse"), (10, 10, "better"), (9, 9, "few"), (0, 9, "few"),
    ],
)  # fmt: skip
def test_skill_is_what_the_interval_of_the_lift_shows(hits: int, n: int, skill: str) -> None:
    """60% by chance: 70% of a thousand is more, 62% need not be. Few show nothing unless all show the same."""
    rate = rate_of(hits, n)
    assert skill_of(rate, 0.6, 10_000) == skill
    lift, low, high = lift_of(rate, 0.6, 10_000)
    assert low < lift < high
    assert lift == pytest.approx(100 * (hits / n - 0.6))


def test_a_baseline_of_few_entries_shows_no_skill() -> None:
    """80% of a thousand against three of five random entries proves nothing."""
    assert skill_of(rate_of(800, 1_000), 0.6, 10_000) == "better"
    assert skill_of(rate_of(800, 1_000), 0.6, 5) == "none"
    assert skill_of(rate_of(800, 1_000), NAN, 0) == skill_of(rate_of(10, 10), NAN, 0) == "unknown"
    assert skill_of(rate_of(0, 0), 0.6, 1_000) == "unknown"
    assert skill_of(rate_of(9, 9), NAN, 0) == "few"


def test_the_score_of_both_sides_weighs_chance_by_their_signals() -> None:
    """Three longs at 40% and one short at 80% would hit half of the time by chance."""
    parts = [(LONG, tally_of(2, 1), chance_of({0: 0.4})), (SHORT, tally_of(1, 0), chance_of({0: 0.8}))]
    score = score_of(parts, 10.0)
    assert (score.side, score.n, score.hits, score.baseline_n) == (None, 4, 3, 2_000)
    assert score.baseline == pytest.approx(float(Fraction(1, 2)))
    assert (score.rate, score.false_positive_rate) == (0.75, 0.25)
    assert score.lift == pytest.approx(25.0)
    assert score_of(parts[:1], 10.0, "long").side == "long"
    assert score.n < ENOUGH
