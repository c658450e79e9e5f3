"""The research evaluator: a frame's graph over columns, node by node, in chunks that stay in the processor's cache.

A condition is evaluated only as far as somebody asks: where it is true, and where it is false, each as a column of
bools; what is neither is unknown. A comparison with NaN is false both ways, which is just that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from tapewatch.archive.candles import Candles, Times
from tapewatch.indicators import REGISTRY, Ring
from tapewatch.model import DAY_MS, NAN
from tapewatch.strategy.graph import STORED, Node, call_of, modulo, power
from tapewatch.strategy.paste import ring_names
from tapewatch.study.scans import DERIVED, Part, arguments, columns_read, scan_of

Array: TypeAlias = npt.NDArray[Any]
#: (node index, None) for the numbers of a node, (node index, True or False) for where a condition is true or false.
Key: TypeAlias = tuple[int, bool | None]

CHUNK = 32_768
#: Rows from which scans of stored columns run in one loop, which is compiled for them: a second, once per machine.
MANY_ROWS = 1_000_000
#: Scans in one loop, at most: what takes longer to compile for each.
TOGETHER = 8

COMPARE: dict[str, Callable[..., Array]] = {
    ">": np.greater, ">=": np.greater_equal, "<": np.less, "<=": np.less_equal, "==": np.equal,
    "!=": np.not_equal,
}  # fmt: skip
#: Comparisons that hold where these do not, if both sides are known.
FAILS = {">": "<=", ">=": "<", "<": ">=", "<=": ">", "!=": "=="}
#: Sources that scans of the candles alone may read.
READY = {*STORED, *DERIVED}
#: Arithmetic of which every row stands for itself.
ELEMENTWISE: dict[str, Callable[..., Array]] = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "neg": np.negative,
}  # fmt: skip


class Cell:
    """One planned column: `now` is its part in the current chunk, or a constant.

    Attributes:
        lent: whether `now` lies elsewhere, not in the cell's own room.
        before: rows of earlier chunks that are kept in front of it, for lags.
    """

    __slots__ = ("_count", "_kept", "before", "lent", "now")

    def __init__(self, now: Any = None, *, lent: bool = False) -> None:
        self.now = now
        self.lent = lent
        self.before = 0
        self._kept: Array | None = None
        self._count = 0

    def room(self, count: int, empty: float = NAN) -> Array:
        """Where the values of the next chunk are to be written; what `empty` is tells their type."""
        if self._kept is None:
            self._kept = np.full(self.before + CHUNK, empty)
        elif self.before:
            self._kept[: self.before] = self._kept[self._count : self._count + self.before]
        self._count = count
        self.now = out = self._kept[self.before : self.before + count]
        return out

    def lagged(self, bars: int) -> Array:
        """The part in the current chunk as it was some bars before, at most `before`."""
        assert self._kept is not None
        start = self.before - bars
        return self._kept[start : start + self._count]


def finite(out: Array) -> Array:
    """The numbers, mended in place: what is not finite is NaN."""
    # One pass tells whether there may be anything; the mending is rare.
    if not math.isfinite(out.sum()):
        out[~np.isfinite(out)] = NAN
    return out


def source(candles: Candles, name: str, rows: Any) -> Array:
    """A source on some rows of the candles."""

    def mean(first: Array, second: Array, *others: Array) -> Array:
        out: Array = first[rows] + second[rows]
        for other in others:
            out += other[rows]
        out /= 2.0 + len(others)
        return out

    if name in STORED:
        stored: Array = getattr(candles, name)[rows]
        return stored
    opened = candles.open_ms
    derived: dict[str, Callable[[], Array]] = {
        "hl2": lambda: mean(candles.high, candles.low),
        "hlc3": lambda: mean(candles.high, candles.low, candles.close),
        "ohlc4": lambda: mean(candles.open, candles.high, candles.low, candles.close),
        "day": lambda: opened[rows] // DAY_MS,
        "hour": lambda: (opened[rows] // 3_600_000 % 24).astype(np.float64),
        "minute": lambda: (opened[rows] // 60_000 % 60).astype(np.float64),
        "weekday": lambda: ((opened[rows] // DAY_MS + 3) % 7).astype(np.float64),
    }
    return derived[name]()


class Latched:
    """A finished frame: whole columns with a row for "no bar yet" in front, and for every row of the reading frame the
    row that was the last closed then.
    """

    def __init__(self, columns: Mapping[Key, Array], rows: Times) -> None:
        self.columns = columns
        self.rows = rows


class FrameColumns:
    """Evaluates nodes of one frame over its candles.

    Args:
        candles: the frame's bars.
        latched: frame -> its finished columns, for `latch` nodes.
    """

    def __init__(self, candles: Candles, latched: Mapping[int, Latched]) -> None:
        self._candles = candles
        self._latched = latched
        self._operations: list[Callable[[], object]] = []
        #: Scans that read nothing but the candles, to be done first and together.
        self._scans: list[Scan] = []
        self._cells: dict[Key, Cell] = {}
        self._members: dict[int, list[Cell]] = {}
        self._rows = slice(0, 0)

    def run(self, start: int, stop: int) -> None:
        """Evaluate all planned columns for rows [start, stop), the chunk after the last one."""
        self._rows = slice(start, stop)
        if self._scans:
            groups = [self._scans[k : k + TOGETHER] for k in range(0, len(self._scans), TOGETHER)]
            self._operations[:0] = [self._together(group) for group in groups]
            self._scans = []
        with np.errstate(all="ignore"):
            for operation in self._operations:
                operation()

    @property
    def _count(self) -> int:
        return self._rows.stop - self._rows.start

    def has(self, node: Node) -> bool:
        """Whether a number node is planned."""
        return (node.index, None) in self._cells

    def number(self, node: Node) -> Cell:
        """Plan a number node."""
        key: Key = (node.index, None)
        if key not in self._cells:
            self._cells[key] = self._plan_number(node)
        return self._cells[key]

    def truth(self, node: Node, *, wanted: bool = True) -> Cell:
        """Plan where a condition is true, or for `wanted` False where it is false."""
        key: Key = (node.index, wanted)
        if key not in self._cells:
            self._cells[key] = self._plan_truth(node, wanted=wanted)
        return self._cells[key]

    def _plan_number(self, node: Node) -> Cell:
        match node.op:
            case "const":
                return Cell(node.value, lent=True)
            case "source":
                return self._source(str(node.value))
            case "lag":
                return self._lag(node, self.number(node.args[0]), NAN)
            case "latch":
                return self._latch(node, None)
            case "call":
                return self._scan(node)[0]
            case "member":
                return self._member(node)
            case "select":
                return self._select(node)
            case "**" | "%":
                return self._scalar(power if node.op == "**" else modulo, [self.number(arg) for arg in node.args])
        return self._elementwise(ELEMENTWISE[node.op], [self.number(arg) for arg in node.args])

    def _plan_truth(self, node: Node, *, wanted: bool) -> Cell:
        if node.op in ("and", "or"):
            parts = [self.truth(arg, wanted=wanted) for arg in node.args]
            return self._fold(np.logical_and if (node.op == "and") == wanted else np.logical_or, parts)
        if node.op == "not":
            return self.truth(node.args[0], wanted=not wanted)
        if node.op == "lag":
            return self._lag(node, self.truth(node.args[0], wanted=wanted), False)
        if node.op == "latch":
            return self._latch(node, wanted)
        left, right = (self.number(arg) for arg in node.args)
        if (node.op == "!=") == wanted and node.op in ("==", "!="):
            # Not equal, and not unknown: one is above the other.
            both = [self._compare("<", left, right), self._compare(">", left, right)]
            return self._fold(np.logical_or, both)
        return self._compare(node.op if wanted else FAILS[node.op], left, right)

    def _do(self, operation: Callable[[Cell], object], cell: Cell | None = None) -> Cell:
        cell = cell or Cell()
        self._operations.append(lambda: operation(cell))
        return cell

    def _source(self, name: str) -> Cell:
        return self._do(lambda cell: setattr(cell, "now", source(self._candles, name, self._rows)), Cell(lent=True))

    def _copy(self, cell: Cell, values: Array, empty: float = NAN) -> None:
        cell.room(self._count, empty)[:] = values

    def _elementwise(self, function: Callable[..., Array], args: list[Cell]) -> Cell:
        return self._do(lambda cell: finite(function(*(arg.now for arg in args), out=cell.room(self._count))))

    def _scalar(self, function: Callable[[float, float], float], args: list[Cell]) -> Cell:
        """What NumPy does not do to the bit as the interpreter does, done by the interpreter's own function."""

        def operation(cell: Cell) -> None:
            left, right = (np.broadcast_to(arg.now, self._count).tolist() for arg in args)
            cell.room(self._count)[:] = [function(*pair) for pair in zip(left, right, strict=True)]
            finite(cell.now)

        return self._do(operation)

    def _compare(self, op: str, left: Cell, right: Cell) -> Cell:
        function = COMPARE[op]
        return self._do(lambda cell: function(left.now, right.now, out=cell.room(self._count, empty=False)))

    def _fold(self, function: Callable[..., Array], parts: list[Cell]) -> Cell:
        def operation(cell: Cell) -> None:
            out = function(parts[0].now, parts[1].now, out=cell.room(self._count, empty=False))
            for part in parts[2:]:
                function(out, part.now, out=out)

        return self._do(operation)

    def _lag(self, node: Node, arg: Cell, empty: float) -> Cell:
        bars = node.value
        assert isinstance(bars, int)
        kept = self._do(lambda cell: self._copy(cell, arg.now, empty)) if arg.lent else arg
        kept.before = max(kept.before, bars)
        return self._do(lambda cell: setattr(cell, "now", kept.lagged(bars)), Cell(lent=True))

    def _latch(self, node: Node, wanted: bool | None) -> Cell:  # noqa: FBT001 - part of the key, not an option
        inner = node.args[0]
        latched = self._latched[inner.frame_ms]
        column = latched.columns[inner.index, wanted]
        return self._do(lambda cell: setattr(cell, "now", column.take(latched.rows[self._rows])), Cell(lent=True))

    def _select(self, node: Node) -> Cell:
        chosen = self.truth(node.args[0])
        first, second = (self.number(arg) for arg in node.args[1:])
        return self._do(lambda cell: self._copy(cell, np.where(chosen.now, first.now, second.now)))

    def _member(self, node: Node) -> Cell:
        call = node.args[0]
        self.number(call)
        return self._members[call.index][int(str(node.value))]

    def _scan(self, node: Node) -> list[Cell]:
        name, lengths = call_of(node)
        cells = self._members[node.index] = [Cell() for _ in REGISTRY[name].outputs]
        scan = Scan(name, tuple(str(arg.value) for arg in node.args), lengths, cells)
        if len(self._candles) >= MANY_ROWS and all(arg.op == "source" and arg.value in READY for arg in node.args):
            self._scans.append(scan)
            return cells
        args = [self.truth(arg) if arg.kind == "condition" else self.number(arg) for arg in node.args]
        function, state = scan_of((name, tuple(f"x{k}" for k in range(len(args))))), scan.state()

        def operation() -> None:
            inputs = (arg.now if isinstance(arg.now, np.ndarray) else np.full(self._count, arg.now) for arg in args)
            function(*inputs, *(cell.room(self._count) for cell in cells), *state)

        self._operations.append(operation)
        return cells

    def _together(self, scans: Sequence[Scan]) -> Callable[[], None]:
        """One loop for scans of the candles alone."""
        parts: list[Part] = [(scan.name, scan.columns) for scan in scans]
        function, states = scan_of(*parts), [(scan.cells, scan.state()) for scan in scans]
        inputs = [getattr(self._candles, name) for name in columns_read(parts)]

        def operation() -> None:
            args = [part for cells, state in states for part in (*(cell.room(self._count) for cell in cells), *state)]
            function(*(column[self._rows] for column in inputs), *args)

        return operation


class Scan(NamedTuple):
    """A call of an indicator to be evaluated: what it reads, and where its values go."""

    name: str
    columns: tuple[str, ...]
    lengths: tuple[int, ...]
    cells: list[Cell]

    def state(self) -> tuple[Any, ...]:
        """As `state_of`."""
        return state_of(self.name, self.lengths)


def state_of(name: str, lengths: tuple[int, ...]) -> tuple[Any, ...]:
    """What a scan takes beside columns: floats, ints, rings and constants, at the start of a series."""
    spec, rings = REGISTRY[name], []
    float_names, int_names, constant_names = arguments(spec)
    for key in ring_names(spec):
        ring = spec.state[key]
        assert isinstance(ring, Ring)
        rings.append(np.zeros(ring.size(lengths)))
    known: dict[str, float] = dict(zip(spec.lengths, lengths, strict=True))
    known |= spec.constants(*lengths)
    return (
        np.array([spec.state[key] for key in float_names], np.float64),
        np.array([spec.state[key] for key in int_names], np.int64),
        *rings,
        *(known[key] for key in constant_names),
    )
