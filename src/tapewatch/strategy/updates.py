"""Whether an indicator's update function keeps to the form that both evaluators understand.

Shipped indicators are held to it by their tests; a user's is checked when it is added, so that what is wrong is said
with its line instead of by a generated step or by Numba.
"""

from __future__ import annotations

import ast
import inspect
import textwrap

from tapewatch.errors import SetupError
from tapewatch.indicators import Indicator
from tapewatch.strategy.paste import GLOBALS, paste, ring_names

_ALLOWED = (
    ast.Assign, ast.AugAssign, ast.If, ast.For, ast.While, ast.Break, ast.Continue, ast.Pass, ast.Return,
    ast.Name, ast.Constant, ast.Tuple, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Subscript,
    ast.Call, ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context,
)  # fmt: skip


def check_update(spec: Indicator) -> None:
    """Raise SetupError, naming the indicator and the line, when its update cannot be pasted."""
    check = _Check(spec)
    own = check.facts()
    tree = check.tree()
    check.names(tree, own)
    try:
        paste(spec, {name: name for name in own}, [f"value_{k}" for k in range(len(spec.outputs))], "local_")
    except SetupError as error:
        raise check.fail(str(error).removeprefix(f"indicator {spec.name}: ")) from None


class _Check:
    def __init__(self, spec: Indicator) -> None:
        self.spec = spec
        code = spec.update.__code__
        self.file, self.first = code.co_filename.rpartition("/")[2], code.co_firstlineno

    def fail(self, message: str, line: int = 1) -> SetupError:
        return SetupError(f"indicator {self.spec.name}: {message} ({self.file}:{self.first + line - 1})")

    def facts(self) -> list[str]:
        """Every name that the update is given."""
        spec, lengths = self.spec, (2,) * len(self.spec.lengths)
        if ring_names(spec) and not lengths:
            raise self.fail("has a window, but no length")
        try:
            constants = spec.constants(*lengths)
            spec.first_bars(*lengths)
            spec.settling(288, *lengths)
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            raise self.fail(f"constants, first_valid or settling cannot be called: {said}") from None
        return [*spec.inputs, *spec.sources, *spec.state, *spec.lengths, *constants]

    def tree(self) -> ast.FunctionDef:
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(self.spec.update))).body[0]
        except (OSError, SyntaxError):
            tree = ast.Pass()
        if not isinstance(tree, ast.FunctionDef):
            raise self.fail("its update must be a function written with def")
        return tree

    def names(self, tree: ast.FunctionDef, own: list[str]) -> None:
        """Nothing but arithmetic, conditions and loops over what it has."""
        for argument in (*tree.args.posonlyargs, *tree.args.args, *tree.args.kwonlyargs):
            if argument.arg not in own:
                wanted = "no input, source, state, length or constant of it"
                raise self.fail(f"its update takes {argument.arg}, which is {wanted}", argument.lineno)
        stored = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        known = {*own, *GLOBALS, *stored}
        for statement in tree.body[ast.get_docstring(tree) is not None :]:
            for node in ast.walk(statement):
                line = getattr(node, "lineno", statement.lineno)
                if not isinstance(node, _ALLOWED):
                    raise self.fail(f"its update may not use {type(node).__name__.lower()}", line)
                if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id in GLOBALS):
                    raise self.fail(f"its update may not call {ast.unparse(node.func)}", line)
                if isinstance(node, ast.Name) and node.id not in known:
                    raise self.fail(f"its update uses {node.id}, which it does not have", line)
