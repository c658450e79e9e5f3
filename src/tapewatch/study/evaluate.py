"""A program over stored candles: every bar on which a side fires, with the values of all nodes there.

Two evaluators, the same bits: compiled columns, or the live steps for jobs too small to be worth loading Numba.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from tapewatch.archive.candles import Candles, Floats, Times
from tapewatch.engine.series import Runner
from tapewatch.model import Bar
from tapewatch.strategy import Evidence, Program
from tapewatch.strategy.graph import Node
from tapewatch.strategy.step import Fired

Evaluator: TypeAlias = Literal["auto", "columns", "interpreted"]

#: Bars below which the live steps are done before Numba would be loaded.
SMALL_JOB = 60_000


@dataclass(frozen=True)
class Hit:
    """One bar of the program's timeframe on which a side fires; `row` is its index in the candles."""

    row: int
    bar: Bar
    fired: Fired
    evidence: Evidence


def evaluate(program: Program, frames: Mapping[int, Candles], evaluator: Evaluator = "auto") -> Iterator[Hit]:
    """Every hit, oldest first. `frames` has the candles of every interval that the program reads."""
    return _interpreted(program, frames) if interpreted(frames, evaluator) else _columns(program, frames)


def interpreted(frames: Mapping[int, Candles], evaluator: Evaluator) -> bool:
    """Whether the live steps are done rather than columns."""
    small = sum(len(candles) for candles in frames.values()) < SMALL_JOB
    return evaluator == "interpreted" or (evaluator == "auto" and small)


def values_at(
    program: Program,
    frames: Mapping[int, Candles],
    rows: Times,
    nodes: Sequence[Node],
    evaluator: Evaluator = "auto",
) -> list[Floats]:
    """The values of number nodes on some bars of the program's timeframe, whose rows ascend, fired or not."""
    if interpreted(frames, evaluator):
        wanted = set(rows.tolist())
        found = [[hit.evidence.of(node) for node in nodes] for hit in _interpreted(program, frames, wanted)]
        return list(np.array(found, np.float64).reshape(len(found), len(nodes)).T)
    from tapewatch.study.table import Table

    return Table(program, frames, nodes).at(rows, nodes)


def _interpreted(program: Program, frames: Mapping[int, Candles], wanted: set[int] | None = None) -> Iterator[Hit]:
    """The bars on which a side fires, or else the wanted rows."""
    runner = Runner(program)
    merged = [
        (bar.close_ms, -bar.interval_ms, row, bar)
        for frame_ms in program.frames
        for row, bar in enumerate(frames[frame_ms].bars())
    ]
    merged.sort(key=lambda item: item[:2])
    for _, _, row, bar in merged:
        asked = wanted is not None and bar.interval_ms == program.interval_ms and row in wanted
        result = runner.feed(bar, force=asked)
        if result is not None and (asked or wanted is None):
            yield Hit(row, bar, *result)


def _columns(program: Program, frames: Mapping[int, Candles]) -> Iterator[Hit]:
    from tapewatch.study.table import Table

    main = frames[program.interval_ms]
    nodes = [[node for node in program.graph.nodes if node.frame_ms == frame_ms] for frame_ms in program.frames]
    for chunk in Table(program, frames).fired():
        fired = zip(*(side.tolist() for side in chunk.sides), strict=True)
        values = (zip(*(chunk.of(node).tolist() for node in of_frame), strict=True) for of_frame in nodes)
        for row, sides, of_row in zip(chunk.rows.tolist(), fired, zip(*values, strict=True), strict=True):
            yield Hit(row, main.bar(row), sides, Evidence(program, of_row))
