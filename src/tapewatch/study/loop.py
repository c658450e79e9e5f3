"""One account over the candidates of many symbols: the loop of a backtest, written to be compiled.

Candidates come in the order in which a live run decides them. Before each, every open position is taken through the
base bars that have closed by then, so that equity is known; the entry itself fills at the next base bar's open. A
position's own rules are those of `tapewatch.paper.rules`, an account's those of `tapewatch.paper.account`.
"""

from __future__ import annotations

from tapewatch.paper.account import (
    G_SINCE_MS,
    G_UNTIL_MS,
    begin_guard,
    cool_until_ms,
    count_closed,
    paused,
    room,
)
from tapewatch.paper.rules import (
    AMBIGUOUS,
    AT_GONE,
    AT_TARGET,
    BEST,
    CLOSING,
    COOLING,
    ENTRY,
    EXPIRED,
    EXPIRY_MS,
    FILL_REASON,
    FILL_STEPS,
    FILL_TICKS,
    HELD,
    NO_BAR,
    NO_ROOM,
    NO_SHORTS,
    PAUSED,
    SIDE,
    STEPS,
    STOP,
    WHOLE,
    WORST,
    Order,
    Terms,
    enter,
    entry_ticks,
    leave_at_market,
    on_bar,
    slippage_of,
    tick_of,
)
from tapewatch.study.account import (
    A_DECIDED_MS,
    A_ENTRY_ROW,
    A_EXPIRY_MS,
    A_SIDE,
    A_SYMBOL,
    BUSY,
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
    IGNORE,
    M_HELD,
    M_NEXT_NOTIONAL,
    M_NEXT_RISK,
    M_NOTIONAL,
    M_RISK,
    OPEN,
    P_BREAK_EVEN,
    P_CLOSE,
    P_DISTANCES,
    P_TRAIL_AFTER,
    P_TRAIL_BY,
    PAUSE_SINCE_MS,
    PAUSE_UNTIL_MS,
    PAUSE_WHY,
    PAUSES,
    PENDING,
    REVERSE,
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
    of[S_COOL_MS] = cool_until_ms(protections, reason, closed_ms)
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


def live_on(desk: Desk, s: int, until_ms: int) -> None:
    """Take a symbol with an entry or a position through the bars that close by then.

    This is where the time of a backtest goes: a desk is large, and only what is rare gets all of it.
    """
    of, state, legs, fills, terms = desk.symbols[s], desk.state[s], desk.legs[s], desk.fills, terms_of(desk.sums[s])
    opens_ms, opens, highs, lows, turnovers = desk.open_ms, desk.open, desk.high, desk.low, desk.turnover
    friction, reading = desk.settings.friction, desk.settings.reading
    row, end, last_ms = of[S_ROW], of[S_END], until_ms - of[S_BASE_MS]
    while of[S_STAGE] != FLAT and row < end and opens_ms[row] <= last_ms:
        of[S_ROW] = row
        if of[S_PAID] < of[S_PAID_END]:
            fund(desk, s, terms)
        if of[S_STAGE] == PENDING:
            begin(desk, s, terms)
        if of[S_STAGE] == OPEN:
            opened, high, low = tick_of(opens[row], terms), tick_of(highs[row], terms), tick_of(lows[row], terms)
            turnover = turnovers[row] if friction.impact > 0.0 else 0.0
            bar = (opens_ms[row], opened, high, low, turnover)
            count = on_bar(state, legs, bar, terms, friction, reading, fills)
            if count > 0:
                settle(desk, s, count, terms)
        if of[S_STAGE] != PENDING:  # what follows is entered at this very open
            row += 1
    of[S_ROW] = row
    if row == end and of[S_GONE] != 0 and of[S_STAGE] == OPEN:
        depart(desk, s, terms)


def protect(desk: Desk) -> None:
    """Show the protections what has closed since they last looked, in the order of time, then of symbols."""
    closed, count = desk.closed, desk.counts[CLOSED]
    for last in range(1, count):
        ms, rank, trade, k = closed[last, D_MS], closed[last, D_RANK], closed[last, D_TRADE], last
        while k > 0 and (closed[k - 1, D_MS] > ms or (closed[k - 1, D_MS] == ms and closed[k - 1, D_RANK] > rank)):
            for place in range(3):
                closed[k, place] = closed[k - 1, place]
            k -= 1
        closed[k, D_MS], closed[k, D_RANK], closed[k, D_TRADE] = ms, rank, trade
    for k in range(count):
        of = desk.charged[closed[k, D_TRADE]]
        net = of[C_GROSS] - of[C_FEES] - of[C_FUNDING]
        why = count_closed(desk.guard, desk.settings.protections, closed[k, D_MS], net)
        if why != 0:
            pause = desk.pauses[desk.counts[PAUSES]]
            desk.counts[PAUSES] += 1
            pause[PAUSE_WHY], pause[PAUSE_SINCE_MS] = why, int(desk.guard[G_SINCE_MS])
            pause[PAUSE_UNTIL_MS] = int(desk.guard[G_UNTIL_MS])
    desk.counts[CLOSED] = 0


def pass_time(desk: Desk, now_ms: int) -> None:
    """Take every busy symbol through the bars that have closed by now."""
    busy, counts, left = desk.busy, desk.counts, 0
    for k in range(counts[BUSY]):
        s = busy[k]
        live_on(desk, s, now_ms)
        if desk.symbols[s, S_STAGE] != FLAT:
            busy[left] = s
            left += 1
    counts[BUSY] = left
    if counts[CLOSED] > 0:
        protect(desk)


def equity_of(desk: Desk) -> float:
    """Realised equity, and what every position would bring at the close of its last bar, without costs."""
    equity = desk.money[CASH]
    for k in range(desk.counts[BUSY]):
        s = desk.busy[k]
        if desk.symbols[s, S_STAGE] == OPEN:
            state, terms = desk.state[s], terms_of(desk.sums[s])
            ticks = tick_of(desk.close[desk.symbols[s, S_ROW] - 1], terms)
            equity += (ticks - state[ENTRY]) * state[SIDE] * (state[STEPS] * terms.value)
    return float(equity)


def room_for(desk: Desk, n: int) -> tuple[float, float]:
    """What an entry may risk and be worth under the limits; there is no room where the latter is not above 0."""
    s, side = desk.asked[n, A_SYMBOL], desk.asked[n, A_SIDE]
    of_side = of_all = 0.0
    for k in range(desk.counts[BUSY]):
        other = desk.busy[k]
        if other != s:
            of = desk.symbols[other]
            held = desk.sums[other, M_NOTIONAL if of[S_STAGE] == PENDING else M_HELD]
            of_all += held
            if desk.asked[of[S_CANDIDATE], A_SIDE] == side:
                of_side += held
    prices = desk.prices[n]
    return room(desk.settings.limits, equity_of(desk), 0.0, of_side, of_all, prices[P_DISTANCES], prices[P_CLOSE])


def oppose(desk: Desk, n: int, barred: int) -> int:
    """What a candidate does to the position or entry that its symbol has; returns why it opens nothing, or 0."""
    settings, s, side = desk.settings, desk.asked[n, A_SYMBOL], desk.asked[n, A_SIDE]
    of, sums = desk.symbols[s], desk.sums[s]
    if of[S_STAGE] != OPEN or desk.state[s, SIDE] == side or settings.on_opposite == IGNORE:
        return HELD
    desk.state[s, CLOSING] = 1
    if settings.on_opposite != REVERSE or of[S_FOLLOWS] >= 0 or barred == NO_SHORTS:
        return HELD
    if barred != 0:
        return barred
    sums[M_NEXT_RISK], sums[M_NEXT_NOTIONAL] = room_for(desk, n)
    if not sums[M_NEXT_NOTIONAL] > 0.0:
        return HELD
    of[S_FOLLOWS] = n
    return 0


def decide(desk: Desk, n: int) -> int:
    """What becomes of a candidate: an entry at the next bar's open and 0, or nothing and why."""
    asked = desk.asked[n]
    s, decided_ms = asked[A_SYMBOL], asked[A_DECIDED_MS]
    of, sums, barred = desk.symbols[s], desk.sums[s], 0
    if asked[A_SIDE] < 0 and not desk.settings.shorts:
        barred = NO_SHORTS
    elif paused(desk.guard, decided_ms):
        barred = PAUSED
    elif decided_ms < of[S_COOL_MS]:
        barred = COOLING
    if of[S_STAGE] != FLAT:
        return oppose(desk, n, barred)
    if barred != 0:
        return barred
    of[S_ROW] = max(of[S_ROW], asked[A_ENTRY_ROW])
    if of[S_ROW] == of[S_END]:
        return NO_BAR
    sums[M_RISK], sums[M_NOTIONAL] = room_for(desk, n)
    if not sums[M_NOTIONAL] > 0.0:
        return NO_ROOM
    of[S_STAGE], of[S_CANDIDATE], desk.busy[desk.counts[BUSY]] = PENDING, n, s
    desk.counts[BUSY] += 1
    return 0


def simulate(desk: Desk) -> None:
    """Everything that follows from the candidates, written into the desk."""
    asked, days_ms, day = desk.asked, desk.days_ms, 0
    desk.money[CASH] = desk.settings.cash
    begin_guard(desk.guard, desk.settings.cash)
    for n in range(len(asked) + 1):
        last = n == len(asked)
        while day < len(days_ms) and (last or days_ms[day] <= asked[n, A_DECIDED_MS]):
            pass_time(desk, days_ms[day])
            desk.equity[day] = equity_of(desk)
            day += 1
        if not last:
            pass_time(desk, asked[n, A_DECIDED_MS])
            why = decide(desk, n)
            if why != 0:
                desk.skipped[why] += 1
    for k in range(desk.counts[BUSY]):
        s = desk.busy[k]
        if desk.symbols[s, S_STAGE] == OPEN:
            note(desk.state[s], desk.trades[desk.symbols[s, S_TRADE]])
        if desk.symbols[s, S_STAGE] == PENDING or desk.symbols[s, S_FOLLOWS] >= 0:
            desk.skipped[NO_BAR] += 1
