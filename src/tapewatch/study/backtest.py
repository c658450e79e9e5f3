"""A strategy's signals traded on paper over stored candles, with one account for all symbols."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from tapewatch.archive import funding
from tapewatch.archive.candles import Candles
from tapewatch.archive.reader import intervals_of, missing, series
from tapewatch.errors import SetupError
from tapewatch.model import DAY_MS, INTERVALS_MS
from tapewatch.paper.account import PAUSES
from tapewatch.paper.instruments import Instrument
from tapewatch.paper.rules import SKIPPED, Terms, stop_ticks, target_ticks
from tapewatch.strategy import Strategy
from tapewatch.study import account, loop
from tapewatch.study.candidates import Found, Search, in_turn, passed, together
from tapewatch.study.desk import Candidates, Market, desk_of, market_of
from tapewatch.study.evaluate import Evaluator
from tapewatch.study.membership import membership
from tapewatch.study.origins import Origins
from tapewatch.study.settings import Account
from tapewatch.study.signals import Request, asked_of, counted_of, evaluator_of
from tapewatch.study.trades import Trade, Trades
from tapewatch.study.workers import sharing
from tapewatch.universe import Rules

#: Bars in positions, at most, up to which the loop runs interpreted: compiling it takes longer, once per machine.
FEW_BARS = 500_000
#: A symbol without candles for so long is traded no more; one that few trade may have none for hours.
GONE_AFTER_MS = DAY_MS


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


@dataclass(frozen=True)
class Plan:
    """A strategy, where it is tried, and with what; `universe` are rules by which symbols are watched day by day."""

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
        candles: of each symbol, those of the period.
        payments: of each symbol, times and rates of its funding in the period.
        gone: of each symbol, whether it has left the market: it has no candles in the period's last `GONE_AFTER_MS`.

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
        self.plan = plan
        symbols, held, parts = plan.request.symbols, dict[str, Candles](), []
        search = _search(plan, evaluator, held)
        with sharing(search, symbols, workers) as gathered:
            whole = candles or [_smallest(plan.request, symbol) for symbol in symbols]
            self.candles = [_asked(plan.request, one) for one in whole]
            held.update(zip(symbols, whole, strict=True))
            for part in gathered():
                parts.append(part)
                progress()
        self.payments = [_payments(plan, one) for one in self.candles]
        self.gone = [int(one.open_ms[-1]) + one.interval_ms <= self.days_ms[-1] - GONE_AFTER_MS for one in whole]
        found = _decided(plan, search, whole, together(parts))
        self._candidates = _asked_of(plan, found)
        self._origins = Origins(found, plan.strategy, plan.request.venue, symbols)
        bars, asked = sum(map(len, self.candles)), self._candidates
        held_ms = int((asked.expiry_ms - asked.decided_ms).sum())
        if min(bars, held_ms // min(one.interval_ms for one in self.candles)) > FEW_BARS:
            from tapewatch.study.compiled import simulation

            self._simulate: Callable[..., Any] = simulation()
        else:
            self._simulate = loop.simulate

    def run(self, *, optimistic: bool = False) -> Result:
        """Trade. An ambiguous bar is read as the stop's, or as the target's if `optimistic`."""
        plan = self.plan
        terms = [plan.account.terms(plan.instruments.get(symbol, Instrument())) for symbol in plan.request.symbols]
        shares = [target.share / 100 for target in plan.strategy.targets]
        settings = plan.account.settings(optimistic=optimistic)
        desk = desk_of(self._market, self._candidates, shares, terms, settings, self.days_ms)
        self._simulate(desk)
        return self._result(desk, terms)

    @cached_property
    def _market(self) -> Market:
        """The same for every run."""
        turnover = self.plan.account.costs.friction.impact > 0.0
        return market_of(self.candles, self.payments, self.gone, turnover=turnover)

    @property
    def days_ms(self) -> list[int]:
        """The end of each day that the candles touch; the last is the end of the candles."""
        first_ms = min(int(candles.open_ms[0]) for candles in self.candles)
        end_ms = max(int(candles.open_ms[-1]) + candles.interval_ms for candles in self.candles)
        return [*range(first_ms // DAY_MS * DAY_MS + DAY_MS, end_ms, DAY_MS), end_ms]

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

    def _result(self, desk: account.Desk, terms: Sequence[Terms]) -> Result:
        symbols = self.plan.request.symbols
        instruments = [self.plan.instruments.get(symbol, Instrument()) for symbol in symbols]
        trades = Trades(desk, symbols, instruments, terms, self._origins.identity)
        held_ms = int((trades.columns.exit_ms - trades.columns.entry_ms).sum())
        days_ms, cash = self.days_ms, self.plan.account.cash
        span_ms = sum(int(candles.open_ms[-1] - candles.open_ms[0]) for candles in self.candles)
        return Result(
            trades=trades,
            still_open=trades.still_open,
            skipped={SKIPPED[why]: count for why, count in enumerate(desk.skipped.tolist()) if count},
            days_ms=days_ms,
            equity=[cash, *desk.equity.tolist()],
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
        )


def _smallest(request: Request, symbol: str) -> Candles:
    """The smallest stored candles of a symbol."""
    held = intervals_of(request.root, request.venue, symbol)
    if not held:
        raise missing(request.root, request.venue, symbol, "")
    return series(request.root, request.venue, symbol, held[0])


def _asked(request: Request, candles: Candles) -> Candles:
    inside = candles.slice(request.from_ms, request.to_ms)
    if not len(inside):
        raise SetupError(f"{candles.symbol}: no candles between --from and --to")
    return inside


def _search(plan: Plan, evaluator: Evaluator, held: Mapping[str, Candles]) -> Search:
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
        judges=gated and plan.strategy.budget is None and plan.universe is None,
        ranked=ranked,
    )


def _decided(plan: Plan, search: Search, whole: Sequence[Candles], found: Found) -> Found:
    """What is decided on, in order: of what was found, what somebody watched and what the gate lets through."""
    symbols = plan.request.symbols
    found = in_turn(found, plan.strategy, symbols)
    if plan.universe is not None:
        watched = membership(whole, plan.universe)
        places = zip(found.symbol.tolist(), found.decided_ms.tolist(), strict=True)
        found = found.rows(np.array([watched.has(symbols[s], ms) for s, ms in places], np.bool_))
    if plan.gate and not search.judges:
        found = passed(found, plan.strategy, symbols)
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


def _payments(plan: Plan, candles: Candles) -> tuple[Any, Any]:
    """When funding was paid while there are candles, and at what rate; nothing on spot."""
    if plan.account.kind == "spot":
        return np.zeros(0, np.int64), np.zeros(0)
    rates = funding.load(plan.request.root, plan.request.venue, candles.symbol)
    times = rates["time"].to_numpy()
    inside = (times >= candles.open_ms[0]) & (times < candles.open_ms[-1] + candles.interval_ms)
    return times[inside], rates["rate"].to_numpy()[inside]
