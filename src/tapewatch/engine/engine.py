"""`Engine.process(event) -> effects`: the whole program in one function.

No I/O, no clock, no randomness, no mode: live, research, replay and demo differ in who feeds events and who carries out
effects.
"""

from __future__ import annotations

import copy
import hashlib
import traceback
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from tapewatch.bars import Saved
from tapewatch.engine.held import Held
from tapewatch.engine.series import Frame, Runner, Series
from tapewatch.engine.windows import programs_of
from tapewatch.errors import SetupError
from tapewatch.gate import Gate, GateSettings
from tapewatch.model import (
    INTERVAL_NAMES,
    MINUTE_MS,
    Alert,
    Bar,
    BarClosed,
    BarDone,
    BarIgnored,
    Boundary,
    Context,
    Correction,
    Effect,
    Event,
    FetchContext,
    Funding,
    Judged,
    LastPassed,
    Listing,
    Mute,
    Signal,
    Standing,
    StepFailed,
    Universe,
    alert_id,
)
from tapewatch.paper.book import Book, BookMemory
from tapewatch.paper.settings import PaperSettings
from tapewatch.strategy import Strategy, make_signal


class Engine:
    """Bars, strategies and the gate of one venue.

    With a strategy that has a `budget`, no bar is done before the `Boundary` of its close has come. Where the gate asks
    for quotes, a bar with candidates is done when their `Context` has come; whoever carries out `FetchContext` must
    answer each, if only with what is not known.

    Args:
        venue: goes into every id.
        strategies: what is looked for.
        gate: the gate's settings.
        passed: what the gate of an earlier run remembered.
        base_ms: the interval of the bars that come in; larger ones are built from it.
        paper: what becomes of signals that pass; None keeps no paper book.
        memory: what the paper book of an earlier run remembered.

    Raises:
        SetupError: a strategy needs bars that cannot be built.
        DataError: the memory is none.
    """

    def __init__(
        self,
        venue: str,
        strategies: Iterable[Strategy],
        gate: GateSettings | None = None,
        passed: Iterable[LastPassed] = (),
        base_ms: int = MINUTE_MS,
        paper: PaperSettings | None = None,
        memory: BookMemory | None = None,
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
        #: Who is decided first matters there, and in a paper account.
        self._ranks = self._waits or paper is not None
        self._held: list[Held] = []
        self._boundary_ms = 0
        self._failures: frozenset[tuple[str, str, str, int, int]] = frozenset()
        self._paper = paper
        self._book = self._new_book(memory)

    def _new_book(self, memory: BookMemory | None) -> Book | None:
        if self._paper is None:
            return None
        book = Book(self._paper, self._gate.settings.late_after_ms)
        if memory is not None:
            book.remember(memory)
        return book

    def renewed(self, passed: Iterable[LastPassed] = (), memory: BookMemory | None = None) -> Engine:
        """A fresh engine of the same make; what was compiled is shared. Raises DataError where the memory is none."""
        other = copy.copy(self)
        other._book = self._new_book(memory)  # noqa: SLF001  (its own class)
        other._gate, other._series = Gate(self._gate.settings, passed), {}  # noqa: SLF001  (its own class)
        other._held, other._boundary_ms, other._failures = [], 0, frozenset()  # noqa: SLF001
        return other

    def process(self, event: Event) -> list[Effect]:
        """What follows from one event, in order. The same events give the same effects, to the last bit."""
        book = self._book
        if book is None:
            return self._react(event)
        effects = self._react(event)
        for judged in [effect for effect in effects if type(effect) is Judged and effect.state == "passed"]:
            signal = judged.signal
            series, limit = self._series.get(signal.symbol), self._strategies[signal.strategy].time_limit
            rank = series.rank() if series is not None else (0.0, signal.symbol)
            effects += book.want(judged, rank, limit)
        effects += book.end(self._boundary_ms)
        return effects

    def _react(self, event: Event) -> list[Effect]:
        match event:
            case Boundary(close_ms=close_ms):
                self._boundary_ms = max(self._boundary_ms, close_ms)
                return list(self._decide_due())
            case Context():
                return list(self._with_context(event))
            case Mute(target=target, until_ms=until_ms):
                self._gate.mute(target, until_ms)
                return []
            case Universe():
                self._take_universe(event)
                return [] if self._book is None else self._book.on_universe(event)
            case Correction():
                return [event]
            case Funding():
                return [] if self._book is None else self._book.on_funding(event)
        return list(self._take_bar(event.bar, event.recv_ms if isinstance(event, BarClosed) else None))

    @property
    def asking(self) -> list[FetchContext]:
        """The quotes that bars wait for, to be asked for again after a restart."""
        return [FetchContext(held.bar.symbol, held.bar.close_ms) for held in self._held if held.asking]

    def positions(self) -> dict[str, int]:
        """Symbol -> open of its last base bar, for every symbol with history."""
        last = {symbol: series.frames[self._base_ms].last_open_ms for symbol, series in self._series.items()}
        return {symbol: open_ms for symbol, open_ms in last.items() if open_ms >= 0}

    def unfinished(self) -> list[str]:
        """Symbols whose first windows may not be whole: no bar has come yet that was to be decided on."""
        return [symbol for symbol, series in self._series.items() if not series.live]

    @property
    def fingerprint(self) -> str:
        """Of everything that says what events lead to: engines with the same one can take over from each other."""
        made: list[Any] = [self.venue, self._base_ms, self._gate.settings, list(self._strategies.values())]
        if self._paper is not None:
            made.append(self._paper)
        for program in self._programs:
            initial = [[slot for slot in step.initial if isinstance(slot, float | int)] for step in program.steps]
            made.append([program.timeframe, [step.code for step in program.steps], repr(initial)])
        return hashlib.blake2b(msgspec.json.encode(made), digest_size=16).hexdigest()

    def expect(self, failures: Iterable[tuple[str, str, str, int, int]]) -> None:
        """Let these steps fail, by `StepFailed.key`: they did when the events came first."""
        self._failures = frozenset(failures)

    # For `engine.state`.

    def symbols(self) -> list[str]:
        """Symbols that have state."""
        return list(self._series)

    def standings(self) -> list[Standing]:
        """How liquid symbols are, as it was told last."""
        return self._gate.standings

    def listings(self) -> list[Listing]:
        """In which pieces symbols are traded, as the paper book was told last."""
        return [] if self._book is None else self._book.listings

    def traded(self) -> list[str]:
        """Symbols with a paper position, or an entry that waits."""
        return [] if self._book is None else self._book.symbols

    def open_since(self) -> dict[str, int]:
        """Symbol -> when the oldest of its open paper positions was entered."""
        return {} if self._book is None else self._book.open_since

    def saved_series(self, symbol: str) -> Saved:
        """One symbol's state."""
        return self._series[symbol].saved()

    def restore_series(self, symbol: str, saved: Saved) -> None:
        """Give a symbol its state again. Raises ValueError where that is of other strategies."""
        series = self._new_series(symbol)
        series.restore(saved)
        self._series[symbol] = series

    def saved(self) -> Saved:
        """The state that is no symbol's own."""
        book = None if self._book is None else self._book.saved()
        return [self._boundary_ms, self._gate.saved(), [held.saved() for held in self._held], book]

    def restore(self, saved: Saved) -> None:
        """Become what was saved; the symbols come apart."""
        self._boundary_ms, gate, held, book = saved
        if (book is None) != (self._book is None):
            raise ValueError("the state is of an engine with another paper book")
        if self._book is not None:
            self._book.restore(book)
        self._gate.restore(gate)
        self._held = [Held.restored(one) for one in held]

    def _take_universe(self, event: Universe) -> None:
        for standing in event.standings:
            self._gate.stand(standing)
        for symbol in event.anew:
            self._series.pop(symbol, None)
        for symbol in event.gone:
            self._series.pop(symbol, None)
            self._gate.forget(symbol)

    def _take_bar(self, bar: Bar, recv_ms: int | None) -> Iterator[Effect]:
        series = self._series.get(bar.symbol)
        if series is None:
            series = self._series[bar.symbol] = self._new_series(bar.symbol)
            series.start(bar.open_ms)
        if bar.interval_ms != self._base_ms:
            yield from self._advance(series, bar, None)
            return
        if bar.open_ms <= series.frames[self._base_ms].last_open_ms:
            yield BarIgnored(bar.symbol, bar.interval_ms, bar.open_ms)
            return
        if self._ranks:
            series.count_volume(bar)
        if self._book is not None:
            yield from self._book.on_bar(bar, recv_ms)
        series.live = series.live or recv_ms is not None
        for closed in series.closed_by(bar):
            yield from self._advance(series, closed, recv_ms)

    def _new_series(self, symbol: str) -> Series:
        return Series(self._base_ms, [program for program in self._programs if program.strategy.watches(symbol)])

    def _advance(self, series: Series, bar: Bar, recv_ms: int | None) -> Iterator[Effect]:
        frame = series.frames.get(bar.interval_ms)
        if frame is None or not frame.take(bar):
            return
        found: list[Signal] = []
        for runner in frame.runners:
            if self._failures and _failed(runner, bar, "").key in self._failures:
                yield self._fail_again(series, frame, runner, bar)
                continue
            try:
                found += self._signals(series, frame, runner, bar)
            except Exception as error:  # one step that raises must not stop the others (I7)
                yield _failed(runner, bar, _text(error))
        if recv_ms is None:
            return
        asking = bool(found) and self._gate.asks_quotes
        if asking:
            yield FetchContext(bar.symbol, bar.close_ms)
        if asking or (self._waits and bar.close_ms > self._boundary_ms):
            self._held.append(Held(series.rank(), bar, recv_ms, found, asking))
        else:
            yield from self._decide(found, bar, recv_ms)

    def _fail_again(self, series: Series, frame: Frame, runner: Runner, bar: Bar) -> StepFailed:
        """A step that failed when its bar came first: it leaves behind what it did then."""
        before = runner.saved()
        try:
            self._signals(series, frame, runner, bar)
        except Exception as error:
            return _failed(runner, bar, _text(error))
        runner.restore(before)
        return _failed(runner, bar, "it had failed when this bar came first")

    def _with_context(self, context: Context) -> Iterator[Effect]:
        """Quotes came: decide what waited for nothing else."""
        for held in self._held:
            if (held.bar.symbol, held.bar.close_ms) == (context.symbol, context.close_ms):
                held.asking, held.context = False, context
        yield from self._decide_due()

    def _decide_due(self) -> Iterator[Effect]:
        """Decide what waits for nothing any more: by close, the most traded symbols first.

        Where candidates are counted over symbols, those of one close are decided together or not at all.
        """
        due_ms = min((held.bar.close_ms - 1 for held in self._held if held.asking), default=self._boundary_ms)
        due_ms = min(due_ms, self._boundary_ms)
        due: list[Held] = []
        kept: list[Held] = []
        for held in self._held:
            ready = held.bar.close_ms <= due_ms if self._waits else not held.asking
            (due if ready else kept).append(held)
        self._held = kept
        for held in sorted(due, key=lambda held: (held.bar.close_ms, *held.rank, -held.bar.interval_ms)):
            yield from self._decide(held.found, held.bar, held.recv_ms, held.context)

    def _decide(
        self, found: Sequence[Signal], bar: Bar, recv_ms: int, context: Context | None = None
    ) -> Iterator[Effect]:
        yield from self._judge(found, bar, recv_ms, context)
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

    def _judge(self, found: Sequence[Signal], bar: Bar, recv_ms: int, context: Context | None) -> Iterator[Effect]:
        """Verdicts for every candidate of a bar, and the one alert that those which passed share."""
        passed: list[Signal] = []
        late = False
        for signal in sorted(found, key=lambda item: (item.strategy, item.side)):
            strategy = self._strategies[signal.strategy]
            judgement = self._gate.judge(signal, strategy, recv_ms, context)
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


def _text(error: Exception) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} (line {where.lineno} of {where.name})"


def _failed(runner: Runner, bar: Bar, error: str) -> StepFailed:
    program = runner.program
    return StepFailed(program.strategy.name, bar, error, runner.state_of(bar.interval_ms), program.timeframe)
