"""What starting costs, measured from outside: the CPU time of processes, against a simulator in another one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from tapewatch.cli.figures import Figure, cpu_s
from tapewatch.errors import SetupError

_COMMAND = (sys.executable, "-m", "tapewatch")


def measure(*, smoke: bool) -> Iterator[Figure]:
    """CPU time of `--help`, and of `run` until its first subscription stands."""
    runs = 1 if smoke else 7
    yield Figure("tapewatch --help", median(_help_s() for _ in range(runs)), "s CPU", 1, runs)
    with _simulator() as url:
        times = []
        for _ in range(runs):
            with _run(url) as process:
                _wait_for(process, "connected")
                times.append(cpu_s(process.pid))
    yield Figure("run to first subscription", median(times), "s CPU", 1, runs)


def _help_s() -> float:
    before = os.times()
    subprocess.run([*_COMMAND, "--help"], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


@contextmanager
def _simulator() -> Iterator[str]:
    arguments = ["simulate", "--synthetic", "1", "--symbols", "1", "--port", "0", "--json"]
    with subprocess.Popen([*_COMMAND, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["rest_url"]
        finally:
            process.terminate()


@contextmanager
def _run(url: str) -> Iterator[subprocess.Popen[str]]:
    from tapewatch.simulator import names

    with tempfile.TemporaryDirectory(prefix="tapewatch-bench-") as folder:
        config = {
            "exchange": {"rest_url": url, "ws_url": url.replace("http", "ws", 1)},
            "universe": {"include": names(1)},
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
