"""Features are frozen: a name that comes to mean another number needs another version."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from core_samples import MONDAY_MS, walk
from engine_runs import candidates
from tapewatch import strategies
from tapewatch.features import VERSION, FeatureSet, features_of
from tapewatch.model import DAY_MS, NAN, Outlook, Surroundings
from tapewatch.strategy import compile_program

FROZEN = Path(__file__).parent / "features.json"
#: Whatever a run may know around a signal.
AROUND = Surroundings(
    spread_bps=1.5, imbalance=0.25, slippage_bps=3.0, hourly_volume_quote=1e6, funding_rate=1e-4,
    next_funding_ms=MONDAY_MS + 7 * DAY_MS, btc_correlation=-0.5,
    outlooks=(
        Outlook("1m", {"trending": True, "ranging": False, "low_volatility": True}, "up"),
        Outlook("5m", {"trending": False, "high_volatility": None}, "down"),
    ),
)  # fmt: skip


def told() -> dict[str, dict[str, float]]:
    """Some signals of the strategies that ship, on their smallest timeframe, by strategy and number."""
    found = {}
    for name, settings, base in (("scalp", ["min_factors=3"], 1), ("momentum", ["pct=0.001"], 5), ("trend", [], 15)):
        pairs = [(text.split("=")[0], float(text.split("=")[1])) for text in settings]
        strategy = strategies.load(name, pairs)
        known = FeatureSet.of(compile_program(strategy, f"{base}m"))
        signals = [one for one in candidates("venue", strategy, walk(2_500, 3)) if one.timeframe == f"{base}m"]
        for number in (0, len(signals) // 2, len(signals) - 1):
            signal = msgspec.structs.replace(signals[number], context=AROUND if number else None)
            found[f"{name} {number}"] = features_of(signal, known)
    return found


def test_features_are_what_they_were_in_this_version() -> None:
    """Names, their order and numbers; whoever changes them on purpose raises VERSION and writes the file anew."""
    frozen, rows = json.loads(FROZEN.read_text()), told()

    assert frozen["version"] == VERSION
    assert list(frozen["signals"]) == list(rows)
    for key, row in rows.items():
        wanted = {name: NAN if value is None else value for name, value in frozen["signals"][key].items()}
        assert list(row) == list(wanted)
        assert row == pytest.approx(wanted, rel=1e-9, nan_ok=True)
