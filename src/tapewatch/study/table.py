"""All frames of a program as columns, and the rows of its timeframe on which enough factors are true."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from tapewatch.archive.candles import Candles, Times
from tapewatch.model import NAN
from tapewatch.strategy import Program
from tapewatch.strategy.graph import FALSE, TRUE, UNKNOWN, Node
from tapewatch.strategy.step import Values
from tapewatch.study.columns import CHUNK, COMPARE, ELEMENTWISE, Array, Cell, FrameColumns, Key, Latched, finite, source


def last_closed(reading: Candles, other: Candles) -> Times:
    """For every bar of `reading` how many bars of the larger `other` had closed by its close."""
    first = np.searchsorted(reading.open_ms + reading.interval_ms, other.open_ms + other.interval_ms)
    edges = np.concatenate(([0], first, [len(reading)]))
    return np.repeat(np.arange(len(other) + 1), np.diff(edges))


class Table:
    """A program over the candles of its frames.

    Args:
        program: what is evaluated.
        frames: the candles of every interval that it reads.
    """

    def __init__(self, program: Program, frames: Mapping[int, Candles]) -> None:
        self._program = program
        self._main = frames[program.interval_ms]
        self._nodes = {
            frame_ms: [node for node in program.graph.nodes if node.frame_ms == frame_ms] for frame_ms in program.frames
        }
        self._whole: dict[int, dict[Key, Array]] = {}
        for frame_ms in program.frames[:-1]:
            self._whole[frame_ms] = self._evaluate_whole(frames[frame_ms], self._latches(frames, frame_ms))
        self._latched = self._latches(frames, program.interval_ms)

    def _latches(self, frames: Mapping[int, Candles], reading_ms: int) -> dict[int, Latched]:
        return {
            other: Latched(columns, last_closed(frames[reading_ms], frames[other]))
            for other, columns in self._whole.items()
        }

    def _evaluate_whole(self, candles: Candles, latched: Mapping[int, Latched]) -> dict[Key, Array]:
        """Every node of a larger frame as a whole column, with a row for "no bar yet" in front."""
        columns = FrameColumns(candles, latched)
        cells: dict[Key, Cell] = {}
        for node in self._nodes[candles.interval_ms]:
            if node.kind == "number":
                cells[node.index, None] = columns.number(node)
            else:
                cells[node.index, True] = columns.truth(node)
                cells[node.index, False] = columns.truth(node, wanted=False)
        whole: dict[Key, Array] = {
            key: np.full(len(candles) + 1, NAN) if key[1] is None else np.zeros(len(candles) + 1, np.bool_)
            for key in cells
        }
        for start in range(0, len(candles), CHUNK):
            stop = min(start + CHUNK, len(candles))
            columns.run(start, stop)
            for key, cell in cells.items():
                whole[key][start + 1 : stop + 1] = cell.now
        return whole

    def fired(self) -> Iterator[Fires]:
        """Chunk by chunk, oldest first, the bars on which a side fires; chunks without any are left out."""
        columns = FrameColumns(self._main, self._latched)
        sides = [
            (
                plan.at_least,
                [columns.truth(node) for _, _, node in plan.factors],
                [columns.truth(node) for name, _, node in plan.factors if name in plan.always],
            )
            for plan in self._program.sides
        ]
        nodes = self._nodes[self._program.interval_ms]
        numbers = {
            node.index: columns.number(node)
            for node in nodes
            if node.kind == "number" and ((node.op not in ELEMENTWISE and node.op != "source") or columns.has(node))
        }
        lags = {
            node.index: (columns.truth(node), columns.truth(node, wanted=False))
            for node in nodes
            if node.kind == "condition" and node.op == "lag"
        }
        for start in range(0, len(self._main), CHUNK):
            stop = min(start + CHUNK, len(self._main))
            columns.run(start, stop)
            masks = [_enough(*side) for side in sides]
            rows = np.flatnonzero(np.logical_or.reduce(masks))
            picked = Picked(self._main, start, numbers, rows)
            distances = [[picked.number(node) for node in plan.distances] for plan in self._program.sides]
            fires = [
                np.logical_and.reduce([mask[rows], *(away > 0.0 for away in of_side)])
                for mask, of_side in zip(masks, distances, strict=True)
            ]
            any_side = np.logical_or.reduce(fires)
            if any_side.all() and len(rows):
                at = partial(self._picked, start, picked, lags)
                yield Fires(rows + start, fires, distances, partial(self._values, at), partial(self._factors, at))
            elif any_side.any():
                at = partial(self._picked, start, Picked(self._main, start, numbers, rows[any_side]), lags)
                yield Fires(
                    rows[any_side] + start,
                    [of_side[any_side] for of_side in fires],
                    [[away[any_side] for away in of_side] for of_side in distances],
                    partial(self._values, at),
                    partial(self._factors, at),
                )

    def _values(self, picked: Callable[[], dict[int, Array]]) -> list[list[Values]]:
        """For every frame the values of all its nodes on some rows of the current chunk."""
        values = picked()
        return [
            list(zip(*(values[node.index].tolist() for node in self._nodes[frame_ms]), strict=True))
            for frame_ms in self._program.frames
        ]

    def _factors(self, picked: Callable[[], dict[int, Array]]) -> list[Array]:
        """For every side the codes of its factors, a row of them per bar."""
        codes = picked()
        return [np.column_stack([codes[node.index] for _, _, node in plan.factors]) for plan in self._program.sides]

    def _picked(self, start: int, numbers: Picked, lags: Mapping[int, tuple[Cell, Cell]]) -> dict[int, Array]:
        """The values of every node on some rows of the current chunk."""
        rows = numbers.rows
        picked = {key: _codes(true.now[rows], false.now[rows]) for key, (true, false) in lags.items()}
        for frame_ms, whole in self._whole.items():
            at = self._latched[frame_ms].rows[rows + start]
            for node in self._nodes[frame_ms]:
                if node.kind == "number":
                    picked[node.index] = whole[node.index, None][at]
                else:
                    picked[node.index] = _codes(whole[node.index, True][at], whole[node.index, False][at])
        for node in self._nodes[self._program.interval_ms]:
            if node.kind == "number":
                picked[node.index] = numbers.number(node)
            elif node.index not in picked:
                picked[node.index] = _condition(node.op, [picked[arg.index] for arg in node.args])
        return picked


class Picked:
    """Numbers on some rows of the current chunk; sources and arithmetic that no condition needs are done there alone.

    Args:
        candles: what the sources are of.
        start: the chunk's first row.
        cells: node -> its column.
        rows: which rows, from the chunk's first.
    """

    def __init__(self, candles: Candles, start: int, cells: Mapping[int, Cell], rows: Times) -> None:
        self.rows = rows
        self._candles = candles
        self._start = start
        self._cells = cells
        self._picked: dict[int, Array] = {}

    def number(self, node: Node) -> Array:
        """The values of a number node."""
        if node.index not in self._picked:
            if node.index in self._cells:
                now = self._cells[node.index].now
                found = now[self.rows] if isinstance(now, np.ndarray) else np.full(len(self.rows), now)
            elif node.op == "source":
                found = source(self._candles, str(node.value), self.rows + self._start)
            else:
                with np.errstate(all="ignore"):
                    found = finite(ELEMENTWISE[node.op](*(self.number(arg) for arg in node.args)))
            self._picked[node.index] = found
        return self._picked[node.index]


@dataclass(frozen=True)
class Fires:
    """Bars on which a side fires: their rows, and for every side whether it does and its plan's `distances`.

    `values()` gives for every frame the values of all its nodes on those bars, `factors()` for every side the codes of
    its factors; the next chunk overwrites them.
    """

    rows: Times
    sides: list[Array]
    distances: list[list[Array]]
    values: Callable[[], list[list[Values]]]
    factors: Callable[[], list[Array]]


def _enough(at_least: int, factors: list[Cell], always: list[Cell]) -> Array:
    """Where enough factors are true."""
    if at_least == len(factors):
        first, *others = (cell.now for cell in factors)
        enough: Array = first.copy()
    else:
        enough = np.add.reduce([cell.now for cell in factors], dtype=np.int64) >= at_least
        others = [cell.now for cell in always]
    for other in others:
        enough &= other
    return enough


def _codes(true: Array, false: Array) -> Array:
    return np.where(true, TRUE, np.where(false, FALSE, UNKNOWN))


def _condition(op: str, args: list[Array]) -> Array:
    """The codes of a condition from its arguments' values."""
    if op == "latch":
        return args[0]
    if op == "not":
        return TRUE - args[0]
    if op in ("and", "or"):
        codes: Array = (np.minimum if op == "and" else np.maximum).reduce(args)
        return codes
    left, right = args
    return np.where(np.isnan(left) | np.isnan(right), UNKNOWN, np.where(COMPARE[op](left, right), TRUE, FALSE))
