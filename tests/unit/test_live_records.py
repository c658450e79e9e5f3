"""The record that an alert carries: what was known by its bar, from the ledger and from what has ended since."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from book_runs import a_signal
from core_samples import MONDAY_MS
from outcome_samples import VENUE, control, drawn_of, outcome
from tapewatch.live.records import LOOK_EVERY_MS, RecordKeeper
from tapewatch.model import MINUTE_MS, Alert, Effect, Record
from tapewatch.store import Ledger, Step


class Desk:
    """A ledger, and a keeper of its records by a clock of our own."""

    def __init__(self, ledger: Ledger, executor: ThreadPoolExecutor) -> None:
        self.ledger, self.now_ms = ledger, 0
        self.executor = executor
        self.keeper = self.fresh()

    def fresh(self) -> RecordKeeper:
        """A keeper that a start makes."""
        return RecordKeeper(self.ledger.scores, self.executor, VENUE, 20.0, lambda: self.now_ms)

    def step(self, *effects: Effect) -> dict[str, Record]:
        """The records of a step, which is stored then."""
        found = asyncio.run(self.keeper.of(effects))
        self.ledger.commit_step(Step(VENUE, effects=[one for one in effects if not isinstance(one, Alert)]))
        return found


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """With an empty ledger."""
    ledger = Ledger.open(f"sqlite:///{tmp_path}/tape.db")
    with ThreadPoolExecutor(1) as executor:
        yield Desk(ledger, executor)
    ledger.close()


def alert(minute: int, **given: Any) -> Alert:
    """Of a signal on the bar that closes then."""
    close_ms = MONDAY_MS + minute * MINUTE_MS
    about = {"strategy": "scalp", "side": "long", "timeframe": "1m", "close_ms": close_ms, "regime": {}} | given
    signal = msgspec.structs.replace(a_signal(), **about)
    return Alert(f"alert/{minute}", (signal,), late=False, created_ms=close_ms)


def counts(records: dict[str, Record]) -> list[tuple[int, int, int]]:
    """Of each record, how many it is of, hits among them, and random entries."""
    return [(one.all.n, one.all.hits, one.baseline_n) for one in records.values()]


def test_a_new_ledger_has_an_empty_record(desk: Desk) -> None:
    """It says so, rather than that there is none."""
    assert counts(desk.step(alert(0))) == [(0, 0, 0)]


def test_what_has_ended_counts_from_the_close_of_its_bar(desk: Desk) -> None:
    """In any order within a step, and never before."""
    ended = [outcome(0, after=4), outcome(1, hit=False, after=9)]  # known at the closes of minutes 5 and 11
    assert counts(desk.step(alert(4), *ended)) == [(0, 0, 0)]
    assert counts(desk.step(alert(5))) == [(1, 1, 0)]
    assert counts(desk.step(alert(10), alert(11))) == [(1, 1, 0), (2, 1, 0)]


def test_only_signals_that_passed_are_in_it_and_only_of_the_kind(desk: Desk) -> None:
    """Blocked ones, other sides and other timeframes are not; other symbols are."""
    desk.step(outcome(0, state="blocked"), outcome(1, side="short"), outcome(2, timeframe="5m"), outcome(3, symbol="B"))
    assert counts(desk.step(alert(60))) == [(1, 1, 0)]


def test_a_start_goes_on_with_the_record_it_had(desk: Desk) -> None:
    """From the ledger alone, random entries too; what ends later counts once."""
    desk.step(alert(0))
    for minute in range(0, 300, 3):
        desk.step(outcome(minute, hit=minute % 2 == 0), control(minute, hit=minute % 5 == 0))
    before = desk.step(alert(400))["alert/400"]
    desk.keeper = desk.fresh()
    after = desk.step(alert(401))["alert/401"]
    assert (after.all, after.last, after.baseline_n) == (before.all, before.last, before.baseline_n)
    assert after.all.n == 100
    assert after.baseline == pytest.approx(before.baseline)
    assert after.net_r == pytest.approx(before.net_r)
    assert counts(desk.step(outcome(402, after=1), alert(404))) == [(101, before.all.hits + 1, 100)]


def test_a_back_fill_is_noticed_within_a_minute(desk: Desk) -> None:
    """While the run is on, and only what was known by the alert's bar."""
    assert counts(desk.step(alert(0))) == [(0, 0, 0)]
    history = [outcome(minute) for minute in range(-200, 100, 10)]
    desk.ledger.outcomes.backfill(VENUE, history, drawn_of(*(control(n) for n in range(50))), {})
    assert counts(desk.step(alert(1))) == [(0, 0, 0)]
    desk.now_ms += LOOK_EVERY_MS
    record = desk.step(alert(6))["alert/6"]
    assert (record.all.n, record.backfilled, record.baseline_n) == (21, 21, 50)
    desk.now_ms += LOOK_EVERY_MS
    assert counts(desk.step(alert(200))) == [(30, 30, 50)]


def test_what_a_run_sees_itself_takes_the_place_of_what_was_computed(desk: Desk) -> None:
    """After a downtime: it is not counted twice once the ledger was looked at again."""
    desk.ledger.outcomes.backfill(VENUE, [outcome(0), outcome(1)], drawn_of(control(0)), {})
    assert counts(desk.step(alert(30))) == [(2, 2, 1)]
    desk.step(outcome(0, late=True))
    desk.now_ms += LOOK_EVERY_MS
    record = desk.step(alert(40))["alert/40"]
    assert (record.all.n, record.backfilled) == (2, 1)


def test_an_alert_that_comes_late_knows_nothing_of_younger_ones(desk: Desk) -> None:
    """It has no record rather than one from its future."""
    desk.step(outcome(0))
    assert set(desk.step(alert(30))) == {"alert/30"}
    assert desk.step(alert(29)) == {}
    assert set(desk.step(alert(30), alert(31))) == {"alert/30", "alert/31"}


def test_a_regime_has_a_record_of_its_own_once_it_has_enough(desk: Desk) -> None:
    """With thirty signals; before, the record is of all."""
    trending = alert(900, regime={"trending": True, "ranging": False})
    desk.step(*(outcome(n, regime="trending") for n in range(29)), *(outcome(100 + n, hit=False) for n in range(40)))
    first = desk.step(trending)["alert/900"]
    assert (first.regime, first.all.n, first.all.hits) == (None, 69, 29)
    later = alert(1_000, regime={"trending": True})
    second = desk.step(outcome(901, regime="trending"), later)["alert/1000"]
    assert (second.regime, second.all.n, second.all.hits) == ("trending", 30, 30)


def test_an_alert_without_a_ledger_to_read_has_no_record(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is delivered all the same, and the next one has it again."""
    desk.step(outcome(0))
    desk.ledger.close()
    broken = RecordKeeper(desk.ledger.scores, desk.executor, VENUE, 20.0, lambda: 0)
    path = Path(str(desk.ledger.info()["name"]).removeprefix("ledger "))
    content = path.read_bytes()
    desk.ledger.close()
    for extra in path.parent.glob("tape.db-*"):
        extra.unlink()
    path.write_bytes(b"no database at all" * 100)
    assert asyncio.run(broken.of([alert(30)])) == {}
    desk.ledger.close()
    path.write_bytes(content)
    assert counts(asyncio.run(broken.of([alert(31)]))) == [(1, 1, 0)]
