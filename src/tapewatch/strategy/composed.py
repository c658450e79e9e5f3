"""Functions that are written in the strategy language itself: texts over their parameters, read into the graph.

What they share with other expressions is computed once; there is nothing to evaluate but what they are made of. Beside
the language of strategies they have `a if condition else b` (b too where the condition is unknown) and functions whose
name begins with `_`. Where one of two windows must leave out the bars on which the other has no value, it adds 0 times
the other's input.
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
        summary: what it is, in one line.
        formula, source, example: for the documentation; the example is an expression.
        seed: for the documentation; its parts' own where it says nothing.
    """

    params: tuple[str, ...]
    members: Mapping[str, str]
    summary: str
    formula: str
    source: str
    example: str
    seed: str = "that of the functions it is made of"


_LEVELS = "_levels(_pivot(length).high, _pivot(length).low, high[length], low[length], 0.5 * atr(14), length)"
_LEVEL = (
    "a pivot is a high (low) that no bar within length bars on both sides surpasses, of equal ones the first, known "
    "once the last of them has closed; within 0.5 * atr(14) of a level it touches that level, whose price is the mean "
    "of its touches, else it makes a new one, in place of the oldest of 16; age: bars since its first pivot; "
    "strength: 10 * touches / (touches + 1) * m / (m + bars since its last touch), m = 100 * length; "
)
_LEVEL_SEED = "NaN until a level is there; pivots count from the first bar of atr(14)"

#: Every composed function by name.
COMPOSED: dict[str, Composed] = {
    "abs": Composed(
        ("x",), {"": "-x if x < 0 else x"},
        "Size of a number without its sign.", "-x where x < 0, else x", "TradingView math.abs", "abs(close - open)",
    ),
    "min": Composed(
        ("x", "y"), {"": "x if x < y else y + 0 * x"},
        "Smaller of two numbers.", "x where x < y, else y; NaN where one is", "TradingView math.min",
        "min(open, close)",
    ),
    "max": Composed(
        ("x", "y"), {"": "x if x > y else y + 0 * x"},
        "Larger of two numbers.", "x where x > y, else y; NaN where one is", "TradingView math.max",
        "max(open, close)",
    ),
    "crossover": Composed(
        ("x", "y"), {"": "x > y and x[1] <= y[1]"},
        "Condition: x crosses above y.", "x > y on this bar and x <= y on the bar before",
        "TradingView ta.crossover", "crossover(ema(close, 9), ema(close, 21))",
    ),
    "crossunder": Composed(
        ("x", "y"), {"": "x < y and x[1] >= y[1]"},
        "Condition: x crosses below y.", "x < y on this bar and x >= y on the bar before",
        "TradingView ta.crossunder", "crossunder(rsi(close, 14), 70)",
    ),
    "change": Composed(
        ("x", "length"), {"": "x - x[length]"},
        "Difference to the value length bars ago.", "x - x[length]", "TradingView ta.change", "change(close, 1) > 0",
    ),
    "mom": Composed(
        ("x", "length"), {"": "x - x[length]"},
        "Momentum.", "x - x[length]", "TA-Lib MOM; TradingView ta.mom", "mom(close, 10) > 0",
    ),
    "roc": Composed(
        ("x", "length"), {"": "100 * ((x - x[length]) / x[length])"},
        "Rate of change, in percent.", "100 * (x - x[length]) / x[length]; NaN where x[length] is 0",
        "TA-Lib ROC; TradingView ta.roc", "roc(close, 10) > 0",
    ),
    "rising": Composed(
        ("x", "length"), {"": "x > highest(x, length)[1]"},
        "Condition: x is above each of the length values before it.", "x > highest(x, length)[1]",
        "TradingView ta.rising", "rising(close, 3)",
    ),
    "falling": Composed(
        ("x", "length"), {"": "x < lowest(x, length)[1]"},
        "Condition: x is below each of the length values before it.", "x < lowest(x, length)[1]",
        "TradingView ta.falling", "falling(close, 3)",
    ),
    "hma": Composed(
        ("x", "length"),
        {"": "wma(2 * wma(x, (length - length % 2) / 2) - wma(x, length), length ** 0.5 - length ** 0.5 % 1)"},
        "Hull moving average; length from 2.",
        "wma(2 * wma(x, length / 2) - wma(x, length), sqrt(length)), both rounded down",
        "TradingView ta.hma", "rising(hma(close, 55), 2)",
    ),
    "vwma": Composed(
        ("x", "length"), {"": "sma(x * volume, length) / sma(volume + 0 * x, length)"},
        "Volume-weighted moving average.", "sma(x * volume, length) / sma(volume, length); NaN without volume",
        "TradingView ta.vwma", "close > vwma(close, 20)",
    ),
    "macd": Composed(
        ("x", "fast", "slow", "signal"),
        {
            "line": "ema(x, fast) - ema(x, slow)",
            "signal": "ema(macd(x, fast, slow, signal).line, signal)",
            "hist": "macd(x, fast, slow, signal).line - macd(x, fast, slow, signal).signal",
        },
        "Moving average convergence and divergence.",
        "line = ema(x, fast) - ema(x, slow); signal = ema(line, signal); hist = line - signal",
        "TradingView ta.macd; pandas ewm(adjust=False)", "crossover(macd(close, 12, 26, 9).hist, 0)",
    ),
    "bb": Composed(
        ("x", "length", "mult"),
        {
            "upper": "sma(x, length) + mult * stdev(x, length)",
            "middle": "sma(x, length)",
            "lower": "sma(x, length) - mult * stdev(x, length)",
        },
        "Bollinger bands.", "middle = sma(x, length); upper and lower: middle + and - mult * stdev(x, length)",
        "TA-Lib BBANDS; TradingView ta.bb", "close > bb(close, 20, 2).upper",
    ),
    "kc": Composed(
        ("x", "length", "mult"),
        {
            "upper": "ema(x, length) + mult * ema(tr(), length)",
            "middle": "ema(x, length)",
            "lower": "ema(x, length) - mult * ema(tr(), length)",
        },
        "Keltner channels.", "middle = ema(x, length); upper and lower: middle + and - mult * ema(tr(), length)",
        "TradingView ta.kc with the true range", "close < kc(close, 20, 1.5).lower",
    ),
    "tr": Composed(
        (), {"": "max(high, close[1]) - min(low, close[1])"},
        "True range, in the price's unit.", "max(high, close[1]) - min(low, close[1])",
        "TA-Lib TRANGE; TradingView ta.tr", "tr() > 2 * atr(14)", "the first bar has none",
    ),
    "natr": Composed(
        ("length",), {"": "100 * (atr(length) / close)"},
        "Average true range, in percent of the close.", "100 * atr(length) / close", "TA-Lib NATR", "natr(14) > 0.5",
    ),
    "adx": Composed(
        ("length",), {"": "dmi(length, length).adx"},
        "Average directional index, 0 to 100.", "dmi(length, length).adx", "TA-Lib ADX", "adx(14) > 20",
    ),
    "supertrend": Composed(
        ("factor", "length"),
        {
            member: f"_supertrend(hl2 + factor * atr(length), hl2 - factor * atr(length)).{member}"
            for member in ("line", "direction")
        },
        "Supertrend: a band that trails the price, and the side it is on.",
        "bands hl2 + and - factor * atr(length) that only come closer to the price until the close crosses them; "
        "direction: 1 (up, line is the lower band) once the close is above the upper band, -1 (down, the upper band) "
        "once it is below the lower",
        "TradingView ta.supertrend, whose direction has the other sign", "supertrend(3, 10).direction == 1",
        "down on the first bar of atr(length)",
    ),
    "stoch": Composed(
        ("length", "smooth_k", "smooth_d"),
        {
            "k": "sma(_place(length), smooth_k)",
            "d": "sma(stoch(length, smooth_k, smooth_d).k, smooth_d)",
        },
        "Stochastic oscillator, 0 to 100.",
        "raw = 100 * (close - lowest(low, length)) / (highest(high, length) - lowest(low, length)), 0 where there is "
        "no range; k = sma(raw, smooth_k); d = sma(k, smooth_d)",
        "TA-Lib STOCH; TradingView ta.stoch with its averages", "stoch(14, 3, 3).k < 20",
    ),
    "_place": Composed(
        ("length",),
        {
            "": "0 if highest(high, length) == lowest(low, length) else "
            "100 * ((close - lowest(low, length)) / (highest(high, length) - lowest(low, length)))"
        },
        "Where the close lies in its window's range, in percent.", "see stoch", "see stoch", "",
    ),
    "mfi": Composed(
        ("length",),
        {
            "": "0 if _paid(length).up + _paid(length).down == 0 else "
            "100 * (_paid(length).up / (_paid(length).up + _paid(length).down))"
        },
        "Money flow index of hlc3, 0 to 100.",
        "100 * up / (up + down), up (down): sum of hlc3 * volume over the last length bars whose hlc3 is above (below) "
        "the bar's before; 0 where nothing flowed",
        "TA-Lib MFI; TradingView ta.mfi on hlc3", "mfi(14) < 20", "the first bar has no flow",
    ),
    "_paid": Composed(
        ("length",),
        {
            "up": "sma(hlc3 * volume if hlc3 > hlc3[1] else 0 * hlc3[1], length)",
            "down": "sma(hlc3 * volume if hlc3 < hlc3[1] else 0 * hlc3[1], length)",
        },
        "Mean money flow of the bars that rose and of those that fell.", "see mfi", "see mfi", "",
    ),
    "cmf": Composed(
        ("length",),
        {
            "": "sma(0 if high == low else ((close - low) - (high - close)) / (high - low) * volume, length) "
            "/ sma(volume, length)"
        },
        "Chaikin money flow, -1 to 1.",
        "sum(((close - low) - (high - close)) / (high - low) * volume) / sum(volume) over the last length bars; a bar "
        "without range adds 0; NaN without volume",
        "Chaikin; TradingView's Chaikin Money Flow", "cmf(20) > 0.1",
    ),
    "correlation": Composed(
        ("x", "y", "length"),
        {
            "": "max(-1, min(1, _covariance(x, y, length) "
            "/ (stdev(x + 0 * y, length) * stdev(y + 0 * x, length))))"
        },
        "Correlation of two series, -1 to 1.",
        "covariance(x, y) / (stdev(x) * stdev(y)) over the last length values; NaN where one of them does not move",
        "TA-Lib CORREL; TradingView ta.correlation", "correlation(close, volume, 20) > 0.5",
    ),
    "zscore": Composed(
        ("x", "length"), {"": "(x - sma(x, length)) / stdev(x, length)"},
        "Distance from the window's mean in its deviations.",
        "(x - sma(x, length)) / stdev(x, length), the current bar included; NaN where the deviation is 0",
        "statistics; pandas rolling", "zscore(volume, 96) > 2",
    ),
    "delta": Composed(
        (), {"": "2 * taker_buy - volume"},
        "Taker-buy delta: what takers bought less what they sold, in base units.",
        "2 * taker_buy - volume; NaN where the source has no taker volume", "tapewatch", "delta() > 0",
    ),
    "efficiency": Composed(
        ("x", "length"),
        {
            "": "0 if sma(abs(x - x[1]), length) == 0 else "
            "abs(x - x[length]) / (length * sma(abs(x - x[1]), length))"
        },
        "Kaufman's efficiency ratio: 1 when x went straight, near 0 when it went to and fro.",
        "|x - x[length]| / sum(|x - x[1]|) over the last length bars; 0 where nothing moved",
        "Kaufman; TA-Lib KAMA's ratio", "efficiency(close, 10) > 0.5",
    ),
    "support": Composed(
        ("length",),
        {
            "price": f"{_LEVELS}.below",
            "touches": f"{_LEVELS}.below_touches",
            "age": f"{_LEVELS}.below_age",
            "strength": f"{_LEVELS}.below_strength",
        },
        "Nearest pivot level at or below the close.", _LEVEL + "price: of the nearest level not above the close",
        "tapewatch", "close - support(10).price < 0.5 * atr(14)", _LEVEL_SEED,
    ),
    "resistance": Composed(
        ("length",),
        {
            "price": f"{_LEVELS}.above",
            "touches": f"{_LEVELS}.above_touches",
            "age": f"{_LEVELS}.above_age",
            "strength": f"{_LEVELS}.above_strength",
        },
        "Nearest pivot level at or above the close.", _LEVEL + "price: of the nearest level not below the close",
        "tapewatch", "resistance(10).price - close > 2 * atr(14)", _LEVEL_SEED,
    ),
    "trending": Composed(
        (), {"": "adx(14) > 25 and efficiency(close, 14) > 0.3"},
        "Condition: the market has a direction and keeps to it.", "adx(14) > 25 and efficiency(close, 14) > 0.3",
        "tapewatch", "trending()",
    ),
    "ranging": Composed(
        (), {"": "adx(14) < 20 and efficiency(close, 14) < 0.3"},
        "Condition: the market goes to and fro.", "adx(14) < 20 and efficiency(close, 14) < 0.3",
        "tapewatch", "ranging()",
    ),
    "volatility": Composed(
        (), {"": "percentrank(natr(14), 100) * (0 if natr(14) == 0 else 1)"},
        "Volatility as a percentile of its own last 100 bars, 0 to 100.",
        "percentrank(natr(14), 100); 0 where nothing moves", "tapewatch", "volatility() > 50",
    ),
    "volatility_slope": Composed(
        (), {"": "volatility() - volatility()[5]"},
        "Change of volatility() over five bars, -100 to 100.", "volatility() - volatility()[5]",
        "tapewatch", "volatility_slope() > 0",
    ),
    "high_volatility": Composed(
        (), {"": "volatility() > 80"},
        "Condition: more volatile than on four fifths of the last 100 bars.", "volatility() > 80",
        "tapewatch", "high_volatility()",
    ),
    "low_volatility": Composed(
        (), {"": "volatility() < 20"},
        "Condition: less volatile than on four fifths of the last 100 bars.", "volatility() < 20",
        "tapewatch", "low_volatility()",
    ),
}  # fmt: skip
