"""What the operator hears of channels that do not deliver, and what health shows of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tapewatch.cli.status import lines as lines_of
from tapewatch.cli.status import summary
from tapewatch.config.alerts import Operator
from tapewatch.live.delivery import DeliveryWatch
from tapewatch.live.lane import Attempt
from tapewatch.live.operator import OperatorDesk
from tapewatch.store import Ledger, Step
from tapewatch.telemetry.document import health_document
from tapewatch.telemetry.health import Health
from tapewatch.telemetry.metrics import Metrics

T0 = 1_750_000_000_000


class Rig:
    """A watch over three channels, and what was told through which."""

    def __init__(self, ledger: Ledger, *channels: str) -> None:
        self.ledger, self.now_ms = ledger, T0
        self.told: list[tuple[str, list[str]]] = []
        self.texts: list[str] = []
        self.health = Health(T0, [])
        settings = Operator(channels=list(channels))
        self.desk = OperatorDesk(settings, self._take, lambda: self.now_ms, "venue", ["out", "mail", "chat"])
        self.desk.resume(ledger.operation.troubles(), [])
        self.watch = DeliveryWatch(
            Metrics(), self.health, self.desk, ["out", "mail", "chat"], lambda: self.now_ms, lambda _attempt: None
        )

    def _take(self, step: Step) -> None:
        self.ledger.commit_step(step)
        by = [message.channel for message in step.messages]
        self.told += [(notice.subject.removeprefix("[tapewatch] "), by) for notice in step.notices]
        self.texts += [notice.text for notice in step.notices]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A new ledger."""
    opened = Ledger.open(f"sqlite:///{tmp_path}/tape.db")
    yield opened
    opened.close()


def attempt(**changes: Any) -> Attempt:
    """One of an alert of a signal on the channel `mail`."""
    usual = {
        "message_id": "a@mail", "alert_id": "a", "channel": "mail", "kind": "signal", "number": 1, "started_ms": T0,
        "ended_ms": T0, "outcome": "rejected", "late": False, "error": "550 no such user",
    }  # fmt: skip
    return Attempt(**{**usual, **changes})


def test_a_channel_that_fails_is_told_of_by_the_others(ledger: Ledger) -> None:
    """Once, and when it delivers again by itself as well; where all fail, by all."""
    rig = Rig(ledger, "mail", "out")
    rig.watch.channel("mail", "held", "nobody answers")
    rig.watch.channel("mail", "disabled", "401")
    rig.watch.channel("mail", "ok", None)
    assert rig.told == [
        ("Channel mail does not deliver", ["out"]),
        ("Channel mail is disabled", ["out"]),
        ("Over: Channel mail is disabled", ["mail", "out"]),
    ]
    rig = Rig(ledger, "mail")
    rig.now_ms += 3_600_000
    for name in ("out", "chat", "mail"):
        rig.watch.channel(name, "held", "nobody answers")
    assert rig.told == [
        ("Channel out does not deliver", ["mail"]),
        ("Channel chat does not deliver", ["mail"]),
        ("Channel mail does not deliver", ["mail"]),
    ]


def test_an_alert_that_is_given_up_is_told_at_once(ledger: Ledger) -> None:
    """By others than its channel; not where it is itself one to the operator, or nobody would ever hear the end."""
    rig = Rig(ledger, "mail", "out")
    rig.watch.attempted(attempt())
    rig.watch.attempted(attempt(kind="operator"))
    rig.watch.attempted(attempt(kind="test"))
    rig.watch.attempted(attempt(outcome="failed"))
    assert rig.told == [("Channel mail has refused an alert for good", ["out"])]
    assert rig.texts == [
        "a: 550 no such user\n"
        "What was given up is listed by: tapewatch alerts dead\n"
        "When the cause is mended, send it again by: tapewatch alerts resend a"
    ]


def test_what_an_earlier_run_told_of_a_channel_comes_to_an_end(ledger: Ledger) -> None:
    """When it delivers, though it stood well from the start; and when it is not configured any more."""
    earlier = Rig(ledger, "out")
    earlier.watch.channel("mail", "disabled", "401")
    earlier.desk.trouble("channel/gone", "Channel gone does not deliver", "")
    rig = Rig(ledger, "out")
    assert rig.told == [("Over: Channel gone does not deliver", ["out"])]
    rig.watch.attempted(attempt(outcome="sent", error=None))
    assert rig.told[1:] == [("Over: Channel mail is disabled", ["out"])]


def test_health_and_status_say_how_channels_stand(ledger: Ledger) -> None:
    """All of them in health; in `status` those that do not work, and what waits there."""
    rig = Rig(ledger, "out")
    rig.now_ms += 5_000
    rig.watch.channel("mail", "held", "nobody answers")
    rig.watch.queue("mail", 7, T0)
    document = health_document(rig.health, rig.now_ms, 1)
    assert document["channels"] == {
        "chat": {"state": "ok", "reason": None, "since_ms": T0, "queued": 0},
        "mail": {"state": "held", "reason": "nobody answers", "since_ms": T0 + 5_000, "queued": 7},
        "out": {"state": "ok", "reason": None, "since_ms": T0, "queued": 0},
    }
    lines = [line for line in lines_of(summary(document)) if line.startswith("channel ")]
    assert lines == ["channel   mail is held since 2025-06-15 15:06:45 UTC, 7 wait: nobody answers"]
