"""Candidates over stored candles: what `run` would have found, with the verdicts that can be known offline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from tapewatch.archive.candles import Candles, Floats, Times
from tapewatch.archive.reader import intervals_of, inventory, missing, series, span
from tapewatch.engine import start_of, windows_of
from tapewatch.engine.scorers import Scorers, Scoring
from tapewatch.engine.series import HOUR_MS, HOURS
from tapewatch.errors import SetupError
from tapewatch.gate import Gate, GateSettings
from tapewatch.model import INTERVAL_NAMES, INTERVALS_MS, Rest, Signal
from tapewatch.strategy import Program, Strategy, compile_program, make_signal
from tapewatch.study.evaluate import Evaluator, evaluate
from tapewatch.study.touches import Entries, stops_ms
from tapewatch.study.workers import sharing

#: With more symbols than these the columns are worth loading, however short each symbol's history is.
FEW_SYMBOLS = 3
#: After everything.
NEVER_MS = 2**63 - 1


@dataclass(frozen=True)
class Request:
    """What to look through.

    Attributes:
        root, venue: the archive.
        symbols: which symbols.
        intervals: strategy timeframes to print; empty for all of the strategy's.
        from_ms, to_ms: on `close_ms`, as [from, to); None leaves an end open.
        until_ms: candles that close later are left unread, as if they had not happened yet.
        live_ms: what closed before is history, as for a live run that began then: the gate knows nothing of it.
        starts: interval -> where its series starts. Key 0: where the evaluated timeframe's starts; the other intervals
            then start where a live run would have started them.
        scoring: a model of the strategy that is looked for, which the gate asks too.
    """

    root: Path
    venue: str
    symbols: Sequence[str]
    intervals: Sequence[str] = ()
    from_ms: int | None = None
    to_ms: int | None = None
    until_ms: int | None = None
    live_ms: int | None = None
    starts: Mapping[int, int] = field(default_factory=dict)
    scoring: Scoring | None = None

    def decides(self, found: Found) -> bool:
        """Whether the gate is asked about it."""
        return self.live_ms is None or found.signal.close_ms >= self.live_ms

    def closes(self, close_ms: int) -> bool:
        """Whether a bar that closes then is asked for."""
        after = self.from_ms is None or close_ms >= self.from_ms
        return after and (self.to_ms is None or close_ms < self.to_ms)


def find(
    strategy: Strategy,
    request: Request,
    evaluator: Evaluator = "auto",
    progress: Callable[[], None] = lambda: None,
    workers: int = 1,
) -> Iterator[Signal]:
    """Every candidate, ordered by (close_ms, symbol, strategy, timeframe, side).

    Args:
        strategy: what is looked for.
        request: where.
        evaluator: which of the two, if it matters to somebody.
        progress: called after each symbol.
        workers: processes among which the symbols are shared; the result does not depend on it.

    Raises:
        SetupError: the archive does not hold what is needed, or the model does not fit the strategy.
        StrategyError: the strategy has no such timeframe.
    """
    scorers, asked = _scorers(strategy, request), asked_of(strategy, request)
    found = _candidates(strategy, request, evaluator, progress, workers)
    judged = _judged(strategy, found, scorers)
    for signal in sorted((item.signal for item in judged), key=order):
        if signal.timeframe in asked and request.closes(signal.close_ms):
            yield signal


def unlikely(strategy: Strategy, request: Request, evaluator: Evaluator = "auto", workers: int = 1) -> set[str]:
    """The ids of the candidates that the request's model blocks, of all timeframes that count; none without a model.

    Raises:
        SetupError: the archive does not hold what is needed, or the model does not fit the strategy.
    """
    scorers = _scorers(strategy, request)
    if scorers is None:
        return set()
    found = _candidates(strategy, request, evaluator, lambda: None, workers)
    scored = ((one.signal.id, scorers.of(one.signal)) for one in found)
    return {name for name, said in scored if said is not None and not said.passes}


def asked_of(strategy: Strategy, request: Request) -> list[str]:
    """The timeframes of a strategy that are asked for."""
    return [name for name in strategy.timeframes if name in (request.intervals or strategy.timeframes)]


def counted_of(strategy: Strategy, request: Request) -> Sequence[str]:
    """Those whose candidates the verdicts depend on: cooldown and budget are counted over all of a strategy's."""
    return strategy.timeframes if strategy.cooldown_ms or strategy.budget is not None else asked_of(strategy, request)


def evaluator_of(request: Request, evaluator: Evaluator) -> Evaluator:
    """How symbols are looked through: what loading Numba costs is shared by many."""
    return "columns" if evaluator == "auto" and len(request.symbols) > FEW_SYMBOLS else evaluator


@dataclass(frozen=True)
class Found:
    """A candidate.

    Attributes:
        signal: without verdicts, until it has some.
        quote_24h: what its symbol had traded in the 24 hours before: the most traded are decided first.
        stopped_ms: as `Reading.stopped_ms`.
    """

    signal: Signal
    quote_24h: float
    stopped_ms: int


def period(requests: Iterable[Request]) -> tuple[int, int]:
    """What the requests span: where they ask for it, else from the first to the last stored candle.

    Raises:
        SetupError: the archive does not hold a symbol.
    """
    firsts, ends = [], []
    for request in requests:
        inside = [held for held in inventory(request.root) if held.venue == request.venue]
        for symbol in request.symbols:
            held = [stored.interval for stored in inside if stored.symbol == symbol]
            if not held:
                raise missing(request.root, request.venue, symbol, "")
            spans = [span(request.root, request.venue, symbol, interval) for interval in held]
            firsts.append(request.from_ms if request.from_ms is not None else min(first for first, _ in spans))
            ends.append(request.to_ms if request.to_ms is not None else max(last for _, last in spans))
    return min(firsts, default=0), max(ends, default=0)


def order(signal: Signal) -> tuple[int, str, str, str, str]:
    """What signals are sorted by."""
    return signal.close_ms, signal.symbol, signal.strategy, signal.timeframe, signal.side


def _scorers(strategy: Strategy, request: Request) -> Scorers | None:
    if request.scoring is None:
        return None
    return Scorers([request.scoring], [compile_program(strategy, name) for name in strategy.timeframes])


def _candidates(
    strategy: Strategy, request: Request, evaluator: Evaluator, progress: Callable[[], None], workers: int
) -> list[Found]:
    """Those that the gate is asked about, of all timeframes that count, with all that a model of theirs reads."""
    asked, counted = asked_of(strategy, request), counted_of(strategy, request)
    search = Search(strategy, asked, counted, request, evaluator_of(request, evaluator), {})
    found: list[Found] = []
    with sharing(search, request.symbols, workers) as gathered:
        for of_symbol in gathered():
            found += filter(request.decides, of_symbol)
            progress()
    return found if request.scoring is None else _surrounded(strategy, request, found, workers)


def _surrounded(strategy: Strategy, request: Request, found: Sequence[Found], workers: int) -> list[Found]:
    """With what a run would know around them, as far as candles tell: a model may read it."""
    from tapewatch.study.features import surrounded

    timeframes = list(dict.fromkeys(one.signal.timeframe for one in found))
    around = surrounded(
        strategy, replace(request, intervals=timeframes), [one.signal for one in found], workers=workers
    )
    return [replace(one, signal=signal) for one, signal in zip(found, around, strict=True)]


def _judged(strategy: Strategy, found: Iterable[Found], scorers: Scorers | None) -> Iterator[Found]:
    """Candidates with verdicts, decided in the order in which a live run decides them."""
    gate = Gate(GateSettings())

    def turn(item: Found) -> tuple[int, float, str, int, str]:
        signal = item.signal
        return signal.close_ms, -item.quote_24h, signal.symbol, -INTERVALS_MS[signal.timeframe], signal.side

    for item in sorted(found, key=turn):
        scored = None if scorers is None else scorers.of(item.signal)
        judgement = gate.judge(item.signal, strategy, item.signal.close_ms, scored=scored)
        if judgement.passed:
            last = gate.remember(item.signal, strategy)
            gate.stopped(Rest(last.symbol, last.strategy, last.close_ms, item.stopped_ms))
        score = None if scored is None else scored.score
        yield replace(item, signal=msgspec.structs.replace(item.signal, verdicts=judgement.verdicts, score=score))


@dataclass(frozen=True)
class Reading:
    """The candles of symbols and the programs over them.

    Timeframes that only count are left out where they are not stored. `held` has of symbols their smallest candles,
    where they have been read.
    """

    strategy: Strategy
    asked: Sequence[str]
    counted: Sequence[str]
    request: Request
    evaluator: Evaluator
    held: Mapping[str, Candles]

    @cached_property
    def programs(self) -> Mapping[str, Program]:
        """By timeframe."""
        return {timeframe: compile_program(self.strategy, timeframe) for timeframe in self.counted}

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs; it makes the programs and reads the candles itself."""
        return {name: value for name, value in vars(self).items() if name != "programs"} | {"held": {}}

    def each(
        self, symbol: str, stored: dict[int, Candles], read: dict[str, Candles]
    ) -> Iterator[tuple[str, Program, dict[int, Candles]]]:
        """By timeframe, its program and the candles that it reads.

        `stored` gets all of them, whole, and `read` what of the archive they are made of.

        Raises:
            SetupError: the archive does not hold what is asked for.
        """
        smallest = self.held.get(symbol)
        if smallest is not None:
            read[INTERVAL_NAMES[smallest.interval_ms]] = smallest
        for timeframe, program in self.programs.items():
            if smallest is not None and smallest.interval_ms in program.frames:
                stored[smallest.interval_ms] = smallest  # which need not be stored anywhere
            try:
                frames = frames_of(self.strategy, program, symbol, self.request, stored, read)
            except SetupError:
                if timeframe in self.asked:
                    raise
                continue
            yield timeframe, program, frames

    def by_base(
        self, symbol: str, program: Program, read: dict[str, Candles], closes_ms: Times
    ) -> Iterator[tuple[Candles, Any]]:
        """The smallest candles that closes of the program's timeframe can be followed on, and the rows of these closes.

        They are of what the timeframe is made of, as far as it is to be read, and begin no later than what is followed:
        the smallest of an archive may reach less far back. `read` is what `each` has read of the symbol.
        """
        request, left = self.request, np.ones(len(closes_ms), np.bool_)
        held = sorted({*read, *intervals_of(request.root, request.venue, symbol)}, key=INTERVALS_MS.__getitem__)
        for name in held:
            if program.interval_ms % INTERVALS_MS[name] or not left.any():
                continue
            if name not in read:
                read[name] = series(request.root, request.venue, symbol, name)
            until_ms = request.until_ms
            base = read[name].slice(None, None if until_ms is None else until_ms - INTERVALS_MS[name] + 1)
            mine = left & (closes_ms >= base.open_ms[0]) if len(base) else left & False
            if mine.any():
                yield base, np.flatnonzero(mine)
                left &= ~mine

    def entries(self, program: Program, side: Any, closes_ms: Any, levels: tuple[Any, Any, Any]) -> Entries:
        """Entries of the program's timeframe at closes, with its time limit; levels are entry, stop and target."""
        expiry_ms = closes_ms + self.strategy.time_limit * program.interval_ms
        return Entries.of(side, closes_ms, expiry_ms, levels)

    def entries_of(self, program: Program, signals: Sequence[Signal]) -> Entries:
        """Those of signals of the program's timeframe."""
        side = np.array([1 if signal.side == "long" else -1 for signal in signals], np.int64)
        levels = np.array([(one.entry, one.stop, one.targets[0].price) for one in signals]).reshape(-1, 3).T
        closes_ms = np.array([signal.close_ms for signal in signals], np.int64)
        return self.entries(program, side, closes_ms, (levels[0], levels[1], levels[2]))

    def stopped_ms(self, symbol: str, program: Program, read: dict[str, Candles], entries: Entries) -> Any:
        """When the candle closed that touched the stop of each, 0 where none did, or where no cooldown asks."""
        found = np.zeros(len(entries.side), np.int64)
        if self.strategy.cooldown_ms:
            for base, rows in self.by_base(symbol, program, read, entries.close_ms):
                found[rows] = self.stops_of(base, entries.rows(rows))
        return found

    def stops_of(self, candles: Candles, entries: Entries) -> Any:
        """As `touches.stops_ms`."""
        return stops_ms(candles, entries)


class Search(Reading):
    """What is looked for in each symbol: called with one, its candidates without verdicts."""

    def __call__(self, symbol: str) -> list[Found]:
        """Every candidate of a symbol."""
        stored: dict[int, Candles] = {}
        read: dict[str, Candles] = {}
        found: list[Found] = []
        for _, program, frames in self.each(symbol, stored, read):
            signals = list(_of_program(program, frames, self.request.venue, self.evaluator))
            stopped_ms = self.stopped_ms(symbol, program, read, self.entries_of(program, signals))
            found += (Found(signal, 0.0, ms) for signal, ms in zip(signals, stopped_ms.tolist(), strict=True))
        if self.strategy.budget is None or not found:
            return found
        volumes = quotes_24h(stored[min(stored)], np.array([one.signal.close_ms for one in found]))
        return [replace(one, quote_24h=volume) for one, volume in zip(found, volumes.tolist(), strict=True)]


def quotes_24h(candles: Candles, closes_ms: Times) -> Floats:
    """The quote volume of the hour of the last bar and of the 23 hours before, as the engine counts it."""
    quote = np.where(np.isnan(candles.quote_volume), candles.volume * candles.close, candles.quote_volume)
    firsts = np.searchsorted(candles.open_ms, ((closes_ms - 1) // HOUR_MS - HOURS + 1) * HOUR_MS)
    lengths = np.searchsorted(candles.open_ms, closes_ms) - firsts
    totals = np.zeros(len(closes_ms))
    for length in np.unique(lengths[lengths > 0]).tolist():
        mine = lengths == length
        totals[mine] = np.lib.stride_tricks.sliding_window_view(quote, length)[firsts[mine]].sum(axis=1)
    return totals


def frames_of(
    strategy: Strategy,
    program: Program,
    symbol: str,
    request: Request,
    stored: dict[int, Candles],
    read: dict[str, Candles] | None = None,
) -> dict[int, Candles]:
    """The candles of every interval a program reads, from where their series start.

    `stored` keeps them whole, and `read` what of the archive they are made of.
    """
    starts = dict(request.starts)
    if 0 in starts:
        own_ms = starts.pop(0)
        windows = windows_of([strategy])
        anchor_ms = own_ms + windows[program.interval_ms] * program.interval_ms
        starts = {frame: start_of(anchor_ms, frame, windows[frame]) for frame in program.frames} | {
            program.interval_ms: own_ms
        }
    read = {} if read is None else read
    for frame_ms in program.frames:
        if frame_ms not in stored:
            stored[frame_ms] = series(request.root, request.venue, symbol, INTERVAL_NAMES[frame_ms], read)
    frames = {}
    for frame_ms in program.frames:
        end_ms = None if request.until_ms is None else request.until_ms - frame_ms + 1
        frames[frame_ms] = stored[frame_ms].slice(starts.get(frame_ms), end_ms)
    return frames


def settled_from_ms(program: Program, frames: Mapping[int, Candles]) -> int:
    """The first close at which every input is past its settling length."""
    return max(
        int(candles.open_ms[program.settled_at[frame_ms]]) + candles.interval_ms
        if len(candles) > program.settled_at[frame_ms]
        else NEVER_MS
        for frame_ms, candles in frames.items()
    )


def _of_program(program: Program, frames: Mapping[int, Candles], venue: str, evaluator: Evaluator) -> Iterator[Signal]:
    if not len(frames[program.interval_ms]):
        return
    settled_ms = settled_from_ms(program, frames)
    start_ms = int(frames[program.interval_ms].open_ms[0])
    for hit in evaluate(program, frames, evaluator):
        settled = hit.bar.close_ms >= settled_ms
        for plan, fires in zip(program.sides, hit.fired, strict=True):
            if fires:
                yield make_signal(hit.evidence, plan, venue, hit.bar, settled=settled, history_start_ms=start_ms)
