"""A paper position through a base bar: funded, entered, closed part by part, followed by what it made room for.

The same steps in the same order as `tapewatch.study.account` takes them over columns; money is exact here.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from tapewatch.model import Bar, Fill, FundingPaid, Position
from tapewatch.paper.money import NOTHING, add, multiply
from tapewatch.paper.position import Life, refused
from tapewatch.paper.rules import (
    AT_TARGET,
    CLOSING,
    ENTRY,
    EXPIRED,
    EXPIRY_MS,
    FILL_REASON,
    FILL_STEPS,
    FILL_TICKS,
    NO_BAR,
    PESSIMISTIC,
    PLACES,
    REASONS,
    SIDE,
    SKIPPED,
    STEPS,
    STOP,
    Friction,
    enter,
    entry_ticks,
    market_ticks,
    on_bar,
    slippage_of,
    tick_of,
)

#: Why a position was closed whose symbol is watched no more.
GONE = "gone"

Booked = Fill | FundingPaid | Position


class Costs(NamedTuple):
    """What fills cost, fees as shares of the notional."""

    taker: Decimal
    maker: Decimal
    friction: Friction


class Prices(NamedTuple):
    """A base bar in ticks; `late` and `recv_ms` are how it came."""

    opened_ms: int
    closed_ms: int
    opened: int
    high: int
    low: int
    close: int
    turnover: float
    late: bool
    recv_ms: int


def turnover_of(bar: Bar) -> float:
    """What was traded in a bar, in quote units."""
    return bar.quote_volume if bar.quote_volume == bar.quote_volume else bar.volume * bar.close


def take_bar(life: Life, bar: Bar, costs: Costs, *, late: bool, recv_ms: int) -> tuple[list[Booked], Life | None]:
    """What a base bar that is newer than the last one leads to, and what lives on; `life` itself stays as it was."""
    life, terms = life.copy(), life.terms
    opened, high, low, close = (tick_of(price, terms) for price in (bar.open, bar.high, bar.low, bar.close))
    prices = Prices(bar.open_ms, bar.close_ms, opened, high, low, close, turnover_of(bar), late, recv_ms)
    found: list[Booked] = []
    found += _fund(life, prices)
    while True:
        life.last_ms, life.at_ms = prices.opened_ms, prices.closed_ms
        life.mark, life.turnover = prices.close, prices.turnover
        if not life.open and life.wanted.decided_ms > prices.opened_ms:
            return found, life
        before = life.fills
        if not life.open:
            why = _begin(life, prices, costs, found)
            if why:
                found.append(refused(life.symbol, life.strategy, life.wanted, SKIPPED[why]))
                return found, None
        reason = _live_on(life, prices, costs, found)
        if life.state[STEPS]:
            if life.fills > before:
                found.append(life.told("open"))
            return found, life
        found.append(life.told("closed", reason, prices.opened_ms))
        if life.follows is None:
            return found, None
        life = _next(life)


def leave(life: Life, costs: Costs, recv_ms: int) -> list[Booked]:
    """Close at the last close, for no bar will come; an entry that waits is dropped."""
    if not life.open:
        return [refused(life.symbol, life.strategy, life.wanted, SKIPPED[NO_BAR])]
    life = life.copy()
    state, value = life.state, life.terms.value
    slippage = slippage_of(costs.friction, life.mark * (state[STEPS] * value), life.turnover)
    ticks = max(1, market_ticks(life.mark, -state[SIDE], slippage))
    steps, state[STEPS] = state[STEPS], 0
    prices = Prices(life.last_ms, life.at_ms, *(life.mark,) * 4, life.turnover, late=False, recv_ms=recv_ms)
    found: list[Booked] = [_filled(life, ticks, steps, GONE, costs.taker, prices)]
    found.append(life.told("closed", GONE, life.last_ms))
    if life.follows is not None:
        found.append(refused(life.symbol, life.strategy, life.follows, SKIPPED[NO_BAR]))
    return found


def _fund(life: Life, prices: Prices) -> Iterator[FundingPaid]:
    """Pay the funding that is due up to a bar's open, on what is held, at that open."""
    due = [one for one in life.dues if one[0] <= prices.opened_ms]
    if not due:
        return
    life.dues = life.dues[len(due) :]
    for ms, rate in due:
        if life.open and ms > life.entry_ms:
            notional = life.worth(prices.opened * life.state[STEPS] * life.state[SIDE])
            amount = multiply(notional, Decimal(str(rate)))
            life.funding = add(life.funding, amount)
            yield FundingPaid(trade_id=life.wanted.trade_id, ms=ms, rate=rate, amount=amount)


def _begin(life: Life, prices: Prices, costs: Costs, found: list[Booked]) -> int:
    """Fill the entry at the open, or say why not."""
    order = life.wanted.order
    ticks = entry_ticks(prices.opened, order, costs.friction, prices.turnover)
    state, legs = [0] * PLACES, [[0, 0] for _ in order.shares]
    expired = prices.opened_ms >= life.wanted.expiry_ms
    why = EXPIRED if expired else enter(state, legs, ticks, order, life.terms)
    if why:
        return why
    state[EXPIRY_MS] = life.wanted.expiry_ms
    life.state, life.legs, life.entry_ms, life.first_stop = state, legs, prices.opened_ms, state[STOP]
    found.append(_filled(life, ticks, state[STEPS], "entry", costs.taker, prices))
    return 0


def _live_on(life: Life, prices: Prices, costs: Costs, found: list[Booked]) -> str | None:
    """Take the open position through the bar; returns the reason of its last fill."""
    if 0 < life.closing_ms <= prices.opened_ms:
        life.state[CLOSING] = 1
    bar = prices.opened_ms, prices.opened, prices.high, prices.low, prices.turnover
    fills = [[0, 0, 0] for _ in range(len(life.legs) + 1)]
    count = on_bar(life.state, life.legs, bar, life.terms, costs.friction, PESSIMISTIC, fills)
    reason = None
    for fill in fills[:count]:
        reason = REASONS[fill[FILL_REASON]]
        fee = costs.maker if fill[FILL_REASON] == AT_TARGET else costs.taker
        found.append(_filled(life, fill[FILL_TICKS], fill[FILL_STEPS], reason, fee, prices))
    return reason


def _filled(life: Life, ticks: int, steps: int, reason: str, rate: Decimal, prices: Prices) -> Fill:
    number, life.fills = life.fills, life.fills + 1
    gross = life.worth((ticks - life.state[ENTRY]) * life.state[SIDE] * steps) if number else NOTHING
    fee = multiply(life.worth(ticks * steps), rate)
    life.gross, life.fees = add(life.gross, gross), add(life.fees, fee)
    return Fill(
        trade_id=life.wanted.trade_id,
        number=number,
        ms=prices.opened_ms,
        reason=reason,
        price=life.price(ticks),
        quantity=life.quantity(steps),
        gross=gross,
        fee=fee,
        late=prices.late,
        recv_ms=prices.recv_ms,
    )


def _next(life: Life) -> Life:
    """What follows a position that is closed, as an entry that waits."""
    assert life.follows is not None
    return Life(
        life.symbol, life.strategy, life.instrument, life.terms, life.follows, dues=life.dues, due_ms=life.due_ms
    )
