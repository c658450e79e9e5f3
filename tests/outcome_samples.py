"""Outcomes, random entries and ledgers that hold them."""

from __future__ import annotations

from typing import Any

from core_samples import MONDAY_MS
from tapewatch.model import MINUTE_MS, ControlDone, Outcome, signal_id
from tapewatch.record import Baseline, Kind, Sums, hour_of

VENUE = "binance_spot"


def outcome(minute: int, *, hit: bool = True, after: int = 5, **given: Any) -> Outcome:
    """Of a signal on the bar that closes then, which ended in the base bar that opens so many minutes later.

    It risked 1%, and brought 1% or lost it.
    """
    about: dict[str, Any] = {"symbol": "AAAUSDT", "strategy": "scalp", "side": "long", "timeframe": "1m"} | given
    close_ms = MONDAY_MS + minute * MINUTE_MS
    identity = signal_id(VENUE, about["symbol"], about["timeframe"], about["strategy"], about["side"], close_ms)
    ms = close_ms + after * MINUTE_MS
    brought = 1.0 if hit else -1.0
    values: dict[str, Any] = {
        "signal_id": identity, "state": "passed", "close_ms": close_ms, "strength": 5.0, "regime": "",
        "result": "target" if hit else "stop", "price": 100.0, "ms": ms, "bars": after + 1, "mfe_r": 1.0, "mae_r": -1.0,
        "gross_r": brought, "net_r": brought - 0.2, "gross_pct": brought, "risk_pct": 1.0, "ambiguous": False,
        "late": False, "recv_ms": ms + MINUTE_MS,
    }  # fmt: skip
    return Outcome(**values | about)


def control(minute: int, *, hit: bool = True, **given: Any) -> ControlDone:
    """A random entry on the bar that closes then; it risked 1%, and brought 1% or lost it."""
    about = {"symbol": "AAAUSDT", "strategy": "scalp", "side": "long", "timeframe": "1m"} | given
    result = "target" if hit else "stop"
    brought = 1.0 if hit else -1.0
    close_ms = MONDAY_MS + minute * MINUTE_MS
    return ControlDone(**about, close_ms=close_ms, result=result, gross_pct=brought, risk_pct=1.0)  # type: ignore[arg-type]


def drawn_of(*controls: ControlDone) -> dict[Kind, dict[str, Baseline]]:
    """The same by kind, symbol and hour."""
    found: dict[Kind, dict[str, Baseline]] = {}
    for one in controls:
        sums = Sums(1, int(one.result == "target"), one.gross_pct, 0.0, one.risk_pct)
        kind = Kind(one.strategy, one.side, one.timeframe)
        found.setdefault(kind, {}).setdefault(one.symbol, Baseline()).add(hour_of(one.close_ms), sums)
    return found
