"""Signals and scores as Polars frames, a row each; NaN is null."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import polars as pl

from tapewatch.model import Signal
from tapewatch.record import Score
from tapewatch.strategy import Strategy

#: Columns that are as they are in `tapewatch signals --json`, in order.
_TEXTS = ("symbol", "timeframe", "side")
_TIMES = ("open_ms", "close_ms")
_NUMBERS = (
    "entry", "stop", "atr", "risk_reward", "stop_distance_pct", "profit_distance_pct", "strength", "volume",
    "volume_ratio",
)  # fmt: skip
_SIGNAL: dict[str, Any] = {
    **dict.fromkeys(_TEXTS, pl.String),
    **dict.fromkeys(_TIMES, pl.Int64),
    **dict.fromkeys(_NUMBERS, pl.Float64),
    "bias": pl.String,
    "settled": pl.Boolean,
}
_MADE: dict[str, Any] = {
    "targets": pl.List(pl.Struct({"price": pl.Float64, "share": pl.Float64})),
    "met": pl.Int64,
    "asked": pl.Int64,
    "passed": pl.Boolean,
    "blocked_by": pl.List(pl.String),
}


def signals_frame(signals: Sequence[Signal], strategy: Strategy) -> pl.DataFrame:
    """Signals of a strategy in their order.

    `factors` and `indicators`, and `regime` where it filters by some, are structs with a field of each name.
    """
    rows = [{"signal_id": one.id} | {name: getattr(one, name) for name in _SIGNAL} | _made(one) for one in signals]
    structs = [
        _struct("factors", [{factor.name: factor.met for factor in one.factors} for one in signals]),
        _struct("indicators", [one.indicators for one in signals]),
    ]
    if strategy.regime is not None:
        structs.append(_struct("regime", [one.regime for one in signals]))
    return pl.DataFrame(rows, schema={"signal_id": pl.String} | _SIGNAL | _MADE).with_columns(structs)


def scores_frame(scores: Sequence[Score]) -> pl.DataFrame:
    """Scores in their order."""
    texts = {"side": pl.String, "regime": pl.String}
    return pl.DataFrame([msgspec.to_builtins(score) for score in scores], schema_overrides=texts).fill_nan(None)


def _made(signal: Signal) -> dict[str, Any]:
    return {
        "targets": [{"price": target.price, "share": target.share} for target in signal.targets],
        "met": signal.confidence.met,
        "asked": signal.confidence.asked,
        "passed": _passed(signal),
        "blocked_by": [verdict.check for verdict in signal.verdicts if not verdict.passed],
    }


def _passed(signal: Signal) -> bool:
    return all(verdict.passed for verdict in signal.verdicts)


def _struct(name: str, of_signals: Sequence[Mapping[str, float | bool | None]]) -> pl.Series:
    """A struct per row, with the fields of all rows; one is Boolean where its values are conditions."""
    fields = dict.fromkeys(field for one in of_signals for field in one)
    columns = [_field(field, [one.get(field) for one in of_signals]) for field in fields]
    if not columns:
        return pl.Series(name, [], pl.Struct({}))
    return pl.DataFrame(columns).to_struct(name)


def _field(name: str, values: Iterable[float | bool | None]) -> pl.Series:
    held = list(values)
    if any(isinstance(value, bool) for value in held):
        return pl.Series(name, held, pl.Boolean)
    return pl.Series(name, held, pl.Float64).fill_nan(None)
