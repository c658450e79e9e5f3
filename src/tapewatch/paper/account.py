"""What an account lets in: room under its limits, and the pauses of its protections.

As the rules of a position these functions run interpreted and compiled. An account's protections are a row of numbers,
`guard`, whose places are named below. They look at closed positions only, one after the other in the order of (close of
the bar in which it closed, symbol, strategy), so that a live run and a backtest see the same.
"""

from __future__ import annotations

from collections.abc import MutableSequence
from math import inf
from typing import NamedTuple, TypeAlias

from tapewatch.model import DAY_MS
from tapewatch.paper.rules import AT_BREAK_EVEN, AT_LIQUIDATION, AT_STOP, AT_TRAIL

Guard: TypeAlias = MutableSequence[float]

#: The places of `guard`: realised equity now, at the begin of the UTC day of the last position that closed, and at its
#: peak; that day; how many positions in a row have lost; until when entries are paused, since when and why.
G_REALISED, G_BEGUN, G_PEAK, G_DAY, G_LOST, G_UNTIL_MS, G_SINCE_MS, G_WHY = 0, 1, 2, 3, 4, 5, 6, 7
GUARD_PLACES = 8
#: Why entries are paused.
DAILY_LOSS, MAX_DRAWDOWN, LOSSES = 1, 2, 3
PAUSES = {DAILY_LOSS: "daily_loss", MAX_DRAWDOWN: "max_drawdown", LOSSES: "losses"}


class Limits(NamedTuple):
    """What may be open.

    Attributes:
        risk: share of equity that the way from fill to stop may cost.
        size_quote: what each position is worth instead, 0 to size by risk.
        cap_symbol, cap_side, cap_total: most that may be open, as shares of the buying power (equity times leverage).
        leverage: 1 on spot.
        fee: of an entry, as a share of its notional: it is paid out of the same money.
    """

    risk: float
    size_quote: float
    cap_symbol: float
    cap_side: float
    cap_total: float
    leverage: float
    fee: float


class Protections(NamedTuple):
    """What pauses entries; 0 where it does not.

    Attributes:
        daily_loss: share of the realised equity at a UTC day's begin; lost within the day, pauses until the next one.
        max_drawdown: share of the peak of realised equity; lost, pauses for `drawdown_pause_ms` and starts a new peak.
        losses: so many closed positions in a row with a loss pause for `losses_pause_ms`.
        after_stop_ms: for which a symbol whose position was stopped is not entered.
    """

    daily_loss: float
    max_drawdown: float
    drawdown_pause_ms: int
    losses: int
    losses_pause_ms: int
    after_stop_ms: int


def room(
    limits: Limits, equity: float, of_symbol: float, of_side: float, of_all: float, distance: float, close: float
) -> tuple[float, float]:
    """What an entry may risk and be worth, in quote units; nothing is let in where the latter is not above 0.

    `of_symbol`, `of_side` and `of_all` are what other positions and entries of the symbol, of the side and altogether
    are worth; `distance` is the signal's from its stop, and `close` its close.
    """
    power = equity * limits.leverage
    payable = power / (1.0 + limits.fee * limits.leverage)  # notional / leverage + fee x notional = equity
    by_side, by_total = limits.cap_side * power - of_side, min(limits.cap_total * power, payable) - of_all
    most = min(limits.cap_symbol * power - of_symbol, by_side, by_total)
    risk = limits.risk * equity
    wanted = risk / distance * close
    if limits.size_quote > 0.0:
        risk, wanted = inf, limits.size_quote
    return risk, min(wanted, most)


def begin_guard(guard: Guard, cash: float) -> None:
    """Nothing has closed yet."""
    guard[G_REALISED], guard[G_BEGUN], guard[G_PEAK] = cash, cash, cash
    guard[G_DAY], guard[G_LOST] = -1.0, 0.0
    guard[G_UNTIL_MS], guard[G_SINCE_MS], guard[G_WHY] = 0.0, 0.0, 0.0


def count_closed(guard: Guard, protections: Protections, closed_ms: int, net: float) -> int:
    """A position closed in the bar that closed at `closed_ms`; returns why entries are paused because of it.

    That is 0 where they are not, or not for longer than they already were. Of several the longest counts.
    """
    why, until_ms, day = 0, guard[G_UNTIL_MS], (closed_ms - 1) // DAY_MS  # what closes at midnight is of the day before
    if day != guard[G_DAY]:
        guard[G_DAY], guard[G_BEGUN] = float(day), guard[G_REALISED]
    guard[G_REALISED] += net
    realised, begun = guard[G_REALISED], guard[G_BEGUN]
    day_end_ms, lost = float((day + 1) * DAY_MS), begun - realised >= protections.daily_loss * begun
    if protections.daily_loss > 0.0 and lost and day_end_ms > max(until_ms, closed_ms):
        why, until_ms = DAILY_LOSS, day_end_ms
    guard[G_PEAK] = max(guard[G_PEAK], realised)
    if protections.max_drawdown > 0.0 and realised <= (1.0 - protections.max_drawdown) * guard[G_PEAK]:
        guard[G_PEAK] = realised
        if closed_ms + protections.drawdown_pause_ms > until_ms:
            why, until_ms = MAX_DRAWDOWN, float(closed_ms + protections.drawdown_pause_ms)
    guard[G_LOST] = guard[G_LOST] + 1.0 if net < 0.0 else 0.0
    if protections.losses > 0 and guard[G_LOST] >= protections.losses:
        guard[G_LOST] = 0.0
        if closed_ms + protections.losses_pause_ms > until_ms:
            why, until_ms = LOSSES, float(closed_ms + protections.losses_pause_ms)
    if why != 0:
        guard[G_UNTIL_MS], guard[G_SINCE_MS], guard[G_WHY] = until_ms, float(closed_ms), float(why)
    return why


def paused(guard: Guard, decided_ms: int) -> bool:
    """Whether what is decided then opens nothing."""
    return decided_ms < guard[G_UNTIL_MS]


def cool_until_ms(protections: Protections, reason: int, closed_ms: int) -> int:
    """Until when the symbol is not entered whose position closed for this reason; 0 for not at all."""
    stopped = reason in (AT_STOP, AT_BREAK_EVEN, AT_TRAIL, AT_LIQUIDATION)
    return closed_ms + protections.after_stop_ms if stopped and protections.after_stop_ms > 0 else 0
