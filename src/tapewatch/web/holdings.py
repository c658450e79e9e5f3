"""What the answers about paper trading look like: their types, for the description of the API."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from tapewatch.model import Side


class Leg(BaseModel):
    """A target of a position; exact, as text."""

    price: str
    quantity: str


class Fill(BaseModel):
    """A part of a position filled, number 0 its entry; amounts are exact, as text."""

    number: int
    ms: int
    reason: str
    price: str
    quantity: str
    gross: str
    fee: str
    late: bool
    recv_ms: int


class Position(BaseModel):
    """A paper position as `positions --json` prints it; amounts are exact, as text."""

    trade_id: str
    venue: str
    signal_id: str
    symbol: str
    strategy: str
    side: Side
    timeframe: str
    state: Literal["pending", "open", "closed", "skipped"]
    reason: str | None
    decided_ms: int
    at_ms: int
    entry_ms: int | None
    closed_ms: int | None
    entry: str | None
    stop: str | None
    targets: list[Leg]
    quantity: str
    held: str
    mark: str | None
    gross: str
    fees: str
    funding: str
    r: float | None
    mfe_r: float | None
    mae_r: float | None
    ambiguous: bool
    fills: list[Fill]
    net: str
    unrealised: str
    risk: str


class Account(BaseModel):
    """The paper account; amounts are exact, as text."""

    venue: str
    started_ms: int
    at_ms: int
    start_cash: str
    cash: str
    gross: str
    fees: str
    funding: str
    equity: str
    open: int
    open_risk: str
    paused_until_ms: int
    paused_why: str | None


class Positions(BaseModel):
    """The account, and what it holds or waits to."""

    account: Account | None
    items: list[Position]


class TradePage(BaseModel):
    """Some closed positions, and the cursor of the next page."""

    items: list[Position]
    next: str | None


class Equity(BaseModel):
    """The account over time, in columns: quote units, and percent below the peak before."""

    ms: list[int]
    equity: list[float]
    drawdown_pct: list[float]
