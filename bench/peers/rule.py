"""The yardstick's rule over columns, and how a peer is measured; needs NumPy and pandas, which every peer has.

    python with_NAME.py candles.npz RUNS     # prints one JSON line

The rule: `scalp` with its bias on the same timeframe; a signal opens a position at the next open where none is open,
with the stop 1.5 and the target 1 ATR away from the fill, for a fee of 0.1% a side.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

FEE = 0.001
STOP, TARGET = 1.5, 1.0
#: The first bar that may signal.
FIRST = 50
DAY_MS = 86_400_000


class Candles(NamedTuple):
    """Columns; `open_ms` in int64, the others in float64."""

    open_ms: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray

    def frame(self, *names: str) -> pd.DataFrame:
        """As pandas, by time, with these names for open, high, low, close and volume."""
        index = pd.DatetimeIndex(pd.to_datetime(self.open_ms, unit="ms"))
        return pd.DataFrame(dict(zip(names, self[1:], strict=True)), index=index)


def signals(candles: Candles) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(where a long signal is, where a short one is, ATR)."""
    close, volume = pd.Series(candles.close), pd.Series(candles.volume)
    price = (candles.high + candles.low + candles.close) / 3 * volume
    day = candles.open_ms // DAY_MS
    vwap = price.groupby(day).cumsum() / volume.groupby(day).cumsum()
    fast, slow, middle = (close.ewm(span=length, adjust=False).mean() for length in (9, 21, 50))
    above, below = fast > slow, fast < slow
    up, down = above & (fast.shift() <= slow.shift()), below & (fast.shift() >= slow.shift())
    change = close.diff()
    gain, loss = wilder(change.clip(lower=0), 6), wilder(-change.clip(upper=0), 6)
    strength = 100 * gain / (gain + loss)
    before = close.shift()
    reach = pd.concat([pd.Series(candles.high), before], axis=1).max(axis=1) - pd.concat(
        [pd.Series(candles.low), before], axis=1
    ).min(axis=1)
    reach[0] = np.nan
    atr = wilder(reach, 14)
    common = (volume > 1.5 * volume.rolling(20).mean()) & (strength >= 30) & (strength <= 70)
    common[:FIRST] = False
    long = common & (close > vwap) & (close > middle) & above & (up | up.shift(fill_value=False))
    short = common & (close < vwap) & (close < middle) & below & (down | down.shift(fill_value=False))
    return long.to_numpy(), short.to_numpy(), atr.to_numpy()


def wilder(values: pd.Series, length: int) -> pd.Series:
    """Wilder's average of a series whose first value is unknown, from the mean of its first values on."""
    values = values.copy()
    values[length] = values[1 : length + 1].mean()
    values[:length] = np.nan
    return values.ewm(alpha=1 / length, adjust=False).mean()


def measure(package: str, note: str, prepare: Callable[[Candles], Callable[[], int]]) -> None:
    """Print what a peer found and how long it took; `prepare` takes the candles and gives the work to be timed.

    The work is done once before it is timed where it is done more than once.
    """
    with np.load(sys.argv[1]) as stored:
        candles = Candles(*(stored[name] for name in Candles._fields))
    runs = int(sys.argv[2])
    work = prepare(candles)
    if runs > 1:
        work()
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        trades = work()
        times.append(time.perf_counter() - started)
    started = time.perf_counter()
    signals(candles)
    rule_s = time.perf_counter() - started
    found: dict[str, Any] = {"version": version(package), "trades": trades, "note": note, "seconds": times}
    found["rule_seconds"] = rule_s
    print(json.dumps(found))
