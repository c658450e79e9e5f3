"""Numbers as the exchange writes them: decimal strings that parse back to the same bits."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec

_encode = msgspec.json.Encoder().encode


def text(value: float) -> str:
    """The shortest decimal that parses to exactly `value`, never in scientific notation."""
    shown = repr(value)
    if "e" in shown:
        shown = format(Decimal(shown), "f")
    return shown.removesuffix(".0")


def texts(values: Sequence[float]) -> list[str]:
    """`text` of each of many finite values, at a fraction of the cost."""
    if not values:
        return []
    joined = _encode(values).decode()
    shown = joined[1:-1].split(",")
    if "e" in joined:
        return [text(float(one)) if "e" in one else one.removesuffix(".0") for one in shown]
    return [one.removesuffix(".0") for one in shown]


def places(values: list[float]) -> int:
    """How many decimals the values are written with, at most eight."""
    return min(8, max((len(one.partition(".")[2]) for one in texts(values)), default=0))
