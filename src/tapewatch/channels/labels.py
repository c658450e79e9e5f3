"""How numbers, symbols and indicators are written for people."""

from __future__ import annotations

import ast
import math
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from functools import lru_cache

from tapewatch.assets import split

_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def plain(text: str) -> str:
    """The text on one line: control, formatting and line-separating characters become spaces."""
    if text.isprintable():  # has none of them, as nearly every text
        return text.strip()
    return "".join(" " if unicodedata.category(char) in _UNPRINTABLE else char for char in text).strip()


def short(text: str, most: int = 80) -> str:
    """The text on one line, or as much of its beginning as that many characters have room for, ending in `…`."""
    line = plain(text)
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def base_asset(symbol: str) -> str:
    """The asset a symbol is about: `BTC` of `BTCUSDT`, `BTC/USDT` and `BTC/USDT:USDT`."""
    return split(symbol)[0]


def quote_asset(symbol: str) -> str:
    """The asset a symbol is priced in: `USDT` of `BTCUSDT`, `BTC/USDT` and `BTC/USDT:USDT`; empty where unknown."""
    return symbol.removeprefix(base_asset(symbol)).partition(":")[0].strip("/")


def number(value: float) -> str:
    """All the digits the number has, never in scientific notation; `n/a` for what is not a number."""
    if not math.isfinite(value):
        return "n/a"
    digits = format(Decimal(repr(float(value))), "f")
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def rounded(value: float) -> str:
    """The number to 8 significant digits: enough for a computed value, where `number` would show 17."""
    return number(float(f"{value:.8g}"))


def compact(value: float) -> str:
    """The number to three digits as people say it: `12.3M`, `950k`, `7.25`; `n/a` for what is not a number."""
    if not math.isfinite(value):
        return "n/a"
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:
            return f"{float(f'{value / size:.3g}'):g}{unit}"
    return number(float(f"{value:.3g}"))


def utc(ms: int) -> str:
    """A time to the minute, as `2025-05-20 14:07 UTC`."""
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def moment(ms: int, zone: tzinfo) -> str:
    """A time in UTC and, where that differs, in the user's zone: `2025-05-20 14:07 UTC (16:07 CEST)`."""
    there = datetime.fromtimestamp(ms / 1000, UTC)
    local = there.astimezone(zone)
    if not local.utcoffset():
        return utc(ms)
    day = "" if local.date() == there.date() else f"{local:%Y-%m-%d} "
    return f"{utc(ms)} ({day}{local:%H:%M %Z})"


def percent(value: float) -> str:
    """A signed percentage with two decimals, as `+0.45%`."""
    return f"{value:+.2f}%" if math.isfinite(value) else "n/a"


def indicator_label(expression: str, params: Mapping[str, float]) -> str:
    """The usual name of an indicator as a strategy wrote it: `EMA(9)` for `ema(close, fast)` where fast is 9."""
    return _indicator_label(expression, tuple(params.items()))


@lru_cache(maxsize=1_000)
def _indicator_label(expression: str, items: tuple[tuple[str, float], ...]) -> str:
    params = dict(items)
    try:
        return plain(_label(ast.parse(expression, mode="eval").body, params))
    except (SyntaxError, ValueError, RecursionError):
        return plain(expression)


def _label(node: ast.expr, params: Mapping[str, float]) -> str:
    match node:
        case ast.Call(func=ast.Name(id="higher"), args=[inner]):
            return f"{_label(inner, params)} on the higher timeframe"
        case ast.Call(func=ast.Name(id="on"), args=[ast.Constant(value=str(timeframe)), inner]):
            return f"{_label(inner, params)} on {timeframe}"
        case (
            ast.Call(func=ast.Name(id=name), args=[ast.Name(id="close"), *args])
            | ast.Call(func=ast.Name(id=name), args=args)
        ):
            listed = ", ".join(_label(arg, params) for arg in args)
            return f"{name.upper()}({listed})" if listed else name.upper()
        case ast.Name(id=name):
            return number(params[name]) if name in params else name
        case ast.Constant(value=int() | float() as value):
            return number(value)
        case ast.Attribute(value=inner, attr=member):
            return f"{_label(inner, params)}.{member}"
        case ast.Subscript(value=inner, slice=ago):
            return f"{_label(inner, params)}[{_label(ago, params)}]"
    return ast.unparse(_Substituted(params).visit(node))


class _Substituted(ast.NodeTransformer):
    """An expression with its parameters' values in place of their names."""

    def __init__(self, params: Mapping[str, float]) -> None:
        self._params = params

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Name(number(self._params[node.id])) if node.id in self._params else node
