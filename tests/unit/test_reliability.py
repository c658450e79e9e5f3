"""Whether strength tells: deciles, and a rank correlation that agrees with pandas."""

from __future__ import annotations

import math
import random

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.model import NAN
from tapewatch.record import Sums
from tapewatch.reliability import Past, foretold, ranks, reliability, spearman

values = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=3, max_size=60)


@given(values)
def test_the_rank_correlation_is_that_of_pandas(pairs: list[tuple[int, int]]) -> None:
    """Ties have their mean rank; where one side does not vary there is none."""
    first, second = ([float(value) for value in column] for column in zip(*pairs, strict=True))
    rho, p = spearman(first, second)
    one, two = pd.Series(first).rank(), pd.Series(second).rank()
    assert ranks(first) == one.tolist()
    if one.nunique() == 1 or two.nunique() == 1:
        assert math.isnan(rho)
        assert math.isnan(p)
    else:
        assert rho == pytest.approx(one.corr(two), abs=1e-12)
        assert 0.0 <= p <= 1.0


def test_p_is_how_often_a_shuffle_correlates_as_much() -> None:
    """Against two thousand shuffles of a hundred pairs."""
    draw = random.Random(3)
    first = [draw.random() for _ in range(100)]
    second = [float(draw.random() < 0.3 + 0.3 * value) for value in first]
    rho, p = spearman(first, second)
    beyond = 0
    for _ in range(2_000):
        draw.shuffle(second)
        beyond += abs(spearman(first, second)[0]) >= abs(rho)
    assert 0.001 < p < 0.2
    assert p == pytest.approx(beyond / 2_000, abs=0.02)


def test_deciles_hold_every_known_strength_once() -> None:
    """10 is in the last one; what is unknown is in none."""
    strengths = (0.0, 0.99, 1.0, 5.0, 9.0, 9.99, 10.0, NAN)
    told = reliability([(strength, Sums(1, int(strength > 5), 1.0, 1.0, 2.0)) for strength in strengths], 20.0)
    assert [decile.rate.n for decile in told.deciles] == [2, 1, 0, 0, 0, 1, 0, 0, 0, 3]
    assert told.deciles[9].rate.hits == 3
    assert told.rho > 0
    assert told.deciles[9].net_r == pytest.approx((1.0 - 0.2) / 2.0)
    assert math.isnan(told.deciles[2].net_r)


def test_of_nothing_nothing_is_said() -> None:
    """No signal, or one."""
    for found in ([], [(5.0, Sums(1, 1, 1.0, 1.0, 1.0))]):
        told = reliability(found, 20.0)
        assert math.isnan(told.rho)
        assert math.isnan(told.p)


def past(count: int, hits: int, known_after: int = 1) -> list[Past]:
    """Signals a minute apart, the hits first, each known so many minutes later."""
    return [Past("kind", n, n + known_after, n < hits) for n in range(count)]


def test_what_is_told_knows_nothing_of_what_came_later() -> None:
    """30 hits, then misses only: the 31st is told 100%; changing later ends changes nothing that was told before."""
    told = foretold(past(31, 30))
    assert (told.told, told.came.n, told.came.hits, told.brier) == (1.0, 1, 0, 1.0)
    every = past(200, 120)
    turned = [one._replace(hit=not one.hit) if one.known_ms > 100 else one for one in every]
    first = [one for one in every if one.close_ms <= 100]
    assert foretold(first).told == foretold([one for one in turned if one.close_ms <= 100]).told


def test_an_end_counts_from_when_it_was_known() -> None:
    """Ends known only after an hour are told to nobody within it, and kinds are apart."""
    assert foretold(past(60, 60, known_after=60)).came.n == 0
    assert foretold(past(120, 120, known_after=60)).came.n == 31
    apart = [one._replace(kind=one.close_ms % 2) for one in past(59, 59)]
    assert foretold(apart).came.n == 0


def test_what_a_fair_coin_is_told_comes_true() -> None:
    """Of ten thousand throws: told is what came, and the score is a half of a half."""
    draw = random.Random(5)
    told = foretold([Past("kind", n, n + 3, draw.random() < 0.5) for n in range(10_000)])
    assert told.told == pytest.approx(0.5, abs=0.02)
    assert told.came.low < 0.5 < told.came.high
    assert told.brier == pytest.approx(0.25, abs=0.005)


def test_where_nothing_could_be_told_nothing_is_said() -> None:
    """With fewer than thirty."""
    told = foretold(past(30, 20))
    assert told.came.n == 0
    assert math.isnan(told.told)
    assert math.isnan(told.brier)
