"""Candles and a loose strategy for questions of `tapewatch why`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from command_line import store
from core_samples import walk
from engine_runs import candidates
from tapewatch.archive.reader import series
from tapewatch.model import Factor, Verdict
from tapewatch.strategy import Strategy
from tapewatch.study.signals import Request

LOOSE = """
loose:
  timeframes: [1m, 5m]
  higher: {1m: 5m, 5m: 15m}
  long:
    cross: barssince(crossover(ema(close, 5), ema(close, 13))) < 4
    volume: volume > 1.2 * sma(volume, 20)
    rsi: 40 <= rsi(close, 6) <= 75
    bias: higher(close > ema(close, 10))
    calm: not (stdev(close, 20) > 0.5) or close < 0
  short:
    cross: barssince(crossunder(ema(close, 5), ema(close, 13))) < 4
    volume: volume > 1.2 * sma(volume, 20)
  fire: {at_least: FIRE, always: [cross]}
  stop: 1.5 * atr(14)
  targets: [{at: "1.0 * atr(14)", share: 100%}]
  cooldown: 3m
"""


def two_symbols(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two symbols, a day and a half; one has a hole of half an hour."""
    root = tmp_path_factory.mktemp("archive")
    store(root, walk(2400, 1, holes=range(1000, 1030)))
    store(root, [msgspec.structs.replace(one, symbol="BBBUSDT") for one in walk(2400, 2)])
    return root


def loose_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A strategy file that fires on two of its factors."""
    path = tmp_path_factory.mktemp("own") / "loose.yaml"
    path.write_text(LOOSE.replace("FIRE", "2"))
    return path


def request_of(root: Path, symbol: str = "AAAUSDT", **changes: Any) -> Request:
    """One symbol's candles."""
    return Request(root, "binance_spot", [symbol], **changes)


def builtins(verdicts: tuple[Verdict, ...]) -> list[Any]:
    """As JSON gives them back."""
    return [msgspec.to_builtins(verdict) for verdict in verdicts]


def every_bar(root: Path, plan: Strategy, timeframe: str) -> dict[int, dict[str, tuple[Factor, ...]]]:
    """Close -> side -> factors, from the engine: the same strategy, made to fire on every bar."""
    eager = msgspec.json.decode(msgspec.json.encode({"at_least": {"long": 1, "short": 1}}))["at_least"]
    sides = {side: {"yes": "close > 0", **factors} for side, factors in plan.sides.items()}

    loud = replace(
        plan, sides=sides, at_least=eager, always=(), timeframes=(timeframe,), stop="1", targets=plan.targets
    )
    loud = replace(loud, targets=tuple(replace(target, at="1") for target in plan.targets))
    found: dict[int, dict[str, tuple[Factor, ...]]] = {}
    for one in candidates("binance_spot", loud, series(root, "binance_spot", "AAAUSDT", "1m").bars()):
        found.setdefault(one.close_ms, {})[one.side] = one.factors[1:]
    return found
