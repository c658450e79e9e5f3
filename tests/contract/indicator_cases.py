"""Every function and member of the language with its reference; see `indicator_references`."""

from __future__ import annotations

import math

import numpy as np
import talib
from indicator_references import (
    Case,
    atr,
    barssince,
    by_session,
    channel_index,
    condition,
    covary,
    deviation,
    directional,
    each,
    ewm,
    hlc3,
    hull,
    lagged,
    macd,
    mean,
    money_flow,
    money_index,
    nearest_levels,
    place,
    rank,
    ratio,
    regime,
    rolled,
    straightness,
    supertrend,
    true_range,
    valuewhen,
    volatility,
    wilder,
)  # fmt: skip

from tapewatch.model import NAN

LENGTHS: list[tuple[float, ...]] = [(2,), (6,), (14,), (50,)]
BANDS: list[tuple[float, ...]] = [(2, 1), (20, 2), (50, 1.5)]
MACD: list[tuple[float, ...]] = [(3, 7, 2), (12, 26, 9)]
DMI: list[tuple[float, ...]] = [(2, 2), (14, 14), (5, 9)]
STOCH: list[tuple[float, ...]] = [(2, 1, 2), (14, 3, 3), (14, 1, 3)]
TREND: list[tuple[float, ...]] = [(1, 2), (3, 10)]
PIVOTS: list[tuple[float, ...]] = [(2,), (10,)]


def _band(c, x, length, mult, sign):
    return mean(x, length) + sign * mult * deviation(x, length)


def _keltner(c, x, length, mult, sign):
    return ewm(x, length) + sign * mult * ewm(true_range(c), length)


def _vwap(c, _x):
    frame = {"paid": by_session(c, hlc3(c) * c.volume), "volume": by_session(c, c.volume)}
    return ratio(frame["paid"], frame["volume"])


#: Function, or function.member -> its case.
CASES: dict[str, Case] = {
    "ema": Case("ema(X, {0})", lambda c, x, n: ewm(x, n), 50.0, LENGTHS),
    "sma": Case("sma(X, {0})", lambda c, x, n: rolled(x, n, lambda w: w.mean(axis=1)), 50.0, LENGTHS),
    "rma": Case("rma(X, {0})", lambda c, x, n: wilder(x, n), 50.0, LENGTHS),
    "wma": Case("wma(X, {0})", lambda c, x, n: talib.WMA(x, n), 50.0, LENGTHS),
    "hma": Case("hma(X, {0})", hull, 50.0, [(2,), (9,), (50,)]),
    "vwma": Case("vwma(X, {0})", lambda c, x, n: ratio(mean(x * c.volume, n), mean(c.volume, n)), NAN, LENGTHS),
    "highest": Case("highest(X, {0})", lambda c, x, n: talib.MAX(x, n), 50.0, LENGTHS),
    "lowest": Case("lowest(X, {0})", lambda c, x, n: talib.MIN(x, n), 50.0, LENGTHS),
    "percentrank": Case("percentrank(X, {0})", lambda c, x, n: rank(x, n), 100.0, LENGTHS),
    "stdev": Case("stdev(X, {0})", lambda c, x, n: deviation(x, n), 0.0, LENGTHS),
    "correlation": Case("correlation(X, low + volume, {0})", lambda c, x, n: covary(x, c.low + c.volume, n), NAN,
                        [(3,), (14,), (50,)], 1e-9),
    "zscore": Case("zscore(X, {0})", lambda c, x, n: ratio(x - mean(x, n), deviation(x, n)), NAN, LENGTHS, 1e-8),
    "rsi": Case("rsi(X, {0})", lambda c, x, n: talib.RSI(x, n), 0.0, LENGTHS),
    "cci": Case("cci({0})", lambda c, x, n: channel_index(c, n), 0.0, LENGTHS, 1e-6,
                lambda c, x, n: talib.CCI(c.high, c.low, c.close, n)),
    "atr": Case("atr({0})", lambda c, x, n: atr(c, n), 0.0, LENGTHS),
    "natr": Case("natr({0})", lambda c, x, n: talib.NATR(c.high, c.low, c.close, n), 0.0, LENGTHS),
    "tr": Case("tr()", lambda c, x: true_range(c), 0.0, slack=1e-12),
    "dmi.plus": Case("dmi({0}, {1}).plus", lambda c, x, n, s: directional(c, n, s, "plus"), 0.0, DMI, 1e-9),
    "dmi.minus": Case("dmi({0}, {1}).minus", lambda c, x, n, s: directional(c, n, s, "minus"), 0.0, DMI, 1e-9),
    "dmi.adx": Case("dmi({0}, {1}).adx", lambda c, x, n, s: directional(c, n, s, "adx"), 0.0, DMI, 1e-9),
    "adx": Case("adx({0})", lambda c, x, n: talib.ADX(c.high, c.low, c.close, n), 0.0, LENGTHS, 1e-9),
    "supertrend.line": Case("supertrend({0}, {1}).line", lambda c, x, f, n: supertrend(c, f, n, "line"), 50.0, TREND),
    "supertrend.direction": Case("supertrend({0}, {1}).direction",
                                 lambda c, x, f, n: supertrend(c, f, n, "direction"), -1.0, TREND),
    "macd.line": Case("macd(X, {0}, {1}, {2}).line", lambda c, x, *n: macd(x, *n)[0], 0.0, MACD, 1e-10),
    "macd.signal": Case("macd(X, {0}, {1}, {2}).signal", lambda c, x, *n: macd(x, *n)[1], 0.0, MACD, 1e-10),
    "macd.hist": Case("macd(X, {0}, {1}, {2}).hist", lambda c, x, *n: macd(x, *n)[2], 0.0, MACD, 1e-10),
    "bb.upper": Case("bb(X, {0}, {1}).upper", lambda c, x, n, m: _band(c, x, n, m, 1), 50.0, BANDS),
    "bb.middle": Case("bb(X, {0}, {1}).middle", lambda c, x, n, m: talib.BBANDS(x, n, m, m)[1], 50.0, BANDS),
    "bb.lower": Case("bb(X, {0}, {1}).lower", lambda c, x, n, m: _band(c, x, n, m, -1), 50.0, BANDS),
    "kc.upper": Case("kc(X, {0}, {1}).upper", lambda c, x, n, m: _keltner(c, x, n, m, 1), 50.0, BANDS),
    "kc.middle": Case("kc(X, {0}, {1}).middle", lambda c, x, n, m: ewm(x, n), 50.0, BANDS),
    "kc.lower": Case("kc(X, {0}, {1}).lower", lambda c, x, n, m: _keltner(c, x, n, m, -1), 50.0, BANDS),
    "stoch.k": Case("stoch({0}, {1}, {2}).k", lambda c, x, n, k, d: mean(place(c, n), k), 0.0, STOCH, 1e-9),
    "stoch.d": Case("stoch({0}, {1}, {2}).d",
                    lambda c, x, n, k, d: talib.STOCH(c.high, c.low, c.close, n, k, 0, d, 0)[1], 0.0, STOCH, 1e-8),
    "mfi": Case("mfi({0})", lambda c, x, n: money_index(c, n), 0.0, LENGTHS, 1e-7,
                lambda c, x, n: talib.MFI(c.high, c.low, c.close, c.volume, n)),
    "cmf": Case("cmf({0})", lambda c, x, n: money_flow(c, n), NAN, LENGTHS, 1e-12),
    "obv": Case("obv()", lambda c, x: talib.OBV(c.close, c.volume), 0.0, slack=1e-6),
    "delta": Case("delta()", lambda c, x: 2 * c.taker_buy - c.volume, NAN),
    "cvd": Case("cvd()", lambda c, x: by_session(c, 2 * c.taker_buy - c.volume), NAN, slack=1e-7),
    "vwap": Case("vwap()", _vwap, NAN),
    "change": Case("change(X, {0})", lambda c, x, n: x - lagged(x, n), 0.0, LENGTHS),
    "mom": Case("mom(X, {0})", lambda c, x, n: talib.MOM(x, n), 0.0, LENGTHS),
    "roc": Case("roc(X, {0})", lambda c, x, n: talib.ROC(x, n), 0.0, LENGTHS, 1e-12),
    "efficiency": Case("efficiency(X, {0})", lambda c, x, n: straightness(x, n), 0.0, LENGTHS, 1e-12),
    "rising": Case("rising(X, {0})", lambda c, x, n: condition(x > lagged(talib.MAX(x, n), 1),
                                                               lagged(talib.MAX(x, n), 1)), 0.0, LENGTHS),
    "falling": Case("falling(X, {0})", lambda c, x, n: condition(x < lagged(talib.MIN(x, n), 1),
                                                                 lagged(talib.MIN(x, n), 1)), 0.0, LENGTHS),
    "crossover": Case("crossover(X, open)", lambda c, x: condition(
        (x > c.open) & (lagged(x, 1) <= lagged(c.open, 1)), np.where(x > c.open, lagged(x, 1), 0)), 0.0),
    "crossunder": Case("crossunder(X, open)", lambda c, x: condition(
        (x < c.open) & (lagged(x, 1) >= lagged(c.open, 1)), np.where(x < c.open, lagged(x, 1), 0)), 0.0),
    "barssince": Case("barssince(X > open)", barssince),
    "valuewhen": Case("valuewhen(X > open, high, {0})", valuewhen, NAN, [(0,), (1,), (5,)]),
    "abs": Case("abs(X - open)", lambda c, x: abs(x - c.open), 0.0),
    "min": Case("min(X, open)", lambda c, x: np.minimum(x, c.open), 50.0),
    "max": Case("max(X, open)", lambda c, x: np.maximum(x, c.open), 50.0),
    "log": Case("log(X)", lambda c, x: each(math.log, x), math.log(50)),
    "exp": Case("exp(X / 2000)", lambda c, x: each(math.exp, x / 2000), math.exp(50 / 2000)),
    "sqrt": Case("sqrt(X)", lambda c, x: each(math.sqrt, x), math.sqrt(50)),
    "volatility": Case("volatility()", lambda c, x: volatility(c), 0.0),
    "volatility_slope": Case("volatility_slope()", lambda c, x: volatility(c) - lagged(volatility(c), 5), 0.0),
    "high_volatility": Case("high_volatility()", lambda c, x: condition(volatility(c) > 80, volatility(c)), 0.0),
    "low_volatility": Case("low_volatility()", lambda c, x: condition(volatility(c) < 20, volatility(c)), 1.0),
    "trending": Case("trending()", lambda c, x: regime(c, "trending"), 0.0),
    "ranging": Case("ranging()", lambda c, x: regime(c, "ranging"), 1.0),
} | {
    f"{kind}.{member}": Case(
        f"{kind}({{0}}).{member}", lambda c, x, n, kind=kind, member=member: nearest_levels(c, n, kind, member),
        NAN, PIVOTS, 1e-9,
    )
    for kind in ("support", "resistance") for member in ("price", "touches", "age", "strength")
}  # fmt: skip

#: Their reference is a loop.
SLOW_REFERENCE = {"support", "resistance"}
#: A start is never forgotten.
NEVER_SETTLE = {"barssince", "valuewhen", "obv", "supertrend", "support", "resistance"}
#: A window without end in which rounding could pile up.
WINDOWED = (
    "sma", "wma", "hma", "vwma", "stdev", "bb.upper", "zscore", "correlation", "cci", "highest", "lowest",
    "percentrank", "mfi", "cmf", "efficiency", "stoch.k",
)  # fmt: skip
