"""What a list of trades and a daily equity say of a strategy; every formula is in docs/backtest.md.

Shares are in percent, money in quote units. A ratio whose denominator is zero, or that needs more than there is, is
NaN.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from statistics import fmean, pstdev, stdev
from typing import Any

from tapewatch.model import NAN
from tapewatch.study.backtest import Result, Trade

DAYS_A_YEAR = 365
#: Of a two-sided interval of 95%.
Z_95 = 1.959963984540054


def metrics(result: Result) -> dict[str, Any]:
    """All figures of a result; `by` has the same of its parts."""
    trades = result.trades
    parts: dict[str, Callable[[Trade], str]] = {
        "symbol": lambda trade: trade.symbol,
        "side": lambda trade: trade.side,
        "month": lambda trade: _utc(trade.entry_ms).strftime("%Y-%m"),
        "hour": lambda trade: _utc(trade.entry_ms).strftime("%H"),
        "exit_reason": lambda trade: trade.exits[-1].reason,
    }
    final = result.equity[-1]
    return {
        **of_trades(trades),
        **of_equity(result),
        "final_equity": final,
        "net_pct": (final / result.cash - 1) * 100,
        "fees": result.fees,
        "funding": result.funding,
        "still_open": result.still_open,
        "ambiguous": sum(trade.ambiguous for trade in trades),
        "exposure_pct": result.exposure * 100,
        "skipped": result.skipped,
        "by": {name: _by(trades, key) for name, key in parts.items()},
    }


def of_trades(trades: Sequence[Trade]) -> dict[str, Any]:
    """Of closed trades: how many, how often, how much."""
    count, won = len(trades), [trade for trade in trades if trade.net > 0]
    gains, losses = sum(trade.net for trade in won), -sum(trade.net for trade in trades if trade.net <= 0)
    r = [trade.r for trade in trades]
    spread = stdev(r) if count > 1 else 0.0
    low, high = wilson(len(won), count)
    return {
        "trades": count,
        "win_rate_pct": _ratio(len(won) * 100, count),
        "win_rate_low_pct": low * 100,
        "win_rate_high_pct": high * 100,
        "net": gains - losses,
        "profit_factor": _ratio(gains, losses),
        "expectancy_r": fmean(r) if r else NAN,
        "expectancy_quote": _ratio(gains - losses, count),
        "sqn": _ratio(math.sqrt(count) * fmean(r), spread) if r else NAN,
        "mfe_r": fmean(trade.mfe_r for trade in trades) if trades else NAN,
        "mae_r": fmean(trade.mae_r for trade in trades) if trades else NAN,
        "fees_quote": sum(trade.fees for trade in trades),
    }


def of_equity(result: Result) -> dict[str, float]:
    """Of the daily equity: growth, risk and drawdown."""
    equity = result.equity
    returns = [after / before - 1 if before > 0 else 0.0 for before, after in pairwise(equity)]
    years = len(returns) / DAYS_A_YEAR
    growth = equity[-1] / equity[0]
    cagr = (growth ** (1 / years) - 1) * 100 if years and growth > 0 else NAN
    mean = fmean(returns) if returns else NAN
    down = math.sqrt(fmean(min(one, 0.0) ** 2 for one in returns)) if returns else 0.0
    depth, length = drawdown(equity)
    yearly = math.sqrt(DAYS_A_YEAR)
    return {
        "cagr_pct": cagr,
        "sharpe": _ratio(mean * yearly, pstdev(returns)) if len(returns) > 1 else NAN,
        "sortino": _ratio(mean * yearly, down),
        "max_drawdown_pct": depth * 100,
        "max_drawdown_days": length,
        "calmar": _ratio(cagr, depth * 100),
    }


def drawdown(equity: Sequence[float]) -> tuple[float, int]:
    """The deepest fall from a peak, as a share of it, and the most days in a row below a peak."""
    peak, depth, days, longest = equity[0], 0.0, 0, 0
    for value in equity:
        if value >= peak:
            peak, days = value, 0
        else:
            days += 1
            depth, longest = max(depth, 1 - value / peak), max(longest, days)
    return depth, longest


def wilson(won: int, count: int) -> tuple[float, float]:
    """The 95% interval of a share (Wilson 1927); (0, 1) of nothing."""
    if not count:
        return 0.0, 1.0
    share, z = won / count, Z_95
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def _by(trades: Iterable[Trade], key: Callable[[Trade], str]) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[Trade]] = defaultdict(list)
    for trade in trades:
        groups[key(trade)].append(trade)
    shown = ("trades", "win_rate_pct", "net", "profit_factor", "expectancy_r")
    return {name: {field: of_trades(groups[name])[field] for field in shown} for name in sorted(groups)}


def _ratio(above: float, below: float) -> float:
    return above / below if below else NAN


def _utc(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
