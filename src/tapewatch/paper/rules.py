"""The rules of a position's life, in whole ticks and steps: entered, stopped, closed leg by leg, liquidated, expired.

A price is a whole number of ticks, a quantity a whole number of steps, so that a life has no rounding in it. A position
is a row of integers, `state`, whose places are named below, and a row of two, ticks and steps, for each target: `legs`.
The same functions run interpreted on lists and compiled on arrays, which is why they are written so plainly.

Inside a bar the order of prices is unknown. The stop is assumed before a target, which is the worse one, unless the
other bound is asked for, also where the bar opens beyond the target; a stop that the open is beyond fills there.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from math import ceil, floor, sqrt
from typing import NamedTuple, TypeAlias

Row: TypeAlias = MutableSequence[int]
Rows: TypeAlias = Sequence[Row]

#: The places of `state`; `STEPS` are those still held, `CLOSING` says that it closes at the next open, `LEFT_BY` is the
#: reason for which the stop closes it. `EVEN_FROM` and `TRAIL_FROM` are the levels that start a move of the stop,
#: `TRAIL_BY` is how far it then stays behind the best price; 0 where it does not move.
SIDE, STEPS, WHOLE, ENTRY, STOP, LIQUIDATION, BANKRUPTCY, NEXT = 0, 1, 2, 3, 4, 5, 6, 7
BEST, WORST, EXPIRY_MS, CLOSING, AMBIGUOUS, LEFT_BY, EVEN_FROM, TRAIL_FROM, TRAIL_BY = 8, 9, 10, 11, 12, 13, 14, 15, 16
PLACES = 17
#: The places of a leg and of a fill.
LEG_TICKS, LEG_STEPS = 0, 1
FILL_TICKS, FILL_STEPS, FILL_REASON = 0, 1, 2
#: Readings of a bar that touches both stop and target.
PESSIMISTIC, OPTIMISTIC = 0, 1
#: Why a part of a position was closed.
AT_STOP, AT_TARGET, AT_TIME, AT_OPPOSITE, AT_LIQUIDATION, AT_BREAK_EVEN, AT_TRAIL, AT_GONE = 1, 2, 3, 4, 5, 6, 7, 8
REASONS = {
    AT_STOP: "stop",
    AT_TARGET: "target",
    AT_TIME: "time",
    AT_OPPOSITE: "opposite",
    AT_LIQUIDATION: "liquidation",
    AT_BREAK_EVEN: "break_even",
    AT_TRAIL: "trailing_stop",
    AT_GONE: "gone",
}
#: Why a signal led to no position.
GAPPED, TOO_SMALL, HELD, NO_SHORTS, NO_ROOM, NO_BAR, PAUSED, COOLING, EXPIRED = 1, 2, 3, 4, 5, 6, 7, 8, 9
SKIPPED = {
    GAPPED: "the open was beyond its stop or its target",
    TOO_SMALL: "less than a step or the least notional",
    HELD: "a position was open",
    NO_SHORTS: "a spot account sells nothing short",
    NO_ROOM: "no room under a limit",
    NO_BAR: "no candle came after it",
    PAUSED: "entries were paused by a protection",
    COOLING: "its symbol was stopped a short while ago",
    EXPIRED: "its time was over before the next candle",
}
#: Prices are decimals read as doubles: what is this near to a whole number is one.
NEAR = 1e-6
#: No order slips by more than this share of the price.
MOST_SLIPPAGE = 0.1
#: No position has more steps: so many and their ticks are counted exactly, by integers and by doubles.
MOST_STEPS = 2.0**53


class Terms(NamedTuple):
    """Of an instrument, and of the account it is traded in.

    Attributes:
        unit, per: a tick is `unit / per` quote units, both whole, so that 0.05 is 1 / 20.
        value: what a tick of a step is worth, in quote units.
        least_notional: of an order, in quote units.
        leverage, maintenance: of a perpetual; a leverage of 0 says that nothing is borrowed and nothing liquidated.
    """

    unit: float
    per: float
    value: float
    least_notional: float
    leverage: float
    maintenance: float


class Order(NamedTuple):
    """What a signal asks for.

    Attributes:
        side: 1 long, -1 short.
        distances: of the stop and of each target from the signal's entry, as prices.
        levels: the same as the signal said them.
        shares: of each target, as they sum to 1.
        at_fill: whether stop and targets are measured from the fill.
        risk_quote: what the way from the fill to the stop may cost.
        notional_quote: what the position may be worth.
        break_even: once the price has gone this far our way from the fill, the stop is at the fill; 0 never.
        trail_after, trail_by: once it has gone `trail_after`, the stop is `trail_by` behind the best price; with a
            `trail_by` of 0 never, with a `trail_after` of 0 from the entry on.
    """

    side: int
    distances: Sequence[float]
    levels: Sequence[float]
    shares: Sequence[float]
    at_fill: bool
    risk_quote: float
    notional_quote: float
    break_even: float
    trail_after: float
    trail_by: float


class Friction(NamedTuple):
    """What market orders lose, as shares of the price.

    Attributes:
        spread: half of the spread, or whatever is lost by an order of any size.
        impact: what an order as large as the whole turnover of its bar loses besides; less by the root of its share.
    """

    spread: float
    impact: float


def slippage_of(friction: Friction, notional: float, turnover: float) -> float:
    """What a market order loses in a bar of this turnover, both in quote units: the most where that is 0 or unknown."""
    if friction.impact <= 0.0:
        return friction.spread
    if not turnover > 0.0:
        return MOST_SLIPPAGE
    return min(MOST_SLIPPAGE, friction.spread + friction.impact * sqrt(notional / turnover))


def tick_of(price: float, terms: Terms) -> int:
    """The tick nearest to a candle's price."""
    return floor(price * terms.per / terms.unit + 0.5)


def ticks_up(price: float, terms: Terms) -> int:
    """The first tick at or above a price."""
    exact = price * terms.per / terms.unit
    nearest = floor(exact + 0.5)
    return nearest if abs(exact - nearest) < NEAR else ceil(exact)


def ticks_down(price: float, terms: Terms) -> int:
    """The last tick at or below a price."""
    exact = price * terms.per / terms.unit
    nearest = floor(exact + 0.5)
    return nearest if abs(exact - nearest) < NEAR else floor(exact)


def market_ticks(ticks: int, side: int, slippage: float) -> int:
    """What a market order pays: `side` 1 buys, -1 sells; `slippage` is a share of the price, rounded against us."""
    return ceil(ticks * (1.0 + slippage)) if side > 0 else floor(ticks * (1.0 - slippage))


def stop_ticks(price: float, side: int, terms: Terms) -> int:
    """A stop's level, rounded away from the entry: a long one's down."""
    return ticks_down(price, terms) if side > 0 else ticks_up(price, terms)


def target_ticks(price: float, side: int, terms: Terms) -> int:
    """A target's level, rounded away from the entry: a long one's up."""
    return ticks_up(price, terms) if side > 0 else ticks_down(price, terms)


def liquidation_ticks(entry: int, side: int, terms: Terms) -> int:
    """Where an isolated margin falls to the maintenance share of the position; 0 where no price does that.

    A margin of entry / leverage and the loss at a price P leave maintenance * P: for a long position
    P = entry * (1 - 1 / leverage) / (1 - maintenance), for a short one mirrored. Fees come out of the account.
    """
    if side > 0:
        return ceil(entry * (1.0 - 1.0 / terms.leverage) / (1.0 - terms.maintenance))
    return floor(entry * (1.0 + 1.0 / terms.leverage) / (1.0 + terms.maintenance))


def bankruptcy_ticks(entry: int, side: int, terms: Terms) -> int:
    """Where the margin is gone: no fill is worse, for the rest is the exchange's loss."""
    if side > 0:
        return ceil(entry * (1.0 - 1.0 / terms.leverage))
    return floor(entry * (1.0 + 1.0 / terms.leverage))


def share_out(steps: int, shares: Sequence[float], least_notional: float, value: float, legs: Rows) -> None:
    """Share a position's steps among its legs, which have their ticks; the steps of all legs sum to the position.

    A leg worth less than the least notional is merged into the next, the last one into the one before.
    """
    given, upto_share, last = 0, 0.0, -1
    for k in range(len(shares)):
        upto_share += shares[k]
        final = k == len(shares) - 1
        mine = steps - given if final else floor(steps * upto_share + NEAR) - given
        if mine * (legs[k][LEG_TICKS] * value) < least_notional:
            if final and last >= 0:
                legs[last][LEG_STEPS] += mine
                given += mine
                mine = 0
            elif not final:
                mine = 0
        legs[k][LEG_STEPS] = mine
        given += mine
        if mine > 0:
            last = k


def enter(state: Row, legs: Rows, fill: int, order: Order, terms: Terms) -> int:
    """Begin a position filled at these ticks; returns 0, or why there is none (the position's rows are void then)."""
    side, value, price = order.side, terms.value, fill * terms.unit / terms.per
    stop = stop_ticks(price - side * order.distances[0] if order.at_fill else order.levels[0], side, terms)
    for k in range(len(legs)):
        level = price + side * order.distances[k + 1] if order.at_fill else order.levels[k + 1]
        legs[k][LEG_TICKS] = target_ticks(level, side, terms)
        if legs[k][LEG_TICKS] <= 0 or (legs[k][LEG_TICKS] - fill) * side <= 0:
            return GAPPED
    if stop <= 0 or (fill - stop) * side <= 0:
        return GAPPED
    by_risk = order.risk_quote / ((fill - stop) * side * value)
    steps = floor(min(by_risk, order.notional_quote / (fill * value), MOST_STEPS) + NEAR)
    if steps < 1 or steps * (fill * value) < terms.least_notional:
        return TOO_SMALL
    share_out(steps, order.shares, terms.least_notional, value, legs)
    for k in range(PLACES):
        state[k] = 0
    state[SIDE], state[STEPS], state[WHOLE], state[STOP] = side, steps, steps, stop
    state[ENTRY], state[BEST], state[WORST], state[LEFT_BY] = fill, fill, fill, AT_STOP
    if order.break_even > 0.0:
        state[EVEN_FROM] = target_ticks(price + side * order.break_even, side, terms)
    if order.trail_by > 0.0:
        state[TRAIL_FROM] = target_ticks(price + side * order.trail_after, side, terms)
        state[TRAIL_BY] = max(1, ticks_up(order.trail_by, terms))
    if terms.leverage > 0.0:
        state[LIQUIDATION] = liquidation_ticks(fill, side, terms)
        state[BANKRUPTCY] = bankruptcy_ticks(fill, side, terms)
    return 0


def guard_of(state: Row) -> int:
    """The level that closes all of it: the stop, or where it is liquidated if that comes first."""
    nearer = state[LIQUIDATION] != 0 and (state[LIQUIDATION] - state[STOP]) * state[SIDE] > 0
    return state[LIQUIDATION] if nearer else state[STOP]


def reached(state: Row, legs: Rows, best: int) -> bool:
    """Whether a bar's best price touches the next target that has steps."""
    k = state[NEXT]
    while k < len(legs) and legs[k][LEG_STEPS] == 0:
        k += 1
    state[NEXT] = k
    return k < len(legs) and (best - legs[k][LEG_TICKS]) * state[SIDE] >= 0


def close_part(state: Row, fills: Rows, count: int, ticks: int, steps: int, reason: int) -> int:
    """Write a fill as number `count`; returns how many there are."""
    fills[count][FILL_TICKS] = ticks
    fills[count][FILL_STEPS] = steps
    fills[count][FILL_REASON] = reason
    state[STEPS] -= steps
    if (ticks - state[WORST]) * state[SIDE] < 0:
        state[WORST] = ticks
    if (ticks - state[BEST]) * state[SIDE] > 0:
        state[BEST] = ticks
    return count + 1


def take_targets(state: Row, legs: Rows, best: int, fills: Rows) -> int:
    """Close at every target that a bar's best price touches, each at its own level, however far the bar went."""
    count = 0
    while state[STEPS] > 0 and reached(state, legs, best):
        leg = legs[state[NEXT]]
        count = close_part(state, fills, count, leg[LEG_TICKS], leg[LEG_STEPS], AT_TARGET)
        state[NEXT] += 1
    return count


def entry_ticks(opened: int, order: Order, friction: Friction, turnover: float) -> int:
    """What an entry fills at: the open of its bar, after the slippage of an order as large as was planned."""
    return market_ticks(opened, order.side, slippage_of(friction, order.notional_quote, turnover))


def leave_at_market(state: Row, ticks: int, slippage: float, reason: int, fills: Rows, count: int) -> int:
    """Close what is left at a price the market had, after slippage; nothing is worse than the loss of the margin."""
    side, liquidation, bankruptcy = state[SIDE], state[LIQUIDATION], state[BANKRUPTCY]
    if liquidation != 0 and (ticks - liquidation) * side <= 0:
        reason = AT_LIQUIDATION
    else:
        ticks = market_ticks(ticks, -side, slippage)
    if bankruptcy != 0 and (ticks - bankruptcy) * side < 0:
        ticks = bankruptcy
    return close_part(state, fills, count, ticks, state[STEPS], reason)


def move_stop(state: Row) -> None:
    """Bring the stop to where the best price so far wants it, for the bars to come; it never moves back."""
    side, best = state[SIDE], state[BEST]
    if state[EVEN_FROM] != 0 and (best - state[EVEN_FROM]) * side >= 0 and (state[ENTRY] - state[STOP]) * side > 0:
        state[STOP], state[LEFT_BY] = state[ENTRY], AT_BREAK_EVEN
    if state[TRAIL_BY] != 0 and (best - state[TRAIL_FROM]) * side >= 0:
        trailing = best - side * state[TRAIL_BY]
        if (trailing - state[STOP]) * side > 0:
            state[STOP], state[LEFT_BY] = trailing, AT_TRAIL


def on_bar(
    state: Row,
    legs: Rows,
    bar: tuple[int, int, int, int, float],
    terms: Terms,
    friction: Friction,
    reading: int,
    fills: Rows,
) -> int:
    """Take an open position through a base bar, its first one included; returns how many fills that led to.

    `bar` is when it opened, its open, high and low in ticks, and its turnover in quote units. `reading` says whose a
    bar is that touches both stop and target, `PESSIMISTIC` or `OPTIMISTIC`. `fills` has a row more than there are
    targets.
    """
    opened_ms, opened, high, low, turnover = bar
    side, guard = state[SIDE], guard_of(state)
    worst, best = (low, high) if side > 0 else (high, low)
    reason, ticks, count = 0, opened, 0
    if state[CLOSING] != 0:
        reason = AT_OPPOSITE
    elif opened_ms >= state[EXPIRY_MS]:
        reason = AT_TIME
    elif (worst - guard) * side <= 0:
        reason = state[LEFT_BY]
        if (opened - guard) * side > 0:  # where it is not, the bar gaps past the stop and that fills at the open
            ticks = guard
            if reached(state, legs, best):
                state[AMBIGUOUS] += 1
                if reading == OPTIMISTIC:
                    count = take_targets(state, legs, best, fills)
    if reason != 0:
        if state[STEPS] > 0:
            slippage = slippage_of(friction, ticks * (state[STEPS] * terms.value), turnover)
            count = leave_at_market(state, ticks, slippage, reason, fills, count)
        return count
    if (worst - state[WORST]) * side < 0:
        state[WORST] = worst
    count = take_targets(state, legs, best, fills)
    if state[STEPS] > 0:
        if (best - state[BEST]) * side > 0:
            state[BEST] = best
        move_stop(state)
    return count
