"""What the loop of a backtest works on, made of candles and candidates."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from tapewatch.archive.candles import Candles
from tapewatch.paper.account import GUARD_PLACES
from tapewatch.paper.rules import PLACES, SKIPPED, Terms
from tapewatch.study import account


class Market(NamedTuple):
    """The base bars of all symbols one after the other, and their funding payments.

    Symbol s is number `rank[s]` by name; it has the rows from `first[s]` to before `first[s + 1]`, each `base_ms[s]`
    long, and the payments, each a time and a rate, from `paid[s]` to before `paid[s + 1]`. After its last bar it is
    `gone`, or the period is over.
    """

    open_ms: Any
    open: Any
    high: Any
    low: Any
    close: Any
    turnover: Any
    first: Any
    base_ms: Any
    gone: Any
    rank: Any
    paid: Any
    payments: Any


class Candidates(NamedTuple):
    """In the order in which they are decided; a row of `distances` and `levels` has the stop's, then the targets'.

    A row of `moves` has an order's `break_even`, `trail_after` and `trail_by`.
    """

    symbol: Any
    decided_ms: Any
    side: Any
    close: Any
    expiry_ms: Any
    distances: Any
    levels: Any
    moves: Any


def market_of(
    candles: Sequence[Candles],
    payments: Sequence[tuple[Any, Any]],
    gone: Sequence[bool] | None = None,
    *,
    turnover: bool = True,
) -> Market:
    """The base bars of all symbols, and of each the times and rates of its funding payments.

    `gone` says of each symbol whether it leaves the market after its last bar, `turnover` whether somebody reads that.
    """

    def column(name: str) -> Any:
        parts = [getattr(one, name) for one in candles]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def turnovers() -> Any:
        quoted = column("quote_volume")
        return np.where(np.isnan(quoted), column("volume") * column("close"), quoted)

    return Market(
        open_ms=column("open_ms"),
        open=column("open"),
        high=column("high"),
        low=column("low"),
        close=column("close"),
        turnover=turnovers() if turnover else np.zeros(0),
        first=_offsets(candles),
        base_ms=np.array([one.interval_ms for one in candles], np.int64),
        gone=np.array(gone if gone is not None else [False] * len(candles)),
        rank=np.argsort(np.argsort([one.symbol for one in candles])),
        paid=_offsets([times for times, _ in payments]),
        payments=np.concatenate([np.column_stack((times, rates)) for times, rates in payments]).astype(np.float64),
    )


def desk_of(
    market: Market,
    candidates: Candidates,
    shares: Sequence[float],
    terms: Sequence[Terms],
    settings: account.Settings,
    days_ms: Sequence[int],
) -> account.Desk:
    """A desk before the first candle, with room for everything that can come."""
    count, targets, symbols = len(candidates.symbol), len(shares), len(terms)
    guarded = settings.protections.daily_loss or settings.protections.max_drawdown or settings.protections.losses
    return account.Desk(
        open_ms=market.open_ms,
        open=market.open,
        high=market.high,
        low=market.low,
        close=market.close,
        turnover=market.turnover,
        payments=market.payments,
        asked=_asked(market, candidates),
        prices=np.column_stack((candidates.close, candidates.moves, candidates.distances, candidates.levels)),
        shares=np.array(shares),
        settings=settings,
        symbols=_symbols(market),
        sums=np.column_stack((np.array(terms), np.zeros((symbols, account.SUM_PLACES - account.TERMS_PLACES)))),
        state=np.zeros((symbols, PLACES), np.int64),
        legs=np.zeros((symbols, targets, 2), np.int64),
        fills=np.zeros((targets + 1, 3), np.int64),
        busy=np.zeros(symbols, np.int64),
        closed=np.zeros((2 * symbols, 3), np.int64),
        money=np.zeros(4),
        guard=np.zeros(GUARD_PLACES),
        counts=np.zeros(account.COUNTS, np.int64),
        trades=np.zeros((count, account.TRADE_PLACES), np.int64),
        exits=np.zeros((count * (targets + 1), account.EXIT_PLACES), np.int64),
        charged=np.zeros((count, account.CHARGED_PLACES)),
        pauses=np.zeros((count if guarded else 0, 3), np.int64),
        skipped=np.zeros(max(SKIPPED) + 1, np.int64),
        days_ms=np.array(days_ms, np.int64),
        equity=np.zeros(len(days_ms)),
    )


def _asked(market: Market, candidates: Candidates) -> Any:
    columns = (candidates.symbol, candidates.decided_ms, candidates.side, candidates.expiry_ms)
    return np.column_stack((*columns, _entry_rows(market, candidates)))


def _symbols(market: Market) -> Any:
    rows = np.zeros((len(market.rank), account.SYMBOL_PLACES), np.int64)
    rows[:, account.S_END], rows[:, account.S_ROW] = market.first[1:], market.first[:-1]
    rows[:, account.S_PAID_END], rows[:, account.S_PAID] = market.paid[1:], market.paid[:-1]
    rows[:, account.S_BASE_MS], rows[:, account.S_RANK] = market.base_ms, market.rank
    rows[:, account.S_FOLLOWS], rows[:, account.S_GONE] = -1, market.gone
    return rows


def _entry_rows(market: Market, candidates: Candidates) -> Any:
    rows = np.zeros(len(candidates.symbol), np.int64)
    for s, (first, end) in enumerate(pairwise(market.first.tolist())):
        mine = candidates.symbol == s
        rows[mine] = first + np.searchsorted(market.open_ms[first:end], candidates.decided_ms[mine])
    return rows


def _offsets(parts: Sequence[Any]) -> Any:
    return np.concatenate(([0], np.cumsum([len(part) for part in parts]))).astype(np.int64)
