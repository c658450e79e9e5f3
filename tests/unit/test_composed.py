"""Functions written in the language itself: what they share, what only they may write, and how their mistakes read."""

from __future__ import annotations

import re

import pytest

from tapewatch.errors import StrategyError
from tapewatch.model import MINUTE_MS
from tapewatch.strategy.composed import COMPOSED
from tapewatch.strategy.expression import Reader
from tapewatch.strategy.graph import Graph, call_of


def calls(text: str, kind: str = "condition") -> list[str]:
    """The indicators that an expression computes, each once."""
    graph = Graph()
    Reader(graph, {"length": 20.0, "x": 3.0}, {}).read(text, MINUTE_MS, kind, "s.long.f")  # type: ignore[arg-type]
    return sorted(f"{call_of(node)[0]}{call_of(node)[1]}" for node in graph.nodes if node.op == "call")


def test_members_and_functions_share_what_they_are_made_of() -> None:
    """Two members of one indicator, or two functions of one average, compute it once."""
    assert calls("bb(close, 20, 2).upper > bb(close, 20, 3).lower + sma(close, 20)") == ["sma(20,)", "stdev(20,)"]
    assert calls("dmi(14, 14).plus > dmi(14, 14).minus and adx(14) > 20") == ["dmi(14, 14)"]
    assert calls("support(5).price > resistance(5).age") == ["_levels(5,)", "_pivot(5,)", "atr(14,)"]
    assert calls("macd(close, 12, 26, 9).hist > macd(close, 12, 26, 9).line") == ["ema(12,)", "ema(26,)", "ema(9,)"]


def test_parameters_of_a_strategy_do_not_reach_into_a_function() -> None:
    """A strategy's parameter called `length` or `x` is not the function's own."""
    assert calls("hma(close, 9) > 0") == ["wma(3,)", "wma(4,)", "wma(9,)"]
    assert calls("zscore(volume, length) > x") == ["sma(20,)", "stdev(20,)"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("_levels(1, 1, 1, 1, 1, 5).below > 1", "unknown function '_levels'"),
        ("_place(14) > 1", "unknown function '_place'"),
        ("(close if close > open else open) > 1", "this is not part of the strategy language"),
        ("abs(close if close > open else open) > 1", "this is not part of the strategy language"),
        ("hma(close, 1) > 1", "hma: length of wma must be a whole number from 1 to 100,000, was 0"),
        ("stoch(14, 0, 3).k > 1", "stoch: length of sma must be a whole number from 1 to 100,000, was 0"),
        ("valuewhen(close > open, close, -1) > 1", "occurrence of valuewhen must be a whole number from 0 to 100,000"),
        ("change(close, 2.5) > 1", "change: bars ago must be a whole number from 0 to 100,000, was 2.5"),
        ("dmi(14, 14) > 1", "dmi has several members; it has .plus, .minus, .adx"),
        ("supertrend(3, 10).lines > 1", "supertrend has no member .lines; did you mean 'line'?"),
        ("sma(close, 3).value > 1", "sma has no member .value"),
        ("rising(close > open, 3)", "rising: a number is needed here, this is a condition"),
    ],
)
def test_mistakes_are_told_by_the_function_that_was_written(text: str, message: str) -> None:
    """What only composed functions may write is unknown to strategies."""
    with pytest.raises(StrategyError, match=re.escape(message)):
        calls(text)


def test_parts_of_functions_are_used() -> None:
    """No function that cannot be written is left over."""
    texts = " ".join(text for one in COMPOSED.values() for text in one.members.values())
    from tapewatch.indicators import REGISTRY

    for name in (*REGISTRY, *COMPOSED):
        assert not name.startswith("_") or f"{name}(" in texts
