"""The same work beside other libraries, in one run: medians, and the ratio of each peer to tapewatch.

    make bench-peers            # or: .venv/bin/python bench/peers.py 200000

The work: the five factors of `scalp` (bias on the same timeframe) over one symbol's 1m bars, long and short. With
TAPEWATCH_YARDSTICK set to a folder that has the yardstick's `series.py` and `kernel.py`, its candles are used and its
kernel, which also keeps positions, is measured beside the columns.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import talib

from tapewatch import strategies
from tapewatch.archive.candles import Candles
from tapewatch.cli.bench import random_walk
from tapewatch.engine.series import Runner
from tapewatch.strategy import Program, compile_program, from_mapping
from tapewatch.study.table import Table

RUNS = 7
WINDOW = 200


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    candles, kernel = _candles(count)
    program = _program()
    found = _columns(program, candles)
    assert found == _pandas(candles), "the peers must find what tapewatch finds"
    ours = _median_s(lambda: _columns(program, candles)) / count * 1e9
    print(f"{found} bars on which a side fires, {count:,} bars, median of {RUNS}")
    print(f"tapewatch columns        {ours:10.1f} ns/bar")
    _beside("pandas and TA-Lib", _median_s(lambda: _pandas(candles)) / count * 1e9, ours)
    if kernel is not None:
        _beside("yardstick kernel", _median_s(kernel) / count * 1e9, ours)
    bars = list(candles.slice(None, int(candles.open_ms[20_000])).bars())

    def live() -> None:
        runner = Runner(program)
        for bar in bars:
            runner.feed(bar)

    step = _median_s(live) / len(bars) * 1e9
    print(f"tapewatch live step      {step:10.1f} ns/bar")
    window = candles.slice(None, int(candles.open_ms[WINDOW]))
    _beside(f"pandas, window of {WINDOW}", _median_s(lambda: _pandas(window)) * 1e9, step)


def _beside(name: str, figure: float, ours: float) -> None:
    print(f"{name:<24} {figure:10.1f} ns/bar  {figure / ours:8.2f} x")


def _median_s(work: Callable[[], Any]) -> float:
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return median(times)


def _candles(count: int) -> tuple[Candles, Callable[[], Any] | None]:
    folder = os.environ.get("TAPEWATCH_YARDSTICK")
    if not folder:
        return random_walk(count), None
    sys.path.insert(0, str(Path(folder)))
    from kernel import PARAMS, kernel  # type: ignore[import-not-found]
    from series import gen  # type: ignore[import-not-found]

    columns = gen(count)
    unknown = np.full(count, np.nan)
    out = np.empty((count // 100, 6))
    candles = Candles("yardstick", "BTCUSDT", 60_000, *columns, unknown, unknown, unknown)
    return candles, lambda: kernel(*columns, *PARAMS, out)


def _program() -> Program:
    _, mapping = strategies.mapping_of("scalp")
    mapping["long"] = {**mapping["long"], "bias": "close > ema(close, 50)"}
    mapping["short"] = {**mapping["short"], "bias": "close < ema(close, 50)"}
    return compile_program(from_mapping("scalp_one_frame", mapping), "1m")


def _columns(program: Program, candles: Candles) -> int:
    return sum(len(chunk.rows) for chunk in Table(program, {candles.interval_ms: candles}).fired())


def _pandas(candles: Candles) -> int:
    close, volume = pd.Series(candles.close), pd.Series(candles.volume)
    day = pd.Series(candles.open_ms // 86_400_000)
    price = (candles.high + candles.low + candles.close) / 3
    vwap = (price * volume).groupby(day).cumsum() / volume.groupby(day).cumsum()
    fast, slow, middle = (close.ewm(span=length, adjust=False).mean() for length in (9, 21, 50))
    up = (fast > slow) & (fast.shift() <= slow.shift())
    down = (fast < slow) & (fast.shift() >= slow.shift())
    burst = volume > 1.5 * volume.rolling(20).mean()
    rsi = pd.Series(talib.RSI(candles.close, 6)).between(30, 70)
    valid = pd.Series(talib.ATR(candles.high, candles.low, candles.close, 14)) > 0
    common = burst & rsi & valid
    long = (close > vwap) & (up | up.shift(fill_value=False)) & common & (close > middle)
    short = (close < vwap) & (down | down.shift(fill_value=False)) & common & (close < middle)
    return int((long | short).sum())


if __name__ == "__main__":
    main()
