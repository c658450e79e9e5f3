"""Larger bars from base bars, and exact sums of volumes."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_samples import MONDAY_MS, bar, candles_of
from tapewatch.archive import reader, resample
from tapewatch.bars import BarBuilder, ExactSum
from tapewatch.model import MINUTE_MS, NAN, Bar

FIVE_MS = 5 * MINUTE_MS


def total(values: list[float]) -> float:
    """The exact sum of values."""
    one = ExactSum()
    for value in values:
        one.add(value)
    return one.value()


def test_tenths_add_up() -> None:
    """Ten times 0.1 is 1, which adding doubles misses; nothing added is 0."""
    assert total([0.1] * 10) == 1.0 != sum([0.1] * 10)
    assert total([]) == 0.0


@given(st.lists(st.integers(0, 10**14), max_size=300))
def test_a_sum_is_the_double_nearest_to_the_exact_one(units: list[int]) -> None:
    """Volumes of up to 8 decimals and a million whole units, however many: rounded once."""
    exact = Fraction(sum(units), 10**8)
    assert total([float(Decimal(unit) / 10**8) for unit in units]) == float(exact)


def test_a_sum_beyond_whole_doubles_is_still_right() -> None:
    """Above 2**53 parts the total goes on exactly in whole units."""
    assert total([9e7, 0.5, 9e7, 0.25]) == 180_000_000.75
    assert total([1e15, 1.0, 0.5]) == 1_000_000_000_000_001.5
    assert total([1e300, 1e300]) == 2e300


@pytest.mark.parametrize("value", [NAN, math.inf])
def test_an_unknown_volume_makes_the_sum_unknown(value: float) -> None:
    """And it stays unknown."""
    assert math.isnan(total([1.0, value, 1.0]))


def test_a_bar_closes_with_its_last_base_bar() -> None:
    """First open, highest high, lowest low, last close, and the sums."""
    builder = BarBuilder(FIVE_MS)
    closes = [100.0, 104.0, 96.0, 101.0, 102.0]
    bars = [bar(k, close, open=99.0, quote_volume=0.1, trades=3.0, taker_buy=0.7) for k, close in enumerate(closes)]
    assert [builder.add(one) for one in bars[:4]] == [()] * 4
    assert builder.add(bars[4]) == (Bar("AAAUSDT", FIVE_MS, MONDAY_MS, 99.0, 105.0, 95.0, 102.0, 50.0, 0.5, 15.0, 3.5),)


def test_what_a_source_does_not_have_stays_unknown() -> None:
    """No quote volume, trades or taker volume in one of the base bars: none in the larger one."""
    (built,) = BarBuilder(FIVE_MS).add(bar(4))
    assert all(math.isnan(value) for value in (built.quote_volume, built.trades, built.taker_buy))
    assert built.volume == 10.0


def test_a_hole_is_not_filled() -> None:
    """The next base bar finishes what was begun; buckets without base bars give none; two may come at once."""
    builder = BarBuilder(FIVE_MS)
    builder.add(bar(1))
    (flushed,) = builder.add(bar(17))
    assert (flushed.open_ms, flushed.volume) == (MONDAY_MS, 10.0)
    both = builder.add(bar(24))
    assert [one.open_ms - MONDAY_MS for one in both] == [3 * FIVE_MS, 4 * FIVE_MS]


def test_buckets_before_the_start_are_left_out() -> None:
    """A bucket that base bars may not cover from its open gives no bar."""
    builder = BarBuilder(FIVE_MS, MONDAY_MS + FIVE_MS)
    built = [one for k in range(2, 10) for one in builder.add(bar(k))]
    assert [(one.open_ms, one.volume) for one in built] == [(MONDAY_MS + FIVE_MS, 50.0)]


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT"])
def test_built_bars_equal_what_the_exchange_served(symbol: str, market_data: Path) -> None:
    """Months of real minutes, an outage among them, through both builders: the exchange's own 5m, to the last bit."""
    folder = market_data / "candles"
    minutes = reader.load(folder / "long-1m", "binance_spot", symbol, "1m")
    served = reader.load(folder / "resample-ref", "binance_spot", symbol, "5m")
    builder = BarBuilder(FIVE_MS)
    scalar = candles_of([built for one in minutes.bars() for built in builder.add(one)])
    for built in (scalar, resample.build(minutes, FIVE_MS)):
        assert np.array_equal(built.open_ms, served.open_ms)
        for name in ("open", "high", "low", "close", "volume"):
            assert np.array_equal(getattr(built, name), getattr(served, name)), name
