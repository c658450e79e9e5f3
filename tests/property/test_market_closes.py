"""Correlations and charts from rings, beside what numpy says of the whole series."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_samples import MONDAY_MS, bar
from tapewatch.engine.rings import RETURNS, SLOT_MS, Chart, Closes, correlation
from tapewatch.model import MINUTE_MS, Bar

SLOTS = SLOT_MS // MINUTE_MS


def bars_of(moves: Sequence[float], present: Sequence[bool], price: float) -> list[Bar]:
    """Minutes with these relative moves, some of them missing."""
    bars = []
    for minute, (move, there) in enumerate(zip(moves, present, strict=True)):
        price *= 1 + move
        if there or not minute:
            bars.append(bar(minute, price))
    return bars


def sampled(bars: Sequence[Bar], slots: range) -> list[float]:
    """The close of the last bar until each slot's end, the straight way."""
    return [[one.close for one in bars if one.close_ms <= slot * SLOT_MS][-1] for slot in slots]


def taken(bars: Sequence[Bar]) -> Closes:
    """A ring with these bars."""
    closes = Closes()
    for one in bars:
        closes.take(one)
    return closes


@st.composite
def two_series(draw: st.DrawFn) -> tuple[list[Bar], list[Bar]]:
    """Two symbols that move together more or less, with holes of minutes and of hours."""
    seed, size = draw(st.integers(0, 10_000)), draw(st.integers(RETURNS * SLOTS + 10, RETURNS * SLOTS + 200))
    random = np.random.default_rng(seed)
    common, scale = random.standard_normal((3, size)), 10.0 ** draw(st.integers(-5, -2))
    mix = draw(st.sampled_from([-1.0, -0.5, 0.0, 0.3, 0.9, 1.0]))
    moves = [scale * common[0], scale * (mix * common[0] + math.sqrt(1 - mix**2) * common[1])]
    present = random.random((2, size)) > draw(st.sampled_from([0.0, 0.1, 0.7]))
    gap = draw(st.integers(0, size - 60))
    present[draw(st.integers(0, 1)), gap : gap + draw(st.sampled_from([0, 60]))] = False
    one, other = (bars_of(list(moves[k]), list(present[k]), 10.0 ** draw(st.integers(-6, 5))) for k in (0, 1))
    return one, other


@given(two_series(), st.integers(0, 3))
def test_correlations_are_numpys_on_the_aligned_returns(pair: tuple[list[Bar], list[Bar]], late: int) -> None:
    """To 1e-9, with holes, at any price, also when up to three slots have gone by since."""
    end = MONDAY_MS // SLOT_MS + RETURNS + 1
    slots = range(end - RETURNS, end + 1)
    known = [[one for one in bars if one.close_ms <= (end + late) * SLOT_MS] for bars in pair]
    vectors = [taken(bars).vector(end) for bars in known]
    returns = [np.diff(closes) / closes[:-1] for closes in (np.array(sampled(bars, slots)) for bars in known)]
    if min(float(np.linalg.norm(each - each.mean())) for each in returns) < 1e-8:
        return
    assert vectors[0] is not None
    assert vectors[1] is not None
    assert correlation(vectors[0], vectors[1]) == pytest.approx(np.corrcoef(*returns)[0, 1], abs=1e-9)


@given(two_series(), st.integers(0, 400))
def test_a_slot_is_known_from_the_first_bar_on_and_while_it_is_kept(
    pair: tuple[list[Bar], list[Bar]], back: int
) -> None:
    """What is known is the last close until then; of what came before or is gone nothing is said."""
    bars, closes = pair[0], taken(pair[0])
    slot = -(-bars[-1].close_ms // SLOT_MS) - back
    said = closes.at(slot)
    assert (said is None) is (back >= RETURNS + 4 or slot < -(-bars[0].close_ms // SLOT_MS))
    if said is not None:
        assert [said] == sampled(bars, range(slot, slot + 1))
    again = Closes()
    again.restore(closes.saved())
    assert (again.at(slot), again.last, again.vector(slot)) == (said, closes.last, closes.vector(slot))


@pytest.mark.parametrize("closes", [[100.0] * 700, [0.0] * 700, [math.nan] * 700, [1e-308, 1e308] * 350])
def test_a_price_that_stands_still_or_is_none_is_correlated_with_nothing(closes: list[float]) -> None:
    """There is no vector; nothing raises."""
    ring = taken([bar(minute, close) for minute, close in enumerate(closes)])
    assert ring.vector((MONDAY_MS + 700 * MINUTE_MS) // SLOT_MS) is None


def test_the_same_and_the_opposite_are_1_and_minus_1() -> None:
    """Exactly the same, and the opposite to the last bits but a few; never beyond."""
    moves = list(np.random.default_rng(3).standard_normal(700) * 1e-3)
    one, twin, other = (taken(bars_of(each, [True] * 700, 50.0)) for each in (moves, moves, [-x for x in moves]))
    slot = (MONDAY_MS + 700 * MINUTE_MS) // SLOT_MS
    vectors = [vector for ring in (one, twin, other) if (vector := ring.vector(slot)) is not None]
    assert len(vectors) == 3
    assert correlation(vectors[0], vectors[1]) == 1.0
    assert -1.0 <= correlation(vectors[0], vectors[2]) < -0.999


@given(st.integers(1, 5), st.integers(0, 14), st.integers(0, 3))
def test_a_chart_is_the_last_bars_up_to_one(size: int, count: int, after: int) -> None:
    """The oldest first; of bars after it nothing, and of a restored one the same."""
    chart = Chart(size)
    bars = [bar(minute, 100.0 + minute) for minute in range(count)]
    for one in bars:
        chart.take(one)
    until = max(0, count - after)
    kept = bars[max(0, count - size) : until]
    assert chart.until(until) == tuple((one.open, one.high, one.low, one.close) for one in kept)
    again = Chart(size)
    again.restore(chart.saved())
    assert again.until(until) == chart.until(until)
