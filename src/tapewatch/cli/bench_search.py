"""What the parameter sets of a search take: their time in one process and in two, and the memory of more and more."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from statistics import median
from typing import TYPE_CHECKING, Any

from tapewatch.cli.figures import Figure, memory_mb

if TYPE_CHECKING:
    from tapewatch.study.sweep import Sweep

#: Sets of other values, which each process has tried before the time begins: all is loaded then, and candles are read.
BEFORE = 128


def measure(candles: Any, *, smoke: bool) -> Iterator[Figure]:
    """Figures of `scalp` over these candles of a minute."""
    from tapewatch.archive.frames import of_candles

    sets, runs = (32, 1) if smoke else (1_000, 3)
    with tempfile.TemporaryDirectory(prefix="tapewatch-bench-") as folder:
        path = Path(folder, candles.venue, candles.symbol, "1m.parquet")
        path.parent.mkdir(parents=True)
        of_candles(candles).write_parquet(path)
        where = Path(folder), candles.venue, candles.symbol
        times = [[_tried_s(sweep_of(*where), sets, workers) for workers in (1, 2)] for _ in range(runs)]
        alone, together = (median(of_kind) for of_kind in zip(*times, strict=True))
        name = f"search, {sets:,} sets"
        yield Figure(name, alone, "s", len(candles), runs)
        yield Figure(f"{name}, two processes", together, "s", len(candles), runs, name, together / alone)
        for count in (sets, 10 * sets):
            yield Figure(f"search, {count:,} sets, memory", _elsewhere(*where, count), "MB", len(candles), 1)


def sweep_of(root: Path, venue: str, symbol: str) -> Sweep:
    """Of `scalp` on minutes."""
    from tapewatch import strategies
    from tapewatch.study.backtest import Plan
    from tapewatch.study.settings import Account
    from tapewatch.study.signals import Request
    from tapewatch.study.sweep import Sweep

    plan = Plan(strategies.load("scalp"), Request(root, venue, [symbol], ["1m"]), Account(kind="perpetual"))
    return Sweep(strategies.mapping_of("scalp")[1], plan)


def sets_of(count: int) -> Iterator[dict[str, float]]:
    """Drawn from the ranges that the strategy has for a search."""
    from tapewatch import strategies
    from tapewatch.strategy.ranges import range_of

    written, params = strategies.mapping_of("scalp")[1]["search"], strategies.load("scalp").params
    ranges, dice = {name: range_of(text, params[name]) for name, text in written.items()}, Random(7)
    for _ in range(count):
        yield {
            name: dice.choice(one.values) if one.values else dice.uniform(one.low, one.high)
            for name, one in ranges.items()
        }


def _tried_s(sweep: Sweep, count: int, workers: int) -> float:
    for _ in sweep.tried([{"fast": 3.0, "slow": 50.0}] * BEFORE, workers):
        pass
    started = time.perf_counter()
    for _ in sweep.tried(sets_of(count), workers):
        pass
    return time.perf_counter() - started


def _elsewhere(root: Path, venue: str, symbol: str, count: int) -> float:
    """By how much a fresh process grows."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(grown_mb, root, venue, symbol, count).result()


def grown_mb(root: Path, venue: str, symbol: str, count: int) -> float:
    """By how much this process is larger after the last set than after the first."""
    sweep = sweep_of(root, venue, symbol)
    tried = sweep.tried(sets_of(count))
    next(tried)
    before_mb = memory_mb(os.getpid())
    for _ in tried:
        pass
    return memory_mb(os.getpid()) - before_mb
