"""A strategy's signals traded on paper over stored candles, with one account for all symbols."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from tapewatch.archive.candles import Candles, Floats
from tapewatch.model import INTERVALS_MS
from tapewatch.paper.account import PAUSES
from tapewatch.paper.instruments import Instrument
from tapewatch.paper.rules import SKIPPED, Terms, stop_ticks, target_ticks
from tapewatch.strategy import Strategy
from tapewatch.study import account, loop
from tapewatch.study.candidates import Found, Search, in_turn, together
from tapewatch.study.desk import Candidates, desk_of
from tapewatch.study.evaluate import Evaluator
from tapewatch.study.ground import Ground
from tapewatch.study.origins import Origins
from tapewatch.study.settings import Account
from tapewatch.study.signals import Request, asked_of, counted_of, evaluator_of, unlikely
from tapewatch.study.trades import Columns, Trade, Trades
from tapewatch.study.workers import sharing
from tapewatch.universe import Rules

#: Bars in positions, at most, up to which the loop runs interpreted: compiling it takes longer, once per machine.
FEW_BARS = 500_000


class Pause(msgspec.Struct, frozen=True):
    """Why, from when and until when a protection let nothing be entered."""

    why: str
    since_ms: int
    until_ms: int


@dataclass(frozen=True)
class Result:
    """What a backtest found.

    Attributes:
        trades: closed ones, by entry, then symbol.
        still_open: positions that the candles end in; equity has them at the last close.
        skipped: reason -> signals that led to no position.
        days_ms, equity: the account at the end of each day, and before the first one.
        bars: base bars looked at.
        gross, fees, funding: of everything booked, open positions included.
        factors: name -> of each trade, what it was at the signal: `met`, `not_met`, `unknown`, empty where the side has
            none of that name.
        pauses: in which a protection let nothing be entered.
        steps_ms, returns: the ends of `Ground.steps_ms`, and what the account won in each, as a share of what it had.
    """

    trades: Sequence[Trade]
    still_open: int
    skipped: dict[str, int]
    days_ms: list[int]
    equity: list[float]
    bars: int
    cash: float
    gross: float
    fees: float
    funding: float
    exposure: float
    factors: Mapping[str, Sequence[str]] = field(default_factory=dict)
    pauses: list[Pause] = field(default_factory=list)
    steps_ms: Sequence[int] = ()
    returns: Floats = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class Plan:
    """A strategy, where it is tried, and with what; `universe` are rules by which symbols are watched day by day.

    A model of the request is asked where the gate is.
    """

    strategy: Strategy
    request: Request
    account: Account
    instruments: Mapping[str, Instrument] = field(default_factory=dict)
    gate: bool = True
    universe: Rules | None = None


class Backtest:
    """A plan with its candles and candidates, to be run under either reading of ambiguous bars.

    Args:
        plan: what is tried.
        progress: called after each symbol.
        workers: processes that look for signals.
        candles: of each symbol the smallest, where they are at hand already; else they are read.
        evaluator: how signals are looked for, if it matters to somebody.

    Attributes:
        reading: how candidates were looked for.
        found: the candidates that are decided on, in turn.
        ground: the candles, and what else of the period does not depend on the strategy.

    Raises:
        SetupError: the archive does not hold what is needed.
    """

    def __init__(
        self,
        plan: Plan,
        progress: Callable[[], None] = lambda: None,
        workers: int = 1,
        candles: Sequence[Candles] | None = None,
        evaluator: Evaluator = "auto",
    ) -> None:
        held, parts = dict[str, Candles](), list[Found]()
        search = search_of(plan, evaluator, held)
        with sharing(search, plan.request.symbols, workers) as gathered:
            ground = Ground.of(plan.request, plan.account, candles)
            held.update(zip(plan.request.symbols, ground.whole, strict=True))
            for part in gathered():
                parts.append(part)
                progress()
        blocked = unlikely(plan.strategy, plan.request, evaluator, workers) if plan.gate else ()
        self._take(plan, ground, search, parts, blocked)

    @classmethod
    def of(cls, plan: Plan, ground: Ground, reading: Search, parts: Sequence[Found]) -> Backtest:
        """Of candles that are at hand and of what was found in each symbol, one of many that are like it."""
        self = cls.__new__(cls)
        self._take(plan, ground, reading, parts)
        self._many = True
        return self

    def _take(
        self, plan: Plan, ground: Ground, reading: Search, parts: Sequence[Found], blocked: Collection[str] = ()
    ) -> None:
        self.plan, self.ground, self.reading, self._many = plan, ground, reading, False
        self.found = _decided(plan, reading, ground, together(parts), blocked)
        self._candidates = _asked_of(plan, self.found)
        self._origins = Origins(self.found, plan.strategy, plan.request.venue, plan.request.symbols)

    def run(self, *, optimistic: bool = False) -> Result:
        """Trade. An ambiguous bar is read as the stop's, or as the target's if `optimistic`."""
        desk = self._desk(self._candidates, self.ground.steps_ms, optimistic=optimistic)
        self._simulation(self._candidates, 1)(desk)
        return self._result(desk)

    def traded(self, others: Iterable[Found], count: int) -> Iterator[Columns]:
        """The closed trades that each of so many others would have led to in place of what is decided on."""
        for found in others:
            asked = _asked_of(self.plan, found)
            desk = self._desk(asked, self.days_ms[-1:])
            self._simulation(asked, count)(desk)
            yield self._trades(desk).columns

    def _desk(self, asked: Candidates, marks_ms: Sequence[int], *, optimistic: bool = False) -> account.Desk:
        shares = [target.share / 100 for target in self.plan.strategy.targets]
        settings = self.plan.account.settings(optimistic=optimistic)
        return desk_of(self.ground.market, asked, shares, self._terms, settings, marks_ms)

    def _simulation(self, asked: Candidates, times: int) -> Callable[..., Any]:
        """The loop, compiled where so many times of it are worth that."""
        held_ms = int((asked.expiry_ms - asked.decided_ms).sum())
        held = held_ms // min(one.interval_ms for one in self.candles)
        if not self._many and times * min(sum(map(len, self.candles)), held) <= FEW_BARS:
            return loop.simulate
        from tapewatch.study.compiled import simulation

        return simulation()

    @cached_property
    def _terms(self) -> list[Terms]:
        """Of each symbol."""
        instruments, account = self.plan.instruments, self.plan.account
        return [account.terms(instruments.get(symbol, Instrument())) for symbol in self.plan.request.symbols]

    def _trades(self, desk: account.Desk) -> Trades:
        symbols = self.plan.request.symbols
        instruments = [self.plan.instruments.get(symbol, Instrument()) for symbol in symbols]
        return Trades(desk, symbols, instruments, self._terms, self._origins.identity)

    @property
    def candles(self) -> Sequence[Candles]:
        """Of each symbol, those of the period."""
        return self.ground.candles

    @property
    def days_ms(self) -> list[int]:
        """The end of each day that the candles touch; the last is the end of the candles."""
        return self.ground.days_ms

    def candles_of(self, trade: Trade) -> Candles:
        """The base candles of its symbol."""
        return self.candles[self.plan.request.symbols.index(trade.symbol)]

    def levels_of(self, trade: Trade) -> tuple[float, ...]:
        """The stop and the targets with which a trade was entered."""
        plan, asked = self.plan, self._candidates
        n = int(np.searchsorted(asked.decided_ms, int(trade.signal_id.rpartition("/")[2])))
        while self._origins.identity(n) != trade.signal_id:
            n += 1
        terms, side = plan.instruments.get(trade.symbol, Instrument()).terms(0.0, 0.0), int(asked.side[n])
        levels = asked.levels[n].tolist()
        if plan.account.levels == "fill":
            stop, *targets = asked.distances[n].tolist()
            levels = [trade.entry_price - side * stop, *(trade.entry_price + side * target for target in targets)]
        ticks = [stop_ticks(levels[0], side, terms), *(target_ticks(level, side, terms) for level in levels[1:])]
        return tuple(tick * terms.unit / terms.per for tick in ticks)

    def _result(self, desk: account.Desk) -> Result:
        trades = self._trades(desk)
        held_ms = int((trades.columns.exit_ms - trades.columns.entry_ms).sum())
        ground, cash = self.ground, self.plan.account.cash
        steps = np.concatenate(([cash], desk.equity))
        span_ms = sum(int(candles.open_ms[-1] - candles.open_ms[0]) for candles in self.candles)
        return Result(
            trades=trades,
            still_open=trades.still_open,
            skipped={SKIPPED[why]: count for why, count in enumerate(desk.skipped.tolist()) if count},
            days_ms=ground.days_ms,
            equity=[cash, *desk.equity[ground.day_steps].tolist()],
            bars=sum(map(len, self.candles)),
            cash=cash,
            gross=float(desk.money[account.GROSS]),
            fees=float(desk.money[account.FEES]),
            funding=float(desk.money[account.FUNDING]),
            pauses=[
                Pause(PAUSES[why], since_ms, until_ms)
                for why, since_ms, until_ms in desk.pauses[: desk.counts[account.PAUSES]].tolist()
            ],
            exposure=held_ms / span_ms if span_ms else 0.0,
            factors=self._origins.factors(trades.candidates),
            steps_ms=ground.steps_ms,
            returns=np.divide(steps[1:], steps[:-1], out=np.ones(len(desk.equity)), where=steps[:-1] > 0.0) - 1.0,
        )


def search_of(plan: Plan, evaluator: Evaluator, held: Mapping[str, Candles]) -> Search:
    """What looks for a plan's candidates; `held` has of symbols the smallest candles, where they have been read."""
    request, gated = plan.request, plan.gate
    asked, ranked = asked_of(plan.strategy, request), len(request.symbols) > 1
    return Search(
        strategy=plan.strategy,
        asked=asked,
        counted=counted_of(plan.strategy, request) if gated or ranked else asked,
        request=request,
        evaluator=evaluator_of(request, evaluator),
        held=held,
        gated=gated,
        judges=gated and plan.strategy.budget is None and plan.universe is None and request.scoring is None,
        ranked=ranked,
    )


def _decided(plan: Plan, search: Search, ground: Ground, found: Found, blocked: Collection[str]) -> Found:
    """What is decided on, in order: of what was found, what somebody watched and what the gate lets through.

    `blocked` are the ids of those that a model does not: what the gate blocks it does not remember, so they might as
    well not have been found.

    Larger candles may reach further back than the smallest, on which all is traded: before these nothing is decided.
    """
    symbols = plan.request.symbols
    began_ms = np.array([int(candles.open_ms[0]) for candles in ground.whole])
    early = found.decided_ms < began_ms[found.symbol]
    if early.any():
        found = found.rows(~early)
    if search.judges and len(symbols) == 1:
        return found  # which the search has done
    found = in_turn(found, plan.strategy, symbols)
    if plan.universe is not None:
        watched = ground.membership(plan.universe)
        places = zip(found.symbol.tolist(), found.decided_ms.tolist(), strict=True)
        found = found.rows(np.array([watched.has(symbols[s], ms) for s, ms in places], np.bool_))
    if blocked:
        identity = Origins(found, plan.strategy, plan.request.venue, symbols).identity
        found = found.rows(np.array([identity(n) not in blocked for n in range(len(found.symbol))], np.bool_))
    if plan.gate and not search.judges:
        found = search.passed(found)
    return search.asked_for(found)


def _asked_of(plan: Plan, found: Found) -> Candidates:
    intervals_ms = np.array([INTERVALS_MS[name] for name in plan.strategy.timeframes])[found.timeframe]
    return Candidates(
        symbol=found.symbol,
        decided_ms=found.decided_ms,
        side=found.side,
        close=found.close,
        expiry_ms=found.decided_ms + plan.strategy.time_limit * intervals_ms,
        distances=np.abs(found.close[:, None] - found.levels),
        levels=found.levels,
        moves=found.moves,
    )
