"""`Engine.process(event) -> effects`: the whole program in one function.

No I/O, no clock, no randomness, no mode: live, research, replay and demo differ in who feeds events and who carries out
effects.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tapewatch.bars import Saved
from tapewatch.engine.fingerprint import fingerprint_of
from tapewatch.engine.glance import Glance, glance
from tapewatch.engine.held import Held, Queue
from tapewatch.engine.market import Market
from tapewatch.engine.memory import Memory
from tapewatch.engine.rings import Prices
from tapewatch.engine.rulings import Ruling, effects_of, listed, ruled
from tapewatch.engine.scorers import Scorers, Scoring
from tapewatch.engine.series import Frame, Runner, Series
from tapewatch.engine.settings import MarketSettings
from tapewatch.engine.windows import programs_of
from tapewatch.errors import SetupError
from tapewatch.gate import Gate, GateSettings
from tapewatch.model import (
    INTERVAL_NAMES,
    MINUTE_MS,
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
    Heard,
    Judged,
    LastPassed,
    Listing,
    Mute,
    Outcome,
    Passed,
    Rest,
    Signal,
    Standing,
    StepFailed,
    Universe,
)
from tapewatch.outcomes import Outcomes, OutcomeSettings
from tapewatch.paper.book import Book
from tapewatch.paper.settings import TradingSettings
from tapewatch.strategy import Strategy, make_signal


class Engine:
    """Bars, strategies and the gate of one venue.

    With a strategy that has a `budget`, no bar is done before the `Boundary` of its close has come. Where the gate asks
    for quotes, a bar with candidates is done when their `Context` has come; whoever carries out `FetchContext` must
    answer each, if only with what is not known.

    Args:
        venue: goes into every id.
        strategies: what is looked for; with none, a paper book hears of signals by `Passed`.
        gate: the gate's settings.
        passed: what the gate of an earlier run remembered.
        base_ms: the interval of the bars that come in; larger ones are built from it.
        paper: what signals that pass are traded with on paper; None keeps no paper book.
        memory: what is known of an earlier run.
        market: what is known of the market around signals; None is nothing.
        outcomes: how it is measured what becomes of signals; None follows none, and knows of no stop for a cooldown.
        scorings: models that score signals.

    Raises:
        SetupError: a strategy needs bars that cannot be built, or a model does not fit its strategy.
        DataError: the memory is none.
    """

    def __init__(
        self,
        venue: str,
        strategies: Iterable[Strategy],
        gate: GateSettings | None = None,
        passed: Iterable[LastPassed] = (),
        base_ms: int = MINUTE_MS,
        paper: TradingSettings | None = None,
        memory: Memory | None = None,
        market: MarketSettings | None = None,
        outcomes: OutcomeSettings | None = None,
        scorings: Sequence[Scoring] = (),
    ) -> None:
        self.venue = venue
        self._strategies = {strategy.name: strategy for strategy in strategies}
        self.programs = programs_of(self._strategies.values())
        for program in self.programs:
            for frame_ms in program.frames:
                if frame_ms % base_ms:
                    raise SetupError(
                        f"{program.strategy.name}: {INTERVAL_NAMES[frame_ms]} is not a multiple of the bars"
                    )
        self._scorers, self._scorings = Scorers(scorings, self.programs), scorings
        self._base_ms = base_ms
        self._wanted = market or MarketSettings()
        #: Where a check looks at other symbols, the candidates of a close are decided together, at its `Boundary`.
        budgets = any(strategy.budget is not None for strategy in self._strategies.values())
        self._together = budgets or self._wanted.correlated is not None
        #: Who is decided first matters there, and in a paper account.
        self._ranks = self._together or paper is not None
        self._paper, self._measure = paper, outcomes
        self._begin(gate or GateSettings(), list(passed), memory or Memory())

    def _begin(self, gate: GateSettings, passed: Sequence[LastPassed], memory: Memory) -> None:
        """Begin with what an earlier run remembered, and nothing else."""
        self._gate = Gate(gate, passed, memory.stopped)
        self._series: dict[str, Series] = {}
        self._market = Market(self._wanted, self._series, passed)
        self._held = Queue(together=self._together)
        self._boundary_ms = 0
        self._failures: frozenset[tuple[str, str, str, int, int]] = frozenset()
        self._book = None if self._paper is None else Book(self._paper, gate.late_after_ms)
        if self._book is not None and memory.saved is not None:
            self._book.remember(memory.saved)
        self._outcomes = Outcomes(self._measure, gate.late_after_ms, memory.followed)

    def renewed(self, passed: Iterable[LastPassed] = (), memory: Memory | None = None) -> Engine:
        """A fresh engine of the same make; what was compiled is shared. Raises DataError where the memory is none."""
        other = copy.copy(self)
        other._begin(self._gate.settings, list(passed), memory or Memory())  # noqa: SLF001  (its own class)
        return other

    def process(self, event: Event) -> list[Effect]:
        """What follows from one event, in order. The same events give the same effects, to the last bit."""
        effects = self._react(event)
        effects += self._outcomes.decided(effects)
        for one in effects:
            if type(one) is Outcome and one.state == "passed" and one.result == "stop":
                self._gate.stopped(Rest(one.symbol, one.strategy, one.close_ms, one.ms + self._base_ms))
        if (book := self._book) is None:
            return effects
        for judged in [effect for effect in effects if type(effect) is Judged and effect.state == "passed"]:
            signal = judged.signal
            effects += book.want(judged, self._rank(signal.symbol), self._strategies[signal.strategy].time_limit)
        behind_ms = 0 if self.programs else self._base_ms  # another process may be, but hardly by a whole bar
        effects += book.end(self._boundary_ms, self._held.settled_ms(self._boundary_ms) - behind_ms)
        return effects

    def _rank(self, symbol: str) -> tuple[float, str]:
        series = self._series.get(symbol)
        return (0.0, symbol) if series is None else series.rank()

    def _react(self, event: Event) -> list[Effect]:
        match event:
            case Boundary(close_ms=close_ms):
                self._boundary_ms = max(self._boundary_ms, close_ms)
                return list(self._decide(self._held.due(self._boundary_ms)))
            case Context():
                answered = self._held.answered(event)
                return list(self._decide(answered or self._held.due(self._boundary_ms)))
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
            case Heard():
                return [] if self._book is None else self._book.skip(event.number)
            case Passed():
                rank = self._rank(event.judged.signal.symbol)
                return [] if self._book is None else self._book.hear(event, rank)
        return list(self._take_bar(event.bar, event.recv_ms if isinstance(event, BarClosed) else None))

    @property
    def asking(self) -> list[FetchContext]:
        """The quotes that bars wait for, to be asked for again after a restart."""
        return self._held.asking

    def positions(self) -> dict[str, int]:
        """Symbol -> open of its last base bar, for every symbol with history."""
        last = {symbol: series.frames[self._base_ms].last_open_ms for symbol, series in self._series.items()}
        return {symbol: open_ms for symbol, open_ms in last.items() if open_ms >= 0}

    def glance(self, symbol: str, at_ms: int) -> Glance | None:
        """What is known of a symbol's market at a moment; nothing changes by that."""
        return glance(symbol, self._series, self._market, at_ms)

    def unfinished(self) -> list[str]:
        """Symbols whose first windows may not be whole: no bar has come yet that was to be decided on."""
        return [symbol for symbol, series in self._series.items() if not series.live]

    @property
    def fingerprint(self) -> str:
        """Of everything that says what events lead to: engines with the same one can take over from each other."""
        made: list[Any] = [self.venue, self._base_ms, self._gate.settings, list(self._strategies.values())]
        made += [one for one in (self._paper, self._measure) if one is not None]
        made += [one.written() for one in self._scorings]
        return fingerprint_of(made, self._wanted, self.programs)

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

    def heard(self) -> int:
        """The number of the last signal that another process has passed on; -1 where there is none such."""
        return -1 if self._book is None else self._book.heard

    def followed(self) -> dict[str, int]:
        """Symbol -> signals and random entries whose end is not known yet."""
        return self._outcomes.counts

    def saved_series(self, symbol: str) -> Saved:
        """One symbol's state."""
        return self._series[symbol].saved()

    def restore_series(self, symbol: str, saved: Saved) -> None:
        """Give a symbol its state again. Raises ValueError where that is of other strategies."""
        series = self._new_series(symbol)
        series.restore(saved)
        self._series[symbol] = series
        series.counts = self._market.watch(symbol) or self._ranks

    def saved(self) -> Saved:
        """The state that is no symbol's own."""
        book = None if self._book is None else self._book.saved()
        parts = self._held.saved(), book, self._market.saved(), self._outcomes.saved()
        return [self._boundary_ms, self._gate.saved(), *parts]

    def restore(self, saved: Saved) -> None:
        """Become what was saved; the symbols come apart."""
        self._boundary_ms, gate, held, book, market, followed = saved
        if (book is None) != (self._book is None):
            raise ValueError("the state is of an engine with another paper book")
        if self._book is not None:
            self._book.restore(book)
        self._outcomes.restore(followed)
        self._gate.restore(gate)
        self._held.restore(held)
        self._market.restore(market)

    def _take_universe(self, event: Universe) -> None:
        for standing in event.standings:
            self._gate.stand(standing)
        for symbol in (*event.anew, *event.gone):
            self._series.pop(symbol, None)
            self._market.forget(symbol)
        for symbol in event.gone:
            self._gate.forget(symbol)
            self._outcomes.forget(symbol)

    def _take_bar(self, bar: Bar, recv_ms: int | None) -> Iterator[Effect]:
        series = self._series.get(bar.symbol)
        if series is None:
            series = self._series[bar.symbol] = self._new_series(bar.symbol)
            series.start(bar.open_ms)
            series.counts = self._market.watch(bar.symbol) or self._ranks
        if bar.interval_ms != self._base_ms:
            yield from self._advance(series, bar, None)
            return
        last_ms = series.frames[self._base_ms].last_open_ms
        if bar.open_ms <= last_ms:
            yield BarIgnored(bar.symbol, bar.interval_ms, bar.open_ms)
            return
        if last_ms < 0:
            self._outcomes.begin(bar.symbol, bar.open_ms)
        if series.counts:
            series.count_volume(bar)
        if series.closes is not None:
            self._market.closed(bar.symbol, series.closes.take(bar))
        if self._book is not None:
            yield from self._book.on_bar(bar, recv_ms)
        series.live = series.live or recv_ms is not None
        for closed in series.closed_by(bar):
            yield from self._advance(series, closed, recv_ms)
        # Last: where a hole was, this bar may be the first after a larger one's close.
        yield from self._outcomes.on_bar(bar, recv_ms)

    def _new_series(self, symbol: str) -> Series:
        watching = [program for program in self.programs if program.strategy.watches(symbol)]
        return Series(self._base_ms, watching, self._wanted, drawing=None if self._measure is None else symbol)

    def _advance(self, series: Series, bar: Bar, recv_ms: int | None) -> Iterator[Effect]:
        frame = series.frames.get(bar.interval_ms)
        if frame is None or not frame.take(bar):
            return
        found: list[Signal] = []
        for runner in frame.runners:
            if self._failures and runner.failed(bar, "").key in self._failures:
                yield self._fail_again(series, frame, runner, bar, recv_ms)
                continue
            try:
                found += self._signals(series, frame, runner, bar, recv_ms)
            except Exception as error:  # one step that raises must not stop the others (I7)
                yield runner.failed(bar, error)
        if recv_ms is None:
            return
        for signal in found:
            self._outcomes.follow(signal, self._strategies[signal.strategy].time_limit)
        waits = self._together and bar.close_ms > self._boundary_ms
        if not found and not waits:
            yield BarDone(bar.symbol, bar.interval_ms, bar.open_ms)
            return
        found = [self._market.found(signal, series, self._strategies[signal.strategy]) for signal in found]
        held = Held(series.rank(), bar, recv_ms, found, frame.count, self._asks(found, bar, recv_ms))
        if held.asking or waits:
            yield from self._held.add(held)
        else:
            yield from self._decide([held])

    def _asks(self, found: Sequence[Signal], bar: Bar, recv_ms: int) -> bool:
        """Whether the exchange is asked about candidates: not for what is blocked anyhow, nor long after the close."""
        if not found or not (self._gate.asks_quotes or self._wanted.asks) or self._gate.late(bar.close_ms, recv_ms):
            return False
        return any(self._gate.open(signal, self._strategies[signal.strategy], recv_ms) for signal in found)

    def _fail_again(self, series: Series, frame: Frame, runner: Runner, bar: Bar, recv_ms: int | None) -> StepFailed:
        """A step that failed when its bar came first: it leaves behind what it did then."""
        before = runner.saved()
        try:
            self._signals(series, frame, runner, bar, recv_ms)
        except Exception as error:
            return runner.failed(bar, error)
        runner.restore(before)
        return runner.failed(bar, "it had failed when this bar came first")

    def _decide(self, due: Sequence[Held]) -> Iterator[Effect]:
        """Verdicts for the candidates of bars in their order, and the alerts of those that passed."""
        rulings = [self._ruled(held) for held in due]
        movers = listed((one for of_bar in rulings for one in of_bar), self._market)
        for held, of_bar in zip(due, rulings, strict=True):
            candles = self._candles(held) if any(ruling.last is not None for ruling in of_bar) else ()
            yield from effects_of(self.venue, held, of_bar, movers, candles)
            yield BarDone(held.bar.symbol, held.bar.interval_ms, held.bar.open_ms)

    def _candles(self, held: Held) -> tuple[Prices, ...]:
        """The chart up to a bar; empty where its series has started anew meanwhile."""
        series = self._series.get(held.bar.symbol)
        frame = series.frames.get(held.bar.interval_ms) if series is not None else None
        if frame is None or frame.chart is None or frame.start_ms != held.found[0].history_start_ms:
            return ()
        return frame.chart.until(held.count)

    def _ruled(self, held: Held) -> list[Ruling]:
        rulings: list[Ruling] = []
        for signal in sorted(held.found, key=lambda item: (item.strategy, item.side)):
            strategy = self._strategies[signal.strategy]
            rulings.append(ruled(signal, held, strategy, self._gate, self._market, self._scorers))
            last = rulings[-1].last
            if last is not None:
                self._market.passed(last)
                stop_ms = self._outcomes.stop_ms(signal.id)
                if stop_ms is not None:
                    self._gate.stopped(Rest(last.symbol, last.strategy, last.close_ms, stop_ms + self._base_ms))
        return rulings

    def _signals(self, series: Series, frame: Frame, runner: Runner, bar: Bar, recv_ms: int | None) -> list[Signal]:
        drawn = () if recv_ms is None else self._outcomes.drawn(runner.salts, bar.close_ms)
        result = runner.feed(bar, force=bool(drawn))
        if result is None:
            return []
        fired, evidence = result
        program = runner.program
        settled = all(series.frames[frame_ms].count > program.settled_at[frame_ms] for frame_ms in program.frames)
        if drawn and settled:
            self._outcomes.enter(bar, drawn, evidence)
        return [
            make_signal(evidence, plan, self.venue, bar, settled=settled, history_start_ms=frame.start_ms)
            for plan, fires in zip(program.sides, fired, strict=True)
            if fires
        ]
