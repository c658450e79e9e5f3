"""How many alerts a strategy would have sent: what to expect of it before it is switched on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from tapewatch.model import DAY_MS, MINUTE_MS, Signal

HOUR_MS = 60 * MINUTE_MS


def forecast(signals: Iterable[Signal], first_ms: int, end_ms: int) -> dict[str, Any]:
    """Counts before and after the gate over [first, end), in all, by strategy and by symbol.

    Each has `total`, `per_day`, and the busiest day, clock hour and clock minute (UTC) with their counts.
    """
    every = list(signals)
    days = max((end_ms - first_ms) / DAY_MS, 1e-9)
    passed = [signal for signal in every if all(verdict.passed for verdict in signal.verdicts)]

    def both(before: list[Signal], after: list[Signal]) -> dict[str, Any]:
        return {"before_gate": _volume(before, days), "after_gate": _volume(after, days)}

    return {
        "from_ms": first_ms,
        "to_ms": end_ms,
        "days": round(days, 3),
        **both(every, passed),
        "by_strategy": {
            name: both([s for s in every if s.strategy == name], [s for s in passed if s.strategy == name])
            for name in sorted({signal.strategy for signal in every})
        },
        "by_symbol": {
            name: both([s for s in every if s.symbol == name], [s for s in passed if s.symbol == name])
            for name in sorted({signal.symbol for signal in every})
        },
    }


def _volume(signals: list[Signal], days: float) -> dict[str, Any]:
    return {
        "total": len(signals),
        "per_day": round(len(signals) / days, 3),
        "busiest_day": _most(signals, DAY_MS, "%Y-%m-%d"),
        "worst_hour": _most(signals, HOUR_MS, "%Y-%m-%dT%H:00"),
        "worst_minute": _most(signals, MINUTE_MS, "%Y-%m-%dT%H:%M"),
    }


def _most(signals: list[Signal], width_ms: int, form: str) -> dict[str, Any] | None:
    """The clock interval with most signals, the first of equal ones; None without any."""
    counts = Counter(signal.close_ms // width_ms for signal in signals)
    if not counts:
        return None
    start, count = min(counts.items(), key=lambda item: (-item[1], item[0]))
    return {"start": datetime.fromtimestamp(start * width_ms / 1000, UTC).strftime(form), "count": count}
