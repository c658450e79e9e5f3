"""`run` killed between every pair of writes of a paper position's life: the ledger is whole and the life goes on."""

from __future__ import annotations

from decimal import Decimal
from itertools import product
from pathlib import Path

import pytest
from test_run_paper_parity import OFTEN, PAPER

from run_harness import (
    HOUR_MS,
    archive,
    configure,
    eventually,
    json_lines,
    query,
    reached,
    running,
    simulated,
)

SYMBOLS = ("BTCUSDT", "ETHUSDT")
HOURS = 8
#: What a step must have for the run to end in it, and at which of its writes.
LIFE = {
    "pending": "any(type(one) is Position and one.state == 'pending' for one in effects)",
    "entry": "any(type(one) is Fill and one.number == 0 for one in effects)",
    "partial": "any(type(one) is Fill and one.reason == 'target' for one in effects) and not closes",
    "exit": "closes",
}
WRITES = ("before the journal", "between journal and ledger", "after the ledger")
#: Put before the command's own program.
DIE = """
import os, signal
from tapewatch.live.recorder import Recorder
from tapewatch.model import Fill, Position
from tapewatch.store import Ledger
from tapewatch.store.journal import Journal
armed = []
store, append, commit = Recorder.store, Journal.append, Ledger.commit_step
def die(): os.kill(os.getpid(), signal.SIGKILL)
def stored(self, step, events, **options):
    effects = step.effects
    closes = any(type(one) is Position and one.state == 'closed' for one in effects)
    if {when}: armed.append(step)
    return store(self, step, events, **options)
def journaled(self, *arguments):
    if armed and {write!r} == 'before the journal': die()
    append(self, *arguments)
def committed(self, step):
    if armed and {write!r} == 'between journal and ledger': die()
    commit(self, step)
    if armed and {write!r} == 'after the ledger': die()
Recorder.store, Journal.append, Ledger.commit_step = stored, journaled, committed
"""


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """An archive, and where its last hours begin."""
    return archive(tmp_path_factory.mktemp("archive"), SYMBOLS, hours=HOURS)


def whole(folder: Path) -> int:
    """Assert that money and quantities add up, to the last unit; returns how many positions were closed."""
    ((start, cash, gross, fees, funding),) = query(
        folder, "SELECT start_cash, cash, gross, fees, funding FROM paper_accounts"
    )
    fills = query(folder, "SELECT trade_id, number, quantity, gross, fee FROM fills ORDER BY trade_id, number")
    assert sum(Decimal(row[3]) for row in fills) == Decimal(gross)
    assert sum(Decimal(row[4]) for row in fills) == Decimal(fees)
    assert Decimal(start) + Decimal(gross) - Decimal(fees) - Decimal(funding) == Decimal(cash)
    trades = query(folder, "SELECT trade_id, state, quantity, held FROM trades WHERE state IN ('open', 'closed')")
    for identity, state, quantity, held in trades:
        mine = [row for row in fills if row[0] == identity]
        assert [row[1] for row in mine] == list(range(len(mine)))
        assert Decimal(mine[0][2]) == Decimal(quantity)
        assert Decimal(quantity) - sum(Decimal(row[2]) for row in mine[1:]) == Decimal(held)
        assert (state == "closed") == (Decimal(held) == 0)
    return sum(state == "closed" for _, state, _, _ in trades)


@pytest.mark.slow
def test_a_kill_at_any_write_of_a_life_leaves_the_ledger_whole(tmp_path: Path, candles: tuple[Path, int]) -> None:
    """Before and after the journal and the ledger have an entry that waits, an entry, a partial exit and an exit."""
    root, start_ms = candles
    options = ("--data", str(root), "--start", str(start_ms), "--at-end", "hold", "--speed", "5000")
    with simulated(tmp_path, *options) as exchange:
        configure(tmp_path, exchange, SYMBOLS, strategies={"often": OFTEN}, paper=PAPER)
        for place, (moment, write) in enumerate(product(LIFE, WRITES)):
            program = DIE.format(when=LIFE[moment], write=write)
            with running(tmp_path, f"run-{place}", program, doomed=True) as run:
                assert run.wait() == -9, f"{moment}, {write}: {run.log}"
            if query(tmp_path, "SELECT 1 FROM paper_accounts"):
                whole(tmp_path)
        with running(tmp_path, "last") as run:
            eventually(lambda: reached(tmp_path, SYMBOLS, start_ms + HOURS * HOUR_MS) or run.code is not None)
            assert run.stop() == 0, run.log
    assert whole(tmp_path) > 10
    (result,) = json_lines("replay", "-c", str(tmp_path / "tapewatch.yaml"), "--verify", "--json")
    assert result["differences"] == []
    assert result["trades"] == len(query(tmp_path, "SELECT 1 FROM trades"))


@pytest.mark.slow
def test_a_run_with_other_settings_goes_on_with_what_the_ledger_has(tmp_path: Path, candles: tuple[Path, int]) -> None:
    """Account and open positions live on in a fresh engine, settled from the candles of the time in between."""
    root, start_ms = candles
    options = ("--data", str(root), "--start", str(start_ms), "--at-end", "hold", "--speed", "5000")
    held = "SELECT trade_id FROM trades WHERE state = 'open'"
    with simulated(tmp_path, *options) as exchange:
        configure(tmp_path, exchange, SYMBOLS, strategies={"often": OFTEN}, paper=PAPER)
        with running(tmp_path, "first") as run:
            eventually(lambda: query(tmp_path, "SELECT 1 FROM trades WHERE state = 'closed'") or run.code is not None)
            eventually(lambda: query(tmp_path, held) or run.code is not None, every_s=0.005)
        before = query(tmp_path, held)
        configure(tmp_path, exchange, SYMBOLS, strategies={"often": OFTEN}, paper=PAPER | {"risk": "0.4%"})
        with running(tmp_path, "other") as run:
            eventually(lambda: reached(tmp_path, SYMBOLS, start_ms + HOURS * HOUR_MS) or run.code is not None)
            assert run.stop() == 0, run.log
        assert "engine_starts_fresh" in run.log
    for (identity,) in before:
        assert query(tmp_path, f"SELECT state FROM trades WHERE trade_id = '{identity}'") == [("closed",)]
    assert whole(tmp_path) > 10
    (result,) = json_lines("replay", "-c", str(tmp_path / "tapewatch.yaml"), "--verify", "--json")
    assert result["differences"] == []
