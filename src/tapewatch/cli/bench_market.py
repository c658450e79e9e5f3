"""What a whole market costs `run`: CPU, memory, and the time from the socket to the ledger when all symbols close.

Two programs of this module run beside the one that measures: the exchange, a simulator at the exchange's own speed over
TLS, and the run, which is `tapewatch run` with watchers that write down what they see.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import quantiles
from typing import Any

from tapewatch.cli.bench_feed import certificate
from tapewatch.cli.bench_process import line_of, say, started
from tapewatch.cli.figures import Figure, cpu_s, memory_mb
from tapewatch.errors import SetupError

_HERE = "tapewatch.cli.bench_market"
SIZES = (300, 2_000)
#: Three strategies on three timeframes: what design 13 asks for.
_FRAMES: Mapping[str, Any] = {"timeframes": ["1m", "5m", "15m"], "higher": {"1m": "5m", "5m": "15m", "15m": "1h"}}
STRATEGIES: Mapping[str, Any] = {"scalp": _FRAMES, "momentum": _FRAMES, "trend": _FRAMES}
#: Windows of a whole market at the exchange's own limit take minutes; what is measured comes after them.
WEIGHT_PER_MINUTE = 10_000_000
WINDOWS_S = 1_800.0
#: Of more symbols than these there are three days of history: full windows would take half an hour.
FULL_HISTORY = 300
SHORT_HISTORY_MS = 3 * 86_400_000
#: How long is measured then, in minutes of the exchange.
MINUTES = 5


def measure(*, smoke: bool) -> Iterator[Figure]:
    """CPU and memory at 300 and 2,000 symbols, and the burst of all closes of a minute."""
    for symbols in (5,) if smoke else SIZES:
        yield from _figures(symbols, speed=20.0 if smoke else 1.0)


def _figures(symbols: int, speed: float) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(prefix="tapewatch-bench-") as folder:
        authority = certificate(Path(folder))
        with started(_HERE, "exchange", str(symbols), str(speed), str(authority)) as exchange:
            about = json.loads(line_of(exchange))
            config = Path(folder, "bench.json")
            config.write_text(json.dumps(configuration(about, str(authority))), "utf-8")
            began_s = time.monotonic()
            with started(_HERE, "run", str(config)) as run:
                line_of(run)  # says that it has caught up
                window_s, window_cpu_s = time.monotonic() - began_s, cpu_s(run.pid)
                before_s, started_s = cpu_s(run.pid), time.monotonic()
                seen = json.loads(line_of(run))
                share = (cpu_s(run.pid) - before_s) / (time.monotonic() - started_s) * 100
                memory = memory_mb(run.pid)
    name, latency_ms = f"run, {symbols:,} symbols", seen["latency_ms"]
    if seen["bars"] != symbols * MINUTES:
        raise SetupError(f"bench: {seen['bars']} of {symbols * MINUTES} bars came")
    yield Figure(f"{name}, windows", window_s, "s", symbols, 1)
    yield Figure(f"{name}, windows", window_cpu_s, "s CPU", symbols, 1)
    yield Figure(f"{name}, CPU", share, "% of a core", symbols, 1)
    yield Figure(f"{name}, memory", memory, "MB resident", symbols, 1)
    yield Figure(f"{name}, closing: socket to ledger, p50", quantiles(latency_ms, n=100)[49], "ms", len(latency_ms), 1)
    yield Figure(f"{name}, closing: socket to ledger, p99", quantiles(latency_ms, n=100)[98], "ms", len(latency_ms), 1)


def configuration(about: Mapping[str, Any], authority: str) -> dict[str, Any]:
    """That of a run that watches this exchange."""
    return {
        "exchange": {"rest_url": about["rest_url"], "ws_url": about["ws_url"], "ca_file": authority},
        "universe": {"include": about["symbols"]},
        "strategies": dict(STRATEGIES),
        "channels": {"out": {"type": "file", "path": "alerts.jsonl"}},
        "alerts": {"routes": [{"channels": ["out"]}]},
        "web": {"port": 0},
    }


async def _exchange(symbols: int, speed: float, authority: str) -> None:
    import ssl

    from tapewatch.simulator import Simulator, SyntheticMarket, names
    from tapewatch.simulator.limits import Limits
    from tapewatch.simulator.synthetic import HISTORY_MS, START_MS

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority)
    simulator = Simulator(
        SyntheticMarket(1, names(symbols), history_ms=HISTORY_MS if symbols <= FULL_HISTORY else SHORT_HISTORY_MS),
        rate=speed,
        start_ms=START_MS,
        limits=Limits(weight_per_minute=WEIGHT_PER_MINUTE, requests_per_5m=WEIGHT_PER_MINUTE),
        ssl_context=context,
    )
    await simulator.start()
    about = {"rest_url": simulator.rest_url, "ws_url": simulator.ws_url, "symbols": list(simulator.market.symbols)}
    say(json.dumps(about))
    await asyncio.Event().wait()


async def _run(path: Path) -> None:
    """Run until that many whole minutes have closed after the windows were loaded."""
    from tapewatch.cli.run import health_server
    from tapewatch.config import load
    from tapewatch.live.pipeline import StepReport
    from tapewatch.live.shell import Live, Watchers
    from tapewatch.model import MINUTE_MS, BarClosed
    from tapewatch.telemetry import LogSetup

    logs = LogSetup(level="error")
    latency_ms: list[float] = []
    first_ms = last_ms = 0

    def on_step(report: StepReport) -> None:
        now_ms = live.exchange_now_ms()
        closed = (event for event in report.events if isinstance(event, BarClosed))
        latency_ms.extend(now_ms - event.recv_ms for event in closed if first_ms < event.bar.close_ms <= last_ms)

    live = Live(load([path], {}), health_server, Watchers(on_step=on_step))
    running = asyncio.create_task(live.run())
    async with asyncio.timeout(WINDOWS_S):
        while not live.caught_up and not running.done():  # noqa: ASYNC110  (nothing of the run tells)
            await asyncio.sleep(0.1)
    first_ms = -(-int(live.exchange_now_ms()) // MINUTE_MS) * MINUTE_MS
    last_ms = first_ms + MINUTES * MINUTE_MS
    say("caught_up")
    while live.exchange_now_ms() < last_ms + 5_000 and not running.done():  # noqa: ASYNC110
        await asyncio.sleep(0.5)
    say(json.dumps({"bars": len(latency_ms), "latency_ms": latency_ms}))
    live.stop()
    await running
    logs.close()


if __name__ == "__main__":
    role, *rest = sys.argv[1:]
    asyncio.run(_run(Path(rest[0])) if role == "run" else _exchange(int(rest[0]), float(rest[1]), rest[2]))
