"""What a signal's own evidence says of the move and the volume behind it, whatever strategy wrote it."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from typing import NamedTuple

from tapewatch.model import Factor, Signal


class Move(NamedTuple):
    """A move of the price: over how many bars (None where the strategy does not say), in percent and in ATR(14)."""

    bars: int | None
    pct: float
    atr: float


class ZScore(NamedTuple):
    """How unusual a bar's volume is: standard deviations from the mean of so many bars."""

    value: float
    bars: int | None


def move_of(signal: Signal) -> Move | None:
    """The move a factor compares (`close / close[n] - 1`, `close / close[n]`), else an indicator `roc(close, n)`.

    The ATR is the signal's own. None where the strategy looks at no such move.
    """
    for factor in signal.factors:
        for share, bars in _moved(factor, signal):
            return _move(signal, share, bars)
    for text, value in signal.indicators.items():
        length = _length(text, "roc", "close")
        if length is not None and isinstance(value, int | float) and not isinstance(value, bool):
            return _move(signal, value / 100, _whole(length, signal))
    return None


def volume_zscore(signal: Signal) -> ZScore | None:
    """The z-score of the bar's volume where the strategy computes one."""
    for text, value in signal.indicators.items():
        length = _length(text, "zscore", "volume")
        if length is not None and isinstance(value, int | float) and not isinstance(value, bool):
            return ZScore(float(value), _whole(length, signal))
    return None


def _move(signal: Signal, share: float, bars: int | None) -> Move | None:
    if not math.isfinite(share) or share <= -1:
        return None
    way = signal.entry - signal.entry / (1 + share)
    return Move(bars, share * 100, way / signal.atr if signal.atr > 0 else math.nan)


def _moved(factor: Factor, signal: Signal) -> Iterator[tuple[float, int | None]]:
    """The move as a share and its bars, where the factor's comparison has one on its left."""
    compared = _expression(factor.text)
    if not isinstance(compared, ast.Compare) or factor.left is None:
        return
    match compared.left:
        case ast.BinOp(left=ast.BinOp() as ratio, op=ast.Sub(), right=ast.Constant(value=1 | 1.0)):
            share = factor.left
        case ast.BinOp() as ratio:
            share = factor.left - 1
        case _:
            return
    match ratio:
        case ast.BinOp(
            left=ast.Name(id="close"),
            op=ast.Div(),
            right=ast.Subscript(value=ast.Name(id="close"), slice=ago),
        ):
            yield share, _whole(ago, signal)


def _expression(text: str) -> ast.expr | None:
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _length(text: str, name: str, source: str) -> ast.expr | None:
    """The second argument where the text is a call such as `roc(close, 8)`."""
    match _expression(text):
        case ast.Call(func=ast.Name(id=called), args=[ast.Name(id=first), length]) if (called, first) == (name, source):
            return length
    return None


def _whole(node: ast.expr, signal: Signal) -> int | None:
    match node:
        case ast.Constant(value=int(value)):
            return value
        case ast.Name(id=name) if name in signal.params and signal.params[name].is_integer():
            return int(signal.params[name])
    return None
