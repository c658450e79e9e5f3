"""What the operator is told of trouble, and when: beginning and end once each, never a flood, nothing forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tapewatch.config.alerts import Operator
from tapewatch.live.operator import OperatorDesk
from tapewatch.live.troubles import span
from tapewatch.store import Ledger, Maintenance, Message, Notice, Step
from tapewatch.telemetry import LogSetup
from tapewatch.telemetry.leap import Leap

T0 = 1_750_000_000_000
MINUTE_MS, HOUR_MS = 60_000, 3_600_000


class Rig:
    """A desk over a ledger, and a clock that is set by hand."""

    def __init__(self, ledger: Ledger, **settings: object) -> None:
        self.ledger = ledger
        self.now_ms = T0
        self.settings = Operator.model_validate({"channels": ["out"]} | settings)
        self.notices: list[Notice] = []
        self.messages: list[Message] = []
        self.desk = self.restart()

    def restart(self) -> OperatorDesk:
        """The desk of another run on the same ledger."""
        self.desk = OperatorDesk(self.settings, self._store, lambda: self.now_ms, "venue", ["out", "mail", "chat"])
        tables = self.ledger.operation
        self.desk.resume(tables.troubles(), tables.told_since(self.now_ms - HOUR_MS), tables.maintenance())
        return self.desk

    def _store(self, step: Step) -> None:
        self.ledger.commit_step(step)
        self.notices += step.notices
        self.messages += step.messages

    def after(self, ms: int) -> OperatorDesk:
        """The desk so much later; it looks once a second meanwhile, as a run has it."""
        until_ms = self.now_ms + ms
        while self.now_ms < until_ms:
            self.now_ms = min(self.now_ms + 1_000, until_ms)
            self.desk.look()
        return self.desk

    def told(self) -> list[str]:
        """The subjects since the last call, without what is the same in all."""
        subjects = [notice.subject.removeprefix("[tapewatch] ") for notice in self.notices]
        self.notices = []
        return subjects

    @property
    def text(self) -> str:
        """What was told last."""
        return self.notices[-1].text


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A new ledger."""
    opened = Ledger.open(f"sqlite:///{tmp_path}/tape.db")
    yield opened
    opened.close()


@pytest.fixture
def rig(ledger: Ledger) -> Rig:
    """Five minutes between two of the same, twenty in an hour."""
    return Rig(ledger)


def test_a_trouble_is_told_at_its_beginning_and_at_its_end(rig: Rig) -> None:
    """Once each, however often it shows meanwhile; the end says how long it lasted and how often it was seen."""
    for _ in range(3):
        rig.desk.trouble("disk", "The disk is nearly full", "/data has 3 MB left")
        rig.after(20_000)
    assert rig.text == "/data has 3 MB left"
    assert rig.told() == ["The disk is nearly full"]
    rig.desk.over("disk", "/data has 9 GB left")
    assert rig.text == "/data has 9 GB left\nIt lasted 1 min 0 s, from 2025-06-15 15:06:40 UTC, and was seen 3 times."
    assert rig.told() == ["Over: The disk is nearly full"]
    rig.desk.over("disk")
    rig.desk.over("never")
    assert rig.told() == []


def test_that_it_goes_on_is_told_after_waits_that_double(rig: Rig) -> None:
    """After 5, 10, 20, 40 … minutes, and at least once a day."""
    rig.desk.trouble("disk", "Full", "0 bytes")
    rig.told()
    times = []
    for minute in range(1, 3 * 24 * 60):
        rig.after(MINUTE_MS)
        times += [minute] * len(rig.told())
    assert times[:5] == [5, 15, 35, 75, 155]
    assert max(later - earlier for earlier, later in pairwise(times)) == 24 * 60
    rig.after(24 * HOUR_MS)
    assert rig.notices[0].subject == "[tapewatch] Still: Full"
    assert "It began" in rig.text


def test_a_trouble_that_comes_and_goes_is_told_once_in_a_while(rig: Rig) -> None:
    """The first beginning and its end, then what happened since, with its number."""
    for _ in range(10):
        rig.desk.trouble("net", "Lost", "no answer")
        rig.after(1_000)
        rig.desk.over("net", "back")
        rig.after(19_000)
    assert rig.told() == ["Lost", "Over: Lost"]
    rig.after(2 * MINUTE_MS)
    assert "It is over. back" in rig.text
    assert "It happened 9 times from" in rig.text
    assert rig.told() == ["Lost"]
    rig.after(HOUR_MS)
    assert rig.told() == []


def test_what_happens_again_is_told_once_in_a_while_and_counted(rig: Rig) -> None:
    """The repeats are told together when their time has come, though nothing else happens; other keys at once."""
    for _ in range(50):
        rig.desk.alert("step", "Strategy failed", "ArithmeticError")
        rig.after(1_000)
    rig.desk.alert("other", "Something else", "words")
    assert rig.told() == ["Strategy failed", "Something else"]
    rig.after(4 * MINUTE_MS + 15_000)
    assert "It happened 49 times" in rig.text
    assert rig.told() == ["Strategy failed"]
    assert rig.desk.counts == {"told": 3, "held_back": 49, "maintenance": 0}


def test_no_more_than_so_many_go_out_in_an_hour(ledger: Ledger) -> None:
    """Of all keys together, and across restarts; what was held back is told in one when there is room again."""
    rig = Rig(ledger, per_hour=3)
    for number in range(10):
        rig.desk.alert(f"key {number}", f"Thing {number}", "words")
        rig.after(1_000)
    assert rig.told() == ["Thing 0", "Thing 1", "Thing 2"]
    rig.restart()
    rig.desk.alert("late", "Thing late", "words")
    assert rig.told() == []
    rig.after(HOUR_MS)
    assert all(f"- Thing {number} (" in rig.text for number in (3, 4, 5, 6, 7, 8, 9, "late"))
    assert rig.told() == ["8 things happened"]


def test_the_end_of_what_was_told_is_told_beyond_the_limit(ledger: Ledger) -> None:
    """Nobody waits for it in vain."""
    rig = Rig(ledger, per_hour=1)
    rig.desk.trouble("disk", "Full", "0 bytes")
    rig.after(1_000).over("disk")
    assert rig.told() == ["Full", "Over: Full"]


def test_a_restart_in_the_middle_does_not_tell_it_again(rig: Rig) -> None:
    """Nor remind of what has not shown again; its end is told, with the whole of its time."""
    rig.desk.trouble("net", "Lost", "no answer")
    rig.desk.alert("crash", "Stopped", "RuntimeError")
    rig.after(MINUTE_MS)
    rig.told()
    rig.restart()
    rig.desk.trouble("net", "Lost", "no answer")
    rig.desk.alert("crash", "Stopped", "RuntimeError")
    rig.after(MINUTE_MS)
    assert rig.told() == []
    rig.restart()
    rig.after(HOUR_MS)
    assert rig.told() == ["Stopped"]  # the second time; that the first is on is not known any more
    rig.desk.over("net")
    assert "It lasted 1 h 2 min" in rig.text


def test_a_trouble_that_never_shows_again_is_still_open_to_those_who_ask(rig: Rig) -> None:
    """Until it is over."""
    rig.desk.trouble("net", "Lost", "no answer")
    rig.restart()
    assert rig.desk.state() == {
        "troubles": [{"key": "net", "subject": "Lost", "since_ms": T0, "count": 1}],
        "maintenance": None,
        "planned": [],
    }
    rig.desk.over("net")
    assert rig.desk.state()["troubles"] == []
    rig.restart()
    assert rig.desk.state()["troubles"] == []


def test_maintenance_is_silent_and_told_at_its_end(rig: Rig) -> None:
    """What happened, how often, and what is not over, across a restart in the middle; once."""
    rig.desk.trouble("old", "An old trouble", "before")
    rig.told()
    window = Maintenance("one", T0 + MINUTE_MS, T0 + 11 * MINUTE_MS, "new disk")
    rig.ledger.operation.maintain(window)
    rig.desk.follow(rig.ledger.operation.maintenance())
    rig.after(30_000).alert("before", "Before it", "words")
    assert rig.told() == ["Before it"]
    rig.after(30_000)
    for _ in range(3):
        rig.desk.alert("step", "Strategy failed", "ArithmeticError")
    rig.desk.trouble("net", "Lost", "no answer")
    rig.desk.over("old")
    rig.after(MINUTE_MS)
    assert rig.desk.state()["maintenance"] == {"until_ms": window.until_ms, "reason": "new disk"}
    rig.restart()
    rig.desk.trouble("net", "Lost", "no answer")
    rig.after(8 * MINUTE_MS)
    assert rig.told() == []
    rig.after(MINUTE_MS)
    assert "It lasted 10 min 0 s" in rig.text
    assert "(new disk)" in rig.text
    for line in ("- Strategy failed (3 times, last", "- Lost (2 times, since", "not over)", "- An old trouble (last"):
        assert line in rig.text
    assert "Before it" not in rig.text
    assert rig.told() == ["Maintenance is over"]
    assert rig.ledger.operation.maintenance() == []
    rig.desk.follow([window])  # asked for before that was stored
    rig.after(MINUTE_MS).over("net")
    assert rig.told() == ["Over: Lost"]


def test_a_maintenance_that_ended_while_nothing_ran_is_told_of_by_the_next_run(rig: Rig) -> None:
    """And one that is planned is silent when its time comes."""
    rig.ledger.operation.maintain(Maintenance("one", T0 - HOUR_MS, T0 - MINUTE_MS))
    rig.ledger.operation.maintain(Maintenance("two", T0 + HOUR_MS, T0 + 2 * HOUR_MS))
    rig.restart()
    rig.after(1_000)
    assert rig.text == "It lasted 59 min 0 s, from 2025-06-15 14:06:40 UTC.\nNothing happened."
    assert rig.told() == ["Maintenance is over"]
    assert [one["from_ms"] for one in rig.desk.state()["planned"]] == [T0 + HOUR_MS]
    rig.after(HOUR_MS).alert("step", "Strategy failed", "words")
    assert rig.told() == []


def test_ending_maintenance_early(rig: Rig) -> None:
    """What is on ends now; where none is, what is planned is forgotten."""
    tables = rig.ledger.operation
    tables.maintain(Maintenance("one", T0, T0 + HOUR_MS))
    tables.maintain(Maintenance("two", T0 + 2 * HOUR_MS, T0 + 3 * HOUR_MS))
    assert tables.end_maintenance(T0 + MINUTE_MS) == 1
    assert [one.until_ms for one in tables.maintenance()] == [T0 + MINUTE_MS, T0 + 3 * HOUR_MS]
    assert tables.end_maintenance(T0 + MINUTE_MS) == 1
    assert [one.name for one in tables.maintenance()] == ["one"]
    assert tables.end_maintenance(T0 + MINUTE_MS) == 0


def test_a_channel_that_fails_is_not_the_one_that_says_so(rig: Rig) -> None:
    """The operator's others are taken, else any that works, and where none does, all the same."""
    rig.settings = Operator(channels=["out", "mail"])
    rig.restart()
    rig.desk.failing = {"mail"}
    rig.desk.alert("one", "One", "")
    rig.desk.failing = {"mail", "out"}
    rig.desk.alert("two", "Two", "")
    rig.desk.failing = {"mail", "out", "chat"}
    rig.desk.alert("three", "Three", "")
    rig.desk.failing = set()
    rig.desk.alert("four", "Four", "", avoid="out")
    assert [message.channel for message in rig.messages] == ["out", "chat", "out", "mail", "mail"]


def test_nobody_is_told_without_channels(ledger: Ledger) -> None:
    """What is on is known all the same, to health and status; nothing is stored."""
    rig = Rig(ledger, channels=[])
    rig.desk.trouble("net", "Lost", "no answer")
    rig.after(HOUR_MS).alert("step", "Strategy failed", "words")
    assert rig.notices == []
    assert [one["key"] for one in rig.desk.state()["troubles"]] == ["net"]
    assert rig.desk.last_words("crash", "Stopped", "words") is None
    assert ledger.operation.troubles() == []


def test_last_words_are_a_step_of_their_own(rig: Rig) -> None:
    """With what is known, so that the next run does not tell the same again a moment later."""
    step = rig.desk.last_words("crash", "Stopped", "RuntimeError")
    assert step is not None
    assert [notice.subject for notice in step.notices] == ["[tapewatch] Stopped"]
    rig.ledger.commit_step(step)
    rig.restart()
    rig.now_ms += 10_000
    again = rig.desk.last_words("crash", "Stopped", "RuntimeError")
    assert again is not None
    assert again.notices == []
    assert [(one.key, one.held) for one in again.troubles] == [("crash", 1)]


def test_two_of_one_moment_are_two(rig: Rig) -> None:
    """A beginning and an end of the same millisecond both arrive; so does what follows a clock that was put back."""
    rig.desk.trouble("net", "Lost", "no answer")
    rig.desk.over("net")
    assert len({notice.alert_id for notice in rig.notices}) == 2
    rig.told()
    rig.now_ms -= HOUR_MS
    rig.desk.trouble("net", "Lost", "no answer")
    assert rig.told() == ["Lost"]


@pytest.mark.parametrize("by_ms", [5 * MINUTE_MS, -5 * MINUTE_MS])
def test_waits_and_the_budget_are_kept_though_the_clock_is_set(ledger: Ledger, by_ms: int) -> None:
    """What was told a moment ago is told again as late as ever, and an hour has as many as it may have."""
    rig = Rig(ledger, every="10m", per_hour=3)
    rig.desk.trouble("net", "Lost", "no answer")
    rig.desk.alert("step", "Failed", "words")
    assert rig.told() == ["Lost", "Failed"]
    rig.now_ms += by_ms
    rig.desk.clock_set(Leap(by_ms, rig.now_ms - 1_000, rig.now_ms))
    rig.desk.trouble("net", "Lost", "no answer")
    rig.desk.alert("step", "Failed", "words")
    rig.after(9 * MINUTE_MS)
    assert rig.told() == []
    rig.after(2 * MINUTE_MS)
    assert rig.told() == ["Still: Lost"]
    rig.after(48 * MINUTE_MS).alert("other", "Something else", "words")
    assert rig.told() == []
    rig.after(MINUTE_MS + 1_000)
    assert rig.told() == ["Still: Lost", "Failed"]


def test_a_run_that_starts_with_the_clock_set_back_keeps_waits_and_budget(ledger: Ledger) -> None:
    """What was told at a time that is still to come was told now, as it were."""
    rig = Rig(ledger, every="10m", per_hour=2)
    rig.desk.trouble("net", "Lost", "no answer")
    rig.desk.alert("step", "Failed", "words")
    assert rig.told() == ["Lost", "Failed"]
    rig.now_ms -= 5 * MINUTE_MS
    rig.restart()
    rig.desk.trouble("net", "Lost", "no answer")
    rig.desk.alert("other", "Something else", "words")
    rig.after(59 * MINUTE_MS)
    assert rig.told() == []
    rig.after(MINUTE_MS + 1_000)
    assert "Something else" in rig.told()


def test_no_secret_is_told(rig: Rig) -> None:
    """What the configuration holds as one is masked in subject and text."""
    logs = LogSetup(secrets=["hunter2hunter2"])
    try:
        rig.desk.alert("net", "No hunter2hunter2", "https://example.com/hunter2hunter2 failed")
    finally:
        logs.close()
    assert rig.text == "https://example.com/*** failed"
    assert rig.told() == ["No ***"]


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        (0, "0 s"),
        (-5, "0 s"),
        (59_400, "59 s"),
        (61_000, "1 min 1 s"),
        (HOUR_MS, "1 h 0 min"),
        (26 * HOUR_MS + 59_000, "1 d 2 h"),
    ],
)
def test_a_duration_in_words(ms: int, words: str) -> None:
    """Its two largest units."""
    assert span(ms) == words
