"""All frames of a program as columns, and the rows of its timeframe on which enough factors are true."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from tapewatch.archive.candles import Candles, Times
from tapewatch.model import NAN
from tapewatch.strategy import Node, Program
from tapewatch.strategy.graph import FALSE, TRUE, UNKNOWN, condition_code
from tapewatch.strategy.step import Values
from tapewatch.study.columns import CHUNK, Array, Cell, FrameColumns, Key, Latched


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

    def fired_rows(self) -> Iterator[tuple[int, list[Values]]]:
        """(row, values of all frames) of every bar on which enough factors of a side are true, oldest first.

        Whether the distances make a trade is left to the caller.
        """
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
        numbers = {node.index: columns.number(node) for node in nodes if node.kind == "number"}
        lags = {
            node.index: (columns.truth(node), columns.truth(node, wanted=False))
            for node in nodes
            if node.kind == "condition" and node.op == "lag"
        }
        for start in range(0, len(self._main), CHUNK):
            stop = min(start + CHUNK, len(self._main))
            columns.run(start, stop)
            rows = np.flatnonzero(np.logical_or.reduce([_enough(*side) for side in sides]))
            if len(rows):
                picked = {key: np.broadcast_to(cell.now, stop - start)[rows].tolist() for key, cell in numbers.items()}
                picked |= {key: _codes(true.now[rows], false.now[rows]) for key, (true, false) in lags.items()}
                yield from self._values(rows + start, picked)

    def _values(self, rows: Times, picked: Mapping[int, list[float]]) -> Iterator[tuple[int, list[Values]]]:
        for place, row in enumerate(rows.tolist()):
            values: list[Values] = []
            for frame_ms, whole in self._whole.items():
                at = int(self._latched[frame_ms].rows[row])
                values.append(tuple(_cell(whole, node, at) for node in self._nodes[frame_ms]))
            known: dict[int, float] = {key: column[place] for key, column in picked.items()}
            for node in self._nodes[self._program.interval_ms]:
                if node.index not in known:
                    known[node.index] = self._code(node, known, values)
            values.append(tuple(known[node.index] for node in self._nodes[self._program.interval_ms]))
            yield row, values

    def _code(self, node: Node, known: Mapping[int, float], values: list[Values]) -> float:
        if node.op == "latch":
            frame, place = self._program.places[node.args[0].index]
            return values[frame][place]
        return condition_code(node.op, [known[arg.index] for arg in node.args])


def _enough(at_least: int, factors: list[Cell], always: list[Cell]) -> Array:
    if at_least == len(factors):
        everything: Array = np.logical_and.reduce([cell.now for cell in factors])
        return everything
    count: Array = np.sum([cell.now for cell in factors], axis=0, dtype=np.int64)
    met: Array = np.logical_and.reduce([count >= at_least, *(cell.now for cell in always)])
    return met


def _codes(true: Array, false: Array) -> list[float]:
    codes: list[float] = np.where(true, TRUE, np.where(false, FALSE, UNKNOWN)).tolist()
    return codes


def _cell(whole: Mapping[Key, Array], node: Node, at: int) -> float:
    if node.kind == "number":
        return float(whole[node.index, None][at])
    return TRUE if whole[node.index, True][at] else (FALSE if whole[node.index, False][at] else UNKNOWN)
