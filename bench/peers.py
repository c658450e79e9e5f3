"""The same work done by other libraries, in one run: medians, and the ratio of each peer to tapewatch.

    make bench-peers                                # or: .venv/bin/python bench/peers.py 200000
    .venv/bin/python bench/peers.py 100000 vectorbt # only these peers

Two works, over one symbol's 1m bars. First the signals alone, beside pandas. Then the yardstick, `scalp` with its bias
on its own timeframe, as a backtest with its trades; each peer in `bench/peers/` has an environment of its own, made in
`.peers/` from its pinned requirements, and one that cannot be made is named and left out. With TAPEWATCH_YARDSTICK set
to a folder that has the yardstick's `series.py` and `kernel.py`, its candles are used, and its kernel, one hand-written
loop that does nothing else, is measured, too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import talib

from tapewatch import __version__, strategies
from tapewatch.archive.candles import Candles
from tapewatch.cli.bench import random_walk
from tapewatch.engine.series import Runner
from tapewatch.strategy import Strategy, compile_program, from_mapping
from tapewatch.study.backtest import Backtest, Plan
from tapewatch.study.settings import Account
from tapewatch.study.signals import Request
from tapewatch.study.table import Table

RUNS = 7
WINDOW = 200
FOLDER = Path(__file__).parent / "peers"
ENVIRONMENTS = FOLDER.parents[1] / ".peers"
#: Peer -> how often it is run: what takes minutes, once.
PEERS = {"vectorbt": 5, "backtesting": 3, "freqtrade": 1, "nautilus_trader": 1}
#: The first bar that may signal.
FIRST = 50


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    candles, kernel = _candles(count)
    strategy = _yardstick()
    _signals(strategy, candles)
    _backtests(strategy, candles, kernel, sys.argv[2:] or list(PEERS))


def _signals(strategy: Strategy, candles: Candles) -> None:
    program, count = compile_program(strategy, "1m"), len(candles)

    def columns() -> int:
        return sum(len(chunk.rows) for chunk in Table(program, {candles.interval_ms: candles}).fired())

    found = columns()
    assert found == _pandas(candles), "the peers must find what tapewatch finds"
    ours = median(_seconds(columns)) / count * 1e9
    print(f"{found} bars on which a side fires, {count:,} bars, median of {RUNS}")
    print(f"tapewatch columns        {ours:10.1f} ns/bar")
    _beside("pandas and TA-Lib", median(_seconds(lambda: _pandas(candles))) / count * 1e9, ours)
    bars = list(candles.slice(None, int(candles.open_ms[20_000])).bars())

    def live() -> None:
        runner = Runner(program)
        for bar in bars:
            runner.feed(bar)

    step = median(_seconds(live)) / len(bars) * 1e9
    print(f"tapewatch live step      {step:10.1f} ns/bar")
    window = candles.slice(None, int(candles.open_ms[WINDOW]))
    _beside(f"pandas, window of {WINDOW}", median(_seconds(lambda: _pandas(window))) * 1e9, step)


def _beside(name: str, figure: float, ours: float) -> None:
    print(f"{name:<24} {figure:10.1f} ns/bar  {figure / ours:8.2f} x")


def _backtests(strategy: Strategy, candles: Candles, kernel: Callable[[], int] | None, peers: list[str]) -> None:
    count = len(candles)
    account = Account(kind="perpetual", size_quote=1_000.0, cash=1e6, levels="fill", slippage_bps=0.0)
    request = Request(Path(), candles.venue, [candles.symbol], from_ms=int(candles.open_ms[FIRST]) + 60_000)
    plan = Plan(strategy, request, account, gate=False)

    def ours() -> int:
        return len(Backtest(plan, candles=[candles]).run().trades)

    trades = ours()
    figure = median(_seconds(ours)) / count * 1e9
    print(f"\nBacktest of the yardstick, {count:,} bars, candles in memory to trades\n")
    print("| what | version | ns a bar | ratio | of it the rule in pandas | trades | runs | where it differs |")
    print("|---|---|---|---|---|---|---|---|")
    print(f"| tapewatch | {__version__} | {figure:,.1f} | 1 | | {trades:,} | {RUNS} | |")
    if kernel is not None:
        alone, found = median(_seconds(kernel)) / count * 1e9, kernel()
        print(f"| yardstick kernel | | {alone:,.1f} | {alone / figure:.2f} | | {found:,} | {RUNS} | one rule by hand |")
    with tempfile.TemporaryDirectory(prefix="tapewatch-peers-") as folder:
        path = Path(folder, "candles.npz")
        names = ("open_ms", "open", "high", "low", "close", "volume")
        np.savez(path, **{name: getattr(candles, name) for name in names})
        for name in peers:
            print(_row(name, path, count, figure), flush=True)


def _row(name: str, path: Path, count: int, ours: float) -> str:
    try:
        python = _environment(name)
        script = str(FOLDER / f"with_{name}.py")
        done = subprocess.run(
            [python, script, str(path), str(PEERS[name])], check=True, capture_output=True, text=True, cwd=path.parent
        )
    except subprocess.CalledProcessError as error:
        said = (error.stderr or "").strip().split("\n")[-1]
        return f"| {name} | skipped | | | | | | {said[:150]} |"
    found = json.loads(done.stdout.strip().split("\n")[-1])
    figure, rule = median(found["seconds"]) / count * 1e9, found["rule_seconds"] / count * 1e9
    return (
        f"| {name} | {found['version']} | {figure:,.0f} | {figure / ours:,.0f} | {rule:,.0f} | {found['trades']:,} | "
        f"{len(found['seconds'])} | {found['note']} |"
    )


def _environment(name: str) -> str:
    """The interpreter of a peer's own environment, made where there is none for these pins."""
    folder, pins = ENVIRONMENTS / name, FOLDER / f"requirements-{name}.txt"
    python, made_of = folder / "bin" / "python", folder / "pins.txt"
    if not made_of.exists() or made_of.read_text() != pins.read_text():
        subprocess.run(
            [sys.executable, "-m", "venv", "--clear", str(folder)], check=True, capture_output=True, text=True
        )
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        subprocess.run([*install, "-r", str(pins)], check=True, capture_output=True, text=True)
        made_of.write_text(pins.read_text())
    return str(python)


def _seconds(work: Callable[[], Any]) -> list[float]:
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return times


def _candles(count: int) -> tuple[Candles, Callable[[], int] | None]:
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
    return candles, lambda: int(kernel(*columns, *PARAMS, out)[0])


def _yardstick() -> Strategy:
    """`scalp` as the yardstick has it: its bias on the same timeframe, the crossing still standing, no time limit."""
    _, mapping = strategies.mapping_of("scalp")
    for side, sign in (("long", ">"), ("short", "<")):
        cross = f"{mapping[side]['cross']} and ema(close, fast) {sign} ema(close, slow)"
        mapping[side] = {**mapping[side], "cross": cross, "bias": f"close {sign} ema(close, 50)"}
    return from_mapping("yardstick", mapping | {"timeframes": ["1m"], "time_limit": 1_000_000})


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
    long = (close > vwap) & (up | up.shift(fill_value=False)) & (fast > slow) & common & (close > middle)
    short = (close < vwap) & (down | down.shift(fill_value=False)) & (fast < slow) & common & (close < middle)
    return int((long | short).sum())


if __name__ == "__main__":
    main()
