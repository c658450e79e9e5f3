"""Functions that are written in the strategy language itself: texts over their parameters, read into the graph.

What they share with other expressions is computed once; there is nothing to evaluate but what they are made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Composed:
    """One function.

    Attributes:
        params: its parameters in order; each stands for what the caller writes there.
        members: member -> expression over the parameters; one empty name when it has a single value.
        formula, source: for the documentation.
    """

    params: tuple[str, ...]
    members: Mapping[str, str]
    formula: str
    source: str


#: Every composed function by name.
COMPOSED: dict[str, Composed] = {
    "crossover": Composed(
        ("x", "y"),
        {"": "x > y and x[1] <= y[1]"},
        "x > y on this bar and x <= y on the bar before",
        "TradingView ta.crossover",
    ),
    "crossunder": Composed(
        ("x", "y"),
        {"": "x < y and x[1] >= y[1]"},
        "x < y on this bar and x >= y on the bar before",
        "TradingView ta.crossunder",
    ),
    "macd": Composed(
        ("x", "fast", "slow", "signal"),
        {
            "line": "ema(x, fast) - ema(x, slow)",
            "signal": "ema(macd(x, fast, slow, signal).line, signal)",
            "hist": "macd(x, fast, slow, signal).line - macd(x, fast, slow, signal).signal",
        },
        "line = ema(x, fast) - ema(x, slow); signal = ema(line, signal); hist = line - signal",
        "TradingView ta.macd; pandas ewm(adjust=False)",
    ),
}
