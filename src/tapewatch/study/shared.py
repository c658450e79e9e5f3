"""Nodes of a graph that many programs share, over the candles of one symbol: whole columns, kept for the next program.

Values are those of `study.columns`, to the bit. Where a column lies is a shelf of a certain size, from which what was
not asked for the longest time goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from tapewatch.archive.candles import Candles, Times
from tapewatch.indicators import REGISTRY
from tapewatch.model import NAN
from tapewatch.strategy import Program
from tapewatch.strategy.graph import STORED, Node, call_of, modulo, power
from tapewatch.study.candidates import Hits
from tapewatch.study.columns import COMPARE, ELEMENTWISE, FAILS, Array, finite, source, state_of
from tapewatch.study.scans import scan_of
from tapewatch.study.table import codes_of, condition_codes, enough, last_closed

#: Arithmetic that NumPy does not do to the bit as the interpreter does.
_SCALAR = {"**": power, "%": modulo}


class Shelf:
    """Columns by key, at most so many bytes of them, or one.

    Attributes:
        held_bytes: what lies there now.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most, self.held_bytes = most_bytes, 0
        self._columns: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What lies under the key, or is made now."""
        found = self._columns.get(key)
        if found is not None:
            self._columns.move_to_end(key)
            return found[0]
        made = make()
        size = sum(part.nbytes for part in made) if isinstance(made, tuple) else made.nbytes
        self._columns[key] = made, size
        self.held_bytes += size
        while self.held_bytes > self._most and len(self._columns) > 1:
            self.held_bytes -= self._columns.popitem(last=False)[1][1]
        return made


class Shelves(NamedTuple):
    """Whole factors apart from what they are made of, of which there is more and which is less often of use again."""

    parts: Shelf
    factors: Shelf


class SharedColumns:
    """Columns of one symbol.

    Args:
        frames: its candles by interval.
        shelves: where columns lie.
        place: under which key those of this symbol and these candles do.
    """

    def __init__(self, frames: Mapping[int, Candles], shelves: Shelves, place: Hashable) -> None:
        self._frames, self._shelves, self._place = frames, shelves, place
        self._closed = cache(lambda reading_ms, other_ms: last_closed(frames[reading_ms], frames[other_ms]))

    def fired(self, program: Program) -> Hits:
        """Every bar on which a side of the program fires."""
        sides = [
            enough(
                plan.at_least,
                [self._factor(node) for _, _, node in plan.factors],
                [self._factor(node) for name, _, node in plan.factors if name in plan.always],
            )
            for plan in program.sides
        ]
        at = _Rows(self, self._frames[program.interval_ms], np.flatnonzero(np.logical_or.reduce(sides)))
        fires = [
            np.logical_and.reduce([side[at.rows], *(at.of(node) > 0.0 for node in plan.distances)])
            for plan, side in zip(program.sides, sides, strict=True)
        ]
        any_side = np.logical_or.reduce(fires)
        if any_side.all():
            return Hits(at.rows, fires, at.of)
        kept = at.rows[any_side]
        of = _Rows(self, self._frames[program.interval_ms], kept).of
        return Hits(kept, [of_side[any_side] for of_side in fires], of)

    def number(self, node: Node) -> Any:
        """The column of a number; of a constant the number."""
        if node.op == "const":
            return node.value
        if node.op == "member":
            return self._outputs(node.args[0])[int(str(node.value))]
        if node.op == "call":
            return self._outputs(node)[0]
        if node.op == "source" and node.value in STORED:
            return getattr(self._frames[node.frame_ms], str(node.value))
        return self._shelves.parts.get((self._place, node.index), lambda: self._number(node))

    def truth(self, node: Node, *, wanted: bool = True) -> Array:
        """Where a condition is true, or for `wanted` False where it is false."""
        if node.op == "not":
            return self.truth(node.args[0], wanted=not wanted)
        key = self._place, node.index, wanted
        column: Array = self._shelves.parts.get(key, lambda: self._truth(node, wanted=wanted))
        return column

    def _factor(self, node: Node) -> Array:
        column: Array = self._shelves.factors.get((self._place, node.index), lambda: self.truth(node))
        return column

    def _number(self, node: Node) -> Array:
        candles = self._frames[node.frame_ms]
        with np.errstate(all="ignore"):
            match node.op:
                case "source":
                    return source(candles, str(node.value), slice(None))
                case "lag":
                    return _lagged(self._whole(node.args[0]), node, NAN)
                case "latch":
                    inner: Array = np.concatenate(([NAN], self._whole(node.args[0])))
                    return inner[self._closed(node.frame_ms, node.args[0].frame_ms)]
                case "select":
                    first, second = (self.number(arg) for arg in node.args[1:])
                    chosen: Array = np.where(self.truth(node.args[0]), first, second)
                    return chosen
                case "**" | "%":
                    columns = (self._whole(arg).tolist() for arg in node.args)
                    function = _SCALAR[node.op]
                    return finite(np.array([function(*pair) for pair in zip(*columns, strict=True)], np.float64))
            return finite(ELEMENTWISE[node.op](*(self.number(arg) for arg in node.args)))

    def _truth(self, node: Node, *, wanted: bool) -> Array:
        if node.op in ("and", "or"):
            first, *others = (self.truth(arg, wanted=wanted) for arg in node.args)
            folded, fold = first.copy(), np.logical_and if (node.op == "and") == wanted else np.logical_or
            for other in others:
                fold(folded, other, out=folded)
            return folded
        if node.op == "lag":
            return _lagged(self.truth(node.args[0], wanted=wanted), node, empty=False)
        if node.op == "latch":
            inner: Array = np.concatenate(([False], self.truth(node.args[0], wanted=wanted)))
            return inner[self._closed(node.frame_ms, node.args[0].frame_ms)]
        left, right = (self.number(arg) for arg in node.args)
        with np.errstate(all="ignore"):
            if (node.op == "!=") == wanted and node.op in ("==", "!="):
                return self._full(node, np.logical_or(np.less(left, right), np.greater(left, right)))
            return self._full(node, COMPARE[node.op if wanted else FAILS[node.op]](left, right))

    def _outputs(self, node: Node) -> tuple[Array, ...]:
        """All values of a call of an indicator."""
        outputs: tuple[Array, ...] = self._shelves.parts.get((self._place, node.index), lambda: self._scan(node))
        return outputs

    def _scan(self, node: Node) -> tuple[Array, ...]:
        name, lengths = call_of(node)
        count = len(self._frames[node.frame_ms])
        inputs = [self.truth(arg) if arg.kind == "condition" else self._whole(arg) for arg in node.args]
        outputs = tuple(np.empty(count) for _ in REGISTRY[name].outputs)
        scan_of((name, tuple(f"x{k}" for k in range(len(inputs)))))(*inputs, *outputs, *state_of(name, lengths))
        return outputs

    def _whole(self, node: Node) -> Array:
        """A number's column, also of a constant."""
        return self._full(node, self.number(node))

    def _full(self, node: Node, values: Any) -> Array:
        """What two constants make is one value for all rows."""
        column: Array = np.asarray(values)
        return column if column.ndim else np.full(len(self._frames[node.frame_ms]), column)


class _Rows:
    """Nodes on some bars only: what a whole column is not needed for is worked out there alone."""

    def __init__(self, columns: SharedColumns, candles: Candles, rows: Times) -> None:
        self._columns, self._candles, self.rows = columns, candles, rows
        self._known: dict[int, Array] = {}

    def of(self, node: Node) -> Array:
        """The values of a number, the codes of a condition."""
        if node.index not in self._known:
            self._known[node.index] = self._number(node) if node.kind == "number" else self._condition(node)
        return self._known[node.index]

    def _number(self, node: Node) -> Array:
        if node.op == "const":
            return np.full(len(self.rows), node.value)
        if node.op == "source":
            return source(self._candles, str(node.value), self.rows)
        if node.op in ELEMENTWISE:
            with np.errstate(all="ignore"):
                return finite(ELEMENTWISE[node.op](*map(self.of, node.args)))
        values: Array = self._columns.number(node)[self.rows]
        return values

    def _condition(self, node: Node) -> Array:
        if node.op in ("lag", "latch"):
            return codes_of(*(self._columns.truth(node, wanted=wanted)[self.rows] for wanted in (True, False)))
        return condition_codes(node.op, [self.of(arg) for arg in node.args])


def _lagged(column: Array, node: Node, empty: float) -> Array:
    bars = node.value
    assert isinstance(bars, int)
    return np.concatenate((np.full(min(bars, len(column)), empty, column.dtype), column[: max(len(column) - bars, 0)]))
