"""Where the trades of a backtest come from: signals, and which of their factors were met."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tapewatch.strategy.graph import FALSE, TRUE, UNKNOWN
from tapewatch.strategy.program import SidePlan

#: Factor -> whether it was met; None where that is unknown.
Met: TypeAlias = Mapping[str, bool | None]

#: As figures by factor are named.
WORDS = {True: "met", False: "not_met", None: "unknown"}
_MET = {FALSE: False, UNKNOWN: None, TRUE: True}


@dataclass(frozen=True)
class Origins:
    """By the number of a candidate, its signal's id and factors."""

    identity: Callable[[int], str]
    factors: Callable[[int], Met]


def met_of(plan: SidePlan, count: int, codes: Any, chosen: Any) -> Sequence[Met]:
    """The factors of a side on the chosen bars.

    Args:
        plan: of the side.
        count: how many bars are chosen.
        codes: a row per bar, a code per factor; None where a side fires only when all are met.
        chosen: which bars of these.
    """
    names = [name for name, _, _ in plan.factors]
    if codes is None:
        return [dict.fromkeys(names, True)] * count
    return [{name: _MET[code] for name, code in zip(names, row, strict=True)} for row in codes[chosen].tolist()]


def factors_of(origins: Origins, candidates: Sequence[int]) -> dict[str, list[str]]:
    """Factor -> what it was at each of these candidates, in `WORDS`; empty where the side has none of that name."""
    rows = [origins.factors(n) for n in candidates]
    keys = [*map(id, rows)]
    kinds = dict(zip(keys, rows, strict=True))  # where all factors are asked for there are few
    names = dict.fromkeys(name for row in kinds.values() for name in row)
    words: dict[str, list[str]] = {}
    for name in names:
        of_name = {key: WORDS[row[name]] if name in row else "" for key, row in kinds.items()}
        words[name] = [of_name[key] for key in keys]
    return words
