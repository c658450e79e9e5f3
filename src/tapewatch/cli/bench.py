"""`tapewatch bench`: figures of this machine, each the median of several runs in this one call."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapewatch.cli import options
from tapewatch.cli.figures import Figure
from tapewatch.errors import SetupError

if TYPE_CHECKING:
    from tapewatch.outcomes import OutcomeSettings


def bench(
    what: Annotated[
        list[str] | None, typer.Argument(help="feed, alerts, step, columns, backtest, search, start; default all.")
    ] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Small sizes: shows that everything runs, measures little.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per figure.")] = False,
) -> None:
    """Measure this machine: the feed, alerts, live step, columns, backtest, search of parameters, start-up.

    Example: tapewatch bench step columns
    """
    for name in what or _PARTS:
        if name not in _PARTS:
            raise SetupError(f"bench: no part '{name}'; there are {', '.join(_PARTS)}")
    for name in what or _PARTS:
        for figure in _PARTS[name](smoke=smoke):
            if as_json:
                options.print_json(figure)
            else:
                beside = f"   {figure.ratio:.2f} x {figure.peer}" if figure.ratio is not None else ""
                sys.stdout.write(
                    f"{figure.name:<28} {figure.value:>12.4g} {figure.unit:<12}"
                    f" (n {figure.n:,}, median of {figure.median_of}){beside}\n"
                )
            sys.stdout.flush()


def _median_s(work: Callable[[], Any], runs: int) -> float:
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return median(times)


def _feed(*, smoke: bool) -> Iterator[Figure]:
    from tapewatch.cli import bench_feed, bench_market

    yield from bench_feed.measure(smoke=smoke)
    yield from bench_market.measure(smoke=smoke)


def _alerts(*, smoke: bool) -> Iterator[Figure]:
    from tapewatch.cli.bench_alerts import measure

    yield from measure(smoke=smoke)


def _step(*, smoke: bool) -> Iterator[Figure]:
    from tapewatch import strategies
    from tapewatch.cli import bench_around
    from tapewatch.engine import Engine
    from tapewatch.engine.series import Runner
    from tapewatch.model import BarClosed
    from tapewatch.outcomes import OutcomeSettings
    from tapewatch.strategy import compile_program

    bars = list(random_walk(5_000 if smoke else 50_000).bars())
    runs = 1 if smoke else 7
    program = compile_program(strategies.load("scalp"), "1m")

    def one_strategy() -> None:
        runner = Runner(program)
        for bar in bars:
            runner.feed(bar)

    def engine(outcomes: OutcomeSettings | None = None) -> None:
        whole = Engine("bench", [strategies.load("scalp")], outcomes=outcomes)
        for bar in bars:
            whole.process(BarClosed(bar, bar.close_ms))

    yield Figure("live step, scalp on 1m", _median_s(one_strategy, runs) / len(bars) * 1e6, "us/bar", len(bars), runs)
    name = "engine, scalp on 1m and 5m"
    plain = _median_s(engine, runs) / len(bars) * 1e6
    yield Figure(name, plain, "us/bar", len(bars), runs)
    with_outcomes = _median_s(lambda: engine(OutcomeSettings()), runs) / len(bars) * 1e6
    yield Figure("engine, with outcomes", with_outcomes, "us/bar", len(bars), runs, name, with_outcomes / plain)
    scalp = [strategies.load("scalp")]
    yield from bench_around.measure(bars, lambda market: Engine("bench", scalp, market=market), runs, smoke=smoke)


def _columns(*, smoke: bool) -> Iterator[Figure]:
    from tapewatch.strategy import compile_program
    from tapewatch.study.table import Table

    candles = random_walk(50_000 if smoke else 1_000_000)
    runs = 1 if smoke else 7
    program = compile_program(_one_frame(), "1m")

    def rows() -> int:
        return sum(len(chunk.rows) for chunk in Table(program, {candles.interval_ms: candles}).fired())

    rows()  # compiles, or loads what an earlier run compiled
    figure = _median_s(rows, runs) / len(candles) * 1e9
    yield Figure("column step, scalp, one frame", figure, "ns/bar", len(candles), runs)


def _one_frame() -> Any:
    """`scalp` with its bias on its own timeframe."""
    from tapewatch import strategies
    from tapewatch.strategy import from_mapping

    _, mapping = strategies.mapping_of("scalp")
    for side, condition in (("long", "close > ema(close, 50)"), ("short", "close < ema(close, 50)")):
        mapping[side] = {**mapping[side], "bias": condition}
    return from_mapping("one_frame", mapping | {"time_limit": 1_000_000})


def _backtest(*, smoke: bool) -> Iterator[Figure]:
    import tempfile
    from pathlib import Path

    from tapewatch.archive.frames import of_candles
    from tapewatch.study.backtest import Backtest, Plan
    from tapewatch.study.settings import Account
    from tapewatch.study.signals import Request

    candles = random_walk(50_000 if smoke else 1_000_000)
    runs = 1 if smoke else 7
    with tempfile.TemporaryDirectory(prefix="tapewatch-bench-") as folder:
        path = Path(folder, candles.venue, candles.symbol, "1m.parquet")
        path.parent.mkdir(parents=True)
        of_candles(candles).write_parquet(path)
        account = Account(kind="perpetual", size_quote=100.0, levels="fill")
        request = Request(Path(folder), candles.venue, [candles.symbol], ["1m"])
        plan = Plan(_one_frame(), request, account, gate=False)
        Backtest(plan).run()
        whole = _median_s(lambda: Backtest(plan).run(), runs)
        held = _median_s(lambda: Backtest(plan, candles=[candles]).run(), runs)
        found = Backtest(plan)
        alone = _median_s(found.run, runs)
    yield Figure("backtest, candles in memory", held / len(candles) * 1e9, "ns/bar", len(candles), runs)
    yield Figure("backtest, from Parquet", whole / len(candles) * 1e9, "ns/bar", len(candles), runs)
    yield Figure("backtest, account alone", alone / len(candles) * 1e9, "ns/bar", len(candles), runs)


def _search(*, smoke: bool) -> Iterator[Figure]:
    from tapewatch.cli.bench_search import measure

    yield from measure(random_walk(20_000 if smoke else 100_000), smoke=smoke)


def random_walk(count: int) -> Any:
    """A seeded random walk of 1m candles with bursts of volume, enough for a strategy to have something to find."""
    import numpy as np

    from tapewatch.archive.candles import Candles
    from tapewatch.model import MINUTE_MS

    random = np.random.default_rng(7)
    calm = np.exp(np.convolve(random.standard_normal(count), np.exp(-np.arange(600) / 150) / 12, "same"))
    close = np.round(30_000 * np.exp(np.cumsum(random.standard_normal(count) * 0.0007 * calm)), 2)
    first = np.concatenate(([close[0]], close[:-1]))
    high = np.maximum(first, close) * (1 + 0.0003 * calm)
    low = np.minimum(first, close) * (1 - 0.0003 * calm)
    volume = np.round(20 * np.exp(random.standard_normal(count) * 0.7) * calm, 5)
    open_ms = 1_609_459_200_000 + np.arange(count, dtype=np.int64) * MINUTE_MS
    unknown = np.full(count, np.nan)
    return Candles("bench", "BTCUSDT", MINUTE_MS, open_ms, first, high, low, close, volume, unknown, unknown, unknown)


def _start(*, smoke: bool) -> Iterator[Figure]:
    from tapewatch.cli.bench_start import measure

    yield from measure(smoke=smoke)


_PARTS: dict[str, Callable[..., Iterator[Figure]]] = {
    "feed": _feed,
    "alerts": _alerts,
    "step": _step,
    "columns": _columns,
    "backtest": _backtest,
    "search": _search,
    "start": _start,
}
