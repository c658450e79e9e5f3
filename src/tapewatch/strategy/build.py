"""Strategies in Python: the same expressions, written with operators.

    from tapewatch.strategy.build import close, ema, param, strategy, vwap

    STRATEGY = strategy(
        "mine",
        timeframes=["1m"],
        params={"fast": 9},
        long={"above": close > vwap(), "trend": close > ema(close, param("fast"))},
        stop=1.5 * atr(14),
        targets=[{"at": 1.0 * atr(14), "share": "100%"}],
    )

Every source and function of the language can be imported from here. Operators write the language's text, so a strategy
built here is the strategy one would have written: `&`, `|` and `~` are `and`, `or` and `not`, `x[3]` is three bars ago.
`@indicator(...)` adds a function to the language; what it decorates is then called like every other function.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from tapewatch import indicators
from tapewatch.errors import SetupError
from tapewatch.indicators import REGISTRY, Ring
from tapewatch.strategy.composed import COMPOSED
from tapewatch.strategy.expression import functions
from tapewatch.strategy.graph import SOURCES
from tapewatch.strategy.updates import check_update

__all__ = ["Built", "Expression", "Ring", "indicator", "param", "strategy"]


class Expression:
    """A piece of the language's text; operators make larger ones. `join` is `and` or `or` where it is one of those."""

    __slots__ = ("join", "text")
    __hash__ = None  # type: ignore[assignment]  # == writes a comparison, so equality cannot be asked

    def __init__(self, text: str, join: str = "") -> None:
        self.text = text
        self.join = join

    def __str__(self) -> str:
        return self.text

    def __bool__(self) -> bool:
        raise TypeError("a condition has no truth before there are bars: use & | ~ for and, or, not, and no chains")

    def _with(self, sign: str, other: Operand) -> Expression:
        return Expression(f"({self.text} {sign} {_text(other)})")

    def _after(self, sign: str, other: Operand) -> Expression:
        return Expression(f"({_text(other)} {sign} {self.text})")

    def _joined(self, join: str, other: Operand) -> Expression:
        left = self.text[1:-1] if self.join == join else self.text
        return Expression(f"({left} {join} {_text(other)})", join)

    def __add__(self, other: Operand) -> Expression:
        return self._with("+", other)

    def __radd__(self, other: Operand) -> Expression:
        return self._after("+", other)

    def __sub__(self, other: Operand) -> Expression:
        return self._with("-", other)

    def __rsub__(self, other: Operand) -> Expression:
        return self._after("-", other)

    def __mul__(self, other: Operand) -> Expression:
        return self._with("*", other)

    def __rmul__(self, other: Operand) -> Expression:
        return self._after("*", other)

    def __truediv__(self, other: Operand) -> Expression:
        return self._with("/", other)

    def __rtruediv__(self, other: Operand) -> Expression:
        return self._after("/", other)

    def __pow__(self, other: Operand) -> Expression:
        return self._with("**", other)

    def __rpow__(self, other: Operand) -> Expression:
        return self._after("**", other)

    def __mod__(self, other: Operand) -> Expression:
        return self._with("%", other)

    def __rmod__(self, other: Operand) -> Expression:
        return self._after("%", other)

    def __neg__(self) -> Expression:
        return Expression(f"(-{self.text})")

    def __gt__(self, other: Operand) -> Expression:
        return self._with(">", other)

    def __ge__(self, other: Operand) -> Expression:
        return self._with(">=", other)

    def __lt__(self, other: Operand) -> Expression:
        return self._with("<", other)

    def __le__(self, other: Operand) -> Expression:
        return self._with("<=", other)

    def __eq__(self, other: object) -> Expression:  # type: ignore[override]
        return self._with("==", other)

    def __ne__(self, other: object) -> Expression:  # type: ignore[override]
        return self._with("!=", other)

    def __and__(self, other: Operand) -> Expression:
        return self._joined("and", other)

    def __or__(self, other: Operand) -> Expression:
        return self._joined("or", other)

    def __invert__(self) -> Expression:
        return Expression(f"(not {self.text})")

    def __getitem__(self, bars: Operand) -> Expression:
        return Expression(f"{self.text}[{_text(bars)}]")

    def __getattr__(self, member: str) -> Expression:
        if member.startswith("_"):
            raise AttributeError(member)
        return Expression(f"{self.text}.{member}")


Operand: TypeAlias = object


@dataclass(frozen=True)
class Built:
    """A strategy as a mapping of text, just as YAML would have given it."""

    name: str
    mapping: Mapping[str, Any]


def param(name: str) -> Expression:
    """A parameter of the strategy by its name."""
    return Expression(name)


def strategy(name: str, **keys: Any) -> Built:
    """A strategy from the keys that its YAML would have, with expressions in place of text."""
    return Built(name, {key: _plain(value) for key, value in keys.items()})


def indicator(**facts: Any) -> Callable[[Callable[..., object]], Callable[..., Expression]]:
    """Add the decorated update function to the language; the arguments are those of `tapewatch.indicators.indicator`.

    The decorated name becomes the function to call in expressions. Raises SetupError when the name is taken or the
    update does not keep to the form.
    """

    def add(update: Callable[..., object]) -> Callable[..., Expression]:
        name = facts.get("name") or update.__name__
        if name in SOURCES or name in COMPOSED or name in ("higher", "on") or not name.isidentifier() or name[0] == "_":
            raise SetupError(f"'{name}' cannot be an indicator's name" + " (it is taken)" * (name[0] != "_"))
        known = REGISTRY.get(name)
        indicators.indicator(**facts)(update)
        try:
            check_update(REGISTRY[name])
        except SetupError:
            if known is None:
                del REGISTRY[name]
            raise
        return _function(name)

    return add


def _plain(value: Any) -> Any:
    if isinstance(value, Expression):
        return _unbracketed(value.text)
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _unbracketed(text: str) -> str:
    """The text without the brackets that it does not need; as it is where it cannot be read, to be told later."""
    try:
        return ast.unparse(ast.parse(text, mode="eval"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return text


def _text(value: object) -> str:
    if isinstance(value, Expression):
        return value.text
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is neither an expression nor a number")
    number = repr(float(value)) if isinstance(value, float) else repr(int(value))
    return f"({number})" if number.startswith("-") else number  # (-2) ** close is not -2 ** close


def __getattr__(name: str) -> Expression | Callable[..., Expression]:
    if name in SOURCES:
        return Expression(name)
    if name not in functions():
        raise AttributeError(f"the strategy language has no '{name}'")
    return _function(name)


def _function(name: str) -> Callable[..., Expression]:
    def call(*args: object) -> Expression:
        written = (f'"{arg}"' if name == "on" and isinstance(arg, str) else _text(arg) for arg in args)
        return Expression(f"{name}({', '.join(written)})")

    return call
