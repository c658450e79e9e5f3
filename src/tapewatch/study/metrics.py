"""What a list of trades and a daily equity say of a strategy; every formula is in docs/backtest.md.

Shares are in percent, money in quote units. A ratio whose denominator is zero, or that needs more than there is, is
NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from tapewatch.model import NAN
from tapewatch.study.backtest import Result
from tapewatch.study.trades import Columns, columns_of

DAYS_A_YEAR = 365
HOUR_MS = 3_600_000
_HOURS = np.array([f"{hour:02}" for hour in range(24)])
#: Of a two-sided interval of 95%.
Z_95 = 1.959963984540054


def metrics(result: Result) -> dict[str, Any]:
    """All figures of a result; `by` has the same of its parts."""
    trades = columns_of(result.trades)
    parts = {
        "symbol": trades.symbol,
        "side": trades.side,
        "month": np.datetime_as_string(trades.entry_ms.astype("datetime64[ms]"), "M"),
        "hour": _HOURS[trades.entry_ms // HOUR_MS % 24],
        "exit_reason": trades.exit_reason,
    }
    return {
        **figures(result),
        "skipped": result.skipped,
        "by": {
            **{name: by_part(trades, key) for name, key in parts.items()},
            "factor": {name: by_part(trades, np.array(met)) for name, met in sorted(result.factors.items())},
        },
    }


def figures(result: Result) -> dict[str, float]:
    """The single numbers of a result."""
    trades, final = columns_of(result.trades), result.equity[-1]
    return {
        **of_trades(trades),
        **of_equity(result),
        "final_equity": final,
        "net_pct": (final / result.cash - 1) * 100,
        "fees": result.fees,
        "funding": result.funding,
        "still_open": result.still_open,
        "ambiguous": int(trades.ambiguous.sum()),
        "exposure_pct": result.exposure * 100,
    }


def of_trades(trades: Columns) -> dict[str, Any]:
    """Of closed trades: how many, how often, how much."""
    count, won = len(trades), int((trades.net > 0).sum())
    gains, losses = (float(trades.net[mine].sum()) for mine in (trades.net > 0, trades.net <= 0))
    spread = float(trades.r.std(ddof=1)) if count > 1 else 0.0
    low, high = wilson(won, count)
    return {
        "trades": count,
        "win_rate_pct": _ratio(won * 100, count),
        "win_rate_low_pct": low * 100,
        "win_rate_high_pct": high * 100,
        "net": gains + losses,
        "profit_factor": _ratio(gains, -losses),
        "expectancy_r": _mean(trades.r),
        "expectancy_quote": _ratio(gains + losses, count),
        "sqn": _ratio(math.sqrt(count) * _mean(trades.r), spread),
        "mfe_r": _mean(trades.mfe_r),
        "mae_r": _mean(trades.mae_r),
        "fees_quote": float(trades.fees.sum()),
    }


def of_equity(result: Result) -> dict[str, float]:
    """Of the daily equity: growth, risk and drawdown."""
    equity = result.equity
    returns = [after / before - 1 if before > 0 else 0.0 for before, after in pairwise(equity)]
    years = len(returns) / DAYS_A_YEAR
    growth = equity[-1] / equity[0]
    cagr = (growth ** (1 / years) - 1) * 100 if years and growth > 0 else NAN
    mean = fmean(returns) if returns else NAN
    spread = math.sqrt(fmean([(one - mean) ** 2 for one in returns])) if returns else 0.0
    down = math.sqrt(fmean([min(one, 0.0) ** 2 for one in returns])) if returns else 0.0
    depth, length = drawdown(equity)
    yearly = math.sqrt(DAYS_A_YEAR)
    return {
        "cagr_pct": cagr,
        "sharpe": _ratio(mean * yearly, spread) if len(returns) > 1 else NAN,
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


def by_part(trades: Columns, part: npt.NDArray[np.str_]) -> dict[str, dict[str, Any]]:
    """The main figures of the trades of each name in `part`, which has one for each trade."""
    shown = ("trades", "win_rate_pct", "net", "profit_factor", "expectancy_r")
    found = {str(name): of_trades(trades.rows(part == name)) for name in np.unique(part) if name}
    return {name: {field: figures[field] for field in shown} for name, figures in found.items()}


def _mean(values: npt.NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else NAN


def _ratio(above: float, below: float) -> float:
    return above / below if below else NAN
