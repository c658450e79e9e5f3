from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from delivery_samples import CLOSE_MS, alert_of, signal, step_of
from tapewatch.store import Ledger

A, B, C = (f"binance_spot/{symbol}/1m/{CLOSE_MS}@out" for symbol in ("AUSDT", "BUSDT", "CUSDT"))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A new ledger."""
    opened = Ledger.open(f"sqlite:///{tmp_path}/tape.db")
    yield opened
    opened.close()


def queue(ledger: Ledger, symbol: str, *, created_ms: int = CLOSE_MS, priority: int = 0, channel: str = "out") -> None:
    """Store an alert with one message."""
    alert = alert_of(signal(symbol))
    ledger.commit_step(step_of(alert, channels=(channel,), created_ms=created_ms, priority=priority))


def due(ledger: Ledger, now_ms: int = CLOSE_MS, channel: str = "out") -> list[str]:
    """The ids of the messages due, in order."""
    return [each.message.message_id for each in ledger.outbox.due_messages(channel, now_ms, 10)]


def test_messages_come_by_priority_then_age_and_by_channel(ledger: Ledger) -> None:
    """The lowest priority number goes first, then the oldest; other channels' messages are not seen."""
    queue(ledger, "AUSDT", created_ms=10, priority=5)
    queue(ledger, "BUSDT", created_ms=30)
    queue(ledger, "CUSDT", created_ms=20)
    queue(ledger, "DUSDT", channel="mail")

    assert due(ledger) == [C, B, A]
    assert [each.message.message_id for each in ledger.outbox.due_messages("out", CLOSE_MS, 1)] == [C]


def test_a_message_is_claimed_once(ledger: Ledger) -> None:
    """Who claims a message that is being sent, or was sent, is told so."""
    queue(ledger, "AUSDT")

    assert ledger.outbox.mark_sending(A, 100)
    assert not ledger.outbox.mark_sending(A, 101)
    ledger.outbox.mark_sent(A, 102)
    assert not ledger.outbox.mark_sending(A, 103)
    assert due(ledger) == []
    assert ledger.outbox.counts() == {"out": {"sent": 1}}


def test_every_attempt_is_kept_with_its_outcome(ledger: Ledger) -> None:
    """A failure, a crash and a delivery leave three attempts, numbered in order."""
    queue(ledger, "AUSDT")
    ledger.outbox.mark_sending(A, 100)
    ledger.outbox.mark_failed(A, 110, "451 later", next_ms=200)
    ledger.outbox.mark_sending(A, 200)
    ledger.outbox.recover(300)
    ledger.outbox.mark_sending(A, 400)
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
    ledger.outbox.mark_sending(A, 100)
    ledger.outbox.mark_failed(A, 110, "451 later", next_ms=5_000, delivered_to=["a@example.com"])

    assert due(ledger, 4_999) == []
    [again] = ledger.outbox.due_messages("out", 5_000, 1)
    assert (again.attempts, again.failures, again.possible_repeat) == (1, 1, False)
    assert again.delivered_to == ("a@example.com",)


def test_what_may_have_arrived_is_a_possible_repeat(ledger: Ledger) -> None:
    """A failure that leaves delivery in doubt marks the message, and a later clean failure does not unmark it."""
    queue(ledger, "AUSDT")
    for doubt in (True, False):
        ledger.outbox.mark_sending(A, 100)
        ledger.outbox.mark_failed(A, 110, "cut", next_ms=0, maybe_delivered=doubt)

    assert ledger.outbox.due_messages("out", 0, 1)[0].possible_repeat


def test_recovery_touches_only_what_was_being_sent(ledger: Ledger) -> None:
    """After a crash the message under way is due again as a possible repeat; the others are as they were."""
    for symbol in ("AUSDT", "BUSDT", "CUSDT"):
        queue(ledger, symbol)
    ledger.outbox.mark_sending(A, 100)
    ledger.outbox.mark_sending(B, 100)
    ledger.outbox.mark_sent(B, 110)

    assert ledger.outbox.recover(CLOSE_MS) == 1

    repeats = {each.message.message_id: each.possible_repeat for each in ledger.outbox.due_messages("out", CLOSE_MS, 9)}
    assert repeats == {A: True, C: False}
    assert ledger.outbox.recover(CLOSE_MS) == 0


def test_dead_messages_can_be_sent_again(ledger: Ledger) -> None:
    """By the message's id or the alert's, only given-up messages are queued, with their failures forgotten."""
    for channel in ("out", "mail"):
        queue(ledger, "AUSDT", channel=channel)
    queue(ledger, "BUSDT")
    for message_id in (A, A.replace("@out", "@mail")):
        ledger.outbox.mark_sending(message_id, 100)
        ledger.outbox.mark_failed(message_id, 110, "550 no", next_ms=None)
    assert due(ledger) == [B]

    assert ledger.outbox.resend("unknown", 200) == []
    assert ledger.outbox.resend(B, 200) == []
    assert ledger.outbox.resend(A, 200) == [A]
    assert ledger.outbox.resend(A.split("@")[0], 200) == [A.replace("@out", "@mail")]
    again = {each.message.message_id: each for each in ledger.outbox.due_messages("out", CLOSE_MS, 9)}
    assert (again[A].failures, again[A].attempts) == (0, 1)
