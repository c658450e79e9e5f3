"""Text of the strategy language to nodes of the graph.

The grammar is Python's expression grammar, read with `ast` and a white list. Nothing of the text is ever executed.
"""

from __future__ import annotations

import ast
import difflib
import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache

from tapewatch.errors import StrategyError
from tapewatch.indicators import MAX_LENGTH, REGISTRY
from tapewatch.model import INTERVAL_NAMES, INTERVALS_MS
from tapewatch.strategy.composed import COMPOSED
from tapewatch.strategy.graph import SOURCES, Graph, Kind, Node

#: Longest expression and deepest nesting; far beyond what anyone reads, far below what could hurt.
MAX_TEXT = 4_000
MAX_DEPTH = 60

_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**", ast.Mod: "%",
}  # fmt: skip
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<", ast.LtE: "<=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the closest known word, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


@dataclass
class Reader:
    """Reads the expressions of one strategy on one timeframe into one graph.

    Attributes:
        graph: where the nodes go.
        params: the strategy's parameters, put in as constants.
        higher_ms: what `higher(...)` means on each interval.
        by_regime: values of parameters by regime.
        named: text as written of every function call read -> its node; inside `higher(...)` the text is wrapped in it.
    """

    graph: Graph
    params: Mapping[str, float]
    higher_ms: Mapping[int, int]
    by_regime: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    named: dict[str, Node] = field(default_factory=dict)
    _text: str = ""
    _where: str = ""
    _wrap: list[str] = field(default_factory=list)
    _bound: dict[str, Node] = field(default_factory=dict)
    _expanding: int = 0

    def read(self, text: str, frame_ms: int, kind: Kind, where: str) -> Node:
        """The node of an expression of the wanted kind. Raises StrategyError at the place of the first mistake."""
        node = self.either(text, frame_ms, where)
        if node.kind != kind:
            hint = ": compare it with something" if kind == "condition" else ""
            raise self._error(f"a {kind} is needed here, this is a {node.kind}{hint}", None)
        return node

    def either(self, text: str, frame_ms: int, where: str) -> Node:
        """The node of an expression of whichever kind. Raises StrategyError at the place of the first mistake."""
        self._text, self._where = text, where
        return self._visit(self._parse(text), frame_ms, 0)

    def _parse(self, text: str) -> ast.expr:
        if len(text) > MAX_TEXT:
            self._text = ""
            raise self._error(f"the expression has {len(text):,} characters, at most {MAX_TEXT:,} are allowed", None)
        try:
            return _tree(text.strip())
        except SyntaxError as error:
            raise StrategyError(
                f"cannot be read: {error.msg}",
                where=self._where,
                text=text.strip(),
                column=max(0, (error.offset or 1) - 1) if error.lineno == 1 else None,
            ) from None
        except (ValueError, RecursionError, MemoryError):
            self._text = ""
            raise self._error("cannot be read: nested too deeply or with characters that do not belong", None) from None

    def _visit(self, tree: ast.expr, frame_ms: int, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self._error(f"nested more than {MAX_DEPTH} deep", tree)
        match tree:
            case ast.Constant():
                return self._constant(tree, frame_ms)
            case ast.Name():
                return self._name(tree, frame_ms)
            case ast.UnaryOp():
                return self._unary(tree, frame_ms, depth)
            case ast.BinOp():
                op = _BINARY.get(type(tree.op))
                if op is None:
                    raise self._error("this operator is not part of the language", tree)
                left = self._number(tree.left, frame_ms, depth)
                return self.graph.node(op, (left, self._number(tree.right, frame_ms, depth)), None, frame_ms)
            case ast.BoolOp():
                op = "and" if isinstance(tree.op, ast.And) else "or"
                return self._join(op, [self._condition(part, frame_ms, depth) for part in tree.values])
            case ast.Compare():
                return self._compare(tree, frame_ms, depth)
            case ast.Subscript():
                inner = self._visit(tree.value, frame_ms, depth + 1)
                return self._lag(inner, self._whole(tree.slice, frame_ms, depth, "bars ago", at_least=0))
            case ast.Call() | ast.Attribute(value=ast.Call()):
                return self._call(tree, frame_ms, depth)
            case ast.IfExp() if self._expanding:  # composed functions have it, strategies do not
                chosen = self._condition(tree.test, frame_ms, depth)
                sides = (self._number(side, frame_ms, depth) for side in (tree.body, tree.orelse))
                return self.graph.node("select", (chosen, *sides), None, frame_ms)
        raise self._error("this is not part of the strategy language", tree)

    def _lag(self, node: Node, bars: int) -> Node:
        if not bars or node.op == "const":
            return node
        return self.graph.node("lag", (node,), bars, node.frame_ms, node.kind)

    def _constant(self, tree: ast.Constant, frame_ms: int) -> Node:
        if isinstance(tree.value, bool) or not isinstance(tree.value, int | float):
            raise self._error("only numbers can be written here", tree)
        try:
            value = float(tree.value)
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            raise self._error("this number is too large", tree)
        return self.graph.const(value, frame_ms)

    def _name(self, tree: ast.Name, frame_ms: int) -> Node:
        if tree.id in self._bound:
            return self._bound[tree.id]
        if tree.id in SOURCES:
            return self.graph.source(tree.id, frame_ms)
        if tree.id in self.params:
            return self._param(tree.id, frame_ms)
        if tree.id in functions():
            raise self._error(f"'{tree.id}' is a function: write {signature(tree.id)}", tree)
        raise self._error(f"unknown name '{tree.id}'{did_you_mean(tree.id, (*SOURCES, *self.params))}", tree)

    def _param(self, name: str, frame_ms: int) -> Node:
        """A constant, or a choice by regime: the first regime that holds decides, else the default."""
        node = self.graph.const(self.params[name], frame_ms)
        for regime, value in reversed(list(self.by_regime.get(name, {}).items())):
            chosen = (self.regime(regime, frame_ms), self.graph.const(value, frame_ms), node)
            node = self.graph.node("select", chosen, None, frame_ms)
        return node

    def regime(self, name: str, frame_ms: int) -> Node:
        """The condition that is called as a regime is."""
        self._expanding += 1
        try:
            return self._visit(ast.parse(f"{name}()", mode="eval").body, frame_ms, 0)
        finally:
            self._expanding -= 1

    def _unary(self, tree: ast.UnaryOp, frame_ms: int, depth: int) -> Node:
        if isinstance(tree.op, ast.Not):
            return self.graph.node(
                "not", (self._condition(tree.operand, frame_ms, depth),), None, frame_ms, "condition"
            )
        if isinstance(tree.op, ast.Invert):
            raise self._error("this operator is not part of the language; write 'not'", tree)
        number = self._number(tree.operand, frame_ms, depth)
        return self.graph.node("neg", (number,), None, frame_ms) if isinstance(tree.op, ast.USub) else number

    def _compare(self, tree: ast.Compare, frame_ms: int, depth: int) -> Node:
        parts = [self._number(part, frame_ms, depth) for part in (tree.left, *tree.comparators)]
        links = []
        for left, right, sign in zip(parts, parts[1:], tree.ops, strict=False):
            op = _COMPARE.get(type(sign))
            if op is None:
                raise self._error("this comparison is not part of the language", tree)
            links.append(self.graph.node(op, (left, right), None, frame_ms, "condition"))
        return self._join("and", links)

    def _join(self, op: str, parts: list[Node]) -> Node:
        if len(parts) == 1:
            return parts[0]
        return self.graph.node(op, tuple(parts), None, parts[0].frame_ms, "condition")

    def _call(self, whole: ast.expr, frame_ms: int, depth: int) -> Node:
        """A call, or a member of one."""
        tree, member = (whole.value, whole.attr) if isinstance(whole, ast.Attribute) else (whole, "")
        assert isinstance(tree, ast.Call)
        if not isinstance(tree.func, ast.Name):
            raise self._error("only functions of the language can be called", tree)
        name = tree.func.id
        if tree.keywords:
            raise self._error(f"arguments have no names here: {signature(name)}", tree)
        if name in ("higher", "on"):
            return self._other_frame(tree, name, frame_ms, depth)
        members = members_of(name) if self._expanding or not name.startswith("_") else ()
        if not members:
            raise self._error(f"unknown function '{name}'{did_you_mean(name, functions())}", tree)
        if member not in members:
            known = ", ".join(f".{one}" for one in members if one)
            what = f"no member .{member}{did_you_mean(member, members)}" if member else "several members"
            raise self._error(f"{name} has {what}" + (f"; it has {known}" if known else ""), tree)
        if name in COMPOSED:
            node = self._expand(tree, name, member, frame_ms, depth)
        else:
            node = self._indicator(tree, name, member, frame_ms, depth)
        if not self._expanding:
            self.named[self._as_written(whole)] = node
        return node

    def _indicator(self, tree: ast.Call, name: str, member: str, frame_ms: int, depth: int) -> Node:
        spec = REGISTRY[name]
        self._arity(tree, name, len(spec.inputs) + len(spec.lengths))
        args = []
        for role, part in zip(spec.inputs, tree.args, strict=False):
            read = self._condition if role == "cond" else self._number
            args.append(read(part, frame_ms, depth))
        lengths = tuple(
            self._whole(part, frame_ms, depth, f"{role} of {name}", at_least=spec.least)
            for role, part in zip(spec.lengths, tree.args[len(spec.inputs) :], strict=True)
        )
        call = self.graph.call(name, tuple(args), lengths, frame_ms)
        return self.graph.node("member", (call,), spec.outputs.index(member), frame_ms) if member else call

    def _expand(self, tree: ast.Call, name: str, member: str, frame_ms: int, depth: int) -> Node:
        """A composed function: its text, read with the caller's nodes for its parameters."""
        composed = COMPOSED[name]
        self._arity(tree, name, len(composed.params))
        args = [self._visit(part, frame_ms, depth + 1) for part in tree.args]
        outer = self._bound
        self._bound = dict(zip(composed.params, args, strict=True))
        self._expanding += 1
        try:
            return self._visit(_composed_tree(name, member), frame_ms, depth + 1)
        except StrategyError as error:
            raise self._error(f"{name}: {error.message}", tree) from None
        finally:
            self._bound = outer
            self._expanding -= 1

    def _other_frame(self, tree: ast.Call, name: str, frame_ms: int, depth: int) -> Node:
        if name == "on":
            self._arity(tree, name, 2)
            quoted = tree.args[0]
            interval = quoted.value if isinstance(quoted, ast.Constant) else None
            if not isinstance(interval, str) or interval not in INTERVALS_MS:
                raise self._error(
                    f"the first argument of on() is a quoted timeframe: {', '.join(INTERVALS_MS)}", quoted
                )
            target_ms = INTERVALS_MS[interval]
            wrap = f"on({ast.get_source_segment(self._text.strip(), quoted)}, "
            if target_ms < frame_ms or target_ms % frame_ms:
                raise self._error(f"{interval} is not a multiple of {INTERVAL_NAMES[frame_ms]}", quoted)
        else:
            self._arity(tree, name, 1)
            if frame_ms not in self.higher_ms:
                raise self._error(f"'higher' says nothing for {INTERVAL_NAMES[frame_ms]}", tree)
            target_ms, wrap = self.higher_ms[frame_ms], "higher("
        self._wrap.append(wrap)
        inner = self._visit(tree.args[-1], target_ms, depth + 1)
        self._wrap.pop()
        return inner if target_ms == frame_ms else self.graph.node("latch", (inner,), None, frame_ms, inner.kind)

    def _as_written(self, tree: ast.expr) -> str:
        return "".join(self._wrap) + _written(self._text.strip(), tree) + ")" * len(self._wrap)

    def _number(self, tree: ast.expr, frame_ms: int, depth: int) -> Node:
        node = self._visit(tree, frame_ms, depth + 1)
        if node.kind != "number":
            raise self._error("a number is needed here, this is a condition", tree)
        return node

    def _condition(self, tree: ast.expr, frame_ms: int, depth: int) -> Node:
        node = self._visit(tree, frame_ms, depth + 1)
        if node.kind != "condition":
            raise self._error("a condition is needed here, this is a number: compare it with something", tree)
        return node

    def _whole(self, tree: ast.expr, frame_ms: int, depth: int, what: str, *, at_least: int = 1) -> int:
        node = self._number(tree, frame_ms, depth)
        value = node.value if node.op == "const" else None
        if not isinstance(value, float):
            hint = " with one value in every regime" if self.by_regime else ""
            raise self._error(f"{what} must be a constant or a parameter{hint}", tree)
        if not value.is_integer() or not at_least <= value <= MAX_LENGTH:
            raise self._error(f"{what} must be a whole number from {at_least} to {MAX_LENGTH:,}, was {value:g}", tree)
        return int(value)

    def _arity(self, tree: ast.Call, name: str, wanted: int) -> None:
        if len(tree.args) != wanted or any(isinstance(arg, ast.Starred) for arg in tree.args):
            raise self._error(f"{signature(name)} takes {wanted} argument(s), was given {len(tree.args)}", tree)

    def _error(self, message: str, tree: ast.expr | None) -> StrategyError:
        text = self._text.strip()
        column = None
        if tree is not None and tree.lineno == 1:
            column = len(text.encode()[: tree.col_offset].decode(errors="replace"))
        return StrategyError(message, where=self._where, text=text, column=column)


def functions() -> tuple[str, ...]:
    """Every function that can be written, those that a user has added too; others are parts of these."""
    return tuple(name for name in ("higher", "on", *REGISTRY, *COMPOSED) if not name.startswith("_"))


def signature(name: str) -> str:
    """How a function of the language is called."""
    if name in REGISTRY:
        return REGISTRY[name].signature
    if name in COMPOSED:
        return f"{name}({', '.join(COMPOSED[name].params)})"
    return {"higher": "higher(expr)", "on": 'on("1h", expr)'}[name]


def members_of(name: str) -> tuple[str, ...]:
    """The members of a function's value; one empty name for a single value, nothing for an unknown function."""
    if name in COMPOSED:
        return tuple(COMPOSED[name].members)
    return REGISTRY[name].outputs if name in REGISTRY else ()


@lru_cache(1_000)
def _tree(text: str) -> ast.expr:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what Python only warns of, as `1or 2`, is a mistake here
        return ast.parse(text, mode="eval").body


@lru_cache(1_000)
def _written(text: str, tree: ast.expr) -> str:
    """The part of a text that a part of its tree was made of."""
    return " ".join((ast.get_source_segment(text, tree) or ast.unparse(tree)).split())


@cache
def _composed_tree(name: str, member: str) -> ast.expr:
    return ast.parse(COMPOSED[name].members[member], mode="eval").body
