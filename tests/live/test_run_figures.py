"""What a run and the demo say about themselves: health, metrics, summary; and what a run costs to start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from run_harness import (
    UNASKED,
    Process,
    command,
    configure,
    deliveries,
    easy,
    eventually,
    fetch,
    health_url,
    lines_of,
    query,
    running,
    simulated,
    stored_signals,
    undelivered,
)
from tapewatch.telemetry.stages import SHOWN, STAGES

SYMBOLS = ("BTCUSDT", "ETHUSDT")

#: Writes what is loaded, and the CPU time used, when the first subscription stands.
PROBE = """
import gc
gc.set_threshold(50_000, 20, 20)  # as the command does, before it imports anything
import ssl
make, made = ssl.create_default_context, []
ssl.create_default_context = lambda: made.append(1) or make()
def connected(self, *_):
    import json, resource, sys
    used, found = resource.getrusage(resource.RUSAGE_SELF), {"modules": sorted(sys.modules), "contexts": len(made)}
    print(json.dumps({"cpu_s": used.ru_utime + used.ru_stime, **found}), flush=True)
from tapewatch.live.reporter import Reporter
Reporter.connected = connected
"""
HEAVY = {
    "numpy",
    "numba",
    "pandas",
    "polars",
    "ccxt",
    "dask",
    "optuna",
    "scipy",
    "fastapi",
    "uvicorn",
    "alembic.command",
    "aiosmtplib",
    "apprise",
    "requests",
    "PIL",
    "rich",
    "sqlalchemy.dialects.postgresql",
}


def sample(metrics: str, name: str) -> float:
    """The sum of a metric's samples, over all labels."""
    found = [line for line in metrics.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
    assert found, name
    return sum(float(line.rsplit(" ", 1)[1]) for line in found)


def observed(document: dict[str, Any], check: str, component: str | None = None) -> Any:
    """An observed value of a health document."""
    entries = document["checks"][check]
    chosen = [entry for entry in entries if component is None or entry["componentId"] == component]
    assert len(chosen) == 1
    return chosen[0]["observedValue"]


def test_the_health_paths_follow_a_run(tmp_path: Path) -> None:
    """Health, readiness and metrics agree with what the run did; a lost exchange is seen within seconds."""
    options = ("--synthetic", "3", "--symbols", ",".join(SYMBOLS), "--speed", "20000")
    with simulated(tmp_path, *options) as exchange:
        configure(tmp_path, exchange, SYMBOLS, strategies=easy(), alerts=UNASKED)
        with running(tmp_path) as run:
            url = health_url(run)
            eventually(lambda: "caught_up" in run.log)
            eventually(lambda: fetch(f"{url}/readyz")[0] == 200)
            assert fetch(f"{url}/livez")[0] == 200
            before = fetch(f"{url}/metrics")[1]
            eventually(lambda: len(query(tmp_path, "SELECT 1 FROM alerts")) > 5)
            after = fetch(f"{url}/metrics")[1]
            for name in ("tapewatch_candles_closed_total", "tapewatch_ws_frames_total", "tapewatch_step_seconds_count"):
                assert sample(after, name) > sample(before, name)
            assert sample(after, "tapewatch_ws_connected") == 1

            exchange.kill()
            eventually(lambda: fetch(f"{url}/readyz")[0] == 503)
            eventually(lambda: not undelivered(tmp_path))
            eventually(lambda: observed(json.loads(fetch(f"{url}/health")[1]), "alerts:queued") == 0)
            status, body = fetch(f"{url}/health")
            assert status == 503
            assert fetch(f"{url}/livez")[0] == 200
            metrics = fetch(f"{url}/metrics")[1]
            assert run.stop() == 0, run.log

    document, stored, written = json.loads(body), stored_signals(tmp_path), deliveries(tmp_path)
    passed = [one for one in stored if one["state"] == "passed"]
    for side in ("long", "short"):
        assert observed(document, "signals:passed", side) == sum(one["side"] == side for one in passed)
    assert observed(document, "alerts:stored") == len({one["alert_id"] for one in passed})
    assert observed(document, "alerts:delivery", "out/sent") == len(written)
    assert observed(document, "alerts:queued") == 0
    assert observed(document, "exchange:connections") == 0
    assert observed(document, "ledger:writable") is True
    assert {entry["componentId"] for entry in document["checks"]["symbols:freshness"]} == set(SYMBOLS)
    assert 0 <= observed(document, "exchange:lastData") < 60
    assert observed(document, "process:uptime") > 0
    assert sample(metrics, "tapewatch_signals_total") == len(stored)
    assert sample(metrics, "tapewatch_alerts_total") == sample(metrics, "tapewatch_messages_total") == len(written)
    assert sample(metrics, "tapewatch_bar_close_to_alert_seconds_count") == len(written)
    assert sample(metrics, "tapewatch_alert_stage_seconds_count") == len(STAGES) * len(written)
    shown = {entry["componentId"]: entry["observedValue"] for entry in document["checks"]["alerts:latency"]}
    assert set(shown) == {f"{stage}/p{share}" for stage in STAGES for share in SHOWN}
    assert all(0 <= shown[f"{stage}/p50"] <= shown[f"{stage}/p99"] < 60 for stage in STAGES)
    assert sample(metrics, "tapewatch_ws_connected") == 0
    assert sample(metrics, "tapewatch_ws_disconnects_total") == 1


def test_a_run_loads_nothing_heavy_before_it_listens(tmp_path: Path) -> None:
    """Up to the first subscription no array library is imported, and under a second of CPU is used.

    Nor are the system's certificates read more than once, which is a tenth of it.
    """
    with simulated(tmp_path, "--synthetic", "3", "--symbols", "BTCUSDT", "--speed", "1000") as exchange:
        config = configure(tmp_path, exchange, ["BTCUSDT"])
        for name in ("first", "second"):  # the first makes the tables, which needs Alembic
            run = Process(tmp_path, name, "run", "-c", str(config), program=PROBE)
            try:
                (found,) = eventually(lambda run=run: lines_of(run.out))
                assert run.stop() == 0, run.log
            finally:
                run.kill()
    loaded = set(found["modules"])
    assert not loaded & HEAVY
    assert found["contexts"] == 1
    assert "coverage" in loaded or found["cpu_s"] < 1.0


@pytest.mark.slow
def test_the_demo_ends_with_what_it_delivered() -> None:
    """Its JSON has the documented keys and nothing went wrong; its text says how many alerts were delivered."""
    done = command("demo", "--json", "--hours", "12", "--symbols", "BTCUSDT,ETHUSDT,SOLUSDT")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert list(summary) == [
        "bars", "signals", "passed", "alerts", "delivered", "failed", "symbols", "latency_ms", "wall_s",
        "trades", "net", "parity",
    ]  # fmt: skip
    assert set(summary["latency_ms"]) == {"p50", "p99"}
    assert (summary["bars"], summary["symbols"], summary["failed"]) == (3 * 12 * 60, 3, 0)
    assert summary["signals"] >= summary["passed"] >= summary["alerts"] == summary["delivered"] > 0
    assert summary["parity"] == {"checked": summary["trades"], "equal": summary["trades"]}
    assert summary["passed"] >= summary["trades"] > 5

    text = command("demo", "--hours", "12", "--symbols", "BTCUSDT,ETHUSDT,SOLUSDT")
    assert text.returncode == 0, text.stderr
    assert f"{summary['delivered']} alerts delivered" in text.stdout.splitlines()[-1]
    traded, trades = text.stdout.splitlines()[-2], summary["trades"]
    assert traded.startswith(f"{trades} paper trades closed, ")
    assert traded.endswith(f"; {trades} of {trades} equal to a backtest of the same candles.")
    assert text.stdout.count(" exit at ") == trades
    assert text.stdout.count(" Signal - ") == summary["delivered"]
    assert not text.stderr


def test_the_demo_plays_real_candles(market_data: Path) -> None:
    """With a folder of candles it plays those, from where it is told."""
    data = str(market_data / "candles/long-1m")
    options = ("--data", data, "--symbols", "BTCUSDT,ETHUSDT", "--start", "2023-03-10", "--hours", "6")
    done = command("demo", "--json", *options)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["bars"], summary["symbols"]) == (2 * 6 * 60, 2)
    assert summary["alerts"] == summary["delivered"]
    assert summary["parity"] == {"checked": summary["trades"], "equal": summary["trades"]}


def test_figures_of_a_run_are_in_the_ledger(tmp_path: Path) -> None:
    """Sampled again and again, they count up and say what the metrics say; another run begins anew."""
    options = ("--synthetic", "3", "--symbols", ",".join(SYMBOLS), "--speed", "20000")
    often = "import tapewatch.live.figures as figures\nfigures.EVERY_S = 0.5"
    with simulated(tmp_path, *options) as exchange:
        configure(tmp_path, exchange, SYMBOLS, strategies=easy(), alerts=UNASKED)
        for name in ("first", "second"):
            with running(tmp_path, name, often) as run:
                url = health_url(run)
                eventually(lambda: 'closed_total{source="ws"} 0.0' not in fetch(f"{url}/metrics")[1])  # noqa: B023
                before = len(query(tmp_path, "SELECT 1 FROM figures"))
                eventually(lambda: len(query(tmp_path, "SELECT 1 FROM figures")) >= before + 2)  # noqa: B023
                assert run.stop() == 0
    printed = command("export", "figures", "-c", str(tmp_path / "tapewatch.yaml"), "--json")
    samples = [json.loads(line) for line in printed.stdout.splitlines()]
    runs = [[one for one in samples if one["started_ms"] == start] for start in {one["started_ms"] for one in samples}]
    assert len(runs) == 2
    for of_run in runs:
        counts = [one["figures"].get('tapewatch_candles_closed_total{source="ws"}', 0) for one in of_run]
        assert counts == sorted(counts)
        assert counts[-1] > 0
        last = of_run[-1]["figures"]
        assert last["process_resident_memory_bytes"] > 1e7
        assert last["process_open_fds"] > 3
        assert any("quantile" in name for one in of_run for name in one["figures"])
    sizes = [len(row[0]) for row in query(tmp_path, "SELECT body FROM figures")]
    assert max(sizes) < 4_000, sizes
