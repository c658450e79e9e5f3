"""Elementary functions that a processor does not do to the bit alike everywhere: one scalar for both evaluators."""

from __future__ import annotations

from math import exp, log, sqrt

from tapewatch.indicators.definition import NAN, indicator


@indicator(
    name="log",
    inputs=("x",),
    first_valid=lambda: 0,
    settling=lambda _day: 0,
    unit="none",
    formula="the power to which e is raised to give x; NaN for x of 0 or less",
    seed="none",
    source="math.log; TradingView math.log",
    example="log(close / close[1])",
)
def logarithm(x: float) -> tuple[float]:
    """Natural logarithm."""
    return (log(x) if x > 0.0 else NAN,)


@indicator(
    name="exp",
    inputs=("x",),
    first_valid=lambda: 0,
    settling=lambda _day: 0,
    unit="none",
    formula="e to the power of x; NaN where it overflows, from x = 709.79",
    seed="none",
    source="math.exp; TradingView math.exp",
    example="exp(sma(log(close), 20))",
)
def exponential(x: float) -> tuple[float]:
    """Exponential function."""
    return (exp(x) if x <= 709.782712893384 else NAN,)


@indicator(
    name="sqrt",
    inputs=("x",),
    first_valid=lambda: 0,
    settling=lambda _day: 0,
    unit="none",
    formula="the number whose square is x; NaN for x below 0",
    seed="none",
    source="math.sqrt; TradingView math.sqrt",
    example="sqrt(sma((close - open) ** 2, 20))",
)
def square_root(x: float) -> tuple[float]:
    """Square root."""
    return (sqrt(x) if x >= 0.0 else NAN,)
