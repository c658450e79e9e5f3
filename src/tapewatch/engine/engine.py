"""`Engine.process(event) -> effects`: the whole program in one function.

No I/O, no clock, no randomness, no mode: live, research, replay and demo differ in who feeds events and who carries out
effects.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from tapewatch.engine.series import Frame, Runner, Series
from tapewatch.errors import SetupError
from tapewatch.gate import Gate, GateSettings
from tapewatch.model import (
    INTERVAL_NAMES,
    INTERVALS_MS,
    MINUTE_MS,
    Alert,
    Bar,
    BarClosed,
    BarDone,
    BarIgnored,
    Boundary,
    Effect,
    Event,
    Judged,
    LastPassed,
    Mute,
    Signal,
    StepFailed,
    alert_id,
)
from tapewatch.strategy import Program, Strategy, compile_program, make_signal


@dataclass(frozen=True)
class Held:
    """A bar whose candidates wait for the boundary."""

    rank: tuple[float, str]
    bar: Bar
    recv_ms: int
    found: list[Signal]


class Engine:
    """Bars, strategies and the gate of one venue.

    With a strategy that has a `budget`, no bar is done before the `Boundary` of its close has come.

    Args:
        venue: goes into every id.
        strategies: what is looked for.
        gate: the gate's settings.
        passed: what the gate of an earlier run remembered.
        base_ms: the interval of the bars that come in; larger ones are built from it.
    """

    def __init__(
        self,
        venue: str,
        strategies: Iterable[Strategy],
        gate: GateSettings | None = None,
        passed: Iterable[LastPassed] = (),
        base_ms: int = MINUTE_MS,
    ) -> None:
        self.venue = venue
        self._strategies = {strategy.name: strategy for strategy in strategies}
        self._programs = programs_of(self._strategies.values())
        for program in self._programs:
            for frame_ms in program.frames:
                if frame_ms % base_ms:
                    raise SetupError(
                        f"{program.strategy.name}: {INTERVAL_NAMES[frame_ms]} is not a multiple of the bars"
                    )
        self._gate = Gate(gate or GateSettings(), passed)
        self._base_ms = base_ms
        self._series: dict[str, Series] = {}
        #: Where a check counts over symbols, the candidates of a close are decided together, at its `Boundary`.
        self._waits = any(strategy.budget is not None for strategy in self._strategies.values())
        self._held: list[Held] = []
        self._boundary_ms = 0

    def process(self, event: Event) -> list[Effect]:
        """What follows from one event, in order. The same events give the same effects, to the last bit."""
        if isinstance(event, Boundary):
            return list(self._at_boundary(event.close_ms))
        if isinstance(event, Mute):
            self._gate.mute(event.target, event.until_ms)
            return []
        bar = event.bar
        recv_ms = event.recv_ms if isinstance(event, BarClosed) else None
        series = self._series.get(bar.symbol)
        if series is None:
            watching = [program for program in self._programs if program.strategy.watches(bar.symbol)]
            series = self._series[bar.symbol] = Series(self._base_ms, watching)
            series.start(bar.open_ms)
        if bar.interval_ms != self._base_ms:
            return list(self._advance(series, bar, None))
        if bar.open_ms <= series.frames[self._base_ms].last_open_ms:
            return [BarIgnored(bar.symbol, bar.interval_ms, bar.open_ms)]
        if self._waits:
            series.count_volume(bar)
        return [effect for closed in series.closed_by(bar) for effect in self._advance(series, closed, recv_ms)]

    def _advance(self, series: Series, bar: Bar, recv_ms: int | None) -> Iterator[Effect]:
        frame = series.frames.get(bar.interval_ms)
        if frame is None or not frame.take(bar):
            return
        found: list[Signal] = []
        for runner in frame.runners:
            try:
                found += self._signals(series, frame, runner, bar)
            except Exception as error:  # one step that raises must not stop the others (I7)
                yield _failed(runner, bar, error)
        if recv_ms is None:
            return
        if self._waits and bar.close_ms > self._boundary_ms:
            self._held.append(Held(series.rank(), bar, recv_ms, found))
        else:
            yield from self._decide(found, bar, recv_ms)

    def _at_boundary(self, close_ms: int) -> Iterator[Effect]:
        """Decide what waited for this boundary: the most traded symbols first."""
        self._boundary_ms = max(self._boundary_ms, close_ms)
        due = [held for held in self._held if held.bar.close_ms <= close_ms]
        self._held = [held for held in self._held if held.bar.close_ms > close_ms]
        for held in sorted(due, key=lambda held: (held.bar.close_ms, *held.rank, -held.bar.interval_ms)):
            yield from self._decide(held.found, held.bar, held.recv_ms)

    def _decide(self, found: Sequence[Signal], bar: Bar, recv_ms: int) -> Iterator[Effect]:
        yield from self._judge(found, bar, recv_ms)
        yield BarDone(bar.symbol, bar.interval_ms, bar.open_ms)

    def _signals(self, series: Series, frame: Frame, runner: Runner, bar: Bar) -> list[Signal]:
        result = runner.feed(bar)
        if result is None:
            return []
        fired, evidence = result
        program = runner.program
        settled = all(series.frames[frame_ms].count > program.settled_at[frame_ms] for frame_ms in program.frames)
        return [
            make_signal(evidence, plan, self.venue, bar, settled=settled, history_start_ms=frame.start_ms)
            for plan, fires in zip(program.sides, fired, strict=True)
            if fires
        ]

    def _judge(self, found: Sequence[Signal], bar: Bar, recv_ms: int) -> Iterator[Effect]:
        """Verdicts for every candidate of a bar, and the one alert that those which passed share."""
        passed: list[Signal] = []
        late = False
        for signal in sorted(found, key=lambda item: (item.strategy, item.side)):
            strategy = self._strategies[signal.strategy]
            judgement = self._gate.judge(signal, strategy, recv_ms)
            judged = msgspec.structs.replace(signal, verdicts=judgement.verdicts)
            late = judgement.late
            identity = None
            if judgement.passed:
                identity = alert_id(self.venue, bar.symbol, signal.timeframe, bar.close_ms)
                passed.append(judged)
                yield self._gate.remember(signal, strategy)
            yield Judged(judged, "passed" if judgement.passed else "blocked", judgement.late, recv_ms, identity)
        if passed:
            first = passed[0]
            identity = alert_id(self.venue, bar.symbol, first.timeframe, bar.close_ms)
            yield Alert(identity, tuple(passed), late, recv_ms)


def _failed(runner: Runner, bar: Bar, error: Exception) -> StepFailed:
    where = traceback.extract_tb(error.__traceback__)[-1]
    text = f"{type(error).__name__}: {error} (line {where.lineno} of {where.name})"
    return StepFailed(runner.program.strategy.name, bar, text, runner.state_of(bar.interval_ms))


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


def candidates(venue: str, strategy: Strategy, bars: Iterable[Bar], base: str = "1m") -> list[Signal]:
    """Every candidate of a strategy on these base bars, interpreted, as if each bar came the moment it closed.

    Bars in order of time; several symbols may alternate. Verdicts are those of the gate with its default settings.
    """
    engine = Engine(venue, [strategy], base_ms=INTERVALS_MS[base])
    found = []
    for event in _with_boundaries(bars):
        for effect in engine.process(event):
            if isinstance(effect, Judged):
                found.append(effect.signal)
            elif isinstance(effect, StepFailed):
                raise RuntimeError(f"{effect.strategy} on {effect.bar}: {effect.error}")
    return found


def _with_boundaries(bars: Iterable[Bar]) -> Iterator[Event]:
    close_ms = 0
    for bar in bars:
        if bar.close_ms > close_ms:
            yield Boundary(close_ms)
            close_ms = bar.close_ms
        yield BarClosed(bar, bar.close_ms)
    yield Boundary(close_ms)
