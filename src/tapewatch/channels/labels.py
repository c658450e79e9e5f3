"""How numbers, symbols and indicators are written for people."""

from __future__ import annotations

import ast
import math
import unicodedata
from collections.abc import Mapping
from decimal import Decimal

#: Quote assets of the exchanges, as suffixes of symbols that are written without a separator.
_QUOTES = (  # noqa: SIM905 - words read better than quoted words
    "USDT USDC FDUSD TUSD BUSD USDP USD1 USDE USDS UST USD DAI BTC ETH BNB SOL XRP TRX DOGE DOT EUR EURI TRY "
    "BRL GBP JPY AUD UAH RUB ARS ZAR PLN RON MXN COP CZK IDR IDRT BIDR BVND BKRW NGN VAI PAX GYEN"
).split()
_BY_LENGTH = sorted(_QUOTES, key=len, reverse=True)
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def plain(text: str) -> str:
    """The text on one line: control, formatting and line-separating characters become spaces."""
    return "".join(" " if unicodedata.category(char) in _UNPRINTABLE else char for char in text).strip()


def base_asset(symbol: str) -> str:
    """The asset a symbol is about: `BTC` of `BTCUSDT`, `BTC/USDT` and `BTC/USDT:USDT`."""
    if "/" in symbol:
        return symbol.split("/", 1)[0]
    for quote in _BY_LENGTH:
        if symbol.endswith(quote) and len(symbol) > len(quote):
            return symbol.removesuffix(quote)
    return symbol


def number(value: float) -> str:
    """All the digits the number has, never in scientific notation; `n/a` for what is not a number."""
    if not math.isfinite(value):
        return "n/a"
    digits = format(Decimal(repr(float(value))), "f")
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def rounded(value: float) -> str:
    """The number to 8 significant digits: enough for a computed value, where `number` would show 17."""
    return number(float(f"{value:.8g}"))


def percent(value: float) -> str:
    """A signed percentage with two decimals, as `+0.45%`."""
    return f"{value:+.2f}%" if math.isfinite(value) else "n/a"


def indicator_label(expression: str, params: Mapping[str, float]) -> str:
    """The usual name of an indicator as a strategy wrote it: `EMA(9)` for `ema(close, fast)` where fast is 9."""
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
