"""One contract for every indicator in the registry; the references are TA-Lib and pandas."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import talib

from core_samples import MONDAY_MS, bar, candles_of, packed
from tapewatch.archive import reader
from tapewatch.archive.candles import Candles
from tapewatch.indicators import NEVER, REGISTRY, Ring
from tapewatch.model import DAY_MS, MINUTE_MS, NAN, Bar
from tapewatch.strategy.graph import Graph, Node
from tapewatch.strategy.paste import ring_names
from tapewatch.strategy.step import FrameStep, compile_frame
from tapewatch.study.scans import arguments, scan_of

Floats = npt.NDArray[np.float64]


# --- references, and what each indicator is on special data --------------------------------------------------------


def _vwap(candles: Candles, _x: Floats) -> Floats:
    frame = pd.DataFrame({"day": candles.open_ms // DAY_MS, "volume": candles.volume})
    frame["paid"] = (candles.high + candles.low + candles.close) / 3 * candles.volume
    sums = frame.groupby("day")[["paid", "volume"]].cumsum()
    return (sums["paid"] / sums["volume"].where(sums["volume"] > 0)).to_numpy()


def _barssince(candles: Candles, _x: Floats) -> Floats:
    true = pd.Series(candles.close > candles.open)
    since = true.groupby(true.cumsum()).cumcount().astype(float)
    return since.where(true.cumsum() > 0).to_numpy()


GOLDEN: dict[str, Callable[..., Floats]] = {
    "ema": lambda _candles, x, length: pd.Series(x).ewm(span=length, adjust=False).mean().to_numpy(),
    "sma": lambda _candles, x, length: pd.Series(x).rolling(length).apply(lambda w: math.fsum(w) / length, raw=True),
    "rsi": lambda _candles, x, length: talib.RSI(x, length),
    "atr": lambda candles, _x, length: talib.ATR(candles.high, candles.low, candles.close, length),
    "vwap": _vwap,
    "barssince": _barssince,
}
#: On real data, where a fast one is needed and the plain one is not.
FAST = {**GOLDEN, "sma": lambda _candles, x, length: talib.SMA(x, length)}
#: On a price that never moves, without any range, and without volume.
FLAT = {"ema": 50.0, "sma": 50.0, "rsi": 0.0, "atr": 0.0, "vwap": NAN, "barssince": NAN}

LENGTHS = {0: [()], 1: [(2,), (6,), (14,), (50,)]}
CASES = [
    pytest.param(name, lengths, id=f"{name}{lengths}")
    for name, spec in REGISTRY.items()
    for lengths in LENGTHS[len(spec.lengths)]
]
SHORTEST = [pytest.param(name, (1,), id=f"{name}(1,)") for name, spec in REGISTRY.items() if spec.lengths]


# --- the two evaluators --------------------------------------------------------------------------------------------


def step_of(name: str, lengths: tuple[int, ...], source: str) -> tuple[FrameStep, int]:
    """The live step of one call on a source (or on `close > open`), and the place of its value."""
    graph = Graph()
    inputs: list[Node] = []
    for role in REGISTRY[name].inputs:
        if role == "cond":
            sides = (graph.source(source, MINUTE_MS), graph.source("open", MINUTE_MS))
            inputs.append(graph.node(">", sides, None, MINUTE_MS, "condition"))
        else:
            inputs.append(graph.source(source, MINUTE_MS))
    node = graph.call(name, tuple(inputs), lengths, MINUTE_MS)
    return compile_frame(graph, MINUTE_MS, None), node.index


def feed(step: FrameStep, place: int, bars: Sequence[Bar], state: list[Any]) -> list[float]:
    """The value on every bar; `state` is changed."""
    values = []
    for one in bars:
        result = step.function(one, state, (), False)
        assert result is not None
        values.append(result[1][place])
    return values


def interpreted(name: str, lengths: tuple[int, ...], bars: Sequence[Bar], source: str = "close") -> Floats:
    """The live evaluator's values from a fresh start."""
    step, place = step_of(name, lengths, source)
    return np.array(feed(step, place, bars, step.fresh_state()), np.float64)


def compiled(
    name: str, lengths: tuple[int, ...], candles: Candles, source: str = "close", edges: Sequence[int] = ()
) -> Floats:
    """The compiled scan's values from a fresh start, in pieces that end at `edges`."""
    spec = REGISTRY[name]
    floats, ints, constants = arguments(spec)
    state = [np.array([spec.state[key] for key in floats], np.float64)]
    state.append(np.array([spec.state[key] for key in ints], np.int64))
    for key in ring_names(spec):
        ring = spec.state[key]
        assert isinstance(ring, Ring)
        state.append(np.zeros(lengths[0] + ring.extra))
    known = dict(zip(spec.lengths, lengths, strict=True)) | dict(spec.constants(*lengths))
    x = np.ascontiguousarray(getattr(candles, source))
    with np.errstate(over="ignore"):
        derived = {"day": candles.open_ms // DAY_MS, "hlc3": (candles.high + candles.low + candles.close) / 3.0}
    columns = [x > candles.open if role == "cond" else x for role in spec.inputs]
    columns += [derived[key] if key in derived else getattr(candles, key) for key in spec.sources]
    out = np.empty(len(candles))
    for start, stop in zip([0, *edges], [*edges, len(candles)], strict=True):
        parts = (column[start:stop] for column in columns)
        scan_of(name)(*parts, out[start:stop], *state, *(known[key] for key in constants))
    return out


def market(count: int, seed: int = 3, *, scale: float = 100.0) -> list[Bar]:
    """A noisy price that stays near `scale`, over several sessions, with holes and bars without volume."""
    random = np.random.default_rng(seed)
    prices = scale * (1 + 0.02 * random.standard_normal(count + 1).cumsum() / math.sqrt(count) + 0.001)
    minutes = np.arange(count) * 7 + random.integers(0, 3, count).cumsum() * 11
    bars = []
    for k in range(count):
        opened, closed = float(prices[k]), float(prices[k + 1])
        high, low = max(opened, closed) * (1 + random.random() / 900), min(opened, closed) * (1 - random.random() / 900)
        volume = 0.0 if random.random() < 0.1 else float(random.lognormal())
        bars.append(
            bar(
                int(minutes[k]), closed, open=opened, high=high, low=low, volume=volume,
                taker_buy=NAN if random.random() < 0.2 else closed,
            )
        )  # fmt: skip
    return bars


# --- the contract --------------------------------------------------------------------------------------------------


def test_every_indicator_has_a_reference_and_a_flat_value() -> None:
    """An indicator that is added without its reference fails here, so nothing ships unchecked."""
    assert set(GOLDEN) == set(FLAT) == set(REGISTRY)


@pytest.mark.parametrize(("name", "lengths"), CASES)
def test_equals_the_reference_on_random_bars(name: str, lengths: tuple[int, ...]) -> None:
    """TA-Lib or pandas to 1e-9, NaN on the same bars."""
    bars = market(3000)
    candles = candles_of(bars)
    wanted = GOLDEN[name](candles, candles.close, *lengths)
    np.testing.assert_allclose(interpreted(name, lengths, bars), wanted, rtol=1e-9, atol=0)


@pytest.mark.parametrize(("name", "lengths"), CASES)
def test_equals_the_reference_on_real_candles(name: str, lengths: tuple[int, ...], market_data: Path) -> None:
    """Eight months of BTCUSDT minutes, an outage among them: TA-Lib or pandas to 1e-9."""
    candles = reader.load(market_data / "candles" / "long-1m", "binance_spot", "BTCUSDT", "1m")
    wanted = FAST[name](candles, candles.close, *lengths)
    np.testing.assert_allclose(compiled(name, lengths, candles), wanted, rtol=1e-9, atol=0)


@pytest.mark.parametrize(("name", "lengths"), [*CASES, *SHORTEST])
def test_first_valid_bar_is_exact(name: str, lengths: tuple[int, ...]) -> None:
    """NaN on every bar before the stated one, a value on it and on all that follow."""
    bars = [bar(k, 100.0 + k % 3, open=99.0) for k in range(120)]
    first = REGISTRY[name].first_valid(*lengths)
    assert np.isfinite(interpreted(name, lengths, bars)).tolist() == [k >= first for k in range(120)]


@pytest.mark.parametrize(("name", "lengths"), [case for case in CASES if "x" in REGISTRY[case.values[0]].inputs])
@pytest.mark.parametrize("unknown", [{0, 1, 2}, {5}, {0, 3, 4, 60, 61, 99}], ids=str)
def test_nan_input_gives_nan_and_leaves_the_state(name: str, lengths: tuple[int, ...], unknown: set[int]) -> None:
    """The other bars have the very values they would have if the bars without input were not there."""
    bars = [bar(k, taker_buy=NAN if k in unknown else 7.0 + (k * k) % 11) for k in range(100)]
    values = interpreted(name, lengths, bars, "taker_buy")
    kept = [k for k in range(100) if k not in unknown]
    assert np.isnan(values[sorted(unknown)]).all()
    assert packed(values[kept]) == packed(interpreted(name, lengths, [bars[k] for k in kept], "taker_buy"))
    assert packed(values) == packed(compiled(name, lengths, candles_of(bars), "taker_buy"))


@pytest.mark.parametrize(("name", "lengths"), CASES)
def test_flat_price_without_range_or_volume(name: str, lengths: tuple[int, ...]) -> None:
    """Nothing moves and nothing trades: defined values, RSI and ATR exactly 0, no exception."""
    bars = [bar(k, 50.0, open=50.0, high=50.0, low=50.0, volume=0.0) for k in range(120)]
    values = interpreted(name, lengths, bars)[REGISTRY[name].first_valid(*lengths) :]
    np.testing.assert_allclose(values, FLAT[name], rtol=1e-13, atol=0)


@pytest.mark.parametrize(("name", "lengths"), [*CASES, *SHORTEST])
def test_interpreted_equals_compiled_in_any_pieces(name: str, lengths: tuple[int, ...]) -> None:
    """Bit for bit, over the whole column and over pieces of one bar and of many, with NaN inputs among them."""
    bars = market(700, seed=5)
    candles = candles_of(bars)
    for source in ("close", "taker_buy"):
        live = packed(interpreted(name, lengths, bars, source))
        assert live == packed(compiled(name, lengths, candles, source))
        assert live == packed(compiled(name, lengths, candles, source, edges=[1, 2, 57, 400]))


@pytest.mark.parametrize(("name", "lengths"), [*CASES, *SHORTEST])
def test_pasted_equals_called(name: str, lengths: tuple[int, ...]) -> None:
    """The update called as the plain function it is gives what its text gives where it was pasted."""
    spec, bars = REGISTRY[name], market(300, seed=9)
    state: dict[str, Any] = {
        key: [0.0] * (lengths[0] + initial.extra) if isinstance(initial, Ring) else initial
        for key, initial in spec.state.items()
    }
    known = dict(zip(spec.lengths, lengths, strict=True)) | dict(spec.constants(*lengths))
    values = []
    for one in bars:
        series = {key: 2 if one.close > one.open else 0 for key in spec.inputs if key == "cond"}
        series |= {key: one.close for key in spec.inputs if key == "x"}
        derived = {"day": one.open_ms // DAY_MS, "hlc3": (one.high + one.low + one.close) / 3.0}
        series |= {key: derived[key] if key in derived else getattr(one, key) for key in spec.sources}
        given = series | state | known
        result: Any = spec.update(**{key: given[key] for key in inspect.signature(spec.update).parameters})
        values.append(result[0])
        state |= dict(zip((key for key in state if not isinstance(state[key], list)), result[1:], strict=True))
    assert packed(values) == packed(interpreted(name, lengths, bars))


@pytest.mark.parametrize(("name", "lengths"), [*CASES, *SHORTEST])
def test_restart_from_a_saved_state_gives_the_same_bits(name: str, lengths: tuple[int, ...]) -> None:
    """A state copied after any bar and fed the rest gives what the run that never stopped gave."""
    bars = market(130, seed=7)
    step, place = step_of(name, lengths, "taker_buy")
    state = step.fresh_state()
    whole, saved = [], []
    for one in bars:
        saved.append(copy.deepcopy(state))
        whole += feed(step, place, [one], state)
    for k, old in enumerate(saved):
        assert packed(feed(step, place, bars[k : k + 60], old)) == packed(whole[k : k + 60]), k


@pytest.mark.parametrize(("name", "lengths"), CASES)
def test_two_starts_agree_once_settled(name: str, lengths: tuple[int, ...]) -> None:
    """After the stated number of bars two series that start differently agree to 1e-12."""
    spec = REGISTRY[name]
    settling = spec.settling(1440, *lengths)
    if settling == NEVER:
        assert name == "barssince"
        return
    random = np.random.default_rng(11)
    count = int(settling) + 800
    noise = random.random((count, 4))
    bars = [
        bar(k, 100 + close, open=100.5, high=101 + high, low=100 - low, volume=volume)
        for k, (close, high, low, volume) in enumerate(noise.tolist())
    ]
    skipped = 700
    candles = candles_of(bars)
    early, late = compiled(name, lengths, candles), compiled(name, lengths, candles.slice(bars[skipped].open_ms))
    np.testing.assert_allclose(late[int(settling) :], early[skipped + int(settling) :], rtol=1e-12, atol=0)


@pytest.mark.parametrize(("name", "lengths"), [*CASES, *SHORTEST])
@pytest.mark.parametrize("size", [1.7e308, 1e300, 5e-324, 1e-300])
def test_extreme_values_never_give_infinity_or_an_exception(name: str, lengths: tuple[int, ...], size: float) -> None:
    """At the ends of the doubles a value is finite or NaN, and the same in both evaluators."""
    swings = [size, -size, size, size, -size, 0.0] * 20
    bars = [
        bar(k, size, open=size / 2, high=size, low=size / 4, volume=size, taker_buy=swing)
        for k, swing in enumerate(swings)
    ]
    for source in ("close", "taker_buy"):
        values = interpreted(name, lengths, bars, source)
        assert not np.isinf(values).any()
        assert packed(values) == packed(compiled(name, lengths, candles_of(bars), source))


# --- what single indicators promise beyond it ----------------------------------------------------------------------


def test_rsi_is_exactly_0_50_and_100() -> None:
    """Only falls, falls that equal the rises, only rises: no rounding leaves the edges of the scale."""
    steps = np.random.default_rng(2).random(400) + 1e-3
    for prices, wanted in ((1e4 - steps.cumsum(), 0.0), (1e4 + steps.cumsum(), 100.0)):
        for length in (2, 6, 14):
            values = interpreted("rsi", (length,), [bar(k, price) for k, price in enumerate(prices.tolist())])
            assert set(values[length:]) == {wanted}
    swing = [bar(k, 100.0 + k % 2) for k in range(9)]
    assert interpreted("rsi", (8,), swing)[8] == 50.0


def test_rsi_keeps_its_value_while_the_price_stands_still() -> None:
    """Rises and falls fade alike when nothing moves any more, as in TA-Lib, for as long as doubles can tell them."""
    prices = np.array([100.0, 101.0, 100.5, 101.7, *[101.7] * 900])
    values = interpreted("rsi", (2,), [bar(k, price) for k, price in enumerate(prices.tolist())])
    np.testing.assert_allclose(values, talib.RSI(prices, 2), rtol=1e-9, atol=0)
    assert values[-1] == pytest.approx(values[3], rel=1e-12)


def test_sma_of_zeros_is_exactly_zero_after_a_burst() -> None:
    """A huge value that has left the window leaves nothing behind, not even the last bit."""
    volumes = [0.0] * 30 + [1e15, 0.1, 3e-9] + [0.0] * 60
    bars = [bar(k, volume=volume) for k, volume in enumerate(volumes)]
    for length in (1, 2, 7, 20):
        values = interpreted("sma", (length,), bars, "volume")
        assert set(values[33 + length - 1 :]) == {0.0}
        assert values[33 + length - 2] > 0


def test_atr_counts_the_gap_from_the_close_before() -> None:
    """A bar that opens far away has the true range to the close before it, upward and downward."""
    quiet = [bar(k, 100.0, high=100.5, low=99.5) for k in range(3)]
    up, down = bar(3, 150.0, high=150.5, low=149.5), bar(4, 90.0, high=90.5, low=89.5)
    values = interpreted("atr", (2,), [*quiet, up, down])
    assert values[2] == 1.0
    assert values[3] == (1.0 + 50.5) / 2
    assert values[4] == pytest.approx((values[3] + 60.5) / 2, rel=1e-15)


def test_vwap_is_unknown_until_something_has_traded() -> None:
    """Bars without volume give NaN, also at the start of every session, then the price that was paid."""
    bars = [bar(0, volume=0.0), bar(1, volume=0.0), bar(2, 90.0, high=96.0, low=84.0, volume=2.0), bar(3, volume=0.0)]
    bars += [bar(1440, volume=0.0), bar(1441, 120.0, high=120.0, low=120.0, volume=1.0)]
    assert packed(interpreted("vwap", (), bars)) == packed([NAN, NAN, 90.0, 90.0, NAN, 120.0])


@pytest.mark.parametrize("first_of_day", [1440, 1440 + 77], ids=["at midnight", "over a hole"])
def test_vwap_starts_anew_each_day(first_of_day: int) -> None:
    """The first bar at or after 00:00 UTC starts a session, though the minute of midnight itself is missing."""
    before = [bar(k, 100.0 + k % 5) for k in (1430, 1438, 1439)]
    after = [bar(first_of_day, 200.0), bar(first_of_day + 1, 300.0)]
    values = interpreted("vwap", (), [*before, *after])
    assert values[2] == pytest.approx((100 + 103 + 104) / 3)
    assert values[3:].tolist() == [200.0, 250.0]
    assert MONDAY_MS % DAY_MS == 0


def test_barssince_counts_bars_and_is_unknown_before_the_first() -> None:
    """NaN until the condition has been true; an unknown condition counts as not true and the count goes on."""
    buys = [1.0, NAN, 1.0, 500.0, 1.0, NAN, 1.0, 500.0]
    bars = [bar(3 * k, taker_buy=buy) for k, buy in enumerate(buys)]
    values = interpreted("barssince", (), bars, "taker_buy")
    assert packed(values) == packed([NAN, NAN, NAN, 0.0, 1.0, 2.0, 3.0, 0.0])


def test_averages_do_not_drift_over_a_million_bars() -> None:
    """After a million bars with bursts of 1e12 a window's mean equals the mean computed from its bars alone."""
    random = np.random.default_rng(13)
    x = random.lognormal(size=1_000_000)
    x[::99_991] = 1e12
    ones = np.ones(len(x))
    candles = Candles("v", "A", MINUTE_MS, np.arange(len(x)) * MINUTE_MS, ones, ones, ones, x, *[ones] * 4)
    sma, ema = compiled("sma", (200,), candles), compiled("ema", (20,), candles)
    for k in [*range(999_000, 1_000_000, 37), 999_999]:
        assert sma[k] == pytest.approx(math.fsum(x[k - 199 : k + 1]) / 200, rel=1e-12)
    weights = 2 / 21 * (1 - 2 / 21) ** np.arange(1200)
    for k in range(998_000, 1_000_000, 41):
        assert ema[k] == pytest.approx(math.fsum(weights * x[k - 1199 : k + 1][::-1]), rel=1e-9)
