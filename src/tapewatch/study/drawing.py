"""The charts of a backtest's report: equity beside buying and holding, drawdown, and trades on candles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol

import numpy as np

from tapewatch.archive import resample
from tapewatch.archive.candles import Candles
from tapewatch.model import INTERVALS_MS
from tapewatch.study.backtest import Backtest, Result
from tapewatch.study.charts import Card, Chart, card, over_time
from tapewatch.study.trades import Trade
from tapewatch.study.words import moment, money, percent, price, ratio

#: Trades drawn of the best, of the worst and of the last.
DRAWN = 6
#: Candles in a card, at most, and the least around a trade on either side.
MOST_CANDLES, AROUND = 120, 12


@dataclass(frozen=True)
class Drawn:
    """A trade on its candles, and what is said of it."""

    title: str
    text: str
    card: Card


def equity_chart(backtest: Backtest, found: Mapping[str, Any], result: Result) -> Chart:
    """The daily equity, and what the same money had been worth bought and held."""
    times_ms = [first_ms_of(backtest), *result.days_ms]
    held = [result.cash, *held_equity(backtest, result)]
    text = (
        f"From {money(result.equity[0])} to {money(result.equity[-1])} "
        f"({percent(found['metrics']['net_pct'], 2, sign=True)}), at the end of each UTC day; bought and held "
        f"{money(held[-1])} ({percent(found['buy_and_hold']['net_pct'], 2, sign=True)})."
    )
    said = [
        f"{moment(ms)}: {money(own)}, held {money(other)}"
        for ms, own, other in zip(times_ms, result.equity, held, strict=True)
    ]
    curves = [("bought and held", "held", held), ("equity", "equity", result.equity)]
    return over_time("Equity", text, times_ms, curves, said)


def drawdown_chart(times_ms: Sequence[int], equity: Sequence[float]) -> Chart:
    """How far below its last peak the equity is, in percent."""
    peaks = accumulate(equity, max)
    falls = [(value / peak - 1) * 100 if peak > 0 else 0.0 for value, peak in zip(equity, peaks, strict=True)]
    text = f"At worst {percent(-min(falls), 2)} below the peak before."
    said = [f"{moment(ms)}: {percent(fall, 2)}" for ms, fall in zip(times_ms, falls, strict=True)]
    return over_time("Drawdown in percent", text, times_ms, [("drawdown", "drawdown", falls)], said, filled=True)


def held_equity(backtest: Backtest, result: Result) -> list[float]:
    """What equal parts of the cash were worth at the end of each day, each bought at its symbol's first open.

    A part is cash before, and is sold when its candles end; a taker's fee and slippage are taken both times.
    """
    account, days_ms = backtest.plan.account, np.array(result.days_ms)
    cost = (account.taker_bps + account.slippage_bps) / 1e4
    part, total = result.cash / len(backtest.candles), np.zeros(len(days_ms))
    for candles in backtest.candles:
        closes_ms = candles.open_ms + candles.interval_ms
        rows = np.searchsorted(closes_ms, days_ms, side="right")
        worth = candles.close[np.maximum(rows, 1) - 1] / candles.open[0] / (1 + cost)
        worth = np.where(rows == len(candles), worth * (1 - cost), worth)
        total += part * np.where(rows == 0, 1.0, worth)
    return [float(value) for value in total]


class Source(Protocol):
    """Where trades are drawn from."""

    def candles_of(self, trade: Trade) -> Candles | None:
        """The base candles of its symbol, None where there are none around it."""

    def levels_of(self, trade: Trade) -> tuple[float, ...]:
        """The stop and the targets with which it was entered."""


def drawn_trades(source: Source, trades: Sequence[Trade]) -> list[tuple[str, list[Drawn]]]:
    """The best, the worst and the last trades on candles, of those that have some; a trade is drawn once."""
    ranked = sorted(trades, key=lambda trade: (-trade.net, trade.entry_ms, trade.symbol))
    best = [trade for trade in ranked[:DRAWN] if trade.net > 0]
    worst = [trade for trade in ranked[: -DRAWN - 1 : -1] if trade.net <= 0]
    seen = {trade.trade_id for trade in (*best, *worst)}
    last = [trade for trade in trades[-DRAWN:] if trade.trade_id not in seen]
    groups = (("Best", best), ("Worst", worst), ("Last", last))
    drawn = [
        (name, [_drawn(source, trade, base) for trade in of if (base := source.candles_of(trade)) is not None])
        for name, of in groups
    ]
    return [(name, cards) for name, cards in drawn if cards]


def _drawn(source: Source, trade: Trade, base: Candles) -> Drawn:
    end_ms = trade.exits[-1].ms + base.interval_ms
    candles = _around(base, trade, end_ms)
    stop, *targets = source.levels_of(trade)
    levels = [(f"stop {price(stop)}", "stop", stop)]
    levels += [(f"target {price(target)}", "target", target) for target in targets]
    half = base.interval_ms // 2
    fills = [(f"entry {price(trade.entry_price)}", "entry", trade.entry_ms, trade.entry_price)]
    sign = 1 if trade.side == "long" else -1
    for one in trade.exits:
        kind = "won" if (one.price - trade.entry_price) * sign > 0 else "lost"
        fills.append((f"{_why(one.reason)} {price(one.price)}, {one.share:.4g}%", kind, one.ms + half, one.price))
    aims = ", ".join(price(target) for target in targets)
    ends = "; ".join(f"{_why(one.reason)} at {price(one.price)}" for one in trade.exits)
    return Drawn(
        f"{trade.symbol} {trade.side}, {ratio(trade.r, sign=True)} R",
        f"{moment(trade.entry_ms)}, {_name(candles.interval_ms)} candles. Entry {price(trade.entry_price)}, stop "
        f"{price(stop)}, target{'s' if targets[1:] else ''} {aims}; {ends}. Net {money(trade.net, sign=True)}.",
        card(candles, levels, fills, trade.entry_ms, end_ms),
    )


def _around(base: Candles, trade: Trade, end_ms: int) -> Candles:
    """The candles of a trade and about as many before and after it, not more than fit."""
    margin_ms = max(end_ms - trade.entry_ms, AROUND * base.interval_ms) // 2 + AROUND * base.interval_ms
    first_ms, last_ms = trade.entry_ms - margin_ms, end_ms + margin_ms
    fitting = [
        ms for ms in INTERVALS_MS.values() if ms % base.interval_ms == 0 and (last_ms - first_ms) // ms <= MOST_CANDLES
    ]
    interval_ms = min(fitting, default=max(INTERVALS_MS.values()))
    inside = base.slice(first_ms // interval_ms * interval_ms, -(-last_ms // interval_ms) * interval_ms)
    built = resample.build(inside, interval_ms)
    return built if len(built) else inside


def first_ms_of(backtest: Backtest) -> int:
    """The open of its first candle."""
    return min(int(candles.open_ms[0]) for candles in backtest.candles)


def _why(reason: str) -> str:
    return reason.replace("_", " ")


def _name(interval_ms: int) -> str:
    return next(name for name, ms in INTERVALS_MS.items() if ms == interval_ms)
