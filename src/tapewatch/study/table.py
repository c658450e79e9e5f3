"""All frames of a program as columns, and the rows of its timeframe on which enough factors are true."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tapewatch.archive.candles import Candles, Times
from tapewatch.model import NAN
from tapewatch.strategy import Program
from tapewatch.strategy.graph import FALSE, TRUE, UNKNOWN, Node
from tapewatch.study.columns import CHUNK, COMPARE, ELEMENTWISE, Array, Cell, FrameColumns, Key, Latched, finite, source


def last_closed(reading: Candles, other: Candles) -> Times:
    """For every bar of `reading` how many bars of the larger `other` had closed by its close."""
    first = np.searchsorted(reading.open_ms + reading.interval_ms, other.open_ms + other.interval_ms)
    edges = np.concatenate(([0], first, [len(reading)]))
    return np.repeat(np.arange(len(other) + 1), np.diff(edges))


def needed(nodes: Iterable[Node]) -> list[Node]:
    """These nodes and all that they are made of, in the order of evaluation."""
    found: dict[int, Node] = {}
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node.index not in found:
            found[node.index] = node
            waiting += node.args
    return [found[index] for index in sorted(found)]


class Table:
    """A program over the candles of its frames.

    Args:
        program: what is evaluated.
        frames: the candles of every interval that it reads.
        asked: of which nodes the values on the bars that fire are asked for; None: of all.
    """

    def __init__(self, program: Program, frames: Mapping[int, Candles], asked: Iterable[Node] | None = None) -> None:
        self._program = program
        self._main = frames[program.interval_ms]
        nodes = needed(asked) if asked is not None else program.graph.nodes
        factors = (node for plan in program.sides for _, _, node in plan.factors)
        read = needed([*nodes, *factors, *(node for plan in program.sides for node in plan.distances)])
        kept = nodes if asked is None else [node.args[0] for node in read if node.op == "latch"]
        self._nodes = [node for node in nodes if node.frame_ms == program.interval_ms]
        self._whole: dict[int, dict[Key, Array]] = {}
        for frame_ms in program.frames[:-1]:
            of_frame = [node for node in kept if node.frame_ms == frame_ms]
            latches = self._latches(frames, frame_ms)
            self._whole[frame_ms] = evaluate_whole(of_frame, frames[frame_ms], latches)
        self._latched = self._latches(frames, program.interval_ms)

    def _latches(self, frames: Mapping[int, Candles], reading_ms: int) -> dict[int, Latched]:
        return {
            other: Latched(columns, last_closed(frames[reading_ms], frames[other]))
            for other, columns in self._whole.items()
        }

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
        away = [node for plan in self._program.sides for node in plan.distances]
        cells = self._cells(columns, [*self._nodes, *needed(away)])
        for start in range(0, len(self._main), CHUNK):
            columns.run(start, min(start + CHUNK, len(self._main)))
            masks = [enough(count, *([cell.now for cell in of] for of in cells)) for count, *cells in sides]
            rows = np.flatnonzero(np.logical_or.reduce(masks))
            picked = Picked(self._main, cells, self._latched, rows, start)
            distances = [[picked.of(node) for node in plan.distances] for plan in self._program.sides]
            fires = [
                np.logical_and.reduce([mask[rows], *(away > 0.0 for away in of_side)])
                for mask, of_side in zip(masks, distances, strict=True)
            ]
            any_side = np.logical_or.reduce(fires)
            if any_side.all() and len(rows):
                yield Fires(rows + start, fires, distances, picked.of)
            elif any_side.any():
                yield Fires(
                    rows[any_side] + start,
                    [of_side[any_side] for of_side in fires],
                    [[away[any_side] for away in of_side] for of_side in distances],
                    Picked(self._main, cells, self._latched, rows[any_side], start).of,
                )

    def at(self, rows: Times, asked: Sequence[Node]) -> list[Array]:
        """The values of nodes on some bars, whose rows ascend; of a condition the codes."""
        columns = FrameColumns(self._main, self._latched)
        cells = self._cells(columns, needed(asked))
        parts: list[list[Array]] = [[np.zeros(0)] * len(asked)]
        for start in range(0, len(self._main), CHUNK):
            stop = min(start + CHUNK, len(self._main))
            columns.run(start, stop)
            inside = rows[slice(*np.searchsorted(rows, (start, stop)))] - start
            picked = Picked(self._main, cells, self._latched, inside, start)
            parts.append([picked.of(node).copy() for node in asked])
        return [np.concatenate(part) for part in zip(*parts, strict=True)]

    def _cells(self, columns: FrameColumns, nodes: Iterable[Node]) -> dict[Key, Cell]:
        """Plan those of these nodes that are evaluated on every bar of the timeframe."""
        cells: dict[Key, Cell] = {}
        for node in {node.index: node for node in nodes if node.frame_ms == self._main.interval_ms}.values():
            if node.kind == "number" and ((node.op not in ELEMENTWISE and node.op != "source") or columns.has(node)):
                cells[node.index, None] = columns.number(node)
            elif node.op == "lag":
                cells[node.index, True] = columns.truth(node)
                cells[node.index, False] = columns.truth(node, wanted=False)
        return cells


def evaluate_whole(nodes: Sequence[Node], candles: Candles, latched: Mapping[int, Latched]) -> dict[Key, Array]:
    """These nodes of a frame as whole columns, with a row for "no bar yet" in front."""
    columns = FrameColumns(candles, latched)
    cells: dict[Key, Cell] = {}
    for node in nodes:
        if node.kind == "number":
            cells[node.index, None] = columns.number(node)
        else:
            cells[node.index, True] = columns.truth(node)
            cells[node.index, False] = columns.truth(node, wanted=False)
    whole: dict[Key, Array] = {
        key: np.full(len(candles) + 1, NAN) if key[1] is None else np.zeros(len(candles) + 1, np.bool_) for key in cells
    }
    for start in range(0, len(candles), CHUNK):
        stop = min(start + CHUNK, len(candles))
        columns.run(start, stop)
        for key, cell in cells.items():
            whole[key][start + 1 : stop + 1] = cell.now
    return whole


class Picked:
    """Nodes on some rows of the current chunk; sources and arithmetic that no condition needs are done there alone.

    Args:
        candles: of the main frame.
        cells: planned columns.
        latched: frame -> its finished columns.
        rows: which rows of the chunk.
        start: the chunk's first row.
    """

    def __init__(
        self, candles: Candles, cells: Mapping[Key, Cell], latched: Mapping[int, Latched], rows: Times, start: int
    ) -> None:
        self._candles = candles
        self._cells = cells
        self._latched = latched
        self._rows = rows
        self._start = start
        self._picked: dict[int, Array] = {}

    def of(self, node: Node) -> Array:
        """The values of a number node, the codes of a condition."""
        if node.index not in self._picked:
            self._picked[node.index] = self._number(node) if node.kind == "number" else self._condition(node)
        return self._picked[node.index]

    def _number(self, node: Node) -> Array:
        if node.frame_ms != self._candles.interval_ms:
            return self._whole(node, None)
        if (node.index, None) in self._cells:
            now = self._cells[node.index, None].now
            return now[self._rows] if isinstance(now, np.ndarray) else np.full(len(self._rows), now)
        if node.op == "source":
            return source(self._candles, str(node.value), self._rows + self._start)
        with np.errstate(all="ignore"):
            return finite(ELEMENTWISE[node.op](*(self.of(arg) for arg in node.args)))

    def _condition(self, node: Node) -> Array:
        if node.frame_ms != self._candles.interval_ms:
            return codes_of(self._whole(node, True), self._whole(node, False))
        if node.op == "lag":
            true, false = (self._cells[node.index, wanted].now for wanted in (True, False))
            return codes_of(true[self._rows], false[self._rows])
        return condition_codes(node.op, [self.of(arg) for arg in node.args])

    def _whole(self, node: Node, wanted: bool | None) -> Array:  # noqa: FBT001 - part of the key, not an option
        latched = self._latched[node.frame_ms]
        return latched.columns[node.index, wanted][latched.rows[self._rows + self._start]]


@dataclass(frozen=True)
class Fires:
    """Bars on which a side fires: their rows, and for every side whether it does and its plan's `distances`.

    `of` gives the values of a node on those bars, of a condition their codes; the next chunk overwrites them.
    """

    rows: Times
    sides: list[Array]
    distances: list[list[Array]]
    of: Callable[[Node], Array]


def enough(at_least: int, factors: Sequence[Array], always: Sequence[Array]) -> Array:
    """Where at least so many of the factors are true, and all of `always`."""
    if at_least == len(factors):
        held: Array = factors[0].copy()
        others = factors[1:]
    else:
        count = np.zeros(len(factors[0]), np.min_scalar_type(len(factors)))
        for factor in factors:
            count += factor
        held, others = count >= at_least, always
    for other in others:
        held &= other
    return held


def codes_of(true: Array, false: Array) -> Array:
    """The codes of a condition from where it is true and where it is false."""
    return np.where(true, TRUE, np.where(false, FALSE, UNKNOWN))


def condition_codes(op: str, args: Sequence[Array]) -> Array:
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
