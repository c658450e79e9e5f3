"""Numbers as the exchange writes them: decimal strings that parse back to the same bits."""

from __future__ import annotations

from decimal import Decimal


def text(value: float) -> str:
    """The shortest decimal that parses to exactly `value`, never in scientific notation."""
    shown = repr(value)
    if "e" in shown:
        shown = format(Decimal(shown), "f")
    return shown.removesuffix(".0")


def places(values: list[float], most: int = 8) -> int:
    """How many decimals the values are written with, at most `most`."""
    return min(most, max((len(text(value).partition(".")[2]) for value in values), default=0))
