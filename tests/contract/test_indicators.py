"""One contract for every function of the language; the references are TA-Lib, pandas and NumPy."""

from __future__ import annotations

import copy
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from indicator_cases import CASES, NEVER_SETTLE, SLOW_REFERENCE, WINDOWED
from indicator_runs import compiled, feed, interpreted, market, parsed, restless, step_of

from core_samples import bar, candles_of, packed
from tapewatch.archive import reader
from tapewatch.archive.candles import Candles
from tapewatch.indicators import REGISTRY
from tapewatch.model import MINUTE_MS, NAN
from tapewatch.strategy.catalogue import first_valid, forgets
from tapewatch.strategy.composed import COMPOSED
from tapewatch.strategy.expression import functions, members_of
from tapewatch.strategy.graph import settling


def _params(*, shortest: bool = False) -> list[Any]:
    found = []
    for name, case in CASES.items():
        args = list(case.args)
        if shortest and all(arg == int(arg) for one in args for arg in one) and args[0] and not name.startswith("hma"):
            args.append((1,) * len(args[0]))
        found += [pytest.param(name, one, id=f"{name}{one}") for one in args]
    return found


ALL, WITH_SHORTEST = _params(), _params(shortest=True)


def text_of(name: str, args: tuple[float, ...]) -> str:
    """The case's expression with its constants."""
    return CASES[name].text.format(*(f"{arg:g}" for arg in args))


def function_of(name: str) -> str:
    """The function of a member."""
    return name.split(".", 1)[0]


@cache
def _bitcoin(data: Path) -> Candles:
    return reader.load(data / "candles" / "long-1m", "binance_spot", "BTCUSDT", "1m")


@cache
def _random_market() -> tuple[Any, Candles]:
    bars = market(3000)
    return bars, candles_of(bars)


def test_every_function_and_member_has_a_reference() -> None:
    """A function that is added without its reference fails here, so nothing ships unchecked."""
    known = {
        f"{name}.{member}" if member else name
        for name in functions()
        if name not in ("higher", "on")
        for member in members_of(name)
    }
    assert known == set(CASES)


@pytest.mark.parametrize("name", [name for name in functions() if name not in ("higher", "on")])
def test_the_example_of_every_function_can_be_written(name: str) -> None:
    """Each has a line of its own, a formula, a seed, a source, and an example that calls it and gives values."""
    facts = REGISTRY.get(name) or COMPOSED[name]
    assert all((facts.summary, facts.formula, facts.seed, facts.source))
    assert re.search(rf"\b{name}\(", facts.example)
    assert np.isfinite(interpreted(facts.example, restless(1200))[-1])


@pytest.mark.parametrize(("name", "args"), ALL)
def test_equals_the_reference_on_random_bars(name: str, args: tuple[float, ...]) -> None:
    """TA-Lib, pandas or NumPy to 1e-9, NaN on the same bars."""
    bars, candles = _random_market()
    wanted = CASES[name].golden(candles, candles.close, *args)
    values = interpreted(text_of(name, args), bars)
    np.testing.assert_allclose(values, wanted, rtol=1e-9, atol=CASES[name].slack)
    oracle = CASES[name].oracle
    if oracle is not None:
        np.testing.assert_allclose(values, oracle(candles, candles.close, *args), rtol=1e-9, atol=CASES[name].slack)
    assert packed(values) == packed(compiled(text_of(name, args), candles))


@pytest.mark.parametrize(("name", "args"), ALL)
def test_equals_the_reference_on_real_candles(name: str, args: tuple[float, ...], market_data: Path) -> None:
    """Eight months of BTCUSDT minutes, an outage among them: TA-Lib, pandas or NumPy to 1e-9."""
    candles = _bitcoin(market_data)
    if function_of(name) in SLOW_REFERENCE:
        candles = candles.slice(int(candles.open_ms[-40_000]))
    wanted = CASES[name].golden(candles, candles.close, *args)
    np.testing.assert_allclose(compiled(text_of(name, args), candles), wanted, rtol=1e-9, atol=CASES[name].slack)


@pytest.mark.parametrize(("name", "args"), WITH_SHORTEST)
def test_first_valid_bar_is_exact(name: str, args: tuple[float, ...]) -> None:
    """NaN on every bar before the stated one, a value on it and on all that follow."""
    text = text_of(name, args)
    first = first_valid(parsed(text)[1])
    values = interpreted(text, restless(first + 150))
    if args and set(args) == {1} and name in ("zscore", "correlation"):
        assert np.isnan(values).all()  # one value has no deviation
    elif function_of(name) in ("support", "resistance"):
        assert np.isfinite(values[-1])  # it waits for a pivot
        assert np.isnan(values[:first]).all()
    elif name in ("trending", "ranging", "crossunder"):
        assert np.isfinite(values[first:]).all()  # `and` is known to be false before all of it is known
    else:
        assert np.isfinite(values).tolist() == [k >= first for k in range(first + 150)]


def _skips_bars(name: str, args: tuple[float, ...]) -> bool:
    """Whether a function reads a series X alone and never counts bars, as `x[n]` and `barssince` do."""
    graph, _ = parsed(text_of(name, args))
    ops = {node.op for node in graph.nodes}
    return "X" in CASES[name].text and "lag" not in ops and name not in ("barssince", "valuewhen", "kc.upper")


@pytest.mark.parametrize(("name", "args"), [case for case in ALL if _skips_bars(*case.values)])
@pytest.mark.parametrize("unknown", [(0, 1, 2), (5,), (0, 3, 4, 60, 61, 99)], ids=str)
def test_nan_input_gives_nan_and_leaves_the_state(name: str, args: tuple[float, ...], unknown: tuple[int, ...]) -> None:
    """The other bars have the very values they would have if the bars without input were not there."""
    text = text_of(name, args)
    bars = [bar(k, volume=1.0 + k % 7, taker_buy=NAN if k in unknown else 7.0 + (k * k) % 11) for k in range(100)]
    values = interpreted(text, bars, "taker_buy")
    kept = [k for k in range(100) if k not in unknown]
    assert np.isnan(values[list(unknown)]).all()
    assert packed(values[kept]) == packed(interpreted(text, [bars[k] for k in kept], "taker_buy"))
    assert packed(values) == packed(compiled(text, candles_of(bars), "taker_buy"))


@pytest.mark.parametrize(("name", "args"), WITH_SHORTEST)
def test_flat_price_without_range_or_volume(name: str, args: tuple[float, ...]) -> None:
    """Nothing moves and nothing trades: defined values, no residue, no exception."""
    bars = [bar(k, 50.0, open=50.0, high=50.0, low=50.0, volume=0.0) for k in range(220)]
    text = text_of(name, args)
    values = interpreted(text, bars)[first_valid(parsed(text)[1]) :]
    np.testing.assert_allclose(values, CASES[name].flat, rtol=1e-13, atol=0)


@pytest.mark.parametrize(("name", "args"), WITH_SHORTEST)
def test_interpreted_equals_compiled_in_any_pieces(name: str, args: tuple[float, ...]) -> None:
    """Bit for bit, over the whole column and over pieces of one bar and of many, with NaN inputs among them."""
    bars, text = market(700, seed=5), text_of(name, args)
    candles = candles_of(bars)
    for source in ("close", "taker_buy"):
        live = packed(interpreted(text, bars, source))
        assert live == packed(compiled(text, candles, source))
        assert live == packed(compiled(text, candles, source, edges=[1, 2, 57, 400]))


@pytest.mark.parametrize(("name", "args"), WITH_SHORTEST)
def test_restart_from_a_saved_state_gives_the_same_bits(name: str, args: tuple[float, ...]) -> None:
    """A state copied after any bar and fed the rest gives what the run that never stopped gave."""
    bars = market(130, seed=7)
    step, node = step_of(text_of(name, args), "taker_buy")
    state = step.fresh_state()
    whole, saved = [], []
    for one in bars:
        saved.append(copy.deepcopy(state))
        whole += feed(step, node, [one], state)
    for k in range(0, 130, 3):
        assert packed(feed(step, node, bars[k : k + 60], saved[k])) == packed(whole[k : k + 60]), k


@pytest.mark.parametrize(("name", "args"), ALL)
def test_two_starts_agree_once_settled(name: str, args: tuple[float, ...]) -> None:
    """After the stated number of bars two series that start differently agree to 1e-12."""
    text = text_of(name, args)
    graph, _ = parsed(text)
    assert forgets(graph.nodes) is (function_of(name) not in NEVER_SETTLE)
    if not forgets(graph.nodes):
        return
    settled = settling(graph.nodes)[MINUTE_MS]
    bars, skipped = restless(settled + 1500), 700
    candles = candles_of(bars)
    early, late = compiled(text, candles), compiled(text, candles.slice(bars[skipped].open_ms))
    np.testing.assert_allclose(late[settled:], early[skipped + settled :], rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize(("name", "args"), WITH_SHORTEST)
@pytest.mark.parametrize("size", [1.7e308, 1e300, 5e-324, 1e-300])
def test_extreme_values_never_give_infinity_or_an_exception(name: str, args: tuple[float, ...], size: float) -> None:
    """At the ends of the doubles a value is finite or NaN, and the same in both evaluators."""
    text = text_of(name, args)
    swings = [size, -size, size, size, -size, 0.0] * 20
    bars = [
        bar(k, size, open=size / 2, high=size, low=size / 4, volume=size, taker_buy=swing)
        for k, swing in enumerate(swings)
    ]
    for source in ("close", "taker_buy"):
        values = interpreted(text, bars, source)
        assert not np.isinf(values).any()
        assert packed(values) == packed(compiled(text, candles_of(bars), source))


@cache
def _million() -> Candles:
    """A million minutes of a price that wanders, with bursts that must leave nothing behind."""
    random = np.random.default_rng(13)
    count = 1_000_000
    close = 100 * np.exp(random.standard_normal(count).cumsum() * 1e-4)
    volume = random.lognormal(size=count)
    close[::99_991] *= 1e6
    volume[::99_991] = 1e12
    opens = np.roll(close, 1)
    high, low = np.maximum(opens, close) * 1.0001, np.minimum(opens, close) * 0.9999
    return Candles(
        "v", "A", MINUTE_MS, np.arange(count) * MINUTE_MS, opens, high, low, close, volume, *[volume / 2] * 3
    )


@pytest.mark.parametrize("name", WINDOWED)
def test_windows_do_not_drift_over_a_million_bars(name: str) -> None:
    """After a million bars with bursts a value equals the one computed from its window alone, to 1e-9."""
    candles, case = _million(), CASES[name]
    args = case.args[-1]
    values = compiled(text_of(name, args), candles)
    for stop in (*range(999_000, 999_900, 61), 999_990, 1_000_000):
        window = candles.slice(int(candles.open_ms[stop - 300]), int(candles.open_ms[stop - 1]) + MINUTE_MS)
        assert len(window) == 300
        wanted = case.golden(window, window.close, *args)[-1]
        assert values[stop - 1] == pytest.approx(wanted, rel=1e-9, abs=1e-9), stop
