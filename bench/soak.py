"""Weeks of simulated time through one `tapewatch run`: does anything grow, is anything left over?

    python bench/soak.py --minutes 60 --symbols 40 --speed 20000

The exchange is a simulator in another process that breaks something every few simulated minutes. Memory, open files and
sockets, threads and tasks of the run are looked at every five seconds; a line is fitted through each over the second
half. Ends with 1 when memory grows by more than its noise, or anything else grows at all.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

EVERY_S = 5.0
#: Growth of resident memory that is not noise, in MB an hour of wall time.
MB_AN_HOUR = 5.0
DAY_MS = 86_400_000
MINUTE_MS = 60_000
FAULTS = """
- {kind: drop, every: 331m, for: 20s}
- {kind: stall, every: 719m, for: 3m}
- {kind: duplicate, every: 13m}
- {kind: missing_close, every: 97m}
- {kind: late_close, every: 127m, for: 90s}
- {kind: malformed, every: 211m}
- {kind: reorder, every: 23m}
- {kind: http_5xx, every: 331m, for: 1m, probability: 0.5}
- {kind: shutdown, every: 1439m}
"""
STRATEGIES = {"scalp": {"params": {"min_factors": 3}}, "momentum": {"timeframes": ["5m", "15m"]}}


def main() -> int:
    """Run the soak; the exit code says whether anything grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--symbols", type=int, default=40)
    parser.add_argument("--speed", type=float, default=20_000.0)
    parser.add_argument("--exchange", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.exchange:
        asyncio.run(_exchange(arguments.symbols, arguments.speed, Path(arguments.exchange)))
        return 0
    with tempfile.TemporaryDirectory(prefix="tapewatch-soak-") as folder:
        return _soak(Path(folder), arguments)


async def _exchange(symbols: int, speed: float, faults: Path) -> None:
    from tapewatch.simulator import Simulator, SyntheticMarket, load_faults, names
    from tapewatch.simulator.synthetic import START_MS

    market = SyntheticMarket(1, names(symbols), live_ms=120 * DAY_MS)
    simulator = Simulator(market, rate=speed, start_ms=START_MS, faults=load_faults(faults), at_end="hold")
    await simulator.start()
    hosts = {"rest_url": simulator.rest_url, "ws_url": simulator.ws_url, "symbols": list(market.symbols)}
    sys.stdout.write(json.dumps(hosts) + "\n")
    sys.stdout.flush()
    while True:
        await asyncio.sleep(EVERY_S)
        said = {"now_ms": simulator.clock.now_ms(), "breaches": sum(simulator.books.breaches.values())}
        (faults.parent / "exchange.json").write_text(json.dumps(said | {"faults": dict(simulator.books.faults)}))


def _soak(folder: Path, arguments: argparse.Namespace) -> int:
    faults = folder / "faults.yaml"
    faults.write_text(FAULTS)
    options = ["--symbols", str(arguments.symbols), "--speed", str(arguments.speed), "--exchange", str(faults)]
    with subprocess.Popen([sys.executable, __file__, *options], stdout=subprocess.PIPE, text=True) as exchange:
        try:
            assert exchange.stdout is not None
            config = _configure(folder, json.loads(exchange.stdout.readline()))
            command = [sys.executable, "-m", "tapewatch", "run", "-c", str(config)]
            with (folder / "run.log").open("w") as log, subprocess.Popen(command, stderr=log) as run:
                samples = _sample(folder, run, arguments.minutes * 60)
                run.terminate()
                code = run.wait(60)
        finally:
            exchange.terminate()
    return _judge(samples, code, json.loads((folder / "exchange.json").read_text()))


def _configure(folder: Path, about: dict[str, Any]) -> Path:
    config = {
        "exchange": {"rest_url": about["rest_url"], "ws_url": about["ws_url"]},
        "universe": {"include": about["symbols"]},
        "strategies": STRATEGIES,
        "channels": {"out": {"type": "file", "path": "alerts.jsonl"}},
        "alerts": {"routes": [{"channels": ["out"]}], "operator": {"channels": ["out"]}},
        "ledger": {"url": "sqlite:///soak.db"},
        "web": {"port": 0},
    }
    path = folder / "soak.json"
    path.write_text(json.dumps(config))
    return path


def _sample(folder: Path, run: subprocess.Popen[Any], seconds: float) -> list[dict[str, float]]:
    samples: list[dict[str, float]] = []
    began_s = time.monotonic()
    while time.monotonic() - began_s < seconds and run.poll() is None:
        time.sleep(EVERY_S)
        tasks = _tasks(folder)
        if tasks is None:
            continue
        status = Path(f"/proc/{run.pid}/status").read_text()
        found = _open(run.pid)
        samples.append(
            {
                "s": time.monotonic() - began_s,
                "memory_mb": int(status.partition("VmRSS:")[2].split()[0]) / 1024,
                "threads": float(status.partition("Threads:")[2].split()[0]),
                "sockets": float(sum(name.startswith("socket:") for name in found)),
                "files": float(sum(not name.startswith("socket:") for name in found)),
                "tasks": tasks,
            }
        )
    return samples


def _open(pid: int) -> list[str]:
    """What the process has open; a descriptor that closes while it is looked at is left out."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(str(link.readlink()))
    return found


def _tasks(folder: Path) -> float | None:
    served = re.search(r"health_served url=(\S+)/health", (folder / "run.log").read_text())
    if served is None:
        return None
    with urllib.request.urlopen(f"{served[1]}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return float(re.findall(r"^tapewatch_event_loop_tasks (\S+)$", text, re.MULTILINE)[0])


def _judge(samples: list[dict[str, float]], code: int, exchange: dict[str, Any]) -> int:
    half = samples[len(samples) // 2 :]
    times = [sample["s"] for sample in half]
    days = (exchange["now_ms"] - 1_748_822_400_000) / DAY_MS
    write = sys.stdout.write
    write(f"{days:.1f} simulated days in {samples[-1]['s'] / 60:.1f} min, exit code {code}\n")
    write(f"faults: {exchange['faults']}; limits broken: {exchange['breaches']}\n")
    failed = code != 0 or exchange["breaches"] > 0
    for name in ("memory_mb", "threads", "sockets", "files", "tasks"):
        values = [sample[name] for sample in half]
        slope = statistics.linear_regression(times, values).slope * 3600
        spread = statistics.pstdev(values)
        grows = slope > (MB_AN_HOUR if name == "memory_mb" else 1.0) and slope * times[-1] / 7200 > 2 * spread
        failed = failed or grows
        write(
            f"{name:<10} first {samples[0][name]:8.1f}  median {statistics.median(values):8.1f}  last {values[-1]:8.1f}"
            f"  slope {slope:+8.2f} an hour  deviation {spread:6.2f}{'  GROWS' if grows else ''}\n"
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
