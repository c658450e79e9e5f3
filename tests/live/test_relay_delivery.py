from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from datetime import UTC
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from delivery_samples import CLOSE_MS, VENUE, alert_of, signal, step_of
from relay_rig import Clock, Scripted, relaying, states, until
from tapewatch.channels import DeliveryError, RejectedError
from tapewatch.channels.writer import Rendered, Writer
from tapewatch.errors import EdgeError
from tapewatch.live.messages import messages_of_notice
from tapewatch.live.relay import Pace
from tapewatch.store import Ledger, Notice, Step
from tapewatch.store.records import Kind


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    """A new ledger that does not wait long for a lock."""
    opened = Ledger.open(f"sqlite:///{tmp_path}/tape.db", busy_timeout_ms=10)
    yield opened
    opened.close()


async def test_each_message_is_delivered_once_by_priority(ledger: Ledger) -> None:
    """What waits goes out by priority, what comes later when it comes, and each exactly once."""
    ledger.commit_step(step_of(alert_of(signal("AUSDT")), priority=5))
    ledger.commit_step(step_of(alert_of(signal("BUSDT")), priority=1))
    out = Scripted("out")

    async with relaying(ledger, out) as (relay, attempts):
        assert await relay.drained(60)
        ledger.commit_step(step_of(alert_of(signal("CUSDT"))))
        relay.wake()
        assert await relay.drained(60)

    assert [message_id.split("/")[1] for message_id in out.taken] == ["BUSDT", "AUSDT", "CUSDT"]
    assert states(ledger) == {"AUSDT@out": "sent", "BUSDT@out": "sent", "CUSDT@out": "sent"}
    assert [attempt.outcome for attempt in attempts] == ["sent"] * 3
    assert not any(outgoing.possible_repeat or outgoing.late for outgoing in out.seen)


async def test_a_message_stored_without_a_word_is_found(ledger: Ledger) -> None:
    """Messages that another process put in the queue are delivered at the next look."""
    out = Scripted("out")
    async with relaying(ledger, out) as (relay, _):
        await asyncio.sleep(0.05)
        ledger.commit_step(step_of(alert_of(signal())))
        assert await relay.drained(60)

    assert len(out.taken) == 1


async def test_a_message_says_what_the_alert_says(ledger: Ledger) -> None:
    """The channel gets subject, text and HTML in the user's time zone, and the signal as the command prints it."""
    ledger.commit_step(step_of(alert_of(signal(), signal(strategy="trend"))))
    out = Scripted("out")
    async with relaying(ledger, out) as (relay, _):
        assert await relay.drained(60)

    [outgoing] = out.seen
    [stored, _] = ledger.stored_signals()
    assert outgoing.subject == "[BTC SCALP] LONG Signal - 1m, 6.4/10"
    assert "Also fired on this bar: trend (LONG)" in outgoing.text
    assert "CEST" in outgoing.text
    assert outgoing.html is not None
    assert "67012.5" in outgoing.html
    assert outgoing.signal == {key: value for key, value in stored.items() if key in outgoing.signal}
    assert (outgoing.kind, outgoing.created_ms) == ("signal", CLOSE_MS)


async def test_trouble_is_tried_again_quickly_and_then_with_patience(ledger: Ledger) -> None:
    """Three attempts come one gap apart, later ones wait longer; all are on record and the message is not a repeat."""
    ledger.commit_step(step_of(alert_of(signal())))
    out = Scripted("out", *(EdgeError(f"busy {place}") for place in range(4)))
    clock = Clock()
    pace = Pace(quick_gap_s=5, backoff_s=30, backoff_cap_s=40, poll_s=0.005, useful_s=1000)

    async with relaying(ledger, out, pace=pace, clock=clock) as (relay, attempts):
        while not await relay.drained(0.05):
            clock.now_ms += 1_000

    assert [attempt.outcome for attempt in attempts] == ["failed"] * 4 + ["sent"]
    assert [attempt.error for attempt in attempts] == ["busy 0", "busy 1", "busy 2", "busy 3", None]
    assert [attempt.number for attempt in attempts] == [1, 2, 3, 4, 5]
    waits = [(later.started_ms - earlier.ended_ms) / 1000 for earlier, later in pairwise(attempts)]
    assert all(5 <= wait < 8 for wait in waits[:2])
    assert 22 <= waits[2] < 33
    assert 30 <= waits[3] < 43
    recorded = ledger.outbox.attempts(attempts[0].message_id)
    assert [attempt["outcome"] for attempt in recorded] == ["failed"] * 4 + ["sent"]
    assert not out.seen[-1].possible_repeat


async def test_a_peer_that_asks_for_a_pause_gets_it(ledger: Ledger) -> None:
    """The next attempt is not before the time the peer asked for."""
    ledger.commit_step(step_of(alert_of(signal())))
    out = Scripted("out", DeliveryError("slow down", retry_after_s=60))
    clock = Clock()
    async with relaying(ledger, out, clock=clock) as (relay, attempts):
        while not await relay.drained(0.05):
            clock.now_ms += 5_000

    assert attempts[1].started_ms - attempts[0].ended_ms >= 60_000


async def test_what_is_refused_for_good_is_dead_until_it_is_resent(ledger: Ledger) -> None:
    """A rejected message is given up with its reason, the others go on, and a resend delivers it."""
    ledger.commit_step(step_of(alert_of(signal("AUSDT")), alert_of(signal("BUSDT"))))
    out = Scripted("out", RejectedError("550 nobody here"))
    async with relaying(ledger, out) as (relay, attempts):
        assert await relay.drained(60)
        assert sorted(states(ledger).values()) == ["dead", "sent"]
        [dead] = ledger.alerts(state="dead")
        assert dead["messages"][0]["last_error"] == "550 nobody here"
        assert [attempt.outcome for attempt in attempts] == ["rejected", "sent"]

        ledger.outbox.resend(dead["alert_id"], CLOSE_MS)
        relay.wake()
        assert await relay.drained(60)

    assert set(states(ledger).values()) == {"sent"}


async def test_recipients_that_have_it_are_remembered(ledger: Ledger) -> None:
    """Who got a message is known to every later attempt, also when one of them fails for all."""
    ledger.commit_step(step_of(alert_of(signal())))
    out = Scripted(
        "out",
        DeliveryError("not bob", delivered_to=["ann"]),
        DeliveryError("nobody"),
        RejectedError("no", delivered_to=["eve"]),
    )
    async with relaying(ledger, out) as (relay, _):
        assert await relay.drained(60)
        ledger.outbox.resend(out.seen[0].message_id, CLOSE_MS)
        relay.wake()
        assert await relay.drained(60)

    assert [outgoing.delivered_to for outgoing in out.seen] == [(), ("ann",), ("ann",), ("ann", "eve")]


@pytest.mark.parametrize("doubtful", [DeliveryError("cut", maybe_delivered=True), None])
async def test_what_may_have_arrived_goes_out_marked(ledger: Ledger, doubtful: Exception | None) -> None:
    """After an attempt whose end is unknown (cut, or past the relay's limit) the next one is a possible repeat."""
    ledger.commit_step(step_of(alert_of(signal())))
    out = Scripted("out", doubtful or (lambda: asyncio.sleep(60)))
    pace = Pace(quick_gap_s=0.01, poll_s=0.01, send_limit_s=60 if doubtful else 1)
    async with relaying(ledger, out, pace=pace) as (relay, attempts):
        assert await relay.drained(60)

    assert [outgoing.possible_repeat for outgoing in out.seen] == [False, True]
    assert "Possible repeat" in out.seen[1].text
    assert attempts[0].error in {"cut", "no answer within 1 s"}


async def test_a_channel_that_hangs_delays_no_other(ledger: Ledger) -> None:
    """While one channel hangs the other delivers everything."""
    alerts = [alert_of(signal(f"{name}USDT")) for name in "ABCDE"]
    ledger.commit_step(step_of(*alerts, channels=("stuck", "out")))
    stuck, out = Scripted("stuck", lambda: asyncio.sleep(60)), Scripted("out")
    pace = Pace(poll_s=0.01, finish_s=0.05)
    async with relaying(ledger, stuck, out, pace=pace) as (_, attempts):
        async with asyncio.timeout(60):
            await until(lambda: len(attempts) == 5)

    assert len(out.taken) == 5
    assert stuck.taken == []


async def test_a_stop_finishes_what_is_under_way(ledger: Ledger) -> None:
    """A message that is being sent is finished and recorded; the next one waits for the next start."""
    ledger.commit_step(step_of(alert_of(signal("AUSDT")), alert_of(signal("BUSDT"))))
    out = Scripted("out", lambda: asyncio.sleep(0.1))
    async with relaying(ledger, out):
        await until(lambda: out.seen != [])

    assert sorted(states(ledger).values()) == ["queued", "sent"]
    assert len(out.taken) == 1


async def test_what_could_not_be_written_in_time_has_not_arrived(ledger: Ledger) -> None:
    """A machine that takes long over a message costs an attempt; the channel has not seen it, so it is no repeat."""

    class Slow(Writer):
        goes = threading.Event()

        def write(self, *args: Any, **kwargs: Any) -> Rendered:
            """Write when it goes again."""
            self.goes.wait(30)
            return super().write(*args, **kwargs)

    ledger.commit_step(step_of(alert_of(signal())))
    out, writer, pace = (
        Scripted("out"),
        Slow(UTC),
        Pace(quick_attempts=99, quick_gap_s=0.01, poll_s=0.01, send_limit_s=0.2),
    )
    async with relaying(ledger, out, pace=pace, writer=writer) as (relay, attempts):
        await until(lambda: len(attempts) == 1)
        writer.goes.set()
        assert await relay.drained(30)
    assert attempts[0].error == "not written within 0.2 s"
    assert [outgoing.possible_repeat for outgoing in out.seen] == [False]


async def test_a_stop_does_not_wait_for_ever_and_the_next_start_marks_the_repeat(ledger: Ledger) -> None:
    """What a bounded stop had to cut is sent again by the next start, marked as a possible repeat."""
    ledger.commit_step(step_of(alert_of(signal())))
    hanging = Scripted("out", lambda: asyncio.sleep(60))
    async with asyncio.timeout(60):
        async with relaying(ledger, hanging, pace=Pace(finish_s=0.05)):
            await until(lambda: len(hanging.seen) == 1)
    assert states(ledger) == {"BTCUSDT@out": "sending"}

    out = Scripted("out")
    async with relaying(ledger, out) as (relay, _):
        assert await relay.drained(60)

    [outgoing] = out.seen
    assert outgoing.possible_repeat
    assert ledger.alerts()[0]["messages"][0]["possible_repeat"]
    assert [attempt["outcome"] for attempt in ledger.outbox.attempts(outgoing.message_id)] == ["cut", "sent"]


async def test_an_alert_past_its_usefulness_is_delivered_as_late(ledger: Ledger) -> None:
    """A message that waited too long is in state late and its text says how long it waited."""
    ledger.commit_step(step_of(alert_of(signal())))
    clock = Clock()
    clock.now_ms += 25 * 60_000
    out = Scripted("out")
    async with relaying(ledger, out, clock=clock) as (relay, attempts):
        assert await relay.drained(60)

    assert states(ledger) == {"BTCUSDT@out": "late"}
    assert out.seen[0].late
    assert out.seen[0].text.startswith("Late: this alert waited 25 min")
    assert attempts[0].late


async def test_an_alert_on_late_data_says_so(ledger: Ledger) -> None:
    """An alert whose candle came late is delivered as sent, with the remark."""
    ledger.commit_step(step_of(alert_of(signal(), late=True)))
    out = Scripted("out")
    async with relaying(ledger, out) as (relay, _):
        assert await relay.drained(60)

    assert states(ledger) == {"BTCUSDT@out": "sent"}
    assert out.seen[0].text.startswith("Late: the candle it is about arrived late.")
    assert out.seen[0].subject.endswith("(late)")


async def test_the_operators_messages_are_text_and_never_late(ledger: Ledger) -> None:
    """An alert to the operator carries its own words, to each of its channels once."""
    notice = Notice("operator/feed/1", "Connection lost", "No data for 75 s.\x1b[2J\nStill trying.", CLOSE_MS)
    messages = messages_of_notice(notice, ["out", "mail", "out"], CLOSE_MS)
    ledger.commit_step(Step(VENUE, notices=[notice], messages=messages))
    out, mail, clock = Scripted("out"), Scripted("mail"), Clock()
    clock.now_ms += 3_600_000
    async with relaying(ledger, out, mail, clock=clock) as (relay, _):
        assert await relay.drained(60)

    assert len(out.seen) == len(mail.seen) == 1
    [outgoing] = out.seen
    assert (outgoing.kind, outgoing.subject, outgoing.signal, outgoing.late) == (
        "operator",
        "Connection lost",
        None,
        False,
    )
    assert outgoing.text == "No data for 75 s. [2J\nStill trying.\n"
    assert ledger.outbox.counts() == {"out": {"sent": 1}, "mail": {"sent": 1}}


@pytest.mark.parametrize(("kind", "state"), [("exit", "late"), ("follow_up", "late"), ("summary", "sent")])
async def test_what_is_told_of_a_position_is_late_after_a_while(ledger: Ledger, kind: Kind, state: str) -> None:
    """Its words say so; a day's summary is as good as it was."""
    notice = Notice("x/exit", "[BTC SCALP] LONG exit", "Closed.", CLOSE_MS, kind, False, ("x",))
    ledger.commit_step(Step(VENUE, notices=[notice], messages=messages_of_notice(notice, ["out"], CLOSE_MS)))
    out, clock = Scripted("out"), Clock()
    clock.now_ms += 25 * 60_000
    async with relaying(ledger, out, clock=clock) as (relay, attempts):
        assert await relay.drained(60)

    [outgoing] = out.seen
    waited = "Late: this alert waited 25 min before it could be delivered.\n" if state == "late" else ""
    assert (outgoing.kind, outgoing.signal, outgoing.text) == (kind, None, f"{waited}Closed.\n")
    assert outgoing.late == attempts[0].late == outgoing.subject.endswith("(late)") == (state == "late")
    assert ledger.outbox.counts() == {"out": {state: 1}}


async def test_a_bug_in_one_message_costs_that_message_alone(ledger: Ledger) -> None:
    """What raises out of turn is given up with the kind of the error, and the next message is delivered."""
    ledger.commit_step(step_of(alert_of(signal("AUSDT")), alert_of(signal("BUSDT"))))
    out = Scripted("out", ZeroDivisionError("secret detail"))
    async with relaying(ledger, out) as (relay, attempts):
        assert await relay.drained(60)

    assert sorted(states(ledger).values()) == ["dead", "sent"]
    assert attempts[0].error == "cannot be written or sent: ZeroDivisionError"


async def test_a_ledger_in_trouble_delays_and_does_not_repeat(ledger: Ledger, tmp_path: Path) -> None:
    """Locked before a claim and again before the record of a delivery, the ledger is waited for: one delivery."""
    ledger.commit_step(step_of(alert_of(signal())))
    locker = sqlite3.connect(tmp_path / "tape.db", isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")

    async def lock_again() -> None:
        locker.execute("BEGIN IMMEDIATE")

    out = Scripted("out", lock_again)
    async with relaying(ledger, out) as (relay, attempts):
        await asyncio.sleep(0.15)
        assert out.seen == []
        locker.execute("ROLLBACK")
        async with asyncio.timeout(60):
            await until(lambda: bool(out.taken))
        await asyncio.sleep(0.15)
        assert attempts == []
        locker.execute("ROLLBACK")
        assert await relay.drained(60)
    locker.close()

    assert len(out.seen) == 1
    assert states(ledger) == {"BTCUSDT@out": "sent"}
    assert not ledger.alerts()[0]["messages"][0]["possible_repeat"]


async def test_messages_of_channels_that_are_gone_wait(ledger: Ledger) -> None:
    """A message for a channel that is not configured stays queued and holds nobody up."""
    ledger.commit_step(step_of(alert_of(signal()), channels=("gone", "out")))
    async with relaying(ledger, Scripted("out")) as (relay, _):
        assert await relay.drained(60)

    assert states(ledger) == {"BTCUSDT@gone": "queued", "BTCUSDT@out": "sent"}


async def test_without_channels_the_relay_waits_to_be_stopped(ledger: Ledger) -> None:
    """A run without channels is nothing to fail about."""
    async with relaying(ledger) as (relay, attempts):
        assert await relay.drained(1)
    assert attempts == []


async def test_a_message_has_the_chart_of_its_alert(ledger: Ledger) -> None:
    """Drawn from the candles that were stored with it, and the link to it."""
    candles = tuple((67_000.0, 67_020.0 + number, 66_990.0, 67_010.0) for number in range(20))
    ledger.commit_step(step_of(msgspec.structs.replace(alert_of(signal()), candles=candles)))
    out = Scripted("out")
    async with relaying(ledger, out) as (relay, _):
        assert await relay.drained(60)

    [outgoing] = out.seen
    assert outgoing.image is not None
    assert outgoing.image.startswith(b"\x89PNG")
    assert "cid:chart" in outgoing.body
    assert outgoing.chart_url == "https://www.tradingview.com/chart/?symbol=BINANCE:BTCUSDT&interval=1"
    assert outgoing.side == "long"
