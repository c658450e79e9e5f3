"""Why a strategy did or did not fire on a bar, recomputed from recorded candles."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from tapewatch.archive.candles import Candles
from tapewatch.archive.reader import inventory
from tapewatch.engine.series import Runner
from tapewatch.model import Bar
from tapewatch.strategy import Evidence, Program, Strategy, compile_program
from tapewatch.strategy.explained import Explained, explained
from tapewatch.study.signals import Request, find, frames_of


def explain(strategy: Strategy, timeframe: str, symbol: str, close_ms: int, request: Request) -> list[Explained]:
    """Both sides on the bar that closes at `close_ms`; nothing when there is no such bar.

    Raises:
        SetupError: the archive does not hold the symbol.
    """
    program = compile_program(strategy, timeframe)
    frames = frames_of(strategy, program, symbol, request, {})
    sides = [
        explained(bar, evidence, plan, request.venue, fired=fired)
        for bar, fired_sides, evidence in _forced(program, frames, close_ms, close_ms + 1)
        for plan, fired in zip(program.sides, fired_sides, strict=True)
    ]
    if not any(one.fired for one in sides):
        return sides
    competing = _competing(strategy, symbol, request)
    asked = replace(request, symbols=competing, intervals=[timeframe], from_ms=close_ms, to_ms=close_ms + 1)
    verdicts = {signal.id: signal.verdicts for signal in find(strategy, asked)}
    return [replace(one, verdicts=verdicts.get(one.signal_id, ())) for one in sides]


def _competing(strategy: Strategy, symbol: str, request: Request) -> list[str]:
    """The symbols whose signals the verdicts depend on."""
    if strategy.budget is None:
        return [symbol]
    held = {stored.symbol for stored in inventory(request.root) if stored.venue == request.venue}
    return sorted(name for name in held if strategy.watches(name))


def nearest(
    strategy: Strategy, timeframe: str, symbol: str, request: Request, count: int
) -> list[tuple[float, Explained]]:
    """The closest misses of a period: (how much was short in all, the bar), the closest first.

    Fewer lacking factors are closer; among as many, the smaller sum of what they were short of. Bars on which one of
    them is unknown are no misses.
    """
    program = compile_program(strategy, timeframe)
    frames = frames_of(strategy, program, symbol, request, {})
    first_ms = request.from_ms if request.from_ms is not None else 0
    end_ms = request.to_ms if request.to_ms is not None else 2**62
    found = (
        (len(one.short), -sum(factor.margin or 0.0 for factor in one.short), one.bar.close_ms, one.side, one)
        for bar, fired_sides, evidence in _forced(program, frames, first_ms, end_ms)
        for plan, fired in zip(program.sides, fired_sides, strict=True)
        if not fired
        for one in [explained(bar, evidence, plan, request.venue, fired=fired)]
        if one.short and all(factor.met is False for factor in one.short)
    )
    return [(short, one) for _, short, _, _, one in heapq.nsmallest(count, found, key=lambda item: item[:4])]


def closes(strategy: Strategy, timeframe: str, symbol: str, close_ms: int, request: Request) -> list[int]:
    """The first and the last close that is stored, and between them those just before and after a moment."""
    program = compile_program(strategy, timeframe)
    candles = frames_of(strategy, program, symbol, request, {})[program.interval_ms]
    stored = candles.open_ms + candles.interval_ms
    place = int(np.searchsorted(stored, close_ms))
    around = stored[max(0, place - 1) : place + 1]
    return [int(close) for close in (*stored[:1], *around, *stored[-1:])]


def _forced(
    program: Program, frames: Mapping[int, Candles], from_ms: int, to_ms: int
) -> Iterator[tuple[Bar, tuple[bool, ...], Evidence]]:
    """Every bar of the timeframe that closes in [from, to) with its values, whether something fires or not."""
    runner = Runner(program)
    merged = sorted(
        (bar for frame_ms in program.frames for bar in frames[frame_ms].slice(None, to_ms).bars()),
        key=lambda bar: (bar.close_ms, -bar.interval_ms),
    )
    for bar in merged:
        if bar.close_ms >= to_ms:
            return
        asked = bar.interval_ms == program.interval_ms and bar.close_ms >= from_ms
        result = runner.feed(bar, force=asked)
        if asked and result is not None:
            yield bar, *result
