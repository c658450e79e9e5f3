"""What the numbers of an expression are measured in."""

from __future__ import annotations

from tapewatch.indicators import REGISTRY
from tapewatch.strategy.graph import Node, call_of

_PRICES = ("open", "high", "low", "close", "hl2", "hlc3", "ohlc4")


def _output_is_price(call: Node, output: int) -> bool:
    unit = REGISTRY[call_of(call)[0]].units[output]
    return unit == "price" or (unit == "input" and is_price(next(arg for arg in call.args if arg.kind == "number")))


def is_price(node: Node) -> bool:
    """Whether a number is measured in the price's unit."""
    if node.op == "source":
        return node.value in _PRICES
    if node.op == "call":
        return _output_is_price(node, 0)
    if node.op == "member":
        return _output_is_price(node.args[0], int(str(node.value)))
    if node.op in ("+", "-", "neg", "lag", "latch", "select"):
        return any(is_price(arg) for arg in node.args)
    if node.op in ("*", "/"):
        return is_price(node.args[0]) != is_price(node.args[1])
    return False
