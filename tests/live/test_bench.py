"""`bench --smoke`: its parts measure what their page says they do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from run_harness import command
from tapewatch.telemetry.stages import STAGES

pytestmark = pytest.mark.slow


def figures(*parts: str) -> dict[str, dict[str, Any]]:
    """What these parts print, by name."""
    done = command("bench", *parts, "--smoke", "--json", timeout_s=240)
    assert done.returncode == 0, done.stderr
    return {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}


def test_alerts_are_measured_stage_by_stage() -> None:
    """p50 and p99 of each, where few fire at once and where many do, with the engine's part of it."""
    found = figures("alerts")
    for at_once in (2, 5):
        begin = f"alerts, 6 symbols, {at_once} at once: "
        values = {name.removeprefix(begin): line["value"] for name, line in found.items() if name.startswith(begin)}
        assert list(values) == [*(f"{stage}, {share}" for stage in STAGES for share in ("p50", "p99")), "engine"]
        assert all(0 <= values[f"{stage}, p50"] <= values[f"{stage}, p99"] for stage in STAGES)
        assert min(values["total, p50"], values["engine"]) > 0
        assert found[f"{begin}total, p99"]["n"] == at_once
    assert found["alerts, 6 symbols, CPU"]["value"] > 0


def test_a_backtest_is_measured_from_memory_from_a_file_and_alone() -> None:
    """By candle."""
    found = figures("backtest")
    parts = ("candles in memory", "from Parquet", "account alone")
    assert [(name, line["unit"]) for name, line in found.items()] == [(f"backtest, {part}", "ns/bar") for part in parts]
    assert min(line["value"] for line in found.values()) > 0
