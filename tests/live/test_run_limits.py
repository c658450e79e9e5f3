"""`run` and what the exchange asks of it: bans across restarts, polling without streams, availability."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from feed_exchange import START_MS, Exchange, until

from run_harness import configure, fetch, lines_of, running

SYMBOLS = ["BTCUSDT", "ETHUSDT"]
PATIENCE_S = 240.0


@pytest.fixture
async def exchange() -> AsyncIterator[Exchange]:
    """An exchange of two symbols, some seconds after a boundary."""
    exchange = Exchange(SYMBOLS)
    exchange.set_time(START_MS + 40_000)
    await exchange.start()
    yield exchange
    await exchange.stop()


def written(folder: Path, exchange: Exchange, **sections: Any) -> None:
    """A configuration for this exchange, whose operator reads a file."""
    alerts = {
        "routes": [{"channels": ["out"]}],
        "operator": {"channels": ["out"]},
    }
    sections.setdefault("alerts", alerts)
    sections["logging"] = {"format": "json"}
    configure(folder, f"127.0.0.1:{exchange.port}", SYMBOLS, **sections)


async def test_a_start_during_a_ban_asks_nothing(exchange: Exchange, tmp_path: Path) -> None:
    """The ban that an earlier run met is kept beside the ledger; a new start makes no request before its end."""
    banned: list[float] = []

    async def ban(_: web.Request) -> web.Response:
        banned.append(time.monotonic())
        return web.Response(status=418, headers={"Retry-After": "15"}, text='{"code":-1003,"msg":"banned"}')

    exchange.before_rest = ban
    written(tmp_path, exchange)
    with running(tmp_path, "first") as run:
        await until(lambda: (banned and (tmp_path / "tapewatch.db-bans").exists()) or run.code is not None, PATIENCE_S)
        run.kill()
    assert len(banned) == 1
    exchange.before_rest = None
    exchange.requests.clear()
    with running(tmp_path, "second") as run:
        await until(lambda: any(line["event"] == "rest_banned" for line in lines_of(run.err)), PATIENCE_S)
        assert exchange.requests == []
        await until(lambda: exchange.requests, PATIENCE_S)
        assert time.monotonic() - banned[0] >= 15.0
        await until(lambda: any(line["event"] == "caught_up" for line in lines_of(run.err)), PATIENCE_S)


async def test_without_streams_the_run_polls_and_says_so(exchange: Exchange, tmp_path: Path) -> None:
    """Health warns and is ready, the metrics show it, the operator is told; the bars that came are counted."""
    exchange.streaming = False
    written(tmp_path, exchange, feeds={"emergency_after": "500ms", "settle": "500ms"})
    with running(tmp_path) as run:
        await until(lambda: any(line["event"] == "emergency_began" for line in lines_of(run.err)), PATIENCE_S)
        await until(lambda: any(line["event"] == "caught_up" for line in lines_of(run.err)), PATIENCE_S)
        await until(lambda: any(line["event"] == "health_served" for line in lines_of(run.err)), PATIENCE_S)
        health = next(line["data"]["url"] for line in lines_of(run.err) if line["event"] == "health_served")

        def document() -> dict[str, Any]:
            return json.loads(fetch(health)[1])

        def metrics() -> dict[str, float]:
            text = fetch(health.replace("/health", "/metrics"))[1]
            rows = [row.rsplit(" ", 1) for row in text.splitlines() if not row.startswith("#")]
            return {name: float(value) for name, value in rows}

        async def shown() -> dict[str, float]:
            return await asyncio.to_thread(metrics)

        values = await shown()
        assert values["tapewatch_emergency"] == 1
        assert values["tapewatch_windows_complete"] == values["tapewatch_windows_wanted"] == 2
        async with asyncio.timeout(PATIENCE_S):
            while (values := await shown())["tapewatch_bars_due_total"] < 2:  # noqa: ASYNC110  (it is another process)
                await asyncio.sleep(0.5)
        assert values["tapewatch_bars_in_time_total"] <= values["tapewatch_bars_due_total"]
        found = await asyncio.to_thread(document)
        checks = found["checks"]
        assert checks["exchange:polling"][0] == {
            "componentType": "system", "observedValue": True, "observedUnit": "polling", "status": "warn",
            "output": "streams cannot be had",
        }  # fmt: skip
        assert checks["exchange:rest"][0]["observedValue"] == "closed"
        assert found["status"] == "warn"
        assert "bars:inTime" in checks
        exchange.streaming = True
        await until(lambda: any(line["event"] == "emergency_ended" for line in lines_of(run.err)), PATIENCE_S)
        await until(
            lambda: (
                {
                    "Streams cannot be had: candles come by polling",
                    "Over: Streams cannot be had: candles come by polling",
                }
                <= {
                    line.get("subject", "").removeprefix("[tapewatch] ") for line in lines_of(tmp_path / "alerts.jsonl")
                }
            ),
            PATIENCE_S,
        )
