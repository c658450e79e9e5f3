"""What single functions of the language promise beyond the contract."""

from __future__ import annotations

import math

import numpy as np
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st
from indicator_runs import compiled, interpreted

from core_samples import MONDAY_MS, bar, candles_of, packed
from tapewatch.archive.candles import Candles
from tapewatch.model import DAY_MS, MINUTE_MS, NAN


def test_rsi_is_exactly_0_50_and_100() -> None:
    """Only falls, falls that equal the rises, only rises: no rounding leaves the edges of the scale."""
    steps = np.random.default_rng(2).random(400) + 1e-3
    for prices, wanted in ((1e4 - steps.cumsum(), 0.0), (1e4 + steps.cumsum(), 100.0)):
        for length in (2, 6, 14):
            values = interpreted(f"rsi(close, {length})", [bar(k, price) for k, price in enumerate(prices.tolist())])
            assert set(values[length:]) == {wanted}
    swing = [bar(k, 100.0 + k % 2) for k in range(9)]
    assert interpreted("rsi(close, 8)", swing)[8] == 50.0


def test_rsi_keeps_its_value_while_the_price_stands_still() -> None:
    """Rises and falls fade alike when nothing moves any more, as in TA-Lib, for as long as doubles can tell them."""
    prices = np.array([100.0, 101.0, 100.5, 101.7, *[101.7] * 900])
    values = interpreted("rsi(close, 2)", [bar(k, price) for k, price in enumerate(prices.tolist())])
    np.testing.assert_allclose(values, talib.RSI(prices, 2), rtol=1e-9, atol=0)
    assert values[-1] == pytest.approx(values[3], rel=1e-12)


def test_sma_of_zeros_is_exactly_zero_after_a_burst() -> None:
    """A huge value that has left the window leaves nothing behind, not even the last bit."""
    volumes = [0.0] * 30 + [1e15, 0.1, 3e-9] + [0.0] * 60
    bars = [bar(k, volume=volume) for k, volume in enumerate(volumes)]
    for length in (1, 2, 7, 20):
        values = interpreted(f"sma(volume, {length})", bars)
        assert set(values[33 + length - 1 :]) == {0.0}
        assert values[33 + length - 2] > 0


def test_atr_counts_the_gap_from_the_close_before() -> None:
    """A bar that opens far away has the true range to the close before it, upward and downward."""
    quiet = [bar(k, 100.0, high=100.5, low=99.5) for k in range(3)]
    up, down = bar(3, 150.0, high=150.5, low=149.5), bar(4, 90.0, high=90.5, low=89.5)
    values = interpreted("atr(2)", [*quiet, up, down])
    assert values[2] == 1.0
    assert values[3] == (1.0 + 50.5) / 2
    assert values[4] == pytest.approx((values[3] + 60.5) / 2, rel=1e-15)


def test_vwap_is_unknown_until_something_has_traded() -> None:
    """Bars without volume give NaN, also at the start of every session, then the price that was paid."""
    bars = [bar(0, volume=0.0), bar(1, volume=0.0), bar(2, 90.0, high=96.0, low=84.0, volume=2.0), bar(3, volume=0.0)]
    bars += [bar(1440, volume=0.0), bar(1441, 120.0, high=120.0, low=120.0, volume=1.0)]
    assert packed(interpreted("vwap()", bars)) == packed([NAN, NAN, 90.0, 90.0, NAN, 120.0])


@pytest.mark.parametrize("first_of_day", [1440, 1440 + 77], ids=["at midnight", "over a hole"])
def test_vwap_starts_anew_each_day(first_of_day: int) -> None:
    """The first bar at or after 00:00 UTC starts a session, though the minute of midnight itself is missing."""
    before = [bar(k, 100.0 + k % 5) for k in (1430, 1438, 1439)]
    after = [bar(first_of_day, 200.0), bar(first_of_day + 1, 300.0)]
    values = interpreted("vwap()", [*before, *after])
    assert values[2] == pytest.approx((100 + 103 + 104) / 3)
    assert values[3:].tolist() == [200.0, 250.0]
    assert MONDAY_MS % DAY_MS == 0


def test_barssince_counts_bars_and_is_unknown_before_the_first() -> None:
    """NaN until the condition has been true; an unknown condition counts as not true and the count goes on."""
    buys = [1.0, NAN, 1.0, 500.0, 1.0, NAN, 1.0, 500.0]
    bars = [bar(3 * k, taker_buy=buy) for k, buy in enumerate(buys)]
    values = interpreted("barssince(taker_buy > open)", bars)
    assert packed(values) == packed([NAN, NAN, NAN, 0.0, 1.0, 2.0, 3.0, 0.0])


def test_averages_do_not_drift_over_a_million_bars() -> None:
    """After a million bars with bursts of 1e12 a window's mean equals the mean computed from its bars alone."""
    random = np.random.default_rng(13)
    x = random.lognormal(size=1_000_000)
    x[::99_991] = 1e12
    ones = np.ones(len(x))
    candles = Candles("v", "A", MINUTE_MS, np.arange(len(x)) * MINUTE_MS, ones, ones, ones, x, *[ones] * 4)
    sma, ema = compiled("sma(close, 200)", candles), compiled("ema(close, 20)", candles)
    for k in [*range(999_000, 1_000_000, 37), 999_999]:
        assert sma[k] == pytest.approx(math.fsum(x[k - 199 : k + 1]) / 200, rel=1e-12)
    weights = 2 / 21 * (1 - 2 / 21) ** np.arange(1200)
    for k in range(998_000, 1_000_000, 41):
        assert ema[k] == pytest.approx(math.fsum(weights * x[k - 1199 : k + 1][::-1]), rel=1e-9)


@pytest.mark.parametrize("price", [0.1, 0.7, 1e-8 / 3, 26_123.37, 1e15 / 7])
def test_a_flat_window_has_no_deviation_whatever_came_before(price: float) -> None:
    """Once a window holds one price alone nothing is left of the burst before it, not even the last bit."""
    prices = [price * 3, price * 1e9, price / 7, *[price] * 60]
    bars = [bar(k, close, open=close, high=close, low=close) for k, close in enumerate(prices)]
    for length in (2, 7, 10, 20):
        assert set(interpreted(f"stdev(close, {length})", bars)[3 + length - 1 :]) == {0.0}
        assert set(interpreted(f"cci({length})", bars)[3 + length - 1 :]) == {0.0}
        assert np.isnan(interpreted(f"zscore(close, {length})", bars)[3 + length - 1 :]).all()
        assert interpreted(f"stdev(close, {length})", bars)[3 + length - 2] > 0


def test_a_small_deviation_of_a_high_price_keeps_its_digits() -> None:
    """A cent to and fro at 1e9 has the deviation that exact arithmetic gives."""
    prices = 1e9 + 0.0078125 * (np.arange(90) % 3)
    values = interpreted("stdev(close, 30)", [bar(k, price) for k, price in enumerate(prices.tolist())])
    np.testing.assert_allclose(values[29:], 0.0078125 * math.sqrt(2 / 3), rtol=1e-14)


def test_correlation_is_exactly_1_of_what_moves_together() -> None:
    """Rounding never leads beyond 1 and -1."""
    prices = (100 * np.exp(np.random.default_rng(4).standard_normal(400).cumsum() / 1000)).tolist()
    bars = [bar(k, price, low=3 * price, high=-price / 7) for k, price in enumerate(prices)]
    assert interpreted("correlation(close, low, 12)", bars)[11:] == pytest.approx(1, abs=1e-12)
    assert interpreted("correlation(close, high, 12)", bars)[11:] == pytest.approx(-1, abs=1e-12)
    for other in ("low", "high", "close"):
        assert np.nanmax(np.abs(interpreted(f"correlation(close, {other}, 12)", bars))) <= 1


def test_valuewhen_counts_from_the_last_time() -> None:
    """Occurrence 0 is the last time the condition was true, 1 the one before; NaN until there are so many."""
    bars = [bar(k, 100.0 + k, open=200.0 if k % 3 else 50.0) for k in range(8)]
    assert packed(interpreted("valuewhen(close > open, close, 0)", bars)) == packed(
        [100, 100, 100, 103, 103, 103, 106, 106]
    )
    assert packed(interpreted("valuewhen(close > open, close, 1)", bars)) == packed(
        [NAN, NAN, NAN, 100, 100, 100, 103, 103]
    )


def test_levels_are_known_only_once_their_pivot_is_confirmed() -> None:
    """A low at bar 30 is a support from bar 33 on; a second low near it is a touch, a far one another level."""
    lows = dict.fromkeys(range(80), 100.0) | {30: 95.0, 50: 95.25, 70: 60.0}
    bars = [bar(k, 101.0, open=101.0, high=102.0, low=low + k * 1e-9) for k, low in lows.items()]
    price, touches, age, strength = (
        interpreted(f"support(3).{member}", bars) for member in ("price", "touches", "age", "strength")
    )
    assert np.isnan(price[:33]).all()
    assert price[33] == pytest.approx(95.0, abs=1e-6)
    assert (touches[33], age[33], touches[52], touches[53], age[53]) == (1, 3, 1, 2, 23)
    assert price[53] == pytest.approx(95.125, abs=1e-6)
    assert price[-1] == price[53]
    assert strength[33] == pytest.approx(10 * 1 / 2 * 300 / 303)
    assert strength[53] == pytest.approx(10 * 2 / 3 * 300 / 303)


def test_cvd_starts_anew_each_day_and_is_unknown_without_taker_volume() -> None:
    """The running sum of what takers bought less what they sold, since 00:00 UTC."""
    bars = [bar(k, volume=10.0, taker_buy=buy) for k, buy in ((0, 7.0), (1, NAN), (2, 2.0), (1440, 6.0))]
    assert packed(interpreted("cvd()", bars)) == packed([4, NAN, -2, 2])
    assert packed(interpreted("delta()", bars)) == packed([4, NAN, -6, 2])


def test_obv_does_not_lose_small_volumes_beside_large_ones() -> None:
    """A million small volumes after one of 1e16 are all there once the large one has gone."""
    bars = [bar(0, 100.0, volume=1e16)] + [bar(k, 100.0 + k, volume=0.25) for k in range(1, 1001)]
    bars.append(bar(1001, 50.0, volume=1e16))
    assert interpreted("obv()", bars)[-1] == 250.0


@settings(max_examples=400, deadline=None)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=False), min_size=1, max_size=60))
def test_log_exp_and_sqrt_have_the_same_bits_everywhere(numbers: list[float]) -> None:
    """The compiled functions are the interpreter's over all doubles, NaN outside their domain."""
    numbers += [number / 1e300 for number in numbers] + [math.remainder(number, 750.0) for number in numbers]
    bars = [bar(k, taker_buy=number) for k, number in enumerate(numbers)]
    for text in ("log(taker_buy)", "exp(taker_buy)", "sqrt(taker_buy)"):
        live = interpreted(text, bars)
        assert packed(live) == packed(compiled(text, candles_of(bars)))
        function = getattr(math, text[: text.index("(")])
        for number, value in zip(numbers, live.tolist(), strict=True):
            try:
                wanted = function(number)
            except (ValueError, OverflowError):
                wanted = NAN
            assert packed([value]) == packed([wanted])


def test_log_and_exp_have_the_same_bits_over_a_million_numbers() -> None:
    """Every magnitude: compiled and interpreted agree on each of a million numbers."""
    random = np.random.default_rng(8)
    small = np.ldexp(random.random(500_000) + 0.5, random.integers(-1000, 1000, 500_000))
    numbers = np.concatenate((small, random.uniform(-745, 709, 500_000)))
    ones = np.ones(len(numbers))
    candles = Candles("v", "A", MINUTE_MS, np.arange(len(numbers)), ones, ones, ones, numbers, *[ones] * 4)
    logs, powers = compiled("log(close)", candles), compiled("exp(close)", candles)
    assert logs[:500_000].tolist() == [math.log(number) for number in small.tolist()]
    assert powers[500_000:].tolist() == [math.exp(number) for number in numbers[500_000:].tolist()]
