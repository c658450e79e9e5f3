"""How much history strategies need, and where series start that have it."""

from __future__ import annotations

from collections.abc import Iterable

from tapewatch.engine.outlook import outlook_frames, outlook_step
from tapewatch.engine.rings import CLOSES_MS
from tapewatch.engine.settings import MarketSettings
from tapewatch.model import MINUTE_MS
from tapewatch.strategy import Program, Strategy, compile_program


def programs_of(strategies: Iterable[Strategy]) -> list[Program]:
    """Every strategy on every timeframe of its own, compiled."""
    return [compile_program(strategy, timeframe) for strategy in strategies for timeframe in strategy.timeframes]


#: Windows are fetched in whole pages of this many bars, so that a start does not depend on details of a strategy.
PAGE_BARS = 1_000


def windows_of(strategies: Iterable[Strategy], market: MarketSettings | None = None) -> dict[int, int]:
    """Interval -> bars of history, in whole pages, after which everything the strategies read is settled.

    And what is known of the market around their signals, where that is wanted.
    """
    strategies = list(strategies)
    market = market or MarketSettings()
    needed = [
        (frame_ms, program.window(frame_ms)) for program in programs_of(strategies) for frame_ms in program.frames
    ]
    if market.outlooks:
        needed += [
            (frame_ms, outlook_step(frame_ms).window)
            for strategy in strategies
            for frame_ms in outlook_frames(strategy)
        ]
    if market.closes and strategies:
        needed.append((MINUTE_MS, CLOSES_MS // MINUTE_MS))
    windows: dict[int, int] = {}
    for interval_ms, bars in needed:
        windows[interval_ms] = max(windows.get(interval_ms, 0), -(-bars // PAGE_BARS) * PAGE_BARS)
    return windows


def start_of(anchor_ms: int, interval_ms: int, window: int) -> int:
    """Where a series starts that has `window` bars before `anchor_ms`: on its interval, not before 1970."""
    return max(0, anchor_ms // interval_ms - window) * interval_ms
