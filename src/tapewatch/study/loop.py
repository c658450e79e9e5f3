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
    count_closed,
    paused,
    room,
)
from tapewatch.paper.rules import (
    CLOSING,
    COOLING,
    ENTRY,
    HELD,
    NO_BAR,
    NO_ROOM,
    NO_SHORTS,
    PAUSED,
    SIDE,
    STEPS,
    tick_of,
)
from tapewatch.study.account import (
    A_DECIDED_MS,
    A_ENTRY_ROW,
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
    FLAT,
    IGNORE,
    M_HELD,
    M_NEXT_NOTIONAL,
    M_NEXT_RISK,
    M_NOTIONAL,
    M_RISK,
    OPEN,
    P_CLOSE,
    P_DISTANCES,
    PAUSE_SINCE_MS,
    PAUSE_UNTIL_MS,
    PAUSE_WHY,
    PAUSES,
    PENDING,
    REVERSE,
    S_CANDIDATE,
    S_COOL_MS,
    S_END,
    S_FOLLOWS,
    S_ROW,
    S_STAGE,
    S_TRADE,
    Desk,
)
from tapewatch.study.positions import live_on, note, terms_of


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
            desk.equity[day] = desk.money[CASH]
            if desk.counts[BUSY] > 0:
                pass_time(desk, days_ms[day])
                desk.equity[day] = equity_of(desk)
            day += 1
        if not last:
            if desk.counts[BUSY] > 0:
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
