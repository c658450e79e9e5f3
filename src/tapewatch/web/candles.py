"""Candles of a symbol with what a strategy computes on them, and why it fired or not, from the run's own journal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from math import inf, isfinite
from pathlib import Path
from typing import Any

from tapewatch.bars import BarBuilder
from tapewatch.engine.series import Runner
from tapewatch.model import INTERVAL_NAMES, MINUTE_MS, Bar
from tapewatch.store.reading import newest_bars
from tapewatch.strategy import Evidence, Program
from tapewatch.strategy.explained import Explained, explained
from tapewatch.strategy.units import is_price

#: Batches of the journal that are looked at, at most: a day of minutes, many times over.
MOST_BATCHES = 50_000
#: A value is drawn among prices where it is not further from the close than by this factor.
NEAR = 5.0
_PRICES = ("open", "high", "low", "close", "volume")

#: Bars by interval, each in order.
Frames = Mapping[int, Sequence[Bar]]


def frames_of(folder: Path, symbol: str, counts: Mapping[int, int], until_ms: float = inf) -> Frames:
    """The last bars of intervals that close by a time, at least so many of each where the journal has them.

    Raises:
        StoreError: the journal cannot be read.
    """
    found: dict[int, dict[int, Bar]] = {interval_ms: {} for interval_ms in (MINUTE_MS, *counts)}
    for batch in islice(newest_bars(folder, symbol), MOST_BATCHES):
        for bar in batch:
            if bar.interval_ms in found and bar.close_ms <= until_ms:
                found[bar.interval_ms].setdefault(bar.open_ms, bar)
        if batch and all(_reaches(found, interval_ms, count) for interval_ms, count in counts.items()):
            break
    base = [found[MINUTE_MS][open_ms] for open_ms in sorted(found[MINUTE_MS])]
    for interval_ms, known in found.items():
        if interval_ms > MINUTE_MS and base:
            known.update((bar.open_ms, bar) for bar in _built(base, interval_ms))
    return {interval_ms: [known[open_ms] for open_ms in sorted(known)] for interval_ms, known in found.items()}


def _reaches(found: Mapping[int, Mapping[int, Bar]], interval_ms: int, count: int) -> bool:
    """Whether there are so many bars, some of which may have to be built."""
    base, known = found[MINUTE_MS], found[interval_ms]
    return len(known) + (len(base) * MINUTE_MS // interval_ms if interval_ms > MINUTE_MS else 0) > count


def _built(base: Sequence[Bar], interval_ms: int) -> Iterator[Bar]:
    builder = BarBuilder(interval_ms, -(-base[0].open_ms // interval_ms) * interval_ms)
    for bar in base:
        yield from builder.add(bar)


def wanted(program: Program, limit: int) -> dict[int, int]:
    """How many bars of each interval a program needs, so that its last `limit` values are settled."""
    own = program.interval_ms
    return {frame: program.window(frame) + (limit * own // frame if frame >= own else 0) for frame in program.frames}


def evaluated(program: Program, frames: Frames, from_ms: int) -> Iterator[tuple[Bar, tuple[bool, ...], Evidence]]:
    """Every bar of its timeframe that opens from then on, with what fired and the values."""
    runner = Runner(program)
    bars: Iterable[Bar] = (bar for interval_ms in program.frames for bar in frames[interval_ms])
    for bar in sorted(bars, key=lambda one: (one.close_ms, -one.interval_ms)):
        asked = bar.interval_ms == program.interval_ms and bar.open_ms >= from_ms
        result = runner.feed(bar, force=asked)
        if asked and result is not None:
            yield bar, *result


def document(symbol: str, interval_ms: int, frames: Frames, limit: int, program: Program | None) -> dict[str, Any]:
    """The last `limit` bars in columns, and the values of a program that are prices."""
    known = frames[interval_ms]
    shown = known[-limit:]
    columns = {name: [getattr(bar, name) for bar in shown] for name in _PRICES}
    return {
        "symbol": symbol,
        "interval": INTERVAL_NAMES[interval_ms],
        "interval_ms": interval_ms,
        "open_ms": [bar.open_ms for bar in shown],
        **columns,
        "indicators": {} if program is None or not shown else _indicators(program, frames, shown),
        "next": shown[0].open_ms if len(known) > limit else None,
    }


def _indicators(program: Program, frames: Frames, shown: Sequence[Bar]) -> dict[str, list[float | None]]:
    nodes = {text: node for text, node in program.named.items() if node.kind == "number" and is_price(node)}
    values: dict[str, list[float | None]] = {text: [] for text in nodes}
    for _, _, evidence in evaluated(program, frames, shown[0].open_ms):
        for text, node in nodes.items():
            value = evidence.of(node)
            values[text].append(value if isfinite(value) else None)
    return {text: column for text, column in values.items() if _among(column, shown)}


def _among(column: Sequence[float | None], shown: Sequence[Bar]) -> bool:
    """Whether values lie where prices do: a distance is measured in the price's unit, too."""
    pairs = [(value, bar.close) for value, bar in zip(column, shown, strict=True) if value is not None]
    return bool(pairs) and all(close / NEAR < value < close * NEAR for value, close in (pairs[0], pairs[-1]))


def sides_at(program: Program, frames: Frames, close_ms: int, venue: str) -> list[Explained]:
    """Both sides on the bar that closes then; nothing where there is none."""
    return [
        explained(bar, evidence, plan, venue, fired=fired)
        for bar, fires, evidence in evaluated(program, frames, close_ms - program.interval_ms)
        if bar.close_ms == close_ms
        for plan, fired in zip(program.sides, fires, strict=True)
    ]
