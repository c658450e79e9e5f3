"""Why a side of a strategy fired or did not on one bar, and how that is written as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from tapewatch.model import Bar, Factor, Side, Verdict, signal_id
from tapewatch.strategy.evidence import Evidence
from tapewatch.strategy.program import SidePlan


@dataclass(frozen=True)
class Explained:
    """One side of a strategy on one bar: its factors, and the verdicts when it fired.

    `short` has the factors that kept it from firing, the clearest miss first: those always asked, and as many others
    as were lacking, the nearest of them.
    """

    bar: Bar
    timeframe: str
    strategy: str
    side: Side
    fired: bool
    factors: tuple[Factor, ...]
    short: tuple[Factor, ...]
    verdicts: tuple[Verdict, ...]
    signal_id: str


def explained(bar: Bar, evidence: Evidence, plan: SidePlan, venue: str, *, fired: bool) -> Explained:
    """One side of what was evaluated, without verdicts."""
    program = evidence.program
    name, timeframe = program.strategy.name, program.timeframe
    identity = signal_id(venue, bar.symbol, timeframe, name, plan.side, bar.close_ms)
    factors = evidence.factors(plan)
    short = () if fired else _short(factors, plan)
    return Explained(bar, timeframe, name, plan.side, fired, factors, short, (), identity)


def _short(factors: tuple[Factor, ...], plan: SidePlan) -> tuple[Factor, ...]:
    def miss(factor: Factor) -> float:
        return -2.0 if factor.margin is None else factor.margin

    unmet = sorted((factor for factor in factors if factor.met is not True), key=miss)
    asked = [factor for factor in unmet if factor.name in plan.always]
    others = [factor for factor in unmet if factor.name not in plan.always]
    lacking = plan.at_least - (len(factors) - len(unmet)) - len(asked)
    return tuple(sorted([*asked, *others[len(others) - max(0, lacking) :]], key=miss))


def bar_entry(one: Explained) -> dict[str, Any]:
    """Its bar as a JSON entry."""
    bar: dict[str, Any] = msgspec.to_builtins(one.bar)
    return bar | {"timeframe": one.timeframe, "close_ms": one.bar.close_ms}


def side_entry(one: Explained, stored: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """One side as a JSON entry.

    Args:
        one: it.
        stored: signal id -> what a ledger has of it, with its `messages` and its `trade`; its verdicts win.
    """
    kept = stored.get(one.signal_id)
    entry = {
        "strategy": one.strategy,
        "side": one.side,
        "fired": one.fired,
        "factors": one.factors,
        "verdicts": kept["verdicts"] if kept else msgspec.to_builtins(one.verdicts),
        "delivery": kept["messages"] if kept else None,
    }
    return (
        entry if kept is None else entry | {name: kept[name] for name in ("outcome", "trade") if kept[name] is not None}
    )
