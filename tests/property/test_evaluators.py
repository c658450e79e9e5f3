"""One graph, two evaluators: over random strategies and random bars they give the same candidates, bit for bit."""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numba
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core_samples import MONDAY_MS, bits, candles_of, mapping, packed
from engine_runs import candidates
from tapewatch.archive.candles import Candles
from tapewatch.archive.resample import build
from tapewatch.cli.bench import random_walk
from tapewatch.errors import StrategyError
from tapewatch.model import MINUTE_MS, NAN, Bar, Signal
from tapewatch.strategies import load
from tapewatch.strategy import Program, Strategy, compile_program, from_mapping
from tapewatch.strategy.catalogue import describe, names
from tapewatch.strategy.expression import functions, members_of
from tapewatch.strategy.graph import SOURCES
from tapewatch.study import columns, scans, table
from tapewatch.study.evaluate import Evaluator, evaluate
from tapewatch.study.signals import _of_program

CHUNK = 32
PARAMS = {"p": 2.5, "q": -1.0, "n": 3.0}
FRAMES = ("1m", "5m", "15m")
#: Every function of the language, or its members, by what it gives.
#: As of now: other tests add indicators of their own.
KNOWN = set(functions())
ALL = [(name, f"{name}.{member}" if member else name) for name in names() for member in members_of(name)]
CONDITIONS = [text for name, text in ALL if "condition" in describe(name).units.values()]
NUMBERS = [text for _, text in ALL if text not in CONDITIONS]


# --- random strategies ---------------------------------------------------------------------------------------------

lengths = st.one_of(st.integers(1, 7).map(str), st.just("n"))
constants = st.sampled_from(
    ["0", "1", "2", "0.5", "100", "-3", "1e-9", "1e300", "1e-300", "p", "q", "n", "(0 / 0)", "(1e300 * 1e300)"]
)


@st.composite
def numbers(draw: st.DrawFn, depth: int, frame: int) -> str:
    """The text of a number on the timeframe `FRAMES[frame]`."""
    if depth == 0:
        return draw(st.one_of(st.sampled_from(SOURCES), st.sampled_from(("close", "open", "taker_buy")), constants))
    inner = numbers(depth - 1, frame)
    match draw(st.sampled_from(("leaf", "binary", "binary", "neg", "lag", "call", "call", "call", "frame"))):
        case "leaf":
            return draw(numbers(0, frame))
        case "binary":
            sign = draw(st.sampled_from(("+", "-", "*", "/", "**", "%")))
            return f"({draw(inner)} {sign} {draw(inner)})"
        case "neg":
            return f"(-{draw(inner)})"
        case "lag":
            return f"({draw(inner)})[{draw(st.one_of(st.integers(0, 3), st.sampled_from((31, 32, 33, 70))))}]"
        case "call":
            return draw(calls(depth - 1, frame, NUMBERS))
    return draw(other_frame(depth, frame, numbers))


@st.composite
def calls(draw: st.DrawFn, depth: int, frame: int, known: list[str]) -> str:
    """A call of one of the known functions, by its member where it has several."""
    name, _, member = draw(st.sampled_from(known)).partition(".")
    args = []
    for parameter, meaning in describe(name).parameters.items():
        if parameter == "cond":
            args.append(draw(conditions(depth, frame)))
        elif meaning.startswith("a number"):
            args.append(draw(numbers(depth, frame)))
        else:
            args.append(draw(lengths))
    if name == "hma":
        args[1] = "5"  # from 2 on
    return f"{name}({', '.join(args)})" + (f".{member}" if member else "")


@st.composite
def conditions(draw: st.DrawFn, depth: int, frame: int) -> str:
    """The text of a condition."""
    number = numbers(max(0, depth - 1), frame)
    if depth <= 1:
        return f"{draw(number)} {draw(signs)} {draw(number)}"
    inner = conditions(depth - 1, frame)
    match draw(st.sampled_from(("compare", "chain", "join", "join", "not", "lag", "call", "frame"))):
        case "compare":
            return f"{draw(number)} {draw(signs)} {draw(number)}"
        case "chain":
            return f"{draw(number)} {draw(signs)} {draw(number)} {draw(signs)} {draw(number)}"
        case "join":
            sign = draw(st.sampled_from((" and ", " or ")))
            return "(" + sign.join(f"({part})" for part in draw(st.lists(inner, min_size=2, max_size=4))) + ")"
        case "not":
            return f"(not ({draw(inner)}))"
        case "lag":
            return f"({draw(inner)})[{draw(st.sampled_from((1, 2, 5, 40)))}]"
        case "call":
            return draw(calls(depth - 1, frame, CONDITIONS))
    return draw(other_frame(depth, frame, conditions))


signs = st.sampled_from((">", ">=", "<", "<=", "==", "!="))


@st.composite
def other_frame(draw: st.DrawFn, depth: int, frame: int, of_kind: Any) -> str:
    """An expression of another timeframe, by `higher` where there is one, or by `on`."""
    other = draw(st.integers(frame, len(FRAMES) - 1))
    inner = draw(of_kind(depth - 1, other))
    if other == frame + 1 and draw(st.booleans()):
        return f"higher({inner})"
    return f"on('{FRAMES[other]}', {inner})"


@st.composite
def random_strategies(draw: st.DrawFn) -> Strategy:
    """One or two sides of up to three factors each, stops that may move; distances that are sometimes not above 0."""
    sides = {}
    frame = draw(st.integers(0, 1))
    for side in draw(st.sampled_from((("long",), ("short",), ("long", "short")))):
        texts = draw(st.lists(conditions(4, frame), min_size=1, max_size=3))
        # A factor that always holds lets the rule fire often enough for values to be compared.
        sides[side] = {f"f{k}": text for k, text in enumerate(texts)} | {"often": "close > 0"}
    names = sorted(set.intersection(*(set(part) for part in sides.values())))
    fire = draw(
        st.one_of(
            st.sampled_from(("any", "any", "all")),
            st.fixed_dictionaries({"at_least": st.just(1), "always": st.sampled_from(names).map(lambda one: [one])}),
        )
    )
    distance = st.one_of(st.sampled_from(("1.0", "1.5 * atr(2)", "close - sma(close, 3)")), numbers(1, frame))
    maybe = st.one_of(st.none(), st.sampled_from(("0.5", "0.7 * atr(2)")), distance)
    moves: dict[str, Any] = {"break_even": draw(maybe)}
    if draw(st.booleans()):
        moves["trailing"] = {"after": draw(maybe), "by": draw(st.one_of(st.just("atr(3)"), distance))}
    changes = {"long": None, "timeframes": [FRAMES[frame]], "params": PARAMS, "fire": fire} | sides
    targets = [{"at": draw(distance), "share": "60%"}, {"at": "2", "share": "40%"}]
    try:
        return compiled(from_mapping("random", mapping(**changes, **moves, stop=draw(distance), targets=targets)))
    except StrategyError as error:
        if "must be above 0" not in error.message:
            raise
        return compiled(from_mapping("random", mapping(**changes)))  # a constant distance that makes no trade


def compiled(strategy: Strategy) -> Strategy:
    """The strategy, once it compiles."""
    for timeframe in strategy.timeframes:
        compile_program(strategy, timeframe)
    return strategy


# --- random bars ---------------------------------------------------------------------------------------------------


@st.composite
def random_bars(draw: st.DrawFn) -> list[Bar]:
    """Minutes with holes, bars without volume, unknown columns, still prices, and prices at the ends of the doubles."""
    dice = random.Random(draw(st.integers(0, 2**32)))
    count = draw(st.sampled_from((1, 5, 33, 64, 150, 150)))
    scale = draw(st.sampled_from((100.0, 100.0, 1e-8, 1e150, 1e307, 1e-310)))
    still, hole, empty, unknown = (draw(st.sampled_from((0.0, 0.05, 0.6))) for _ in range(4))
    minute, price, bars = draw(st.integers(0, 1500)), scale, []
    for _ in range(count):
        minute += 1 + (dice.randrange(1, 40) if dice.random() < hole * 0.2 else 0)
        closed = price if dice.random() < still else scale * (0.5 + dice.random())
        high, low = max(price, closed) * dice.choice((1.0, 1.1)), min(price, closed) * dice.choice((1.0, 0.9))
        volume = 0.0 if dice.random() < empty else dice.choice((1.0, 1e6, 1e-8)) * round(dice.random(), 8)
        extra = {
            name: NAN if dice.random() < unknown else value
            for name, value in (
                ("quote_volume", volume * 100 * dice.random()),
                ("trades", float(dice.randrange(50))),
                ("taker_buy", volume * dice.random()),
            )
        }
        open_ms = MONDAY_MS + minute * MINUTE_MS
        bars.append(Bar("AAAUSDT", MINUTE_MS, open_ms, price, high, low, closed, volume, **extra))
        price = closed
    return bars


def frames_of(program: Program, bars: Sequence[Bar]) -> dict[int, Candles]:
    """The candles of every interval that the program reads, from minutes."""
    minutes = candles_of(bars)
    return {frame_ms: build(minutes, frame_ms) for frame_ms in program.frames}


def studied(strategy: Strategy, bars: Sequence[Bar], evaluator: Evaluator) -> list[Signal]:
    """The candidates that research finds, with an evaluator."""
    program = compile_program(strategy, strategy.timeframes[0])
    return list(_of_program(program, frames_of(program, bars), "venue", evaluator))


def without_verdicts(signals: Sequence[Signal]) -> list[dict[str, Any]]:
    """Signals as bits; the gate is another matter."""
    return [{key: value for key, value in bits(signal).items() if key != "verdicts"} for signal in signals]


limits = settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@limits
@given(random_strategies(), random_bars())
def test_columns_engine_and_steps_find_the_same_bits(strategy: Strategy, bars: list[Bar]) -> None:
    """Live engine, interpreted research and compiled columns in short chunks: the same candidates to the last bit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "CHUNK", CHUNK)
        patch.setattr(table, "CHUNK", CHUNK)
        chunked = without_verdicts(studied(strategy, bars, "columns"))
    live = without_verdicts(candidates("venue", strategy, bars))
    assert chunked == live
    assert without_verdicts(studied(strategy, bars, "interpreted")) == live


@limits
@given(random_strategies(), random_bars())
def test_every_value_of_a_fired_bar_is_equal(strategy: Strategy, bars: list[Bar]) -> None:
    """Not only what a signal shows: every node of the graph has the same bits in both evaluators."""
    program = compile_program(strategy, strategy.timeframes[0])
    frames = frames_of(program, bars)
    found = {}
    for evaluator in ("interpreted", "columns"):
        found[evaluator] = [
            (hit.row, hit.bar.open_ms, hit.fired, [packed(map(float, values)) for values in hit.evidence.values])
            for hit in evaluate(program, frames, evaluator)
        ]
    assert found["columns"] == found["interpreted"]


@limits
@given(random_strategies(), random_bars())
def test_scans_in_one_loop_find_the_same_bits(strategy: Strategy, bars: list[Bar]) -> None:
    """As above for many rows, where what reads the candles alone is one loop; run, not compiled, for each would be."""
    live = without_verdicts(candidates("venue", strategy, bars))
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(columns, "CHUNK", CHUNK)
        patch.setattr(table, "CHUNK", CHUNK)
        patch.setattr(columns, "MANY_ROWS", 1)
        patch.setattr(scans, "_loaded", scans._loaded.__wrapped__)
        patch.setattr(scans, "_cache_folder", lambda: Path(folder))
        patch.setattr(numba.config, "DISABLE_JIT", True)
        assert without_verdicts(studied(strategy, bars, "columns")) == live


@pytest.mark.parametrize("name", ["scalp", "momentum", "trend"])
def test_a_compiled_loop_of_scans_finds_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The strategies that come with it, over many chunks: state is carried from one to the next."""
    program = compile_program(load(name), load(name).timeframes[0])
    frames = {frame_ms: build(random_walk(60_000), frame_ms) for frame_ms in program.frames}
    expected = [(hit.row, hit.fired, bits(hit.evidence.values)) for hit in evaluate(program, frames, "interpreted")]
    for module in (columns, table):
        monkeypatch.setattr(module, "CHUNK", 1_000)
    monkeypatch.setattr(columns, "MANY_ROWS", 1)
    found = [(hit.row, hit.fired, bits(hit.evidence.values)) for hit in evaluate(program, frames, "columns")]
    assert len(expected) > 5
    assert found == expected


@limits
@given(random_strategies(), random_bars(), st.data())
def test_a_prefix_of_the_data_gives_a_prefix_of_the_signals(
    strategy: Strategy, bars: list[Bar], data: st.DataObject
) -> None:
    """Nothing of a signal depends on what comes after its bar."""
    cut = data.draw(st.integers(1, len(bars)))
    evaluator = data.draw(st.sampled_from(("interpreted", "columns")))
    whole = studied(strategy, bars, evaluator)
    known_ms = bars[cut - 1].close_ms
    assert without_verdicts(studied(strategy, bars[:cut], evaluator)) == without_verdicts(
        [signal for signal in whole if signal.close_ms <= known_ms]
    )


@limits
@given(st.data(), random_bars())
def test_conditions_follow_kleene_and_numbers_are_finite_or_nan(data: st.DataObject, bars: list[Bar]) -> None:
    """Every stated value is finite or unknown; `and`, `or`, `not` of what is shown agree with three-valued logic."""
    left, right = data.draw(conditions(2, 0)), data.draw(conditions(2, 0))
    factors = {"a": left, "b": right, "both": f"({left}) and ({right})", "either": f"({left}) or ({right})"}
    factors |= {"neither": f"not (({left}) or ({right}))", "often": "close > 0"}
    strategy = from_mapping("logic", mapping(params=PARAMS, long=factors, fire="any"))
    for signal in studied(strategy, bars, "interpreted"):
        met = {factor.name: factor.met for factor in signal.factors}
        a, b = met["a"], met["b"]
        assert met["both"] is (False if a is False or b is False else True if a and b else None)
        assert met["either"] is (True if a or b else False if a is False and b is False else None)
        assert met["neither"] is (None if met["either"] is None else not met["either"])
        assert 0 <= signal.strength <= 10
        assert all(value is None or math.isfinite(value) for value in signal.indicators.values())


@pytest.mark.parametrize(
    "text",
    [
        *(f"{name}(0 / 0, 3) >= 0" for name in ("ema", "sma", "rsi")),
        *(f"{name}(7, 3) >= 0" for name in ("ema", "sma", "rsi")),
        "barssince(0 / 0 > 1) >= 0 or close > 0",
        "higher(0 / 0) > 1 or higher(5) > 1",
        "(0 / 0)[1] > 1 or (5)[2] > 1",
        "1 ** (0 / 0) == 1 and (0 / 0) ** 0 == 1",
        "(1e300 * close) * 1e300 > 0 or -((1e300 * close) * 1e300) > 0",
        "higher(barssince(close[33] > 0)[31]) >= 0",
        "on('15m', (close > open)[2]) or not on('5m', (close > open)[1])",
        "(barssince(higher(close > open)) == 0)[40]",
        "-0.0 == 0 and 1 / -volume > 0",
    ],
)
def test_corners_are_the_same_in_both_evaluators(text: str) -> None:
    """What random expressions seldom hit: constants that are no number, constants as series, unknown larger bars."""
    bars = [
        Bar("A", MINUTE_MS, MONDAY_MS + k * MINUTE_MS, 100.0 - k % 3, 110.0, 90.0, 99.0, float(k % 2))
        for k in range(90)
    ]
    plan = from_mapping("corner", mapping(long={"f": text, "often": "close > 0"}, fire="any"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "CHUNK", CHUNK)
        patch.setattr(table, "CHUNK", CHUNK)
        chunked = studied(plan, bars, "columns")
    assert len(chunked) == len(bars)
    assert bits(chunked) == bits(studied(plan, bars, "interpreted"))


def test_the_random_expressions_use_every_function() -> None:
    """What is added to the language is drawn too, as what it gives."""
    assert {name for name, _ in ALL} == KNOWN - {"higher", "on"}
    assert {"crossover", "trending", "rising"} <= set(CONDITIONS)
    assert {"ema", "macd.hist", "support.strength"} <= set(NUMBERS)
    assert len(ALL) == len(CONDITIONS) + len(NUMBERS) > 60


def test_a_latched_value_is_that_of_the_last_closed_bar() -> None:
    """On the minute that closes a larger bar that bar is known, on the minutes before it the one before."""
    strategy = from_mapping("peek", mapping(long={"seen": "higher(close) == higher(close)"}))
    bars = [
        Bar("AAAUSDT", MINUTE_MS, MONDAY_MS + k * MINUTE_MS, 100.0, 200.0, 50.0, 100.0 + k, 1.0, 1.0, 1.0, 1.0)
        for k in range(14)
    ]
    for evaluator in ("interpreted", "columns"):
        signals = studied(strategy, bars, evaluator)
        seen = [(signal.open_ms // MINUTE_MS % 60, signal.factors[0].left) for signal in signals]
        assert seen == [(4, 104.0), (5, 104.0), (6, 104.0), (7, 104.0), (8, 104.0)] + [(k, 109.0) for k in range(9, 14)]
