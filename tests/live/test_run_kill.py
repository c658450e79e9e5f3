"""`run` killed at any moment, and started again: nothing is lost, and nothing comes twice without saying so."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from run_harness import (
    HOUR_MS,
    Line,
    agree,
    archive,
    configure,
    deliveries,
    easy,
    eventually,
    json_lines,
    query,
    reached,
    running,
    simulated,
    undelivered,
)
from tapewatch.store.reading import segments

SYMBOLS = ("BTCUSDT", "ETHUSDT")
HOURS = 20

#: Programs that end by SIGKILL in the middle of something, put before the command's own.
DIE = "import os, signal\ndef die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)\n"
MOMENTS = {
    "while the tables are made": """
from tapewatch.store import migrate
upgrade = migrate.upgrade
migrate.upgrade = lambda *arguments: die(upgrade(*arguments))
""",
    "with the first windows half loaded": """
from tapewatch.feeds.rest import Rest
pages, bars = [], Rest.bars
def counted(self, *arguments):
    pages.append(arguments)
    return die() if len(pages) == 7 else bars(self, *arguments)
Rest.bars = counted
""",
    "in a step's transaction": """
from tapewatch.store.database import Database
from tapewatch.store import ledger
message_rows = ledger.message_rows
ledger.message_rows = lambda messages: die() if messages else message_rows(messages)
""",
    "between a step's last statement and its commit": """
from sqlalchemy import event, Engine
armed = []
def look(connection, cursor, statement, *_):
    if statement.startswith("INSERT INTO messages"): armed.append(statement)
event.listen(Engine, "before_cursor_execute", look)
event.listen(Engine, "commit", lambda _connection: die() if armed else None)
""",
    "in the middle of an append to the journal": """
from tapewatch.store.journal import Journal
appended = []
def torn(self, raw):
    appended.append(raw)
    if len(appended) == 40:
        os.write(self._handle, raw[: len(raw) // 2])
        die()
    return write(self, raw)
write, Journal._write = Journal._write, torn
""",
    "between the journal and the commit of a step with messages": """
from tapewatch.store import Ledger
commit = Ledger.commit_step
Ledger.commit_step = lambda self, step: die() if step.messages else commit(self, step)
""",
    "in the middle of a snapshot": """
from tapewatch.store.snapshot import SnapshotWriter
SnapshotWriter.finish = die
""",
    "while it recovers": """
from tapewatch.engine import Engine
from tapewatch.live.recovery import Recoverer
note = Recoverer._replayed
def cut(self, engine, position):
    process, count = engine.process, []
    def counted(event):
        count.append(event)
        return die() if len(count) == 30 else process(event)
    engine.process = counted
    return note(self, engine, position)
Recoverer._replayed = cut
""",
    "between commit and delivery": """
from tapewatch.store.outbox import Outbox
Outbox.take = die
""",
    "with a message claimed": """
from tapewatch.channels.file import FileChannel
FileChannel.send = die
""",
    "in the middle of a line": """
from tapewatch import disk
def torn(handle, line):
    os.write(handle, line[: len(line) // 2])
    die()
disk._append_whole = torn
""",
    "between a line and its mark": """
from tapewatch.store.outbox import Outbox
Outbox.mark_sent = die
""",
}


def finish(folder: Path, end_ms: int) -> None:
    """A last run, up to the end of the data."""
    with running(folder, "last") as run:
        eventually(lambda: reached(folder, SYMBOLS, end_ms) or run.code is not None, every_s=0.2)
        eventually(lambda: not undelivered(folder) or run.code is not None)
        assert run.stop() == 0, run.log


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """An archive, and where its last hours begin."""
    return archive(tmp_path_factory.mktemp("archive"), SYMBOLS, hours=HOURS)


def replayed(folder: Path, stored: Sequence[Line]) -> None:
    """Assert that the journal, through a fresh engine, gives what is stored, to the bit."""
    (result,) = json_lines("replay", "-c", str(folder / "tapewatch.yaml"), "--verify", "--json")
    assert result["differences"] == []
    assert result["equal"]
    assert (result["signals"], result["pruned"], result["trades"]) == (len(stored), 0, 0)
    assert result["verdicts"] >= 8 * len(stored)
    assert result["outcomes"] == sum(one["outcome"] is not None for one in stored) > 0


def exchange_options(root: Path, start_ms: int) -> tuple[str, ...]:
    """What the simulated exchange is told; two minutes of one second each are a tenth of what it could do."""
    return ("--data", str(root), "--start", str(start_ms), "--at-end", "hold", "--speed", "20000")


@pytest.mark.slow
def test_ten_kills_at_random_moments_lose_and_double_nothing(tmp_path: Path, candles: tuple[Path, int]) -> None:
    """After ten kills and a last run each signal is stored once, and each that passed was delivered."""
    root, start_ms = candles
    moments = random.Random(20)
    progress = []
    with simulated(tmp_path, *exchange_options(root, start_ms)) as exchange:
        configure(tmp_path, exchange, SYMBOLS, strategies=easy())
        for place in range(10):
            with running(tmp_path, doomed=True) as run:
                if place % 2:
                    eventually(lambda run=run: "caught_up" in run.log, every_s=0.01)
                time.sleep(moments.uniform(0.1, 0.9))
                assert run.code is None, run.log
            progress.append(query(tmp_path, "SELECT max(last_open_ms) FROM series WHERE interval_ms = 60000"))
        finish(tmp_path, start_ms + HOURS * HOUR_MS)
    assert len({json.dumps(one) for one in progress}) > 3  # kills came while bars were coming
    replayed(tmp_path, agree(tmp_path, root, SYMBOLS, start_ms))
    surrounded(tmp_path)


@pytest.mark.slow
def test_a_kill_in_the_middle_of_anything_loses_and_doubles_nothing(tmp_path: Path, candles: tuple[Path, int]) -> None:
    """Wherever a run is cut in a transaction, a delivery or its own beginnings, the next one goes on from there."""
    root, start_ms = candles
    with simulated(tmp_path, *exchange_options(root, start_ms)) as exchange:
        configure(tmp_path, exchange, SYMBOLS, strategies=easy())
        for place, (moment, program) in enumerate(MOMENTS.items()):
            with running(tmp_path, f"run-{place}", DIE + program, doomed=True) as run:
                assert run.wait() == -9, f"{moment}: {run.log}"
        finish(tmp_path, start_ms + HOURS * HOUR_MS)
    replayed(tmp_path, agree(tmp_path, root, SYMBOLS, start_ms))
    surrounded(tmp_path)
    assert len(segments(tmp_path / "tapewatch.db.journal")) == 1  # it was gone on with each time
    torn = [line for line in (tmp_path / "alerts.jsonl").read_bytes().split(b"\n")[:-1] if not line.endswith(b"}")]
    assert len(torn) == 1
    written = deliveries(tmp_path)
    # Two moments cut a delivery; one that has nothing to do with deliveries may happen to fall into one more.
    assert [line["possible_repeat"] for line in written].count(True) >= 2
    assert len(written) > len({line["message_id"] for line in written})  # written, and killed before its mark


def surrounded(folder: Path) -> None:
    """Assert that what was stored after the alerts is there too: of each signal its candle, and the market then."""
    same = "m.venue = s.venue AND m.symbol = s.symbol AND m.timeframe = s.timeframe AND m.open_ms = s.open_ms"
    signals = query(folder, "SELECT id FROM signals ORDER BY id")
    assert query(folder, f"SELECT s.id FROM signals s JOIN market_data m ON {same} ORDER BY s.id") == signals
    assert query(folder, "SELECT signal_id FROM market_snapshots WHERE signal_id <> '' ORDER BY signal_id") == signals
