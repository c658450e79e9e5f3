"""One account over the candidates of many symbols: the loop of a backtest, written to be compiled.

Candidates come in the order in which a live run decides them. Before each, every open position is taken through the
base bars that have closed by then, so that equity is known; the entry itself fills at the next base bar's open. A
position's own rules are those of `tapewatch.paper.rules`.
"""

from __future__ import annotations

from math import inf
from typing import Any, NamedTuple, TypeAlias

from tapewatch.paper.rules import (
    AMBIGUOUS,
    AT_TARGET,
    BEST,
    CLOSING,
    ENTRY,
    EXPIRY_MS,
    FILL_REASON,
    FILL_STEPS,
    FILL_TICKS,
    HELD,
    NO_BAR,
    NO_ROOM,
    NO_SHORTS,
    SIDE,
    STEPS,
    STOP,
    WHOLE,
    WORST,
    Friction,
    Order,
    Terms,
    enter,
    entry_ticks,
    on_bar,
    tick_of,
)

#: NumPy arrays; spelled out where a value is made, in `study.backtest`.
Cells: TypeAlias = Any

IGNORE, CLOSE, REVERSE = 0, 1, 2


class Settings(NamedTuple):
    """Of the account.

    Attributes:
        cash: at the start, in quote units.
        risk: share of equity that the way from fill to stop may cost.
        size_quote: what each position is worth instead, 0 to size by risk.
        cap_symbol, cap_side, cap_total: most that may be open, as shares of the buying power (equity times leverage).
        leverage: 1 on spot.
        taker, maker: shares of the price; targets are limit orders and pay `maker` and lose nothing to friction.
        spread, impact: of `rules.Friction`.
        shorts: whether it sells short.
        at_fill: whether levels are measured from the fill.
        on_opposite: `IGNORE`, `CLOSE` or `REVERSE`.
        reading: of a bar that touches both stop and target, `rules.PESSIMISTIC` or `OPTIMISTIC`.
    """

    cash: float
    risk: float
    size_quote: float
    cap_symbol: float
    cap_side: float
    cap_total: float
    leverage: float
    taker: float
    maker: float
    spread: float
    impact: float
    shorts: bool
    at_fill: bool
    on_opposite: int
    reading: int


class Market(NamedTuple):
    """The base bars of all symbols one after the other, and their funding payments.

    Symbol s has the rows from `first[s]` to before `first[s + 1]`, each `base_ms[s]` long, and the payments from
    `paid[s]` to before `paid[s + 1]`. `turnover` is read only where orders have an impact.
    """

    open_ms: Cells
    open: Cells
    high: Cells
    low: Cells
    close: Cells
    turnover: Cells
    first: Cells
    base_ms: Cells
    paid: Cells
    paid_ms: Cells
    paid_rate: Cells


class Candidates(NamedTuple):
    """In the order in which they are decided; a row of `distances` and `levels` has the stop's, then the targets'.

    A row of `moves` has an order's `break_even`, `trail_after` and `trail_by`.
    """

    symbol: Cells
    decided_ms: Cells
    side: Cells
    close: Cells
    expiry_ms: Cells
    distances: Cells
    levels: Cells
    moves: Cells


class Book(NamedTuple):
    """What the loop changes.

    Attributes:
        stage: of each symbol, `FLAT`, `PENDING` or `OPEN`.
        row: of each symbol, its next bar.
        state, legs: of each symbol, its position.
        candidate, trade, opened_ms: what it came of, its number, and when it was filled.
        follows: the candidate that is entered when the position closes for it, -1 for none.
        paid: the next funding payment.
        plan: what an entry may risk and be worth, what the position is worth, and the first two of what follows.
        money: realised equity, gross profit, fees and funding.
        fills: room for those of one bar.
        busy: the symbols with an entry or a position, in no order, of which there are `counts[BUSY]`.
        counts: of `trades` and `exits`, and the busy symbols.
    """

    stage: Cells
    row: Cells
    state: Cells
    legs: Cells
    candidate: Cells
    trade: Cells
    opened_ms: Cells
    follows: Cells
    paid: Cells
    plan: Cells
    money: Cells
    fills: Cells
    busy: Cells
    counts: Cells


class Record(NamedTuple):
    """What comes of it.

    Attributes:
        trades, exits: rows whose places are named below.
        charged: fees and funding of each trade, quote units.
        skipped: candidates that led to no position, by reason.
        equity: at each of `days_ms`.
    """

    trades: Cells
    exits: Cells
    charged: Cells
    skipped: Cells
    days_ms: Cells
    equity: Cells


class Desk(NamedTuple):
    """Everything at hand.

    Attributes:
        entry_row: of each candidate, the first base bar that opens when or after it is decided.
        shares: of the targets, summing to 1.
        terms: a row of `Terms` per symbol.
    """

    market: Market
    candidates: Candidates
    entry_row: Cells
    shares: Cells
    terms: Cells
    settings: Settings
    book: Book
    record: Record


FLAT, PENDING, OPEN = 0, 1, 2
CASH, GROSS, FEES, FUNDING = 0, 1, 2, 3
PLAN_RISK, PLAN_NOTIONAL, HELD_NOTIONAL, NEXT_RISK, NEXT_NOTIONAL = 0, 1, 2, 3, 4
PLAN_PLACES = 5
TRADES, EXITS, BUSY = 0, 1, 2
T_CANDIDATE, T_ENTRY_MS, T_ENTRY, T_STEPS, T_STOP, T_BEST, T_WORST, T_AMBIGUOUS, T_HELD = 0, 1, 2, 3, 4, 5, 6, 7, 8
TRADE_PLACES = 9
X_TRADE, X_MS, X_TICKS, X_STEPS, X_REASON = 0, 1, 2, 3, 4
EXIT_PLACES = 5
C_FEES, C_FUNDING = 0, 1


def terms_of(desk: Desk, s: int) -> Terms:
    """The terms of a symbol."""
    row = desk.terms[s]
    return Terms(row[0], row[1], row[2], row[3], row[4], row[5])


def friction_of(desk: Desk) -> Friction:
    """What market orders lose."""
    return Friction(desk.settings.spread, desk.settings.impact)


def pay(desk: Desk, trade: int, notional: float, rate: float) -> None:
    """Take a fee."""
    fee = notional * rate
    desk.book.money[FEES] += fee
    desk.book.money[CASH] -= fee
    desk.record.charged[trade, C_FEES] += fee


def fund(desk: Desk, s: int, terms: Terms) -> None:
    """Pay or receive the funding that is due up to the open of the next bar, on what is held, at that open."""
    market, book = desk.market, desk.book
    row = book.row[s]
    while book.paid[s] < market.paid[s + 1] and market.paid_ms[book.paid[s]] <= market.open_ms[row]:
        at = book.paid[s]
        book.paid[s] += 1
        if book.stage[s] == OPEN and market.paid_ms[at] > book.opened_ms[s]:
            state = book.state[s]
            notional = tick_of(market.open[row], terms) * (state[STEPS] * terms.value)
            cost = state[SIDE] * notional * market.paid_rate[at]
            book.money[FUNDING] += cost
            book.money[CASH] -= cost
            desk.record.charged[book.trade[s], C_FUNDING] += cost


def begin(desk: Desk, s: int, terms: Terms) -> None:
    """Fill a pending entry at the open of the next bar, or drop it and count why."""
    market, candidates, settings, book, record = desk.market, desk.candidates, desk.settings, desk.book, desk.record
    row, n, state = book.row[s], book.candidate[s], book.state[s]
    side = candidates.side[n]
    plan, moves = book.plan[s], candidates.moves[n]
    order = Order(
        side,
        candidates.distances[n],
        candidates.levels[n],
        desk.shares,
        settings.at_fill,
        plan[PLAN_RISK],
        plan[PLAN_NOTIONAL],
        moves[0],
        moves[1],
        moves[2],
    )
    turnover = market.turnover[row] if settings.impact > 0.0 else 0.0
    fill = entry_ticks(tick_of(market.open[row], terms), order, friction_of(desk), turnover)
    why = enter(state, book.legs[s], fill, order, terms)
    if why != 0:
        record.skipped[why] += 1
        book.stage[s] = FLAT
        return
    state[EXPIRY_MS] = candidates.expiry_ms[n]
    trade = book.counts[TRADES]
    book.counts[TRADES] += 1
    book.stage[s], book.trade[s], book.opened_ms[s] = OPEN, trade, market.open_ms[row]
    notional = fill * (state[STEPS] * terms.value)
    plan[HELD_NOTIONAL] = notional
    of_trade = record.trades[trade]
    of_trade[T_CANDIDATE], of_trade[T_ENTRY_MS], of_trade[T_ENTRY] = n, market.open_ms[row], fill
    of_trade[T_STEPS], of_trade[T_STOP] = state[WHOLE], state[STOP]
    pay(desk, trade, notional, settings.taker)


def note(desk: Desk, s: int) -> None:
    """Bring the row of a symbol's trade up to date."""
    state, of_trade = desk.book.state[s], desk.record.trades[desk.book.trade[s]]
    of_trade[T_BEST], of_trade[T_WORST] = state[BEST], state[WORST]
    of_trade[T_AMBIGUOUS], of_trade[T_HELD] = state[AMBIGUOUS], state[STEPS]


def leave(desk: Desk, s: int, k: int, terms: Terms) -> None:
    """Book fill k of the bar that a position is in."""
    book, record, settings = desk.book, desk.record, desk.settings
    state, fill, trade = book.state[s], book.fills[k], book.trade[s]
    quantity = fill[FILL_STEPS] * terms.value
    gross = (fill[FILL_TICKS] - state[ENTRY]) * state[SIDE] * quantity
    book.money[GROSS] += gross
    book.money[CASH] += gross
    row = record.exits[book.counts[EXITS]]
    book.counts[EXITS] += 1
    row[X_TRADE], row[X_MS], row[X_TICKS] = trade, desk.market.open_ms[book.row[s]], fill[FILL_TICKS]
    row[X_STEPS], row[X_REASON] = fill[FILL_STEPS], fill[FILL_REASON]
    rate = settings.maker if fill[FILL_REASON] == AT_TARGET else settings.taker
    pay(desk, trade, fill[FILL_TICKS] * quantity, rate)


def settle(desk: Desk, s: int, count: int, terms: Terms) -> None:
    """Book the fills of a bar; a position that is closed makes room for what follows it, at the same open."""
    book = desk.book
    for k in range(count):
        leave(desk, s, k, terms)
    state, plan = book.state[s], book.plan[s]
    plan[HELD_NOTIONAL] = state[ENTRY] * (state[STEPS] * terms.value)
    if state[STEPS] == 0:
        note(desk, s)
        book.stage[s] = FLAT
        if book.follows[s] >= 0:
            book.stage[s], book.candidate[s], book.follows[s] = PENDING, book.follows[s], -1
            plan[PLAN_RISK], plan[PLAN_NOTIONAL] = plan[NEXT_RISK], plan[NEXT_NOTIONAL]


def live_on(desk: Desk, s: int, until_ms: int) -> None:
    """Take a symbol with an entry or a position through the bars that close by then.

    This is where the time of a backtest goes: a desk is large, and only what is rare gets all of it.
    """
    market, book, terms = desk.market, desk.book, terms_of(desk, s)
    opens_ms, opens, highs, lows = market.open_ms, market.open, market.high, market.low
    stages, state, legs, fills = book.stage, book.state[s], book.legs[s], book.fills
    friction, reading, turnovers = friction_of(desk), desk.settings.reading, market.turnover
    row, end, last_ms = book.row[s], market.first[s + 1], until_ms - market.base_ms[s]
    while stages[s] != FLAT and row < end and opens_ms[row] <= last_ms:
        book.row[s] = row
        if book.paid[s] < market.paid[s + 1]:
            fund(desk, s, terms)
        if stages[s] == PENDING:
            begin(desk, s, terms)
        if stages[s] == OPEN:
            opened, high, low = tick_of(opens[row], terms), tick_of(highs[row], terms), tick_of(lows[row], terms)
            turnover = turnovers[row] if friction.impact > 0.0 else 0.0
            bar = (opens_ms[row], opened, high, low, turnover)
            count = on_bar(state, legs, bar, terms, friction, reading, fills)
            if count > 0:
                settle(desk, s, count, terms)
        if stages[s] != PENDING:  # what follows is entered at this very open
            row += 1
    book.row[s] = row


def equity_of(desk: Desk) -> float:
    """Realised equity, and what every position would bring at the close of its last bar, without costs."""
    book, market, equity = desk.book, desk.market, desk.book.money[CASH]
    for k in range(book.counts[BUSY]):
        s = book.busy[k]
        if book.stage[s] == OPEN:
            state, terms = book.state[s], terms_of(desk, s)
            ticks = tick_of(market.close[book.row[s] - 1], terms)
            equity += (ticks - state[ENTRY]) * state[SIDE] * (state[STEPS] * terms.value)
    return float(equity)


def pass_time(desk: Desk, now_ms: int) -> None:
    """Take every busy symbol through the bars that have closed by now."""
    book, left = desk.book, 0
    for k in range(book.counts[BUSY]):
        s = book.busy[k]
        live_on(desk, s, now_ms)
        if book.stage[s] != FLAT:
            book.busy[left] = s
            left += 1
    book.counts[BUSY] = left


def plan_entry(desk: Desk, n: int, place: int) -> bool:
    """Set aside risk and notional for an entry, at this place of the plan; whether there is room under the limits."""
    candidates, settings, book = desk.candidates, desk.settings, desk.book
    s, side, equity = candidates.symbol[n], candidates.side[n], equity_of(desk)
    of_side = of_all = 0.0
    for k in range(book.counts[BUSY]):
        other = book.busy[k]
        if other != s:
            held = book.plan[other, PLAN_NOTIONAL if book.stage[other] == PENDING else HELD_NOTIONAL]
            of_all += held
            if candidates.side[book.candidate[other]] == side:
                of_side += held
    power = equity * settings.leverage
    most = min(settings.cap_symbol * power, settings.cap_side * power - of_side, settings.cap_total * power - of_all)
    risk = settings.risk * equity
    wanted = risk / candidates.distances[n, 0] * candidates.close[n]
    if settings.size_quote > 0.0:
        risk, wanted = inf, settings.size_quote
    book.plan[s, place], book.plan[s, place + 1] = risk, min(wanted, most)
    return most > 0.0


def decide(desk: Desk, n: int) -> None:
    """What becomes of a candidate: an entry at the next bar's open, or nothing, and then it is counted why."""
    market, candidates, settings, book = desk.market, desk.candidates, desk.settings, desk.book
    s, side, skipped = candidates.symbol[n], candidates.side[n], desk.record.skipped
    short = side < 0 and not settings.shorts
    if book.stage[s] != FLAT:
        follows = False
        if book.stage[s] == OPEN and book.state[s, SIDE] != side and settings.on_opposite != IGNORE:
            book.state[s, CLOSING] = 1
            if settings.on_opposite == REVERSE and not short and book.follows[s] < 0:
                follows = plan_entry(desk, n, NEXT_RISK)
        if follows:
            book.follows[s] = n
        else:
            skipped[HELD] += 1
        return
    if short:
        skipped[NO_SHORTS] += 1
        return
    book.row[s] = max(book.row[s], desk.entry_row[n])
    if book.row[s] == market.first[s + 1]:
        skipped[NO_BAR] += 1
    elif plan_entry(desk, n, PLAN_RISK):
        book.stage[s], book.candidate[s], book.busy[book.counts[BUSY]] = PENDING, n, s
        book.counts[BUSY] += 1
    else:
        skipped[NO_ROOM] += 1


def simulate(desk: Desk) -> None:
    """Everything that follows from the candidates, written into the desk's book and record."""
    candidates, book, record, day = desk.candidates, desk.book, desk.record, 0
    book.money[CASH] = desk.settings.cash
    for n in range(len(candidates.symbol) + 1):
        last = n == len(candidates.symbol)
        while day < len(record.days_ms) and (last or record.days_ms[day] <= candidates.decided_ms[n]):
            pass_time(desk, record.days_ms[day])
            record.equity[day] = equity_of(desk)
            day += 1
        if not last:
            pass_time(desk, candidates.decided_ms[n])
            decide(desk, n)
    for k in range(book.counts[BUSY]):
        if book.stage[book.busy[k]] == OPEN:
            note(desk, book.busy[k])
