"""Gaps in the log: one line for many symbols at one time."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

from prometheus_client import generate_latest

from tapewatch.config.alerts import Operator
from tapewatch.live.operator import OperatorDesk
from tapewatch.live.reporter import Reporter
from tapewatch.telemetry import LogSetup
from tapewatch.telemetry.health import Health
from tapewatch.telemetry.metrics import Metrics

MINUTE_MS = 60_000


async def told(*waves: list[tuple[str, int, int]]) -> tuple[list[dict[str, Any]], str]:
    """What the log says of gaps that come in waves more than a second apart and are filled, and the metrics then."""
    metrics, stream = Metrics(), io.StringIO()
    logs = LogSetup(form="json", stream=stream)
    desk = OperatorDesk(Operator(), lambda _step: None, lambda: 0)
    reporter = Reporter(metrics, Health(0, []), desk, 10, lambda: 0)
    running = asyncio.create_task(reporter.run(60.0))
    for number, wave in enumerate(waves):
        await asyncio.sleep(1.1 if number else 0.0)
        for symbol, from_ms, to_ms in wave:
            reporter.gap(symbol, from_ms, to_ms)
            reporter.filled(symbol, from_ms, (to_ms - from_ms) // MINUTE_MS)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    logs.close()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    said = [{"event": line["event"], "symbol": line["symbol"], **line["data"]} for line in lines]
    return said, generate_latest(metrics.registry).decode()


async def test_a_gap_of_one_symbol_is_told_with_its_name() -> None:
    """Also when it has two at one time."""
    said, _ = await told([("AUSDT", 2 * MINUTE_MS, 3 * MINUTE_MS), ("AUSDT", 0, MINUTE_MS)])
    assert said == [
        {"event": "gap", "symbol": "AUSDT", "from_ms": 0, "to_ms": 3 * MINUTE_MS},
        {"event": "gap_filled", "symbol": "AUSDT", "from_ms": 0, "bars": 2},
    ]


async def test_gaps_of_many_symbols_at_one_time_are_one_line_and_all_counted() -> None:
    """How many, from when to when, the first few names; those of another time have a line of their own."""
    many = [(f"S{n}USDT", n * MINUTE_MS, (n + 2) * MINUTE_MS) for n in range(40)]
    said, metrics = await told(many, [("LATEUSDT", 0, MINUTE_MS)])
    first = [f"S{n}USDT" for n in range(5)]
    assert said == [
        {"event": "gap", "symbol": None, "symbols": 40, "first": first, "from_ms": 0, "to_ms": 41 * MINUTE_MS},
        {"event": "gap_filled", "symbol": None, "symbols": 40, "first": first, "from_ms": 0, "bars": 80},
        {"event": "gap", "symbol": "LATEUSDT", "from_ms": 0, "to_ms": MINUTE_MS},
        {"event": "gap_filled", "symbol": "LATEUSDT", "from_ms": 0, "bars": 1},
    ]
    assert "tapewatch_candle_gaps_total 41.0" in metrics
