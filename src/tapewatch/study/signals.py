"""Candidates over stored candles: what `run` would have found, with the verdicts that can be known offline."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tapewatch.archive.candles import Candles
from tapewatch.archive.reader import series
from tapewatch.engine import programs_of, start_of, windows_of
from tapewatch.gate import Gate, GateSettings
from tapewatch.model import INTERVAL_NAMES, INTERVALS_MS, Signal
from tapewatch.strategy import Program, Strategy, make_signal
from tapewatch.study.evaluate import Evaluator, evaluate


@dataclass(frozen=True)
class Request:
    """What to look through.

    Attributes:
        root, venue: the archive.
        symbols: which symbols.
        intervals: strategy timeframes to print; empty for all of the strategy's.
        from_ms, to_ms: on `close_ms`, as [from, to); None leaves an end open.
        starts: interval -> where its series starts. Key 0: where the evaluated timeframe's starts; the other intervals
            then start where a live run would have started them.
    """

    root: Path
    venue: str
    symbols: Sequence[str]
    intervals: Sequence[str] = ()
    from_ms: int | None = None
    to_ms: int | None = None
    starts: Mapping[int, int] = field(default_factory=dict)


def find(
    strategy: Strategy,
    request: Request,
    evaluator: Evaluator = "auto",
    progress: Callable[[], None] = lambda: None,
) -> Iterator[Signal]:
    """Every candidate, ordered by (close_ms, symbol, strategy, timeframe, side).

    `progress` is called after each symbol.

    Raises:
        SetupError: the archive does not hold what is needed.
        StrategyError: the strategy has no such timeframe.
    """
    wanted = [
        program
        for program in programs_of([strategy])
        if program.timeframe in (request.intervals or strategy.timeframes)
    ]
    asked = {program.timeframe for program in wanted}
    # The cooldown is counted over all timeframes of a strategy, so its verdicts need the candidates of all.
    programs = programs_of([strategy]) if strategy.cooldown_ms else wanted
    found = []
    for symbol in request.symbols:
        found.append(_of_symbol(strategy, programs, symbol, request, evaluator))
        progress()
    for signal in heapq.merge(*found, key=_order):
        in_time = (request.from_ms is None or signal.close_ms >= request.from_ms) and (
            request.to_ms is None or signal.close_ms < request.to_ms
        )
        if signal.timeframe in asked and in_time:
            yield signal


def _order(signal: Signal) -> tuple[int, str, str, str, str]:
    return signal.close_ms, signal.symbol, signal.strategy, signal.timeframe, signal.side


def _of_symbol(
    strategy: Strategy, programs: Iterable[Program], symbol: str, request: Request, evaluator: Evaluator
) -> list[Signal]:
    """One symbol's candidates with verdicts, in the order in which a live run decides them."""
    found: list[Signal] = []
    for program in programs:
        found += _of_program(program, _frames(strategy, program, symbol, request), request.venue, evaluator)
    gate = Gate(GateSettings())
    judged = []
    for signal in sorted(found, key=lambda item: (item.close_ms, -INTERVALS_MS[item.timeframe], item.side)):
        judgement = gate.judge(signal, strategy, signal.close_ms)
        if judgement.passed:
            gate.remember(signal, strategy)
        judged.append(msgspec.structs.replace(signal, verdicts=judgement.verdicts))
    return sorted(judged, key=_order)


def _frames(strategy: Strategy, program: Program, symbol: str, request: Request) -> dict[int, Candles]:
    starts = dict(request.starts)
    if 0 in starts:
        own_ms = starts.pop(0)
        windows = windows_of([strategy])
        anchor_ms = own_ms + windows[program.interval_ms] * program.interval_ms
        starts = {frame: start_of(anchor_ms, frame, windows[frame]) for frame in program.frames} | {
            program.interval_ms: own_ms
        }
    frames = {}
    for frame_ms in program.frames:
        candles = series(request.root, request.venue, symbol, INTERVAL_NAMES[frame_ms])
        frames[frame_ms] = candles.slice(starts.get(frame_ms), None)
    return frames


def _of_program(program: Program, frames: Mapping[int, Candles], venue: str, evaluator: Evaluator) -> Iterator[Signal]:
    if not len(frames[program.interval_ms]):
        return
    settled_from = max(
        int(candles.open_ms[program.settled_at[frame_ms]]) + candles.interval_ms
        if len(candles) > program.settled_at[frame_ms]
        else 2**63
        for frame_ms, candles in frames.items()
    )
    start_ms = int(frames[program.interval_ms].open_ms[0])
    for hit in evaluate(program, frames, evaluator):
        settled = hit.bar.close_ms >= settled_from
        for plan, fires in zip(program.sides, hit.fired, strict=True):
            if fires:
                yield make_signal(hit.evidence, plan, venue, hit.bar, settled=settled, history_start_ms=start_ms)
