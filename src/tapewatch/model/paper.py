"""What the paper book says of its positions and its account. Money is exact: quote units as decimals."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

import msgspec

from tapewatch.model.signals import Side


def decimal_text(value: Decimal) -> str:
    """All its digits, never in scientific notation, and no zeros that say nothing."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


class Leg(msgspec.Struct, frozen=True):
    """A target of a position: what is closed at which price."""

    price: Decimal
    quantity: Decimal


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """Effect: a part of a position filled, number 0 its entry. Money in quote units, exact.

    `ms` is the open of the base bar it happened in; `late` says that bar's data came late, as after a downtime.
    """

    trade_id: str
    number: int
    ms: int
    reason: str
    price: Decimal
    quantity: Decimal
    gross: Decimal
    fee: Decimal
    late: bool
    recv_ms: int


class FundingPaid(msgspec.Struct, frozen=True, kw_only=True):
    """Effect: funding of a position, paid where `amount` is above 0; exact, in quote units."""

    trade_id: str
    ms: int
    rate: float
    amount: Decimal


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Effect: a paper position as it is now; it takes the place of what was said of the same `trade_id` before.

    Attributes:
        state: `pending` until the next base bar opens, `open`, `closed`, or `skipped`: never entered.
        reason: why it was skipped, or closed at last.
        decided_ms: when its signal's candidates were decided on.
        at_ms: as of when this is: the close of the last base bar it saw, before that `decided_ms`; it never goes back.
        entry_ms, closed_ms: opens of the base bars it was filled and closed in.
        quantity, held: base units at its entry, and now.
        mark: the close of the last base bar.
        gross, fees, funding: quote units so far, exact.
        r, mfe_r, mae_r: net, best and worst price in units of the way from the entry to the first stop.
        saved: what makes it live on after a restart; JSON gives it back as it was.
    """

    trade_id: str
    signal_id: str
    symbol: str
    strategy: str
    side: Side
    timeframe: str
    state: Literal["pending", "open", "closed", "skipped"]
    reason: str | None = None
    decided_ms: int
    at_ms: int
    entry_ms: int | None = None
    closed_ms: int | None = None
    entry: Decimal | None = None
    stop: Decimal | None = None
    targets: tuple[Leg, ...] = ()
    quantity: Decimal = Decimal(0)
    held: Decimal = Decimal(0)
    mark: Decimal | None = None
    gross: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    funding: Decimal = Decimal(0)
    r: float | None = None
    mfe_r: float | None = None
    mae_r: float | None = None
    ambiguous: bool = False
    saved: list[Any] = []


class AccountState(msgspec.Struct, frozen=True, kw_only=True):
    """Effect: the paper account as it is now, exact: cash at the start + gross - fees - funding is `cash`.

    `equity` is cash and every open position at its last close. `at_ms` is the newest close it knows, which never goes
    back. `saved` is what makes it live on after a restart; JSON gives it back as it was.
    """

    started_ms: int
    at_ms: int
    start_cash: Decimal
    cash: Decimal
    gross: Decimal
    fees: Decimal
    funding: Decimal
    equity: Decimal
    open: int
    paused_until_ms: int = 0
    paused_why: str | None = None
    saved: list[Any] = []


class EntriesPaused(msgspec.Struct, frozen=True):
    """Effect: a protection lets nothing be entered until `until_ms`.

    Attributes:
        why: its key in the configuration.
        since_ms, until_ms: the close that set it off, and the end.
        realised, before: quote units realised now, and when the day began or at the peak.
        lost: how many positions in a row have lost.
    """

    why: str
    since_ms: int
    until_ms: int
    realised: float = 0.0
    before: float = 0.0
    lost: int = 0


class EntriesResumed(msgspec.Struct, frozen=True):
    """Effect: what a protection had paused goes on."""

    since_ms: int
    at_ms: int


class DayDone(msgspec.Struct, frozen=True, kw_only=True):
    """Effect: what a UTC day that has ended brought the paper account; quote units, exact."""

    day_ms: int
    equity_before: Decimal
    equity: Decimal
    entered: int
    closed: int
    won: int
    gross: Decimal
    fees: Decimal
    funding: Decimal
    open: int


class BookFailed(msgspec.Struct, frozen=True):
    """Effect: the book raised on a bar of this position; the bar was skipped for it alone."""

    symbol: str
    strategy: str
    ms: int
    error: str
    stack: str = ""


class BookSaved(msgspec.Struct, frozen=True):
    """What a ledger keeps of a paper book: `AccountState.saved`, and `Position.saved` of all that pend or are open."""

    account: list[Any]
    positions: list[list[Any]]
