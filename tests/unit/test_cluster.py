"""Sets tried by the workers of a real Dask scheduler, in processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from command_line import Command, store
from core_samples import walk
from tapewatch import strategies
from tapewatch.errors import SetupError
from tapewatch.strategy.ranges import range_of
from tapewatch.study.backtest import Plan
from tapewatch.study.cluster import cluster
from tapewatch.study.search import Asked, search
from tapewatch.study.settings import Account
from tapewatch.study.signals import Request
from tapewatch.study.space import Space
from tapewatch.study.sweep import Sweep
from tapewatch.study.trials import Trials

pytest.importorskip("distributed")

SPACE = Space({"fast": range_of("3..9", 9.0), "slow": range_of([13, 21, 34], 21.0)})
ASKED = Asked("expectancy_r", trials=60, min_trades=5, seed=4)
#: A strategy with an indicator that only this file has.
OWN = """
from tapewatch.strategy.build import close, indicator, param, strategy

@indicator(
    inputs=("x",), lengths=("length",), state={"last": float("nan")}, constants=lambda length: {"keep": 1.0 / length},
    first_valid=lambda length: 0, settling=lambda _day, length: 14 * length + 1, unit="input",
    formula="x and a part of the last", seed="the first value", source="tests",
)
def slowed(x, last, keep):
    last = (1.0 - keep) * x + keep * last if last == last else x
    return last, last

STRATEGY = strategy("own", timeframes=["1m"], params={"n": 9},
  long={"up": close > slowed(close, param("n"))}, stop=1.0,
  targets=[{"at": 1.0, "share": "100%"}])
"""


def started(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """A process of Dask, on this machine only, that leaves nothing behind elsewhere."""
    source = Path(strategies.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(source), "DASK_TEMPORARY_DIRECTORY": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.{words[0]}", *words[1:], "--no-dashboard", "--host", "127.0.0.1"],
        cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


class Machines:
    """A scheduler, and workers that can be started and killed."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._file = folder, folder / "scheduler.json"
        self._scheduler = started(folder, "dask_scheduler", "--port", "0", "--scheduler-file", str(self._file))
        self.workers: list[subprocess.Popen[bytes]] = []
        for _ in range(600):
            if self._file.exists() and self._file.read_text().endswith("}"):
                break
            time.sleep(0.05)
        self.address = json.loads(self._file.read_text())["address"]

    def start(self, count: int) -> None:
        """So many workers, each a process, in a folder of its own, without a nanny that starts it anew."""
        for _ in range(count):
            words = ("dask_worker", "--scheduler-file", str(self._file), "--nthreads", "2", "--no-nanny")
            self.workers.append(started(self._folder, *words))

    def stop(self) -> None:
        """All of it."""
        for process in (*self.workers, self._scheduler):
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """A scheduler with two workers."""
    found = Machines(tmp_path_factory.mktemp("machines"))
    found.start(2)
    yield found
    found.stop()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days of minutes of two symbols."""
    root = tmp_path_factory.mktemp("archive")
    for seed, symbol in enumerate(("AAAUSDT", "BBBUSDT")):
        store(root, [msgspec.structs.replace(one, symbol=symbol) for one in walk(4_320, seed)])
    return root


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Command:
    """The command of this process."""
    return Command(monkeypatch, capfdbinary)


def parts_of(root: Path) -> tuple[dict[str, Any], Plan]:
    """What a sweep of scalp with few factors is made of."""
    request = Request(root, "binance_spot", ["AAAUSDT", "BBBUSDT"], ["1m"])
    strategy = strategies.load("scalp", [("min_factors", 3)])
    mapping = {**strategies.mapping_of("scalp")[1], "params": dict(strategy.params)}
    return mapping, Plan(strategy, request, Account(kind="perpetual"), gate=False)


def same(found: Trials, wanted: Trials) -> bool:
    """To the bit, NaN as NaN."""
    fields = ("params", "objective", "trades", "blocks")
    return all(np.array_equal(getattr(found, one), getattr(wanted, one), equal_nan=True) for one in fields)


@pytest.fixture(scope="module")
def wanted(archive: Path) -> Trials:
    """What this process finds."""
    return search(Sweep(*parts_of(archive)), SPACE, ASKED)


def test_many_machines_find_what_one_finds(machines: Machines, archive: Path, wanted: Trials) -> None:
    """To the bit; the work is done in their processes."""
    with cluster(machines.address) as made:
        mapping, plan = parts_of(archive)
        assert same(search(made(mapping, plan), SPACE, ASKED), wanted)
        pruned = replace(ASKED, prune=True, sampler="random")
        assert same(search(made(mapping, plan), SPACE, pruned), search(Sweep(mapping, plan), SPACE, pruned))


def test_candles_can_be_sent(machines: Machines, archive: Path, wanted: Trials, tmp_path: Path) -> None:
    """Where the workers do not have them; without that they say so."""
    root = Path(shutil.copytree(archive, tmp_path / "archive"))
    mapping, plan = parts_of(root)
    with cluster(machines.address) as made:
        shipped = made(mapping, plan, ship=True)
        shutil.rmtree(root)
        assert same(search(shipped, SPACE, ASKED), wanted)
        with pytest.raises(SetupError, match=r"--dask: a worker says: .* is not a folder of candles"):
            search(made(mapping, plan), SPACE, ASKED)


@pytest.mark.usefixtures("own_indicators")
def test_indicators_of_ones_own_go_along(machines: Machines, archive: Path, tmp_path: Path) -> None:
    """The file is loaded by the workers before the strategy is."""
    file = tmp_path / "own.py"
    file.write_text(OWN)
    name, mapping = strategies.mapping_of(str(file))
    request = Request(archive, "binance_spot", ["AAAUSDT"])
    plan = Plan(strategies.from_mappings({name: mapping})[0], request, Account(), gate=False)
    sets = [{"n": 2.0}, {"n": 90.0}]
    with cluster(machines.address) as made:
        found = [one.figures["trades"] for one in made(mapping, plan).tried(sets)]
    assert found == [one.figures["trades"] for one in Sweep(mapping, plan).tried(sets)]
    assert found[0] != found[1]


def test_a_worker_that_is_lost_is_done_without(machines: Machines, archive: Path, wanted: Trials) -> None:
    """What it had is tried by the others; the answer is the same."""
    machines.start(1)
    lost = machines.workers[-1]
    with cluster(machines.address) as made:
        assert isinstance(made, partial)
        made.args[0].wait_for_workers(3, timeout=60)
        sweep, killed = made(*parts_of(archive)), []

        def progress() -> None:
            if not killed:
                killed.append(True)
                os.kill(lost.pid, signal.SIGKILL)

        assert same(search(sweep, SPACE, ASKED, progress), wanted)
    assert lost.wait(10) == -signal.SIGKILL


def test_the_command_searches_on_a_cluster(machines: Machines, archive: Path, command: Command) -> None:
    """And says what it says without one."""
    words = (
        "optimize", "--strategy", "scalp", "--set", "min_factors=3", "--data", archive, "--interval", "1m", "--no-gate",
        "--range", "fast=3..9", "--trials", 20, "--min-trades", 5, "--folds", 0, "--permutations", 20,
    )  # fmt: skip
    alone, shared = (command.objects(*words, *more) for more in ((), ("--dask", machines.address)))
    assert alone == shared


@pytest.mark.parametrize(
    ("address", "message"),
    [("tcp://127.0.0.1:1", "--dask: tcp://127.0.0.1:1"), ("nonsense://x", "--dask: nonsense://x")],
)
def test_an_address_where_nobody_is_is_refused(address: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In so many seconds."""
    monkeypatch.setattr("tapewatch.study.cluster.WITHIN_S", 0.5)
    with pytest.raises(SetupError, match=message), cluster(address):
        pass


def test_a_scheduler_without_workers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would wait for ever."""
    monkeypatch.setattr("tapewatch.study.cluster.WITHIN_S", 0.5)
    alone = Machines(tmp_path)
    try:
        with pytest.raises(SetupError, match="has no workers"), cluster(alone.address):
            pass
    finally:
        alone.stop()


def test_without_dask_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the extra's name."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SetupError, match=r"pip install 'tapewatch\[dask\]'"), cluster("tcp://127.0.0.1:1"):
        pass


def test_workers_of_another_version_are_refused(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    """They might come to something else."""
    monkeypatch.setattr("tapewatch.study.cluster.__version__", "0.0.1")
    with (
        pytest.raises(SetupError, match=r"--dask: tcp://.* has tapewatch .*, here is 0.0.1"),
        cluster(machines.address),
    ):
        pass
