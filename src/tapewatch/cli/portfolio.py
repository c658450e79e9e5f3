"""What a paper account came to: drawdown, the last days, each symbol and strategy. Money is exact decimals. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import accumulate
from typing import Any

from tapewatch.model import DAY_MS

#: Periods that end now, by name: so many UTC days, the one that is on among them.
PERIODS = {"today": 1, "7 days": 7, "30 days": 30}

Row = Mapping[str, Any]


def drawdown_pct(account: Row, days: Sequence[Row]) -> tuple[float, float]:
    """How far the equity is below its highest, now and at the deepest; of ends of UTC days, and of now."""
    each = [Decimal(account["start_cash"]), *(Decimal(day["equity"]) for day in days), Decimal(account["equity"])]
    falls = [
        float((1 - value / peak) * 100) if peak > 0 else 0.0
        for value, peak in zip(each, accumulate(each, max), strict=True)
    ]
    return falls[-1], max(falls)


def _periods(account: Row, days: Sequence[Row], positions: Iterable[Row]) -> dict[str, dict[str, Any]]:
    """What the days up to the account's last candle brought: `net` of the equity, how many were `closed` and `won`.

    `positions` are the closed ones, `days` the account's that are over, oldest first.
    """
    today_ms = account["at_ms"] // DAY_MS * DAY_MS
    nets = [(row["closed_ms"], Decimal(row["net"])) for row in positions if row["state"] == "closed"]
    found = {}
    for name, count in PERIODS.items():
        since_ms = today_ms - (count - 1) * DAY_MS
        before = [Decimal(day["equity_before"]) for day in days if day["day_ms"] >= since_ms]
        last = Decimal(days[-1]["equity"] if days else account["start_cash"])
        inside = [net for ms, net in nets if ms >= since_ms]
        net = Decimal(account["equity"]) - (before[0] if before else last)
        found[name] = {"net": f"{net:f}", "closed": len(inside), "won": sum(net > 0 for net in inside)}
    return found


def _parts(positions: Iterable[Row], name: str) -> dict[str, dict[str, Any]]:
    """By symbol or strategy: how many are open and closed, how many won, what all came to, the mean R of closed ones.

    `net` has open positions at their last close. Those that brought most come first.
    """
    groups: dict[str, list[Row]] = {}
    for row in positions:
        groups.setdefault(row[name], []).append(row)
    found: dict[str, dict[str, Any]] = {}
    for key, rows in groups.items():
        closed = [row for row in rows if row["state"] == "closed"]
        each_r = [row["r"] for row in closed if row["r"] is not None]
        net = sum((Decimal(row["net"]) + Decimal(row["unrealised"]) for row in rows), Decimal(0))
        found[key] = {
            "open": len(rows) - len(closed),
            "closed": len(closed),
            "won": sum(Decimal(row["net"]) > 0 for row in closed),
            "net": f"{net:f}",
            "r": sum(each_r) / len(each_r) if each_r else None,
        }
    return dict(sorted(found.items(), key=lambda part: (-Decimal(part[1]["net"]), part[0])))


def portfolio(account: Row, days: Sequence[Row], positions: Sequence[Row]) -> dict[str, Any]:
    """What `positions --account` says beside the account; `positions` are the open and the closed ones."""
    now, deepest = drawdown_pct(account, days)
    return {
        "drawdown_pct": now,
        "max_drawdown_pct": deepest,
        "periods": _periods(account, days, positions),
        "by_symbol": _parts(positions, "symbol"),
        "by_strategy": _parts(positions, "strategy"),
    }
