"""A strategy's signals traded on paper over stored candles, with one account for all symbols."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import msgspec
import numpy as np

from tapewatch.archive import funding
from tapewatch.archive.candles import Candles
from tapewatch.archive.reader import intervals_of, missing, series
from tapewatch.errors import SetupError
from tapewatch.model import DAY_MS, INTERVAL_NAMES, INTERVALS_MS, signal_id
from tapewatch.paper.account import PAUSES
from tapewatch.paper.instruments import Instrument
from tapewatch.paper.rules import SKIPPED, Terms, stop_ticks, target_ticks
from tapewatch.strategy import Program, Strategy, compile_program
from tapewatch.study import account, loop
from tapewatch.study.desk import Candidates, desk_of, market_of
from tapewatch.study.evaluate import SMALL_JOB, Evaluator, evaluate
from tapewatch.study.membership import everybody, membership
from tapewatch.study.origins import Met, Origins, factors_of, met_of
from tapewatch.study.settings import Account
from tapewatch.study.signals import Request, decided, frames_of
from tapewatch.study.trades import Trade, Trades
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
        whole = candles or [_smallest(plan.request, symbol) for symbol in plan.request.symbols]
        self.candles = [_asked(plan.request, one) for one in whole]
        self.gone = [int(one.open_ms[-1]) + one.interval_ms <= self.days_ms[-1] - GONE_AFTER_MS for one in whole]
        self._candidates, self._origins = _candidates(plan, whole, progress, workers, evaluator)
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
        payments = [_payments(plan, symbol) for symbol in plan.request.symbols]
        market = market_of(self.candles, payments, self.gone, turnover=settings.friction.impact > 0.0)
        desk = desk_of(market, self._candidates, shares, terms, settings, self.days_ms)
        self._simulate(desk)
        return self._result(desk, terms)

    @property
    def days_ms(self) -> list[int]:
        """The end of each day that the candles touch; the last is the end of the candles."""
        first_ms = min(int(candles.open_ms[0]) for candles in self.candles)
        end_ms = max(int(candles.open_ms[-1]) + candles.interval_ms for candles in self.candles)
        return [*range(first_ms // DAY_MS * DAY_MS + DAY_MS, end_ms, DAY_MS), end_ms]

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
            factors=factors_of(self._origins, trades.candidates),
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


def _candidates(
    plan: Plan, whole: Sequence[Candles], progress: Callable[[], None], workers: int, evaluator: Evaluator
) -> tuple[Candidates, Origins]:
    """What is decided on, in order, and where each comes from."""
    watched = membership(whole, plan.universe).has if plan.universe is not None else everybody
    if not plan.gate and len(plan.request.symbols) == 1:
        progress()
        return _ungated(plan, whole[0], watched)
    held = dict(zip(plan.request.symbols, whole, strict=True))
    found = decided(plan.strategy, plan.request, evaluator, progress, workers, watched, held)
    signals = [one for one in found if not plan.gate or all(verdict.passed for verdict in one.verdicts)]
    places = {symbol: s for s, symbol in enumerate(plan.request.symbols)}
    return _table(
        plan,
        [places[one.symbol] for one in signals],
        [one.timeframe for one in signals],
        [one.close_ms for one in signals],
        [1 if one.side == "long" else -1 for one in signals],
        np.array([one.entry for one in signals]),
        np.array([[one.stop, *(target.price for target in one.targets)] for one in signals]),
        np.array([one.moves for one in signals]),
    ), Origins(lambda n: signals[n].id, lambda n: {factor.name: factor.met for factor in signals[n].factors})


def _table(
    plan: Plan,
    symbols: Sequence[int],
    timeframes: Sequence[str],
    closes_ms: Any,
    sides: Any,
    close: Any,
    levels: Any,
    moves: Any,
) -> Candidates:
    limits_ms = [plan.strategy.time_limit * INTERVALS_MS[name] for name in timeframes]
    decided_ms = np.array(closes_ms, np.int64)
    levels = levels.reshape(len(close), len(plan.strategy.targets) + 1)
    return Candidates(
        symbol=np.array(symbols, np.int64),
        decided_ms=decided_ms,
        side=np.array(sides, np.int64),
        close=close,
        expiry_ms=decided_ms + np.array(limits_ms, np.int64),
        distances=np.abs(close[:, None] - levels),
        levels=levels,
        moves=moves.reshape(len(close), 3),
    )


def _ungated(plan: Plan, candles: Candles, watched: Callable[[str, int], bool]) -> tuple[Candidates, Origins]:
    """The candidates of one symbol straight from the columns: no evidence is made of what nobody reads."""
    request, (symbol,) = plan.request, plan.request.symbols
    stored, read = {candles.interval_ms: candles}, {INTERVAL_NAMES[candles.interval_ms]: candles}
    names: list[str] = []
    factors: list[Mapping[str, bool | None]] = []
    none, count = np.zeros(0, np.int64), len(plan.strategy.targets) + 1
    columns: list[tuple[Any, ...]] = [(none, none, np.zeros(0), np.zeros((0, count)), np.zeros((0, 3)))]
    for timeframe in plan.strategy.timeframes:
        if request.intervals and timeframe not in request.intervals:
            continue
        program = compile_program(plan.strategy, timeframe)
        frames = frames_of(plan.strategy, program, symbol, request, stored, read)
        own = frames[program.interval_ms]
        moved = [k for k, node in enumerate(program.sides[0].moves) if node is not None]
        for rows, side, distances, met in fired(program, frames):
            close, moves = own.close[rows], np.zeros((len(rows), 3))
            levels = close[:, None] + distances[:, :count] * np.array([-side] + [side] * (count - 1))
            moves[:, moved] = distances[:, count:]
            columns.append((own.open_ms[rows] + program.interval_ms, np.full(len(rows), side), close, levels, moves))
            names += [timeframe] * len(rows)
            factors += met
    closes_ms, sides, close, levels, moves = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    lengths = np.array([INTERVALS_MS[name] for name in names])
    order = np.lexsort((-sides, -lengths, closes_ms))
    order = order[[request.closes(ms) and watched(symbol, ms) for ms in closes_ms[order].tolist()]]
    places = order.tolist()
    timeframes = [names[k] for k in places]
    table = _table(
        plan,
        [0] * len(places),
        timeframes,
        closes_ms[order],
        sides[order],
        close[order],
        levels[order],
        moves[order],
    )

    def identity(n: int) -> str:
        side = "long" if table.side[n] > 0 else "short"
        return f"{prefix(timeframes[n], side)}{table.decided_ms[n]}"

    @cache
    def prefix(timeframe: str, side: str) -> str:
        return signal_id(request.venue, symbol, timeframe, plan.strategy.name, side, 0).removesuffix("0")

    return table, Origins(identity, lambda n: factors[places[n]])


def fired(program: Program, frames: Mapping[int, Candles]) -> Iterator[tuple[Any, int, Any, Sequence[Met]]]:
    """(rows, side, the plan's `distances`, its factors), chunk by chunk for each side that fires."""
    signs = [1 if plan.side == "long" else -1 for plan in program.sides]
    if sum(map(len, frames.values())) < SMALL_JOB:
        for hit in evaluate(program, frames, "interpreted"):
            for sign, plan, fires in zip(signs, program.sides, hit.fired, strict=True):
                if fires:
                    away = [hit.evidence.of(node) for node in plan.distances]
                    met = {name: hit.evidence.met(node) for name, _, node in plan.factors}
                    yield np.array([hit.row]), sign, np.array([away]), [met]
        return
    from tapewatch.study.table import Table

    for chunk in Table(program, frames).fired():
        certain = all(plan.at_least == len(plan.factors) for plan in program.sides)
        codes = [None for _ in signs] if certain else chunk.factors()
        for sign, plan, mask, distances, of_side in zip(
            signs, program.sides, chunk.sides, chunk.distances, codes, strict=True
        ):
            count = int(mask.sum())
            yield chunk.rows[mask], sign, np.column_stack(distances)[mask], met_of(plan, count, of_side, mask)


def _payments(plan: Plan, symbol: str) -> tuple[Any, Any]:
    """When funding was paid, and at what rate; nothing on spot."""
    if plan.account.kind == "spot":
        return np.zeros(0, np.int64), np.zeros(0)
    rates = funding.load(plan.request.root, plan.request.venue, symbol)
    return rates["time"].to_numpy(), rates["rate"].to_numpy()
