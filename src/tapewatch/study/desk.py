"""What the loop of a backtest works on, made of candles and candidates."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from tapewatch.archive.candles import Candles
from tapewatch.paper.rules import PLACES, SKIPPED, Terms
from tapewatch.study import account


def market_of(
    candles: Sequence[Candles], payments: Sequence[tuple[Any, Any]], *, turnover: bool = True
) -> account.Market:
    """The base bars of all symbols, and of each the times and rates of its funding payments.

    `turnover` says whether somebody reads it.
    """

    def column(name: str) -> Any:
        parts = [getattr(one, name) for one in candles]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def turnovers() -> Any:
        quoted = column("quote_volume")
        return np.where(np.isnan(quoted), column("volume") * column("close"), quoted)

    return account.Market(
        open_ms=column("open_ms"),
        open=column("open"),
        high=column("high"),
        low=column("low"),
        close=column("close"),
        turnover=turnovers() if turnover else np.zeros(0),
        first=_offsets(candles),
        base_ms=np.array([one.interval_ms for one in candles], np.int64),
        paid=_offsets([times for times, _ in payments]),
        paid_ms=np.concatenate([times for times, _ in payments]).astype(np.int64),
        paid_rate=np.concatenate([rates for _, rates in payments]).astype(np.float64),
    )


def desk_of(
    market: account.Market,
    candidates: account.Candidates,
    shares: Sequence[float],
    terms: Sequence[Terms],
    settings: account.Settings,
    days_ms: Sequence[int],
) -> account.Desk:
    """A desk before the first candle, with room for everything that can come."""
    count, targets, symbols = len(candidates.symbol), len(shares), len(terms)
    book = account.Book(
        stage=np.zeros(symbols, np.int64),
        row=market.first[:-1].copy(),
        state=np.zeros((symbols, PLACES), np.int64),
        legs=np.zeros((symbols, targets, 2), np.int64),
        candidate=np.zeros(symbols, np.int64),
        trade=np.zeros(symbols, np.int64),
        opened_ms=np.zeros(symbols, np.int64),
        follows=np.full(symbols, -1, np.int64),
        paid=market.paid[:-1].copy(),
        plan=np.zeros((symbols, account.PLAN_PLACES)),
        money=np.zeros(4),
        fills=np.zeros((targets + 1, 3), np.int64),
        busy=np.zeros(symbols, np.int64),
        counts=np.zeros(3, np.int64),
    )
    record = account.Record(
        trades=np.zeros((count, account.TRADE_PLACES), np.int64),
        exits=np.zeros((count * (targets + 1), account.EXIT_PLACES), np.int64),
        charged=np.zeros((count, 2)),
        skipped=np.zeros(max(SKIPPED) + 1, np.int64),
        days_ms=np.array(days_ms, np.int64),
        equity=np.zeros(len(days_ms)),
    )
    rows = _entry_rows(market, candidates)
    return account.Desk(market, candidates, rows, np.array(shares), np.array(terms), settings, book, record)


def _entry_rows(market: account.Market, candidates: account.Candidates) -> Any:
    rows = np.zeros(len(candidates.symbol), np.int64)
    for s, (first, end) in enumerate(pairwise(market.first.tolist())):
        mine = candidates.symbol == s
        rows[mine] = first + np.searchsorted(market.open_ms[first:end], candidates.decided_ms[mine])
    return rows


def _offsets(parts: Sequence[Any]) -> Any:
    return np.concatenate(([0], np.cumsum([len(part) for part in parts]))).astype(np.int64)
