"""A run on a machine whose clock somebody sets, whose time zone changes its offset: nothing of what it does changes."""

from __future__ import annotations

import signal
import time
from datetime import datetime
from pathlib import Path

import pytest

from run_harness import (
    HOUR_MS,
    TO_FILE,
    Process,
    agree,
    archive,
    command,
    configure,
    easy,
    eventually,
    fetch,
    health_url,
    json_lines,
    notices,
    query,
    reached,
    running,
    simulated,
    undelivered,
)

SYMBOLS = ("BTCUSDT", "ETHUSDT")
HOURS = 2.5
#: A wall clock that signals set by five minutes; it begins where it is told.
SET = """
import signal, time
ahead_ns, real = [{begin} * 1_000_000], time.time_ns
def put(by_ns): ahead_ns[0] += by_ns
signal.signal(signal.SIGUSR1, lambda *_: put(300_000_000_000))
signal.signal(signal.SIGUSR2, lambda *_: put(-300_000_000_000))
time.time_ns = lambda: real() + ahead_ns[0]
time.time = lambda: time.time_ns() / 1e9
"""
#: Figures every second instead of every minute, and a delivery takes its time.
OFTEN = """
import asyncio
from tapewatch.channels.file import FileChannel
from tapewatch.live import figures
figures.EVERY_S, send = 1.0, FileChannel.send
async def slow(self, outgoing):
    await asyncio.sleep(0.05)
    return await send(self, outgoing)
FileChannel.send = slow
"""
#: Commands that say times.
SAID = (("signals", "--stored"), ("alerts", "ls"))


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """An archive, and where its last hours begin."""
    return archive(tmp_path_factory.mktemp("archive"), SYMBOLS, hours=HOURS)


def stored(folder: Path, count: int, run: Process) -> None:
    """Wait until a run has stored so many signals."""
    eventually(lambda: len(query(folder, "SELECT 1 FROM signals")) >= count or run.code is not None)
    assert run.code is None, run.log


def put(run: Process, number: int) -> None:
    """Set a run's clock, and wait until it has noticed."""
    known = run.log.count(" clock_jumped ")
    run.process.send_signal(number)
    eventually(lambda: run.log.count(" clock_jumped ") > known or run.code is not None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("zone", "change", "first"),
    [
        ("Europe/Berlin", "2025-10-26T01:00:00+00:00", signal.SIGUSR1),
        ("America/New_York", "2026-03-08T07:00:00+00:00", signal.SIGUSR2),
    ],
)
def test_a_clock_set_by_minutes_or_changed_by_an_hour_loses_doubles_and_holds_up_nothing(
    tmp_path: Path, candles: tuple[Path, int], monkeypatch: pytest.MonkeyPatch, zone: str, change: str, first: int
) -> None:
    """Forward and back, amid deliveries and between two runs; summer time begins or ends some seconds after the start.

    The second run finds times of the future in its ledger, or of its own past as old as can be. Commands say the same
    in every time zone.
    """
    root, start_ms = candles
    config = str(tmp_path / "tapewatch.yaml")
    monkeypatch.setenv("TZ", zone)
    begin_ms = int(datetime.fromisoformat(change).timestamp() * 1000) - 5_000 - time.time_ns() // 1_000_000
    options = ("--data", str(root), "--start", str(start_ms), "--at-end", "hold", "--speed", "2000")
    with simulated(tmp_path, *options) as exchange:
        configure(tmp_path, exchange, SYMBOLS, strategies=easy(), alerts=TO_FILE)
        with running(tmp_path, "first", SET.format(begin=begin_ms) + OFTEN) as run:
            url, other = health_url(run), ({signal.SIGUSR1, signal.SIGUSR2} - {first}).pop()
            for count, number in ((3, first), (6, other), (9, other)):
                stored(tmp_path, count, run)
                put(run, number)
                assert fetch(f"{url}/readyz")[0] == 200
            stored(tmp_path, 12, run)
            assert run.stop() == 0, run.log
        with running(tmp_path, "second", SET.format(begin=begin_ms) + OFTEN) as run:
            eventually(lambda: reached(tmp_path, SYMBOLS, start_ms + int(HOURS * HOUR_MS)) or run.code is not None)
            eventually(lambda: not undelivered(tmp_path) or run.code is not None)
            samples = query(tmp_path, "SELECT count(*) FROM figures")
            eventually(lambda: query(tmp_path, "SELECT count(*) FROM figures") > samples or run.code is not None)
            assert run.stop() == 0, run.log
    agree(tmp_path, root, SYMBOLS, start_ms)
    assert {line["subject"][12:] for line in notices(tmp_path)} == {"This machine's clock was changed"}
    (result,) = json_lines("replay", "-c", config, "--verify", "--json")
    assert result["equal"], result["differences"]
    said = [command(*words, "-c", config).stdout for words in SAID]
    monkeypatch.setenv("TZ", "UTC")
    assert [command(*words, "-c", config).stdout for words in SAID] == said
    assert all(said)


#: REST tells another time than streams and candles, by minutes and by a second, while it is needed for some candles.
SKEWED = """
- {kind: skew, at: 10m, offset: 5m, for: 10m}
- {kind: skew, at: 30m, offset: -5m, for: 10m}
- {kind: skew, at: 50m, offset: 1s, for: 10m}
- {kind: skew, at: 70m, offset: -1s, for: 10m}
- {kind: missing_close, at: 12m}
- {kind: missing_close, at: 15m}
- {kind: missing_close, at: 52m}
- {kind: missing_close, at: 72m}
- {kind: drop, at: 17m}
"""


@pytest.mark.slow
def test_an_exchange_whose_rest_tells_another_time_changes_no_signal(tmp_path: Path, candles: tuple[Path, int]) -> None:
    """No candle is decided on before it has closed, none is lost, and each alert goes out once."""
    root, start_ms = candles
    (tmp_path / "faults.yaml").write_text(SKEWED)
    options = ("--data", str(root), "--start", str(start_ms), "--at-end", "hold", "--speed", "1000")
    with simulated(tmp_path, *options, "--faults", str(tmp_path / "faults.yaml")) as exchange:
        configure(tmp_path, exchange, SYMBOLS, strategies=easy(), alerts=TO_FILE)
        with running(tmp_path) as run:
            eventually(lambda: reached(tmp_path, SYMBOLS, start_ms + int(HOURS * HOUR_MS)) or run.code is not None)
            eventually(lambda: not undelivered(tmp_path) or run.code is not None)
            assert run.stop() == 0, run.log
        assert exchange.faults == {"skew", "missing_close", "drop"}
    agree(tmp_path, root, SYMBOLS, start_ms)
