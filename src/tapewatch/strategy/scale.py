"""How the numbers of an expression grow with their market, so that those of different markets can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tapewatch.indicators import REGISTRY
from tapewatch.strategy.graph import Node, call_of

_PRICES = ("open", "high", "low", "close", "hl2", "hlc3", "ohlc4")
_VOLUMES = ("volume", "taker_buy")
#: Indicators that are differences of prices, whatever the price: all others that are prices lie where prices do.
_DISTANCES = ("atr", "stdev")


class Scale(NamedTuple):
    """What a number is multiplied by when its market's numbers are, and how far it moves with them.

    Attributes:
        price: with prices times k it is times k ** price.
        volume: with volumes times k it is times k ** volume.
        shift: with prices plus k it is plus k * shift; of what is summed up since a series began, how many times it
            holds a sum that depends on when that was.
    """

    price: float = 0.0
    volume: float = 0.0
    shift: float = 0.0

    @property
    def powers(self) -> tuple[float, float]:
        """Of the price and of the volume."""
        return self.price, self.volume


NUMBER = Scale()


def scale_of(node: Node) -> Scale | None:
    """How a number grows with its market, None where that cannot be told: of `log(close)`, of `close + volume`."""
    match node.op:
        case "const":
            return NUMBER
        case "source":
            return _source(str(node.value))
        case "call":
            return _call(node, 0)
        case "member":
            return _call(node.args[0], int(str(node.value)))
        case "+" | "-":
            return _sum(node.args, -1.0 if node.op == "-" else 1.0)
        case "*" | "/":
            return _product(node.args, node.op)
        case "select":
            return _alike(node.args[1:])
        case "**":
            return _power(node.args)
    inner = scale_of(node.args[0])
    return inner._replace(shift=-inner.shift) if inner is not None and node.op == "neg" else inner


def _source(name: str) -> Scale:
    if name in _PRICES:
        return Scale(1.0, 0.0, 1.0)
    if name == "quote_volume":
        return Scale(1.0, 1.0)
    return Scale(0.0, 1.0) if name in _VOLUMES else NUMBER


def _call(node: Node, output: int) -> Scale | None:
    name, _ = call_of(node)
    unit = REGISTRY[name].units[output]
    if unit == "price":
        return Scale(1.0, 0.0, 0.0 if name in _DISTANCES else 1.0)
    if name in ("obv", "cvd"):
        return Scale(0.0, 1.0, float(name == "obv"))
    numbers = [scale_of(arg) for arg in node.args if arg.kind == "number"]
    first = numbers[0] if numbers else NUMBER
    if unit == "input":
        return first._replace(shift=0.0) if first is not None and name in _DISTANCES else first
    match name:
        case "log" | "exp":
            return NUMBER if first is not None and first.powers == NUMBER.powers else None
        case "sqrt":
            return _powered(first, 0.5)
        case "_covariance":
            return _product(node.args[:2], "*")
    return NUMBER


def _is_any(node: Node) -> bool:
    """Whether it fits beside every scale: a constant, or 0 times something."""
    nothing = node.op == "*" and any(arg.op == "const" and arg.value == 0 for arg in node.args)
    return node.op == "const" or nothing or (node.op == "neg" and _is_any(node.args[0]))


def _alike(nodes: Sequence[Node]) -> Scale | None:
    """That of nodes which have the same, the last one's shift."""
    scales = [scale_of(node) for node in nodes if not _is_any(node)]
    if not scales:
        return NUMBER
    last = scales[-1]
    alike = last is not None and all(scale is not None and scale.powers == last.powers for scale in scales)
    return last if alike else None


def _sum(nodes: Sequence[Node], sign: float) -> Scale | None:
    alike = _alike(nodes)
    if alike is None:
        return None
    left, right = (NUMBER if _is_any(node) else scale_of(node) for node in nodes)
    assert left is not None
    assert right is not None
    return alike._replace(shift=left.shift + sign * right.shift)


def _product(nodes: Sequence[Node], op: str) -> Scale | None:
    left, right = (scale_of(node) for node in nodes)
    if left is None or right is None:
        return None
    sign = -1.0 if op == "/" else 1.0
    price, volume = left.price + sign * right.price, left.volume + sign * right.volume
    first, second = map(_constant, nodes)
    if second is not None:
        return Scale(price, volume, left.shift * second if op == "*" else left.shift / (second or 1.0))
    if op == "*":
        return Scale(price, volume, left.shift or right.shift * (1.0 if first is None else first))
    return Scale(price, volume, left.shift)


def _constant(node: Node) -> float | None:
    return node.value if node.op == "const" and isinstance(node.value, float) else None


def _power(nodes: Sequence[Node]) -> Scale | None:
    base, exponent = nodes
    constant = _constant(exponent)
    if constant is not None:
        return _powered(scale_of(base), constant)
    both = _alike(nodes)
    return NUMBER if both is not None and both.powers == NUMBER.powers else None


def _powered(base: Scale | None, exponent: float) -> Scale | None:
    return None if base is None else Scale(base.price * exponent, base.volume * exponent, base.shift and 1.0)
