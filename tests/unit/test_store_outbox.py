from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from delivery_samples import CLOSE_MS, alert_of, signal, step_of
from tapewatch.store import Ledger

A, B, C = (f"binance_spot/{symbol}/1m/{CLOSE_MS}@out" for symbol in ("AUSDT", "BUSDT", "CUSDT"))


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """A new ledger."""
    opened = Ledger.open(ledger_url)
    yield opened
    opened.close()


def queue(ledger: Ledger, symbol: str, *, created_ms: int = CLOSE_MS, priority: int = 0, channel: str = "out") -> None:
    """Store an alert with one message."""
    alert = alert_of(signal(symbol))
    ledger.commit_step(step_of(alert, channels=(channel,), created_ms=created_ms, priority=priority))


def due(ledger: Ledger, now_ms: int = CLOSE_MS, channel: str = "out") -> list[str]:
    """The ids of the messages due, in order."""
    return [each.message_id for each in ledger.outbox.waiting(channel, now_ms, 10)]


def test_messages_come_by_priority_then_age_and_by_channel(ledger: Ledger) -> None:
    """The lowest priority number goes first, then the oldest; other channels' messages are not seen."""
    queue(ledger, "AUSDT", created_ms=10, priority=5)
    queue(ledger, "BUSDT", created_ms=30)
    queue(ledger, "CUSDT", created_ms=20)
    queue(ledger, "DUSDT", channel="mail")

    assert due(ledger) == [C, B, A]
    assert [each.message_id for each in ledger.outbox.waiting("out", CLOSE_MS, 1)] == [C]


def test_a_message_is_claimed_once(ledger: Ledger) -> None:
    """Who claims a message that is being sent, or was sent, is told so."""
    queue(ledger, "AUSDT")

    assert ledger.outbox.take(A, 100) is not None
    assert None is ledger.outbox.take(A, 101)
    ledger.outbox.mark_sent(A, 102)
    assert None is ledger.outbox.take(A, 103)
    assert due(ledger) == []
    assert ledger.outbox.counts() == {"out": {"sent": 1}}


def test_the_next_message_is_claimed_as_one_is_marked(ledger: Ledger) -> None:
    """The first of the same channel that is due, with an attempt of its own; none where nothing more is due."""
    for symbol, priority in (("AUSDT", 0), ("BUSDT", 5), ("CUSDT", 1)):
        queue(ledger, symbol, priority=priority)
    queue(ledger, "DUSDT", channel="mail")
    ledger.outbox.take(B, 90)
    ledger.outbox.mark_failed(B, 95, "later", next_ms=500)
    ledger.outbox.take(A, 100)

    superseded, following = ledger.outbox.mark_sent(A, 110, go_on=True)
    assert superseded == {}
    assert following is not None
    assert (following.message.message_id, following.alert.alert_id) == (C, C.removesuffix("@out"))
    assert ledger.outbox.mark_sent(C, 120, go_on=True).following is None
    assert ledger.outbox.attempts(C) == [
        {"number": 1, "started_ms": 110, "ended_ms": 120, "outcome": "sent", "error": None}
    ]
    assert ledger.outbox.counts() == {"out": {"sent": 2, "queued": 1}, "mail": {"queued": 1}}


def test_every_attempt_is_kept_with_its_outcome(ledger: Ledger) -> None:
    """A failure, a crash and a delivery leave three attempts, numbered in order."""
    queue(ledger, "AUSDT")
    ledger.outbox.take(A, 100)
    ledger.outbox.mark_failed(A, 110, "451 later", next_ms=200)
    ledger.outbox.take(A, 200)
    ledger.outbox.recover(300)
    ledger.outbox.take(A, 400)
    ledger.outbox.mark_sent(A, 410, late=True)

    assert ledger.outbox.attempts(A) == [
        {"number": 1, "started_ms": 100, "ended_ms": 110, "outcome": "failed", "error": "451 later"},
        {"number": 2, "started_ms": 200, "ended_ms": 300, "outcome": "cut", "error": None},
        {"number": 3, "started_ms": 400, "ended_ms": 410, "outcome": "sent", "error": None},
    ]
    [message] = ledger.alerts()[0]["messages"]
    assert (message["state"], message["attempts"], message["sent_ms"], message["last_error"]) == ("late", 3, 410, None)


def test_a_failed_message_waits_for_its_time(ledger: Ledger) -> None:
    """A message queued again is due from the time given, with its failures counted and no mark of a repeat."""
    queue(ledger, "AUSDT")
    ledger.outbox.take(A, 100)
    ledger.outbox.mark_failed(A, 110, "451 later", next_ms=5_000, delivered_to=["a@example.com"])

    assert due(ledger, 4_999) == []
    again = ledger.outbox.take(A, 5_000)
    assert again is not None
    assert (again.attempts, again.failures, again.possible_repeat) == (1, 1, False)
    assert again.delivered_to == ("a@example.com",)


def test_what_may_have_arrived_is_a_possible_repeat(ledger: Ledger) -> None:
    """A failure that leaves delivery in doubt marks the message, and a later clean failure does not unmark it."""
    queue(ledger, "AUSDT")
    for doubt in (True, False):
        ledger.outbox.take(A, 100)
        ledger.outbox.mark_failed(A, 110, "cut", next_ms=0, maybe_delivered=doubt)

    assert ledger.outbox.waiting("out", 0, 1)[0].possible_repeat


def test_recovery_touches_only_what_was_being_sent(ledger: Ledger) -> None:
    """After a crash the message under way is due again as a possible repeat; the others are as they were."""
    for symbol in ("AUSDT", "BUSDT", "CUSDT"):
        queue(ledger, symbol)
    ledger.outbox.take(A, 100)
    ledger.outbox.take(B, 100)
    ledger.outbox.mark_sent(B, 110)

    assert ledger.outbox.recover(CLOSE_MS) == 1

    repeats = {each.message_id: each.possible_repeat for each in ledger.outbox.waiting("out", CLOSE_MS, 9)}
    assert repeats == {A: True, C: False}
    assert ledger.outbox.recover(CLOSE_MS) == 0


def test_dead_messages_can_be_sent_again(ledger: Ledger) -> None:
    """By the message's id or the alert's, only given-up messages are queued, with their failures forgotten."""
    for channel in ("out", "mail"):
        queue(ledger, "AUSDT", channel=channel)
    queue(ledger, "BUSDT")
    for message_id in (A, A.replace("@out", "@mail")):
        ledger.outbox.take(message_id, 100)
        ledger.outbox.mark_failed(message_id, 110, "550 no", next_ms=None)
    assert due(ledger) == [B]

    assert ledger.outbox.resend("unknown", 200) == []
    assert ledger.outbox.resend(B, 200) == []
    assert ledger.outbox.resend(A, 200) == [A]
    assert ledger.outbox.resend(A.split("@")[0], 200) == [A.replace("@out", "@mail")]
    again = ledger.outbox.take(A, CLOSE_MS)
    assert again is not None
    assert (again.failures, again.attempts) == (0, 1)


def test_no_question_of_the_relay_reads_every_message(tmp_path: Path) -> None:
    """Each is answered by an index, in its order, so that thousands that wait or were sent cost nothing."""
    ledger = Ledger.open(f"sqlite:///{tmp_path}/tape.db")
    queue(ledger, "AUSDT")
    ledger.outbox.take(A, CLOSE_MS)
    ledger.outbox.mark_sent(A, CLOSE_MS)
    connection = sqlite3.connect(tmp_path / "tape.db")
    asked: list[str] = []
    outbox = ledger.outbox
    event.listen(outbox._database._engine, "before_cursor_execute", lambda *given: asked.append(_bound(*given[2:4])))
    outbox.waiting("out", CLOSE_MS, 1)
    outbox.waiting("out", CLOSE_MS, 200, but=("operator", "digest"), foldable=True, created=(0, CLOSE_MS))
    outbox.due_count("out", CLOSE_MS, 31)
    outbox.depth("out")
    outbox.busy(["out", "mail"])
    outbox.attempts_since("out", CLOSE_MS)
    queue(ledger, "BUSDT")
    outbox.take(B, CLOSE_MS)
    outbox.mark_failed(B, CLOSE_MS, "x", next_ms=CLOSE_MS, chains={"out": ["mail"]})
    outbox.pass_on("mail", {})
    outbox.give_up("mail", "gone")

    plans = {
        text: [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}")] for text in asked if _is_dml(text)
    }
    assert len(plans) >= 15
    for text, plan in plans.items():
        assert not any(step.startswith("SCAN") and "subquery" not in step and "anon" not in step for step in plan), text
        sorts = [step for step in plan if "TEMP B-TREE" in step]
        assert not sorts or "attempts" in text, (text, plan)
    connection.close()
    ledger.close()


def _is_dml(text: str) -> bool:
    return text.startswith(("SELECT", "UPDATE", "INSERT INTO messages"))


def _bound(statement: str, parameters: Any) -> str:
    """The statement with its values in it."""
    for value in parameters if isinstance(parameters, tuple) else parameters[0]:
        statement = statement.replace("?", repr(value) if value is not None else "NULL", 1)
    return statement


def test_what_another_channel_delivered_is_not_sent_again_after_a_crash(ledger: Ledger) -> None:
    """A message that was being sent when the run ended is superseded by the stand-in that was delivered meanwhile."""
    queue(ledger, "AUSDT")
    chains = {"out": ["mail"]}
    ledger.outbox.take(A, 100)
    ledger.outbox.mark_failed(A, 110, "gone", next_ms=0, chains=chains)
    ledger.outbox.take(A, 120)
    stand_in = A.replace("@out", "@mail")
    ledger.outbox.take(stand_in, 130)
    assert ledger.outbox.mark_sent(stand_in, 140).superseded == {}
    assert ledger.outbox.recover(150) == 1

    assert due(ledger) == []
    assert ledger.outbox.counts() == {"out": {"superseded": 1}, "mail": {"sent": 1}}


def test_a_failure_that_a_stand_in_made_good_supersedes_at_once(ledger: Ledger) -> None:
    """The attempt was under way when the other channel delivered; its own end says so, by channel."""
    queue(ledger, "AUSDT")
    ledger.outbox.take(A, 100)
    ledger.outbox.mark_failed(A, 110, "gone", next_ms=0, chains={"out": ["mail"]})
    ledger.outbox.take(A, 120)
    stand_in = A.replace("@out", "@mail")
    ledger.outbox.take(stand_in, 130)
    ledger.outbox.mark_sent(stand_in, 140)

    assert ledger.outbox.mark_failed(A, 150, "gone", next_ms=5_000) == {"out": 1}
    assert ledger.outbox.counts() == {"out": {"superseded": 1}, "mail": {"sent": 1}}


def test_stand_ins_on_channels_that_are_gone_are_replaced_some_at_a_time(ledger: Ledger) -> None:
    """However many there are, no transaction is longer than asked; the next of the chain gets each, once."""
    for place in range(5):
        queue(ledger, f"S{place}USDT")
    assert ledger.outbox.pass_on("out", {"out": ["old"]}) == 5
    counts = [ledger.outbox.replace_gone(["out", "new"], {"out": ["new"]}, limit=2) for _ in range(4)]
    assert counts == [2, 2, 1, 0]
    assert ledger.outbox.counts() == {"old": {"superseded": 5}, "new": {"queued": 5}, "out": {"queued": 5}}
    assert ledger.outbox.replace_gone(["out"], {}) == 5
    assert ledger.outbox.counts()["new"] == {"superseded": 5}
