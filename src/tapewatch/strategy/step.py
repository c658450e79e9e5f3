"""The live evaluator: a graph becomes plain Python, one straight-line function for each frame.

`step(bar, S, H, force)` takes a bar of the frame, the frame's state list `S` (its numbers are changed at the end, so a
step that raises leaves them as they were) and the values `H` of the other frames at their last closed bars. It returns
the values of all nodes of its frame in order, or None where nobody needs them: on the main frame when no side fires.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tapewatch.indicators import REGISTRY, Ring
from tapewatch.model import NAN, Bar
from tapewatch.strategy.graph import (
    COMPARISONS,
    MAY_BE_UNKNOWN,
    STORED,
    UNKNOWN,
    Graph,
    Node,
    call_of,
    modulo,
    power,
)
from tapewatch.strategy.paste import paste, ring_names, scalar_names

Values: TypeAlias = tuple[float, ...]
State: TypeAlias = "list[float | array[float]]"
Fired: TypeAlias = tuple[bool, ...]
StepFunction: TypeAlias = "Callable[[Bar, State, Sequence[Values], bool], tuple[Fired, Values] | None]"

_DERIVED = {
    "hl2": "(bar.high + bar.low) / 2.0",
    "hlc3": "(bar.high + bar.low + bar.close) / 3.0",
    "ohlc4": "(bar.open + bar.high + bar.low + bar.close) / 4.0",
    "day": "bar.open_ms // 86400000",
    "hour": "float(bar.open_ms // 3600000 % 24)",
    "minute": "float(bar.open_ms // 60000 % 60)",
    "weekday": "float((bar.open_ms // 86400000 + 3) % 7)",
}
#: A comparison is decided by itself and by what makes it false; neither holds where a side is NaN.
OPPOSITE = {">": "{0} <= {1}", ">=": "{0} < {1}", "<": "{0} >= {1}", "<=": "{0} > {1}"}
OPPOSITE |= {"==": "{0} < {1} or {0} > {1}", "!=": "{0} == {1}"}
HOLDS = {sign: f"{{0}} {sign} {{1}}" for sign in COMPARISONS} | {"!=": "{0} < {1} or {0} > {1}"}


_ARITHMETIC = {sign: f"{{0}} {sign} {{1}}" for sign in "+-*"}
_ARITHMETIC |= {"/": "{0} / {1} if {1} else nan", "**": "power({0}, {1})", "%": "modulo({0}, {1})"}


@dataclass(frozen=True)
class FrameStep:
    """One frame's step.

    Attributes:
        frame_ms: the interval of its bars.
        nodes: what it computes, in the order of the values it returns.
        code: the generated text (`strategies show --code`).
        function: the text, compiled.
        initial: the state at the start of a series.
    """

    frame_ms: int
    nodes: tuple[Node, ...]
    code: str
    function: StepFunction
    initial: State

    def fresh_state(self) -> State:
        """A state for one more series."""
        return [array("d", slot) if isinstance(slot, array) else slot for slot in self.initial]

    def unknown_values(self) -> Values:
        """What its nodes are before the first bar has closed."""
        return tuple(NAN if node.kind == "number" else UNKNOWN for node in self.nodes)


def not_finite(name: str) -> str:
    """The line that makes NaN of what is not finite: only a finite number less itself is 0, and so false."""
    return f"if {name} - {name}: {name} = nan"


def name_of(node: Node) -> str:
    """What stands for a node's value in the text of a step."""
    if node.op == "const":
        return repr(node.value)
    return _outputs(node.args[0])[int(str(node.value))] if node.op == "member" else f"n{node.index}"


def _outputs(call: Node) -> list[str]:
    """The names of a call's values; the first has the node's own name."""
    count = len(REGISTRY[call_of(call)[0]].outputs)
    return [f"n{call.index}", *(f"n{call.index}_{k}" for k in range(1, count))]


class _Writer:
    def __init__(self, graph: Graph, frame_ms: int) -> None:
        self.nodes = [node for node in graph.nodes if node.frame_ms == frame_ms]
        self.frames = graph.frames()
        self.place = {
            node.index: position
            for frame in self.frames
            for position, node in enumerate(n for n in graph.nodes if n.frame_ms == frame)
        }
        self.lines: list[str] = []
        self.after: list[str] = []
        self.slots: list[str] = []
        self.initial: State = []

    def slot(self, name: str, initial: float | array[float]) -> str:
        self.slots.append(name)
        self.initial.append(initial)
        return name

    def write(self, node: Node) -> None:
        name, args = name_of(node), [name_of(arg) for arg in node.args]
        match node.op:
            case "const":
                return
            case "source":
                source = str(node.value)
                text = f"bar.{source}" if source in STORED else _DERIVED[source]
                self.lines.append(f"{name} = {text}")
            case "neg":
                self.lines.append(f"{name} = -{args[0]}")
            case op if op in _ARITHMETIC:
                self.lines += [f"{name} = {_ARITHMETIC[op].format(*args)}", not_finite(name)]
            case "not":
                self.lines.append(f"{name} = 2 - {args[0]}")
            case "and" | "or":
                self.lines.append(f"{name} = {self._kleene('<' if node.op == 'and' else '>', args)}")
            case "lag":
                self._lag(node, name, args[0])
            case "latch":
                inner = node.args[0]
                self.lines.append(f"{name} = H[{self.frames.index(inner.frame_ms)}][{self.place[inner.index]}]")
            case "call":
                self._call(node, args)
            case "member":
                return
            case "select":
                self.lines.append(f"{name} = {args[1]} if {args[0]} == 2 else {args[2]}")
            case _:
                holds, fails = HOLDS[node.op].format(*args), OPPOSITE[node.op].format(*args)
                self.lines.append(f"{name} = 2 if {holds} else (0 if {fails} else 1)")

    def _kleene(self, sign: str, args: list[str]) -> str:
        text = args[0]
        for arg in args[1:]:
            if text.isidentifier():
                text = f"({text} if {text} {sign} {arg} else {arg})"
            else:
                text = f"({arg} if {arg} {sign} (k := {text}) else k)"
        return text

    def _lag(self, node: Node, name: str, arg: str) -> None:
        bars, empty = node.value, NAN if node.kind == "number" else float(UNKNOWN)
        assert isinstance(bars, int)
        if bars == 1:
            slot = self.slot(f"s{node.index}", empty)
            self.lines.append(f"{name} = {slot}")
            self.after.append(f"{slot} = {arg}")
            return
        ring = self.slot(f"s{node.index}", array("d", [empty]) * bars)
        at = self.slot(f"s{node.index}_at", 0)
        self.lines.append(f"{name} = {ring}[{at}]")
        self.after += [f"{ring}[{at}] = {arg}", f"{at} = {at} + 1 if {at} + 1 < {bars} else 0"]

    def _call(self, node: Node, args: list[str]) -> None:
        indicator, lengths = call_of(node)
        spec = REGISTRY[indicator]
        names = dict(zip((*spec.inputs, *spec.sources), args, strict=True))
        names |= dict(zip(spec.lengths, map(str, lengths), strict=True))
        names |= {key: repr(value) for key, value in spec.constants(*lengths).items()}
        for key in ring_names(spec):
            initial = spec.state[key]
            assert isinstance(initial, Ring)
            names[key] = self.slot(f"s{node.index}_{key}", array("d", bytes(8 * initial.size(lengths))))
        for key in scalar_names(spec):
            initial = spec.state[key]
            assert not isinstance(initial, Ring)
            names[key] = self.slot(f"s{node.index}_{key}", initial)
        outputs = _outputs(node)
        body = paste(spec, names, outputs, f"n{node.index}_")
        body += [not_finite(output) for output in outputs]
        guarded = [name_of(arg) for arg in node.args if _may_be_nan(arg)]
        if guarded:
            self.lines.append(f"if {' and '.join(f'{arg} == {arg}' for arg in guarded)}:")
            self.lines += [f"    {line}" for line in body]
            self.lines += ["else:", f"    {' = '.join(outputs)} = nan"]
        else:
            self.lines += body


def _may_be_nan(node: Node) -> bool:
    if node.op == "source":
        return node.value in MAY_BE_UNKNOWN
    if node.op == "const":
        return node.value != node.value
    return node.kind == "number"


def compile_frame(graph: Graph, frame_ms: int, sides: Sequence[str] | None) -> FrameStep:
    """The step of one frame.

    Args:
        graph: all nodes of the strategy on its timeframe.
        frame_ms: which frame.
        sides: on the main frame, for every side the Python expression over `n<index>` that says whether it fires; the
            step then returns `(fired, values)`, or None when no side fires and nothing forces it. None on other frames.
    """
    writer = _Writer(graph, frame_ms)
    for node in writer.nodes:
        writer.write(node)
    body = [f"{', '.join(writer.slots)}, = S"] if writer.slots else []
    body += [*writer.lines, *writer.after]
    if writer.slots:
        body.append(f"S[:] = ({', '.join(writer.slots)},)")
    values = f"({''.join(name_of(node) + ', ' for node in writer.nodes)})"
    if sides is None:
        body.append(f"return ((), {values})")
    else:
        fired = [f"f{k}" for k in range(len(sides))]
        body += [f"{name} = {text}" for name, text in zip(fired, sides, strict=True)]
        body += [f"if {' or '.join(fired)} or force: return (({', '.join(fired)},), {values})", "return None"]
    code = "def step(bar, S, H, force):\n" + "\n".join(f"    {line}" for line in body) + "\n"
    return FrameStep(frame_ms, tuple(writer.nodes), code, _compile(code), writer.initial)


def _compile(code: str) -> StepFunction:
    # The text has no word of the user's in it: numbers by repr, names made here, updates from the registry.
    namespace: dict[str, object] = {"nan": NAN, "NAN": NAN, "power": power, "modulo": modulo}
    namespace |= {"log": math.log, "exp": math.exp, "sqrt": math.sqrt}
    exec(compile(code, "<strategy step>", "exec"), namespace)  # noqa: S102 - see the line above
    function = namespace["step"]
    assert callable(function)
    return function
