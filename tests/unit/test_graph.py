"""The expression graph: sharing, constants worked out once, and when everything is settled."""

from __future__ import annotations

import pytest

from core_samples import strategy
from tapewatch.errors import StrategyError
from tapewatch.indicators.definition import decay_bars
from tapewatch.model import DAY_MS, MINUTE_MS
from tapewatch.strategy import Program, compile_program
from tapewatch.strategy.graph import Graph, modulo, power

FIVE_MS, QUARTER_MS = 5 * MINUTE_MS, 15 * MINUTE_MS
EMA_50 = decay_bars(1 - 2 / 51)


def program(**changes: object) -> Program:
    """The sample strategy with changes, on its first timeframe."""
    whole = strategy(**changes)
    return compile_program(whole, whole.timeframes[0])


def count(one: Program, op: str, value: object = None) -> int:
    """How many nodes of the kind the graph has."""
    return sum(node.op == op and (value is None or node.value == value) for node in one.graph.nodes)


def test_equal_expressions_are_one_node() -> None:
    """Factors of both sides, differently written, and what every signal carries share their nodes."""
    long = {"a": "close > ema(close, 9)", "b": "close>ema( close ,9.0)", "c": "ema(close, 4 + 5) < close"}
    one = program(long=long, short={"a": "close < ema(close, 9)"})
    assert count(one, "call", ("ema", (9,))) == 1
    assert one.sides[0].factors[0][2] is one.sides[0].factors[1][2]
    assert count(one, "source", "close") == 1
    assert [count(one, sign) for sign in (">", "<")] == [1, 2]


def test_other_timeframes_and_other_lags_are_other_nodes() -> None:
    """The same text on another timeframe, and another lag, are not shared."""
    one = program(long={"a": "ema(close, 9) > higher(ema(close, 9)) and close[1] > close[2]"})
    assert count(one, "call", ("ema", (9,))) == 2
    assert (count(one, "lag", 1), count(one, "lag", 2)) == (1, 1)
    assert one.frames == (FIVE_MS, MINUTE_MS)


def test_arguments_come_before_what_uses_them() -> None:
    """The order of the nodes is an order of evaluation."""
    one = program(long={"a": "crossover(sma(close + higher(open), 3), vwap()) or barssince(close > open)[2] > 1"})
    assert all(arg.index < node.index for node in one.graph.nodes for arg in node.args)
    assert [node.index for node in one.graph.nodes] == list(range(len(one.graph.nodes)))


def test_constants_are_folded_and_kept_apart_by_sign() -> None:
    """Arithmetic on constants leaves one constant; 0.0 and -0.0 differ, as 1 / x does."""
    graph = Graph()
    two, three = graph.const(2, MINUTE_MS), graph.const(3, MINUTE_MS)
    six = graph.node("*", (two, three), None, MINUTE_MS)
    assert (six.op, six.value) == ("const", 6.0)
    assert graph.node("neg", (six,), None, MINUTE_MS).value == -6.0
    assert graph.const(0.0, MINUTE_MS) is not graph.const(-0.0, MINUTE_MS)
    assert graph.const(2, FIVE_MS) is not two


@pytest.mark.parametrize(
    ("left", "right", "raised", "rest"),
    [
        (2.0, 3.0, 8.0, 2.0),
        (-2.0, 3.0, -8.0, 1.0),
        (-2.0, 0.5, None, 0.0),
        (0.0, -1.0, None, -0.0),
        (1e300, 2.0, None, 0.0),
        (7.5, 0.0, 1.0, None),
        (7.0, -4.0, 7.0**-4, -1.0),
    ],
)
def test_power_and_modulo_never_raise(left: float, right: float, raised: float | None, rest: float | None) -> None:
    """Outside their domain, or overflowing, they are NaN; the remainder has the divisor's sign."""
    for value, wanted in ((power(left, right), raised), (modulo(left, right), rest)):
        assert value == wanted if wanted is not None else value != value


@pytest.mark.parametrize(
    ("expression", "settled"),
    [
        ("close > open", {}),
        ("sma(close, 300) > 1", {MINUTE_MS: 299}),
        ("close[500] > 1", {MINUTE_MS: 500}),
        ("sma(close[500], 300)[10] > 1", {MINUTE_MS: 809}),
        ("ema(close, 99) > 1", {MINUTE_MS: decay_bars(1 - 2 / 100)}),
        ("rsi(close, 40) > 1", {MINUTE_MS: 40 + decay_bars(1 - 1 / 40)}),
        ("atr(40) > 1", {MINUTE_MS: 40 + decay_bars(1 - 1 / 40)}),
        ("vwap() > 1", {MINUTE_MS: 1440}),
        ("higher(vwap()) > 1", {FIVE_MS: 288}),
        ("higher(close > ema(close, 99))", {FIVE_MS: decay_bars(1 - 2 / 100)}),
        ("barssince(sma(close, 900) > 1) < 2", {MINUTE_MS: 899}),
        ("sma(higher(close), 1000) > 1", {MINUTE_MS: 999, FIVE_MS: 200}),
        ("higher(sma(close, 30))[999] > 1", {MINUTE_MS: 999, FIVE_MS: 29 + 200}),
        ("higher(sma(higher(close), 31)) > 1", {FIVE_MS: 30, QUARTER_MS: 10}),
    ],
)
def test_settled_adds_up_what_depends_on_what(expression: str, settled: dict[int, int]) -> None:
    """Windows add up along an expression; what is read of a larger timeframe must have settled there before."""
    least = {MINUTE_MS: max(EMA_50, 14 + decay_bars(1 - 1 / 14))}
    one = program(long={"f": expression})
    assert one.settled_at == {frame: max(settled.get(frame, 0), least.get(frame, 0)) for frame in one.frames}


def test_never_settling_counts_from_the_first_valid_bar() -> None:
    """`barssince` remembers for ever; it does not keep a strategy from ever being settled."""
    one = program(long={"f": "barssince(close > open) < 5"})
    assert one.settled_at[MINUTE_MS] < 1000


def test_windows_are_at_least_200_bars() -> None:
    """A window holds every bar up to the settled one, and never fewer than 200."""
    one = program(long={"f": "higher(close) > vwap()"})
    assert one.window(MINUTE_MS) == 1441
    assert one.window(FIVE_MS) == 200
    assert one.window(DAY_MS) == 200


def test_a_strategy_compiles_on_its_own_timeframes_only() -> None:
    """Another timeframe is refused with those it has."""
    with pytest.raises(StrategyError, match=r"probe: has no timeframe 1h; it has 1m, 5m"):
        compile_program(strategy(timeframes=["1m", "5m"]), "1h")


@pytest.mark.parametrize("distance", ["0", "-1.5", "0 * 3", "1 / 0"])
def test_a_distance_that_can_never_make_a_trade_is_refused(distance: str) -> None:
    """A stop, target or move that is a constant not above 0 would silence the strategy without a word."""
    with pytest.raises(StrategyError, match=r"probe\.stop: a distance from entry must be above 0"):
        program(stop=distance)
    with pytest.raises(StrategyError, match=r"probe\.targets\[0\]\.at: a distance from entry must be above 0"):
        program(targets=[{"at": distance, "share": "100%"}])
    with pytest.raises(StrategyError, match=r"probe\.break_even: a distance from entry must be above 0"):
        program(break_even=distance)
    for trailing in ({"by": distance}, {"by": "1", "after": distance}):
        key = "after" if "after" in trailing else "by"
        with pytest.raises(StrategyError, match=rf"probe\.trailing\.{key}: a distance from entry must be above 0"):
            program(trailing=trailing)


def test_mistakes_name_the_part_of_the_strategy() -> None:
    """Factor, stop and target are each named with their strategy."""
    for changes, where in (
        ({"short": {"f": "clos > 1"}}, "probe.short.f"),
        ({"stop": "clos"}, "probe.stop"),
        ({"targets": [{"at": "1", "share": "50%"}, {"at": "clos", "share": "50%"}]}, "probe.targets[1].at"),
    ):
        with pytest.raises(StrategyError) as caught:
            program(**changes)
        assert caught.value.where == where
