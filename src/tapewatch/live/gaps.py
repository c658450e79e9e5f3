"""Log lines about holes in the streams: of many symbols at one time there is one."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice
from typing import Any

from tapewatch.telemetry import get_logger

_log = get_logger("feeds")

#: Symbols that a line about many names.
NAMED = 5


class GapLog:
    """Keeps what was said of gaps until it is told.

    A mass reconnect leaves a hole in every stream, and a line for each would bury the rest of the log.
    """

    def __init__(self) -> None:
        self._gaps: dict[str, tuple[int, int]] = {}
        self._filled: dict[str, tuple[int, int]] = {}

    def gap(self, symbol: str, from_ms: int, to_ms: int) -> None:
        """The bars that open in [from_ms, to_ms) are missing."""
        known_from_ms, known_to_ms = self._gaps.get(symbol, (from_ms, to_ms))
        self._gaps[symbol] = min(known_from_ms, from_ms), max(known_to_ms, to_ms)

    def filled(self, symbol: str, from_ms: int, bars: int) -> None:
        """So many bars from there on have come."""
        known_from_ms, known_bars = self._filled.get(symbol, (from_ms, 0))
        self._filled[symbol] = min(known_from_ms, from_ms), known_bars + bars

    def tell(self) -> None:
        """Write what was said since the last time: at most one line of either kind."""
        gaps, self._gaps = self._gaps, {}
        filled, self._filled = self._filled, {}
        if gaps:
            from_ms = min(from_ms for from_ms, _ in gaps.values())
            _log.info("gap", **_who(gaps), from_ms=from_ms, to_ms=max(to_ms for _, to_ms in gaps.values()))
        if filled:
            from_ms = min(from_ms for from_ms, _ in filled.values())
            _log.info("gap_filled", **_who(filled), from_ms=from_ms, bars=sum(bars for _, bars in filled.values()))


def _who(symbols: Collection[str]) -> dict[str, Any]:
    """The one symbol, or how many they are and the first few."""
    first = list(islice(symbols, NAMED))
    return {"symbol": first[0]} if len(symbols) == 1 else {"symbols": len(symbols), "first": first}
