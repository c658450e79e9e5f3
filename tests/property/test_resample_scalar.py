"""Columns at a time and bar by bar, larger candles are the same to the last bit."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.archive import reader, resample
from tapewatch.archive.candles import VALUES, Candles
from tapewatch.bars import BarBuilder
from tapewatch.errors import SetupError
from tapewatch.model import INTERVALS_MS, MINUTE_MS, Bar

amounts = st.one_of(
    st.integers(0, 10**9).map(lambda n: n / 1e8),
    st.integers(0, 10**16).map(lambda n: n / 1e8),
    st.floats(0, 1e13),
    st.floats(0, 1e25),
)


def scalar(candles: Candles, interval_ms: int) -> list[Bar]:
    """The same bars from the builder that the live engine uses."""
    first_ms = int(candles.open_ms[0]) if len(candles) else 0
    builder = BarBuilder(interval_ms, -(-first_ms // interval_ms) * interval_ms)
    return [bar for base in candles.bars() for bar in builder.add(base)]


def bits(bars: list[Bar]) -> list[tuple[object, ...]]:
    """Each bar's values, NaN made comparable."""
    rows = [(bar.open_ms, *(getattr(bar, name) for name in VALUES)) for bar in bars]
    return [tuple("nan" if math.isnan(value) else float(value).hex() for value in row) for row in rows]


@st.composite
def histories(draw: st.DrawFn) -> Candles:
    """Candles with holes, with and without the volumes some sources lack."""
    opens = sorted(draw(st.sets(st.integers(0, 90), max_size=60)))
    count = len(opens)

    def column(values: st.SearchStrategy[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.array(draw(st.lists(values, min_size=count, max_size=count)), np.float64)

    prices = st.floats(1, 1e6)
    holes = st.one_of(amounts, st.just(math.nan)) if draw(st.booleans()) else amounts
    opened, closed = column(prices), column(prices)
    return Candles(
        "v",
        "AAA",
        MINUTE_MS,
        np.array(opens, np.int64) * MINUTE_MS,
        opened,
        np.maximum(opened, closed) + column(prices),
        np.minimum(opened, closed) / 2,
        closed,
        column(amounts),
        column(holes),
        column(st.integers(0, 10**6).map(float)),
        column(holes),
    )


@given(histories(), st.sampled_from([3, 5, 15, 30]))
def test_columns_and_scalar_builder_give_the_same_bits(candles: Candles, minutes: int) -> None:
    """Every bar that the builder completes is built, no other, with equal bits in every field."""
    built = resample.build(candles, minutes * MINUTE_MS)
    assert built.interval_ms == minutes * MINUTE_MS
    assert bits(list(built.bars())) == bits(scalar(candles, minutes * MINUTE_MS))


def test_a_bucket_that_the_data_does_not_finish_is_left_out() -> None:
    """Seven minutes give one bar of five, ten minutes two, and the same interval is given back."""
    ones = np.ones(10)
    candles = Candles("v", "AAA", MINUTE_MS, np.arange(10) * MINUTE_MS, *[ones] * 8)
    assert resample.build(candles.slice(to_ms=7 * MINUTE_MS), 5 * MINUTE_MS).open_ms.tolist() == [0]
    assert resample.build(candles, 5 * MINUTE_MS).volume.tolist() == [5.0, 5.0]
    assert len(resample.build(candles.slice(to_ms=3 * MINUTE_MS), 5 * MINUTE_MS)) == 0
    assert resample.build(candles, MINUTE_MS) is candles


def test_an_interval_that_does_not_fit_is_refused() -> None:
    """15m cannot be built from 10m."""
    candles = Candles("v", "AAA", 10 * MINUTE_MS, np.arange(1), *[np.ones(1)] * 8)
    with pytest.raises(SetupError, match="cannot be built"):
        resample.build(candles, 15 * MINUTE_MS)


@pytest.mark.skipif("TAPEWATCH_DATA" not in os.environ, reason="needs the real candles of TAPEWATCH_DATA")
def test_built_5m_equals_what_the_exchange_served() -> None:
    """Eight months of real 1m candles make exactly the exchange's own 5m candles, volumes to the last bit."""
    root = Path(os.environ["TAPEWATCH_DATA"]) / "candles"
    minutes = reader.load(root / "long-1m", "binance_spot", "BTCUSDT", "1m")
    served = reader.load(root / "resample-ref", "binance_spot", "BTCUSDT", "5m")
    built = resample.build(minutes, INTERVALS_MS["5m"])
    assert np.array_equal(built.open_ms, served.open_ms)
    for name in ("open", "high", "low", "close", "volume"):
        assert np.array_equal(getattr(built, name), getattr(served, name)), name
    assert bits(list(built.slice(to_ms=int(built.open_ms[2000])).bars())) == bits(
        scalar(minutes.slice(to_ms=int(built.open_ms[2000])), INTERVALS_MS["5m"])
    )
