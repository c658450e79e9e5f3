"""What is on the disk before the ledger knows it: the events that led to a decision or a fill."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from book_samples import account, fill, position
from delivery_samples import VENUE, alert_of, signal, step_of
from journal_samples import begun, minutes
from tapewatch.live.recorder import Recorder
from tapewatch.model import BarDone, Effect, Judged
from tapewatch.store import Ledger, Step

DONE = BarDone("BTCUSDT", 60_000, 0)


@pytest.mark.parametrize(
    ("effects", "synced"),
    [
        ([DONE], False),
        ([DONE, position(), account()], False),
        ([DONE, Judged(signal(), "blocked", False, 1, None)], True),
        ([fill(), position(), account()], True),
        ([position("pending")], True),
        ([position("skipped", reason="a position was open")], True),
        ([position("closed")], True),
    ],
)
def test_what_decides_is_synced_before_it_is_stored(tmp_path: Path, effects: list[Effect], synced: bool) -> None:
    """A position that is only marked anew is not worth a sync of its own."""
    recorded(tmp_path, Step(VENUE, effects), synced=synced)


def test_messages_are_synced_too(tmp_path: Path) -> None:
    """Whatever they are about."""
    recorded(
        tmp_path, Step(VENUE, messages=step_of(alert_of(signal())).messages, effects=[alert_of(signal())]), synced=True
    )


def recorded(folder: Path, step: Step, *, synced: bool) -> None:
    """Store a step with an event, and see whether the journal is on the disk."""
    ledger = Ledger.open(f"sqlite:///{folder}/tape.db")
    journal = begun(folder / "j", [minutes(1)], sync_s=3_600.0)
    journal.sync()
    with ThreadPoolExecutor(1) as executor:
        recorder = Recorder(journal, ledger, executor, 3_600.0)
        recorder.store(step, minutes(1, 1))
        assert journal.unsynced is not synced
        recorder.close()
    ledger.close()
