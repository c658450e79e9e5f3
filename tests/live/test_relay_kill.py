from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from delivery_samples import alert_of, signal, step_of
from tapewatch.store import Ledger
from tapewatch.store.lease import holder

TESTS = Path(__file__).parent.parent
ALERTS = 400
RELAY = """
import asyncio, sys, time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from pathlib import Path
from tapewatch.channels.file import FileChannel
from tapewatch.channels.writer import Writer
from tapewatch.live.relay import Pace, Relay
from tapewatch.store import Ledger
from tapewatch.store.lease import holder

async def main():
    ledger = Ledger.open(sys.argv[1])
    relay = Relay(ledger.outbox, [FileChannel("out", Path(sys.argv[2]))], ThreadPoolExecutor(1), writer=Writer(UTC),
                  now_ms=lambda: time.time_ns() // 1_000_000, pace=Pace(useful_s=1e12))
    running = asyncio.create_task(relay.run())
    print("started", flush=True)
    assert await relay.drained(60)
    relay.stop()
    await running
    ledger.close()

asyncio.run(main())
"""


def start(url: str, file: Path) -> subprocess.Popen[bytes]:
    """A relay in a process of its own, once it runs."""
    process = subprocess.Popen([sys.executable, "-c", RELAY, url, str(file)], cwd=TESTS, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"started\n"
    return process


def test_a_relay_killed_at_any_moment_loses_nothing_and_marks_every_repeat(tmp_path: Path) -> None:
    """After five kills and a last run each message is in the file, twice only where the second says it may be."""
    url, file = f"sqlite:///{tmp_path}/tape.db", tmp_path / "alerts.jsonl"
    ledger = Ledger.open(url)
    ledger.commit_step(step_of(*(alert_of(signal(f"S{place}USDT")) for place in range(ALERTS))))
    kills = 0
    for _ in range(5):
        process = start(url, file)
        time.sleep(random.uniform(0.0, 0.15))
        process.kill()
        kills += process.wait() != 0
        assert process.stdout is not None
        process.stdout.close()
    last = start(url, file)
    last.communicate(timeout=60)

    lines = [json.loads(line) for line in file.read_text().splitlines()]
    seen = Counter(line["message_id"] for line in lines)
    assert kills > 0
    assert len(seen) == ALERTS
    assert ledger.outbox.counts() == {"out": {"sent": ALERTS}}
    first: set[str] = set()
    for line in lines:
        assert line["possible_repeat"] or line["message_id"] not in first
        first.add(line["message_id"])
    assert sum(count - 1 for count in seen.values()) <= kills
    ledger.close()


@pytest.mark.alone
def test_two_relays_by_mistake_double_nothing(tmp_path: Path) -> None:
    """Started together on one ledger, one waits; when the other is killed it takes over within two seconds."""
    url, file = f"sqlite:///{tmp_path}/tape.db", tmp_path / "alerts.jsonl"
    ledger = Ledger.open(url)
    ledger.commit_step(step_of(*(alert_of(signal(f"S{place}USDT")) for place in range(ALERTS))))
    relays = [start(url, file) for _ in range(2)]
    while not file.exists() or len(file.read_bytes().splitlines()) < ALERTS // 10:
        time.sleep(0.01)
    with ledger._database.read() as connection:
        by = holder(connection, "relay")
    first, second = sorted(relays, key=lambda relay: f"process {relay.pid} " not in by)
    first.kill()
    first.wait()
    count, killed_s = len(file.read_bytes().splitlines()), time.monotonic()
    assert count < ALERTS
    while len(file.read_bytes().splitlines()) <= count:
        assert time.monotonic() - killed_s < 2
        time.sleep(0.01)
    second.communicate(timeout=60)
    assert first.stdout is not None
    first.stdout.close()

    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert len({line["message_id"] for line in lines}) == ALERTS
    assert len(lines) - ALERTS <= 1  # what the kill cut
    assert sum(line["possible_repeat"] for line in lines) <= 1
    assert ledger.outbox.counts() == {"out": {"sent": ALERTS}}
    ledger.close()
