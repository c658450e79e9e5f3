"""Pasting an indicator's update function into generated code: the same text serves both evaluators.

A pasted update has its names replaced (inputs, state, constants, locals) and its `return` turned into assignments.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping, Sequence
from functools import cache

from tapewatch.errors import SetupError
from tapewatch.indicators import Indicator, Ring

#: Names an update may use beside its own.
GLOBALS = {"NAN", "range", "log", "exp", "sqrt", "int", "float"}


def ring_names(spec: Indicator) -> list[str]:
    """State names that are windows."""
    return [name for name, initial in spec.state.items() if isinstance(initial, Ring)]


def scalar_names(spec: Indicator) -> list[str]:
    """State names that are single numbers, in the order in which the update returns them."""
    return [name for name, initial in spec.state.items() if not isinstance(initial, Ring)]


@cache
def _body(name: str, text: str) -> tuple[list[ast.stmt], list[ast.expr]]:
    """(statements, returned expressions) of an update's text. Raises SetupError when it does not keep to the form."""
    function = ast.parse(text).body[0]
    assert isinstance(function, ast.FunctionDef)
    body = function.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    last = body[-1]
    returns = [node for node in ast.walk(function) if isinstance(node, ast.Return)]
    if not isinstance(last, ast.Return) or not isinstance(last.value, ast.Tuple) or len(returns) != 1:
        raise SetupError(f"indicator {name}: its update must end in its one return, of values and then the state")
    return body[:-1], last.value.elts


class _Rename(ast.NodeTransformer):
    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.parse(self.names[node.id], mode="eval").body if node.id in self.names else node


def paste(spec: Indicator, names: Mapping[str, str], outputs: Sequence[str], prefix: str) -> list[str]:
    """Lines that run one update.

    Args:
        spec: the indicator.
        names: for every input, source, state and constant of the update the expression that stands for it.
        outputs: where its values go.
        prefix: put before its local names, so that two pasted updates do not meet.

    Raises:
        SetupError: the update does not keep to the form of `tapewatch.indicators.definition`.
    """
    statements, returned = _body(spec.name, textwrap.dedent(inspect.getsource(spec.update)))
    mapping = dict(names)
    for output, expression in zip(outputs, returned, strict=False):
        if isinstance(expression, ast.Name) and expression.id not in mapping:
            mapping[expression.id] = output  # a local that holds the value is the output, without a copy
    for statement in statements:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and node.id not in mapping and node.id not in GLOBALS:
                mapping[node.id] = prefix + node.id
    rename = _Rename(mapping)
    lines: list[str] = []
    for statement in statements:
        lines += ast.unparse(rename.visit(ast.parse(ast.unparse(statement)).body[0])).split("\n")
    targets = [*outputs, *(mapping[name] for name in scalar_names(spec))]
    if len(returned) != len(targets):
        raise SetupError(f"indicator {spec.name}: its update must return {len(targets)} values")
    for target, expression in zip(targets, returned, strict=True):
        value = ast.unparse(rename.visit(ast.parse(ast.unparse(expression), mode="eval").body))
        if value != target:
            lines.append(f"{target} = {value}")
    return lines
