"""How much history strategies need, and where series start that have it."""

from __future__ import annotations

from collections.abc import Iterable

from tapewatch.strategy import Program, Strategy, compile_program


def programs_of(strategies: Iterable[Strategy]) -> list[Program]:
    """Every strategy on every timeframe of its own, compiled."""
    return [compile_program(strategy, timeframe) for strategy in strategies for timeframe in strategy.timeframes]


#: Windows are fetched in whole pages of this many bars, so that a start does not depend on details of a strategy.
PAGE_BARS = 1_000


def windows_of(strategies: Iterable[Strategy]) -> dict[int, int]:
    """Interval -> bars of history, in whole pages, after which everything the strategies read is settled."""
    windows: dict[int, int] = {}
    for program in programs_of(strategies):
        for interval_ms in program.frames:
            pages = -(-program.window(interval_ms) // PAGE_BARS)
            windows[interval_ms] = max(windows.get(interval_ms, 0), pages * PAGE_BARS)
    return windows


def start_of(anchor_ms: int, interval_ms: int, window: int) -> int:
    """Where a series starts that has `window` bars before `anchor_ms`: on its interval, not before 1970."""
    return max(0, anchor_ms // interval_ms - window) * interval_ms
