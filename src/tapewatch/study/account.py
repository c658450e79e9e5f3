"""What the loop of a backtest works on: one account, the bars of many symbols, and what comes of their candidates."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from tapewatch.paper.account import Limits, Protections
from tapewatch.paper.rules import Friction

#: NumPy arrays; spelled out where a value is made, in `study.desk`.
Cells: TypeAlias = Any

IGNORE, CLOSE, REVERSE = 0, 1, 2
#: Of a symbol: what it has, ...
FLAT, PENDING, OPEN = 0, 1, 2
#: ... and the places of its row. Its bars end before row `S_END` and each is `S_BASE_MS` long, its funding payments end
#: before `S_PAID_END`, and it is number `S_RANK` by name; `S_ROW` and `S_PAID` are its next bar and payment. Of its
#: position: what it came of, its number, when it was filled, and the candidate that is entered when it closes for it,
#: -1 for none. It is not entered before `S_COOL_MS`. `S_GONE` says whether it leaves the market after its last bar.
S_END, S_BASE_MS, S_PAID_END, S_RANK = 0, 1, 2, 3
S_STAGE, S_ROW, S_PAID, S_CANDIDATE, S_TRADE, S_OPENED_MS, S_FOLLOWS, S_COOL_MS, S_GONE = 4, 5, 6, 7, 8, 9, 10, 11, 12
SYMBOL_PLACES = 13
#: Money of a symbol: its `Terms` come first; what an entry may risk and be worth, what its position is worth, and the
#: first two of what follows.
TERMS_PLACES = 6
M_RISK, M_NOTIONAL, M_HELD, M_NEXT_RISK, M_NEXT_NOTIONAL = 6, 7, 8, 9, 10
SUM_PLACES = 11
#: Of a candidate; `A_ENTRY_ROW` is the first base bar that opens when or after it is decided. Its prices are its close,
#: the moves of an order's stop, the distances of its stop and targets, and as many levels.
A_SYMBOL, A_DECIDED_MS, A_SIDE, A_EXPIRY_MS, A_ENTRY_ROW = 0, 1, 2, 3, 4
P_CLOSE, P_BREAK_EVEN, P_TRAIL_AFTER, P_TRAIL_BY, P_DISTANCES = 0, 1, 2, 3, 4
#: Realised equity, gross profit, fees and funding.
CASH, GROSS, FEES, FUNDING = 0, 1, 2, 3
#: How many there are: of trades and exits, busy symbols, positions closed since a protection has looked, and pauses.
TRADES, EXITS, BUSY, CLOSED, PAUSES = 0, 1, 2, 3, 4
COUNTS = 5
#: What comes of it: trades, parts closed, money of trades, pauses. A closed position is a time, a rank and a trade.
T_CANDIDATE, T_ENTRY_MS, T_ENTRY, T_STEPS, T_STOP, T_BEST, T_WORST, T_AMBIGUOUS, T_HELD = 0, 1, 2, 3, 4, 5, 6, 7, 8
TRADE_PLACES = 9
X_TRADE, X_MS, X_TICKS, X_STEPS, X_REASON = 0, 1, 2, 3, 4
EXIT_PLACES = 5
C_FEES, C_FUNDING, C_GROSS = 0, 1, 2
CHARGED_PLACES = 3
D_MS, D_RANK, D_TRADE = 0, 1, 2
PAUSE_WHY, PAUSE_SINCE_MS, PAUSE_UNTIL_MS = 0, 1, 2


class Settings(NamedTuple):
    """Of the account.

    Attributes:
        cash: at the start, in quote units.
        taker, maker: shares of the price; targets are limit orders and pay `maker` and lose nothing to friction.
        shorts: whether it sells short.
        at_fill: whether levels are measured from the fill.
        on_opposite: `IGNORE`, `CLOSE` or `REVERSE`.
        reading: of a bar that touches both stop and target, `rules.PESSIMISTIC` or `OPTIMISTIC`.
    """

    cash: float
    taker: float
    maker: float
    shorts: bool
    at_fill: bool
    on_opposite: int
    reading: int
    limits: Limits
    friction: Friction
    protections: Protections


class Desk(NamedTuple):
    """Everything at hand: few arrays, because every function that gets them takes its time to compile for each.

    Attributes:
        open_ms, open, high, low, close, turnover: the base bars of all symbols one after the other; there is no
            turnover where orders have no impact.
        payments: times and rates of funding, all symbols' one after the other.
        asked, prices: a row per candidate, in the order in which they are decided.
        shares: of the targets, summing to 1.
        symbols, sums: a row per symbol.
        state, legs: of each symbol, its position.
        fills: room for those of one bar.
        busy: the symbols with an entry or a position, in no order.
        closed: positions that no protection has looked at yet.
        money, guard, counts: of the account.
        trades, exits, charged, pauses: rows of what comes of it.
        skipped: candidates that led to no position, by reason.
        days_ms, equity: when equity is noted, and what it was.
    """

    open_ms: Cells
    open: Cells
    high: Cells
    low: Cells
    close: Cells
    turnover: Cells
    payments: Cells
    asked: Cells
    prices: Cells
    shares: Cells
    settings: Settings
    symbols: Cells
    sums: Cells
    state: Cells
    legs: Cells
    fills: Cells
    busy: Cells
    closed: Cells
    money: Cells
    guard: Cells
    counts: Cells
    trades: Cells
    exits: Cells
    charged: Cells
    pauses: Cells
    skipped: Cells
    days_ms: Cells
    equity: Cells
