"""What `run` costs, measured from outside: its process's CPU time and memory against a simulator in another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from tapewatch.cli.figures import Figure
from tapewatch.errors import SetupError

SYMBOLS = 50
_TICKS = os.sysconf("SC_CLK_TCK")
_COMMAND = (sys.executable, "-m", "tapewatch")


def run_figures(*, smoke: bool) -> Iterator[Figure]:
    """CPU and memory of `run` with 50 symbols, one strategy on two timeframes, at the exchange's own speed."""
    measured_s = 3 if smoke else 130
    with _simulator(SYMBOLS, speed=1) as url, _run(url, SYMBOLS) as process:
        _wait_for(process, "caught_up")
        time.sleep(1 if smoke else 5)
        cpu_s, started_s = _cpu_s(process.pid), time.monotonic()
        time.sleep(measured_s)
        share = (_cpu_s(process.pid) - cpu_s) / (time.monotonic() - started_s) * 100
        memory = _memory_mb(process.pid)
    yield Figure(f"run, {SYMBOLS} symbols, CPU", share, "% of a core", SYMBOLS, 1)
    yield Figure(f"run, {SYMBOLS} symbols, memory", memory, "MB resident", SYMBOLS, 1)


def start_figures(*, smoke: bool) -> Iterator[Figure]:
    """CPU time of `--help`, and of `run` until its first subscription stands."""
    runs = 1 if smoke else 7
    yield Figure("tapewatch --help", median(_help_s() for _ in range(runs)), "s CPU", 1, runs)
    with _simulator(1, speed=1) as url:
        times = []
        for _ in range(runs):
            with _run(url, 1) as process:
                _wait_for(process, "connected")
                times.append(_cpu_s(process.pid))
    yield Figure("run to first subscription", median(times), "s CPU", 1, runs)


def _help_s() -> float:
    before = os.times()
    subprocess.run([*_COMMAND, "--help"], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


@contextmanager
def _simulator(symbols: int, *, speed: float) -> Iterator[str]:
    arguments = [
        "simulate",
        "--synthetic",
        "1",
        "--symbols",
        str(symbols),
        "--speed",
        str(speed),
        "--port",
        "0",
        "--json",
    ]
    with subprocess.Popen([*_COMMAND, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["rest_url"]
        finally:
            process.terminate()


@contextmanager
def _run(url: str, symbols: int) -> Iterator[subprocess.Popen[str]]:
    from tapewatch.simulator import names

    with tempfile.TemporaryDirectory(prefix="tapewatch-bench-") as folder:
        config = {
            "exchange": {"rest_url": url, "ws_url": url.replace("http", "ws", 1)},
            "universe": {"include": names(symbols)},
            "strategies": {"scalp": {}},
            "channels": {"out": {"type": "file", "path": "alerts.jsonl"}},
            "alerts": {"routes": [{"channels": ["out"]}]},
            "web": {"port": 0},
        }
        path = Path(folder, "bench.json")
        path.write_text(json.dumps(config), "utf-8")
        with subprocess.Popen([*_COMMAND, "run", "-c", str(path)], stderr=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.terminate()


def _wait_for(process: subprocess.Popen[str], event: str) -> None:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if f"] {event}" in line:
            return
    raise SetupError(f"bench: run ended before '{event}':\n{''.join(said)}")


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text("utf-8")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024
