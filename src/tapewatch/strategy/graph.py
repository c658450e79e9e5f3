"""The expression graph: typed nodes, equal sub-expressions shared, and how long each takes to settle."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tapewatch.indicators import NEVER, REGISTRY
from tapewatch.model import DAY_MS, NAN

Kind = Literal["number", "condition"]

#: Sources of a bar: the stored ones, and those derived from them.
STORED = ("open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy")
SOURCES = (*STORED, "hl2", "hlc3", "ohlc4", "hour", "minute", "weekday")
#: Sources that a venue may not have; all others are never NaN.
MAY_BE_UNKNOWN = ("quote_volume", "trades", "taker_buy")

ARITHMETIC = ("+", "-", "*", "/", "**", "%")
COMPARISONS = (">", ">=", "<", "<=", "==", "!=")

#: Conditions are three-valued (Kleene): with these codes `and` is min, `or` is max and `not` is TRUE - code.
FALSE, UNKNOWN, TRUE = 0, 1, 2


@dataclass(frozen=True, eq=False, slots=True)
class Node:
    """One value of the graph, computed once a bar of its frame.

    Attributes:
        index: position in the graph; arguments come before the nodes that use them.
        op: `const`, `source`, `neg`, an arithmetic or comparison sign, `and`, `or`, `not`, `select`, `lag`, `call`,
            `member`, `latch`. `select` has the second argument where the condition, its first, is true, else the third.
        args: the nodes it reads.
        value: of `const` the float, of `source` the name, of `lag` the bars, of `call` (indicator,
            lengths), of `member` the position among its call's outputs.
        frame_ms: the interval of the bars on which it is computed. A `latch` reads a node of another frame: what it was
            at that frame's last closed bar.
        kind: number or condition.
    """

    index: int
    op: str
    args: tuple[Node, ...]
    value: object
    frame_ms: int
    kind: Kind


@dataclass
class Graph:
    """Nodes in the order of evaluation; `node` returns the existing one where an equal one is there."""

    nodes: list[Node] = field(default_factory=list)
    _known: dict[tuple[object, ...], Node] = field(default_factory=dict)

    def node(self, op: str, args: tuple[Node, ...], value: object, frame_ms: int, kind: Kind = "number") -> Node:
        """The node with this meaning; arithmetic on constants is done here, once."""
        if op in ARITHMETIC or op == "neg":
            folded = fold(op, args)
            if folded is not None:
                return self.const(folded, frame_ms)
        key = (op, tuple(arg.index for arg in args), repr(value), frame_ms)
        found = self._known.get(key)
        if found is None:
            found = Node(len(self.nodes), op, args, value, frame_ms, kind)
            self.nodes.append(found)
            self._known[key] = found
        return found

    def const(self, value: float, frame_ms: int) -> Node:
        """A constant."""
        return self.node("const", (), float(value), frame_ms)

    def source(self, name: str, frame_ms: int) -> Node:
        """A series of the bar."""
        return self.node("source", (), name, frame_ms)

    def call(self, name: str, args: tuple[Node, ...], lengths: tuple[int, ...], frame_ms: int) -> Node:
        """An indicator's value; its own sources are added as arguments."""
        own = tuple(self.node("source", (), source, frame_ms) for source in REGISTRY[name].sources)
        return self.node("call", (*args, *own), (name, lengths), frame_ms)

    def frames(self) -> list[int]:
        """All intervals in use, the largest first: of bars that close together the larger comes first."""
        return sorted({node.frame_ms for node in self.nodes}, reverse=True)


def power(left: float, right: float) -> float:
    """`left ** right`, NaN outside its domain or where it overflows."""
    try:
        return math.pow(left, right)
    except (ValueError, OverflowError):
        return NAN


def modulo(left: float, right: float) -> float:
    """`left % right` with the sign of the divisor, NaN for a divisor of 0."""
    return left % right if right and math.isfinite(left) else NAN


_FOLD: dict[str, Callable[[float, float], float]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left / right if right else NAN,
    "**": power,
    "%": modulo,
}


def fold(op: str, args: tuple[Node, ...]) -> float | None:
    """The value of arithmetic on constants alone, else None."""
    values = [arg.value for arg in args if arg.op == "const"]
    if len(values) != len(args):
        return None
    numbers = [value for value in values if isinstance(value, float)]
    result = -numbers[0] if op == "neg" else _FOLD[op](numbers[0], numbers[1])
    return result if math.isfinite(result) else NAN


def settling(nodes: list[Node]) -> dict[int, int]:
    """For every frame the index of the first bar, from the start of its series, at which `nodes` are settled.

    What is computed from another frame's values starts to settle when those have: its bars count on that frame too.
    """
    needed: dict[int, int] = {}
    below: list[dict[int, int]] = []
    for node in nodes:
        below.append(settling_of(node, below))
        raise_to(needed, below[-1])
    return needed


def settling_of(node: Node, below: Sequence[dict[int, int]]) -> dict[int, int]:
    """The same of one node, from those of all before it."""
    bars = {node.frame_ms: 0}
    for arg in node.args:
        raise_to(bars, below[arg.index])
    own = _own(node)
    return {frame_ms: count + -(-own * node.frame_ms // frame_ms) for frame_ms, count in bars.items()}


def raise_to(bars: dict[int, int], others: dict[int, int]) -> None:
    """Make every count at least the other's."""
    for frame_ms, count in others.items():
        bars[frame_ms] = max(bars.get(frame_ms, 0), count)


def _own(node: Node) -> int:
    """Bars of its frame that a node itself needs."""
    if node.op == "lag":
        bars = node.value
        assert isinstance(bars, int)
        return bars
    if node.op == "call":
        name, lengths = call_of(node)
        spec = REGISTRY[name]
        bars_needed = spec.settling(DAY_MS // node.frame_ms, *lengths)
        return max(spec.first_bars(*lengths)) if bars_needed == NEVER else int(bars_needed)
    return 0


def call_of(node: Node) -> tuple[str, tuple[int, ...]]:
    """(indicator, lengths) of a `call` node."""
    assert isinstance(node.value, tuple)
    name, lengths = node.value
    return name, lengths
