"""A symbol's position in the loop of a backtest: filled, funded, taken from bar to bar, closed; written to be compiled.

What happens to it are the rules of `tapewatch.paper.rules`; here they get their bars, and what they lead to is booked.
"""

from __future__ import annotations

from math import inf

from tapewatch.paper.account import (
    cool_until_ms,
)
from tapewatch.paper.rules import (
    AMBIGUOUS,
    AT_GONE,
    AT_TARGET,
    BEST,
    ENTRY,
    EVEN_FROM,
    EXPIRED,
    EXPIRY_MS,
    FILL_REASON,
    FILL_STEPS,
    FILL_TICKS,
    LEG_STEPS,
    LEG_TICKS,
    NEXT,
    SIDE,
    STEPS,
    STOP,
    TRAIL_BY,
    WHOLE,
    WORST,
    Order,
    Terms,
    enter,
    entry_ticks,
    guard_of,
    leave_at_market,
    on_bar,
    slippage_of,
    tick_of,
)
from tapewatch.study.account import (
    A_EXPIRY_MS,
    A_SIDE,
    C_FEES,
    C_FUNDING,
    C_GROSS,
    CASH,
    CLOSED,
    D_MS,
    D_RANK,
    D_TRADE,
    EXITS,
    FEES,
    FLAT,
    FUNDING,
    GROSS,
    M_HELD,
    M_NEXT_NOTIONAL,
    M_NEXT_RISK,
    M_NOTIONAL,
    M_RISK,
    OPEN,
    P_BREAK_EVEN,
    P_DISTANCES,
    P_TRAIL_AFTER,
    P_TRAIL_BY,
    PENDING,
    S_BASE_MS,
    S_CANDIDATE,
    S_COOL_MS,
    S_END,
    S_FOLLOWS,
    S_GONE,
    S_OPENED_MS,
    S_PAID,
    S_PAID_END,
    S_RANK,
    S_ROW,
    S_STAGE,
    S_TRADE,
    T_AMBIGUOUS,
    T_BEST,
    T_CANDIDATE,
    T_ENTRY,
    T_ENTRY_MS,
    T_HELD,
    T_STEPS,
    T_STOP,
    T_WORST,
    TRADES,
    X_MS,
    X_REASON,
    X_STEPS,
    X_TICKS,
    X_TRADE,
    Cells,
    Desk,
)


def terms_of(sums: Cells) -> Terms:
    """The terms of a symbol."""
    return Terms(sums[0], sums[1], sums[2], sums[3], sums[4], sums[5])


def pay(money: Cells, charged: Cells, fee: float) -> None:
    """Take a fee."""
    money[FEES] += fee
    money[CASH] -= fee
    charged[C_FEES] += fee


def note(state: Cells, of_trade: Cells) -> None:
    """Bring the row of a trade up to date."""
    of_trade[T_BEST], of_trade[T_WORST] = state[BEST], state[WORST]
    of_trade[T_AMBIGUOUS], of_trade[T_HELD] = state[AMBIGUOUS], state[STEPS]


def fund(desk: Desk, s: int, terms: Terms) -> None:
    """Pay or receive the funding that is due up to the open of the next bar, on what is held, at that open."""
    of, state, money, row = desk.symbols[s], desk.state[s], desk.money, desk.symbols[s, S_ROW]
    while of[S_PAID] < of[S_PAID_END] and desk.payments[of[S_PAID], 0] <= desk.open_ms[row]:
        due_ms, rate = desk.payments[of[S_PAID], 0], desk.payments[of[S_PAID], 1]
        of[S_PAID] += 1
        if of[S_STAGE] == OPEN and due_ms > of[S_OPENED_MS]:
            notional = tick_of(desk.open[row], terms) * (state[STEPS] * terms.value)
            cost = state[SIDE] * notional * rate
            money[FUNDING] += cost
            money[CASH] -= cost
            desk.charged[of[S_TRADE], C_FUNDING] += cost


def begin(desk: Desk, s: int, terms: Terms) -> None:
    """Fill a pending entry at the open of the next bar, or drop it and count why."""
    settings, of, sums, state = desk.settings, desk.symbols[s], desk.sums[s], desk.state[s]
    row, n = of[S_ROW], of[S_CANDIDATE]
    prices, levels = desk.prices[n], P_DISTANCES + 1 + len(desk.shares)
    order = Order(
        desk.asked[n, A_SIDE],
        prices[P_DISTANCES:levels],
        prices[levels:],
        desk.shares,
        settings.at_fill,
        sums[M_RISK],
        sums[M_NOTIONAL],
        prices[P_BREAK_EVEN],
        prices[P_TRAIL_AFTER],
        prices[P_TRAIL_BY],
    )
    turnover = desk.turnover[row] if settings.friction.impact > 0.0 else 0.0
    fill = entry_ticks(tick_of(desk.open[row], terms), order, settings.friction, turnover)
    expiry_ms = desk.asked[n, A_EXPIRY_MS]
    why = EXPIRED if desk.open_ms[row] >= expiry_ms else enter(state, desk.legs[s], fill, order, terms)
    if why != 0:
        desk.skipped[why] += 1
        of[S_STAGE] = FLAT
        return
    state[EXPIRY_MS] = expiry_ms
    trade = desk.counts[TRADES]
    desk.counts[TRADES] += 1
    of[S_STAGE], of[S_TRADE], of[S_OPENED_MS] = OPEN, trade, desk.open_ms[row]
    notional = fill * (state[STEPS] * terms.value)
    sums[M_HELD] = notional
    of_trade = desk.trades[trade]
    of_trade[T_CANDIDATE], of_trade[T_ENTRY_MS], of_trade[T_ENTRY] = n, desk.open_ms[row], fill
    of_trade[T_STEPS], of_trade[T_STOP] = state[WHOLE], state[STOP]
    pay(desk.money, desk.charged[trade], notional * settings.taker)


def settle(desk: Desk, s: int, count: int, terms: Terms) -> None:
    """Book the fills of the bar that a position is in."""
    settings, of, state, money = desk.settings, desk.symbols[s], desk.state[s], desk.money
    trade, opened_ms = of[S_TRADE], desk.open_ms[of[S_ROW]]
    charged = desk.charged[trade]
    for k in range(count):
        fill = desk.fills[k]
        quantity = fill[FILL_STEPS] * terms.value
        gross = (fill[FILL_TICKS] - state[ENTRY]) * state[SIDE] * quantity
        money[GROSS] += gross
        money[CASH] += gross
        charged[C_GROSS] += gross
        row = desk.exits[desk.counts[EXITS]]
        desk.counts[EXITS] += 1
        row[X_TRADE], row[X_MS], row[X_TICKS] = trade, opened_ms, fill[FILL_TICKS]
        row[X_STEPS], row[X_REASON] = fill[FILL_STEPS], fill[FILL_REASON]
        rate = settings.maker if fill[FILL_REASON] == AT_TARGET else settings.taker
        pay(money, charged, fill[FILL_TICKS] * quantity * rate)
    desk.sums[s, M_HELD] = state[ENTRY] * (state[STEPS] * terms.value)
    if state[STEPS] == 0:
        close(desk, s, opened_ms + of[S_BASE_MS], desk.fills[count - 1, FILL_REASON])


def close(desk: Desk, s: int, closed_ms: int, reason: int) -> None:
    """A position is over; it makes room for what follows it, at the same open."""
    of, sums, protections = desk.symbols[s], desk.sums[s], desk.settings.protections
    note(desk.state[s], desk.trades[of[S_TRADE]])
    of[S_STAGE] = FLAT
    # One that was liquidated where it was to be turned still counts after what followed it closed, maybe in profit.
    of[S_COOL_MS] = max(of[S_COOL_MS], cool_until_ms(protections, reason, closed_ms))
    if protections.daily_loss > 0.0 or protections.max_drawdown > 0.0 or protections.losses > 0:
        row = desk.closed[desk.counts[CLOSED]]
        desk.counts[CLOSED] += 1
        row[D_MS], row[D_RANK], row[D_TRADE] = closed_ms, of[S_RANK], of[S_TRADE]
    if of[S_FOLLOWS] >= 0:
        of[S_STAGE], of[S_CANDIDATE], of[S_FOLLOWS] = PENDING, of[S_FOLLOWS], -1
        sums[M_RISK], sums[M_NOTIONAL] = sums[M_NEXT_RISK], sums[M_NEXT_NOTIONAL]


def depart(desk: Desk, s: int, terms: Terms) -> None:
    """Close a position whose symbol has left the market, at its last close."""
    of, state, friction = desk.symbols[s], desk.state[s], desk.settings.friction
    of[S_ROW] = of[S_END] - 1
    ticks = tick_of(desk.close[of[S_ROW]], terms)
    turnover = desk.turnover[of[S_ROW]] if friction.impact > 0.0 else 0.0
    slippage = slippage_of(friction, ticks * (state[STEPS] * terms.value), turnover)
    settle(desk, s, leave_at_market(state, ticks, slippage, AT_GONE, desk.fills, 0), terms)
    of[S_ROW] = of[S_END]


def rest(desk: Desk, s: int, row: int, last_ms: int, terms: Terms) -> int:
    """Skip the bars from `row` on in which nothing happens to a position whose stop stays; returns the one after them.

    `on_bar` would do the same, a tick at a time: bars within a tick of stop and target touch neither, and of those only
    the best and the worst price count, for rounding to ticks keeps their order.
    """
    of, state, legs = desk.symbols[s], desk.state[s], desk.legs[s]
    if state[EVEN_FROM] != 0 or state[TRAIL_BY] != 0:
        return row
    side, guard, k, end = state[SIDE], guard_of(state), state[NEXT], of[S_END]
    while legs[k, LEG_STEPS] == 0:
        k += 1
    below, above = (guard, legs[k, LEG_TICKS]) if side > 0 else (legs[k, LEG_TICKS], guard)
    least, most = (below + 1) * terms.unit / terms.per, (above - 1) * terms.unit / terms.per
    last_ms = min(last_ms, state[EXPIRY_MS] - 1)
    if of[S_PAID] < of[S_PAID_END]:
        last_ms = min(last_ms, int(desk.payments[of[S_PAID], 0]) - 1)
    opens_ms, highs, lows, high, low = desk.open_ms, desk.high, desk.low, -inf, inf
    while row < end and opens_ms[row] <= last_ms and lows[row] >= least and highs[row] <= most:
        low, high = min(low, lows[row]), max(high, highs[row])
        row += 1
    if high > -inf:
        worst, best = (low, high) if side > 0 else (high, low)
        state[WORST] = side * min(side * state[WORST], side * tick_of(worst, terms))
        state[BEST] = side * max(side * state[BEST], side * tick_of(best, terms))
    return row


def live_on(desk: Desk, s: int, until_ms: int) -> None:
    """Take a symbol with an entry or a position through the bars that close by then."""
    of, state, legs, fills, terms = desk.symbols[s], desk.state[s], desk.legs[s], desk.fills, terms_of(desk.sums[s])
    friction, reading = desk.settings.friction, desk.settings.reading
    row, end, last_ms = of[S_ROW], of[S_END], until_ms - of[S_BASE_MS]
    while of[S_STAGE] != FLAT and row < end and desk.open_ms[row] <= last_ms:
        of[S_ROW] = row
        if of[S_PAID] < of[S_PAID_END]:
            fund(desk, s, terms)
        if of[S_STAGE] == PENDING:
            begin(desk, s, terms)
        if of[S_STAGE] == OPEN:
            ticks = tick_of(desk.open[row], terms), tick_of(desk.high[row], terms), tick_of(desk.low[row], terms)
            turnover = desk.turnover[row] if friction.impact > 0.0 else 0.0
            bar = (desk.open_ms[row], ticks[0], ticks[1], ticks[2], turnover)
            count = on_bar(state, legs, bar, terms, friction, reading, fills)
            if count > 0:
                settle(desk, s, count, terms)
        if of[S_STAGE] != PENDING:  # what follows is entered at this very open
            row += 1
        if of[S_STAGE] == OPEN:
            row = rest(desk, s, row, last_ms, terms)
    of[S_ROW] = row
    if row == end and of[S_GONE] != 0 and of[S_STAGE] == OPEN:
        depart(desk, s, terms)
