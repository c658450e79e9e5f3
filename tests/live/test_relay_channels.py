from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from delivery_samples import CLOSE_MS, VENUE, alert_of, signal, step_of
from relay_rig import QUICK, Clock, Scripted, Seen, relaying, states, until
from tapewatch.channels import DeliveryError, RejectedError
from tapewatch.live.messages import messages_of_notice
from tapewatch.live.relay import Pace, Rules
from tapewatch.store import Ledger, Notice, Step

SLOW = Pace(poll_s=0.005, useful_s=100_000)
GONE = DeliveryError("no connection", whole_channel=True)


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    """A new ledger."""
    opened = Ledger.open(f"sqlite:///{tmp_path}/tape.db")
    yield opened
    opened.close()


def store(ledger: Ledger, *names: str, channels: tuple[str, ...] = ("out",)) -> None:
    """Alerts of these symbols, the first the strongest."""
    alerts = [alert_of(signal(f"{name}USDT", strength=9.0 - place)) for place, name in enumerate(names)]
    ledger.commit_step(step_of(*alerts, channels=channels))


async def passing(clock: Clock, milliseconds: int, every_ms: int = 250) -> None:
    """Let so much time of the wall clock pass, with the relay looking meanwhile."""
    for _ in range(milliseconds // every_ms):
        clock.now_ms += every_ms
        await asyncio.sleep(0.008)


async def test_trouble_of_the_channel_holds_all_its_messages(ledger: Ledger) -> None:
    """While it is held nothing is tried; after each hold one message probes; the rest follows the first delivery."""
    store(ledger, "A", "B", "C")
    clock, seen = Clock(), Seen()
    out = Scripted("out", *[GONE] * 4)
    async with relaying(ledger, out, pace=SLOW, clock=clock, seen=seen) as (relay, attempts):
        while not await relay.drained(0.02):
            clock.now_ms += 500

    assert [attempt.outcome for attempt in attempts] == ["failed"] * 4 + ["sent"] * 3
    waits = [(later.started_ms - earlier.ended_ms) / 1000 for earlier, later in pairwise(attempts)]
    assert [round(wait) for wait in waits[:2]] == [5, 5]
    assert 22 <= waits[2] < 32
    assert 45 <= waits[3] < 62
    assert max(waits[4:]) < 1.6
    assert len({attempt.message_id for attempt in attempts[:4]}) == 2  # who met it three times let another go first
    assert seen.channels == [("out", "held"), ("out", "ok")]


@pytest.mark.parametrize("first", [RejectedError("no"), GONE])
async def test_a_fallback_that_is_gone_from_the_configuration_is_replaced(ledger: Ledger, first: Exception) -> None:
    """What waited on it to be delivered in another's place goes to the next fallback; back again it sends no double."""
    store(ledger, "A")
    clock = Clock()
    out, old, new = Scripted("out", *[first] * 3), Scripted("old", *[GONE] * 3), Scripted("new")
    before, after = {"out": Rules(fallback=("old",))}, {"out": Rules(fallback=("new",))}
    pace = Pace(poll_s=0.005, quick_gap_s=0.01, backoff_s=900, useful_s=100_000)
    async with relaying(ledger, out, old, pace=pace, clock=clock, rules=before) as (_, attempts):
        await until(lambda: sum(attempt.channel == "old" for attempt in attempts) == 3)
    async with relaying(ledger, out, new, pace=pace, clock=clock, rules=after) as (relay, _):
        assert await relay.drained(60)
    clock.now_ms += 3_600_000
    async with relaying(ledger, out, old, new, pace=pace, clock=clock, rules=before) as (relay, _):
        assert await relay.drained(60)

    assert new.taken == ["binance_spot/AUSDT/1m/1747750020000@new"]
    assert old.taken == out.taken == []
    assert states(ledger) == {"AUSDT@out": "superseded", "AUSDT@old": "superseded", "AUSDT@new": "sent"}


@pytest.mark.parametrize("restart", [False, True])
async def test_a_clock_set_back_keeps_no_message_waiting(ledger: Ledger, restart: bool) -> None:
    """A message that failed by itself is tried again soon though the clock was set back, in a run or between two."""
    store(ledger, "A")
    clock, out = Clock(), Scripted("out", DeliveryError("busy"))
    async with relaying(ledger, out, pace=SLOW, clock=clock) as (relay, attempts):
        await until(lambda: len(attempts) == 1)
        clock.put(-3_600_000)
        assert restart or await relay.drained(60)
    if restart:
        async with relaying(ledger, out, pace=SLOW, clock=clock) as (relay, _):
            assert await relay.drained(60)

    assert states(ledger) == {"AUSDT@out": "sent"}


async def test_a_hold_outlives_a_restart(ledger: Ledger) -> None:
    """What a server asked for is kept to by the next relay; the first message after it is no repeat."""
    store(ledger, "A", "B")
    clock = Clock()
    out = Scripted("out", DeliveryError("slow down", retry_after_s=60))
    async with relaying(ledger, out, pace=SLOW, clock=clock) as (_, attempts):
        await until(lambda: len(attempts) == 1)
    told_ms = attempts[0].ended_ms
    seen = Seen()
    async with relaying(ledger, out, pace=SLOW, clock=clock, seen=seen) as (relay, attempts):
        await passing(clock, 30_000, 2_000)
        assert attempts == []
        assert seen.channels == [("out", "held")]
        while not await relay.drained(0.05):
            clock.now_ms += 2_000

    assert 60_000 <= attempts[0].started_ms - told_ms < 64_000
    assert [outgoing.possible_repeat for outgoing in out.seen] == [False] * 3
    assert ledger.outbox.channel_states()["out"].state == "ok"


async def test_a_pause_asked_for_with_a_delivery_is_kept(ledger: Ledger) -> None:
    """The next message waits; the first one is sent and nothing is wrong with the channel."""
    store(ledger, "A", "B")
    clock, seen = Clock(), Seen()
    async with relaying(ledger, Scripted("out", 7.5), pace=SLOW, clock=clock, seen=seen) as (relay, attempts):
        while not await relay.drained(0.05):
            clock.now_ms += 500

    assert 7.5 <= (attempts[1].started_ms - attempts[0].ended_ms) / 1000 < 8.6
    assert seen.channels == []


async def test_a_refused_message_delays_no_other(ledger: Ledger) -> None:
    """Trouble of one message, whatever it is, leaves the channel in use."""
    store(ledger, "A", "B", "C")
    out = Scripted("out", DeliveryError("mailbox full"), RejectedError("no such user"))
    clock = Clock()
    async with relaying(ledger, out, pace=SLOW, clock=clock) as (_, attempts):
        await until(lambda: len(attempts) == 3)
    assert [attempt.outcome for attempt in attempts] == ["failed", "rejected", "sent"]
    assert states(ledger) == {"AUSDT@out": "queued", "BUSDT@out": "dead", "CUSDT@out": "sent"}


async def test_a_disabled_channel_is_not_tried_again_before_the_next_start(ledger: Ledger) -> None:
    """All that waits on it and comes later is dead with the reason; a new start uses it for what comes then."""
    store(ledger, "A", "B")
    seen = Seen()
    out = Scripted("out", RejectedError("404 unknown webhook", disable=True))
    async with relaying(ledger, out, seen=seen) as (relay, attempts):
        assert await relay.drained(60)
        store(ledger, "C")
        relay.wake()
        assert await relay.drained(60)
    assert len(attempts) == 1
    assert set(states(ledger).values()) == {"dead"}
    errors = {alert["messages"][0]["last_error"] for alert in ledger.alerts()}
    assert errors == {"404 unknown webhook", "channel is disabled: 404 unknown webhook"}
    assert seen.channels == [("out", "disabled")]

    store(ledger, "D")
    async with relaying(ledger, out) as (relay, _):
        assert await relay.drained(60)
    assert [message_id.split("/")[1] for message_id in out.taken] == ["DUSDT"]


async def test_a_resend_enables_a_channel_in_the_middle_of_a_run(ledger: Ledger) -> None:
    """By the channel's name all that died on it goes out, since somebody said so."""
    store(ledger, "A", "B")
    seen = Seen()
    out = Scripted("out", DeliveryError("wrong password", disable=True))
    async with relaying(ledger, out, seen=seen) as (relay, _):
        await until(lambda: set(states(ledger).values()) == {"dead"})
        assert len(ledger.outbox.resend("out", CLOSE_MS)) == 2
        assert await relay.drained(60)
    assert set(states(ledger).values()) == {"sent"}
    assert seen.channels == [("out", "disabled"), ("out", "ok")]


async def test_what_is_rejected_goes_to_the_next_channel(ledger: Ledger) -> None:
    """And is superseded once that delivers; what goes well stays where it is."""
    store(ledger, "A", "B")
    seen = Seen()
    chat, mail = Scripted("chat", RejectedError("400 cannot")), Scripted("mail")
    ledger.commit_step(step_of(alert_of(signal("CUSDT")), channels=("chat",)))
    rules = {"out": Rules(fallback=("mail",)), "chat": Rules(fallback=("mail",))}
    async with relaying(ledger, Scripted("out"), chat, mail, rules=rules, seen=seen) as (relay, _):
        assert await relay.drained(60)
    assert states(ledger) == {
        "AUSDT@out": "sent", "BUSDT@out": "sent", "CUSDT@chat": "superseded", "CUSDT@mail": "sent",
    }  # fmt: skip
    assert seen.supersedes == {"chat": 1}
    [alert] = [one for one in ledger.alerts() if len(one["messages"]) == 2]
    assert [one["fallback_of"] for one in alert["messages"]] == [None, f"{alert['alert_id']}@chat"]


async def test_a_chain_of_three_is_walked_to_its_end(ledger: Ledger) -> None:
    """The first rejects, the second is disabled, the third delivers: both others are superseded."""
    store(ledger, "A")
    first, second = Scripted("out", RejectedError("no")), Scripted("b", RejectedError("404", disable=True))
    third = Scripted("c")
    rules = {"out": Rules(fallback=("b", "c"))}
    async with relaying(ledger, first, second, third, rules=rules) as (relay, _):
        assert await relay.drained(60)
    assert states(ledger) == {"AUSDT@out": "superseded", "AUSDT@b": "superseded", "AUSDT@c": "sent"}


async def test_a_chain_that_ends_leaves_the_dead_listed(ledger: Ledger) -> None:
    """When nobody can deliver it, each of its messages is dead with its own reason; a resend may deliver one."""
    store(ledger, "A")
    first, second = Scripted("out", RejectedError("no")), Scripted("b", RejectedError("neither"))
    async with relaying(ledger, first, second, rules={"out": Rules(fallback=("b",))}) as (relay, _):
        await until(lambda: states(ledger) == {"AUSDT@out": "dead", "AUSDT@b": "dead"})
        assert len(ledger.outbox.resend(f"{alert_of(signal('AUSDT')).alert_id}@b", CLOSE_MS)) == 1
        assert await relay.drained(60)
        await until(lambda: "dead" not in states(ledger).values())
    assert states(ledger) == {"AUSDT@out": "superseded", "AUSDT@b": "sent"}


async def test_a_held_channels_messages_are_delivered_by_another(ledger: Ledger) -> None:
    """After three attempts, all that waits, also what was never tried and what comes later, goes to the next one."""
    store(ledger, "A", "B")
    clock = Clock()
    out, mail = Scripted("out", *[GONE] * 3), Scripted("mail")
    rules = {"out": Rules(fallback=("mail",))}
    async with relaying(ledger, out, mail, pace=SLOW, clock=clock, rules=rules) as (_, _attempts):
        await passing(clock, 12_000)
        await until(lambda: len(mail.taken) == 2)
        store(ledger, "C")
        await until(lambda: len(mail.taken) == 3)
        assert len(out.seen) == 3
    assert sorted(set(states(ledger).values())) == ["sent", "superseded"]
    assert {one.split("/")[1] for one in mail.taken} == {"AUSDT", "BUSDT", "CUSDT"}


async def test_who_delivers_first_makes_the_other_needless(ledger: Ledger) -> None:
    """When the first channel works again before the second could deliver, the second one's message is superseded."""
    store(ledger, "A")
    clock = Clock()
    out, mail = Scripted("out", *[GONE] * 3), Scripted("mail", *[GONE] * 9)
    rules = {"out": Rules(fallback=("mail",))}
    async with relaying(ledger, out, mail, pace=SLOW, clock=clock, rules=rules) as (relay, _):
        while not await relay.drained(0.02):
            clock.now_ms += 1_000
    assert states(ledger) == {"AUSDT@out": "sent", "AUSDT@mail": "superseded"}


async def test_a_channel_that_has_the_alert_by_its_own_route_stands_in(ledger: Ledger) -> None:
    """No second message is made for it; its delivery supersedes, and it is sent whatever the first one does."""
    store(ledger, "A", channels=("out", "mail"))
    out, mail = Scripted("out", RejectedError("no")), Scripted("mail", lambda: asyncio.sleep(0.2))
    async with relaying(ledger, out, mail, rules={"out": Rules(fallback=("mail",))}) as (relay, _):
        assert await relay.drained(60)
    assert states(ledger) == {"AUSDT@out": "superseded", "AUSDT@mail": "sent"}
    assert len(mail.taken) == 1


async def test_operator_alerts_fall_back_too(ledger: Ledger) -> None:
    """What tapewatch says of itself is put to the next channel like anything else."""
    notice = Notice("operator/feed/1", "Connection lost", "No data.", CLOSE_MS)
    ledger.commit_step(Step(VENUE, notices=[notice], messages=messages_of_notice(notice, ["out"], CLOSE_MS)))
    out, mail = Scripted("out", RejectedError("no")), Scripted("mail")
    async with relaying(ledger, out, mail, rules={"out": Rules(fallback=("mail",))}) as (relay, _):
        assert await relay.drained(60)
    assert [(one.kind, one.severity) for one in mail.seen] == [("operator", "high")]


async def test_a_second_relay_waits_and_takes_over(ledger: Ledger, tmp_path: Path) -> None:
    """While one delivers, another on the same ledger touches nothing; when the first is gone it goes on at once."""
    store(ledger, *"ABCDEFGH")
    first, second = Scripted("out", lambda: asyncio.sleep(0.3)), Scripted("out")
    other = Ledger.open(f"sqlite:///{tmp_path}/tape.db")
    pace = Pace(poll_s=0.01, lease_s=0.05, useful_s=100_000)
    async with relaying(ledger, first, pace=pace, clock=lambda: CLOSE_MS) as (relay, _):
        await until(lambda: len(first.seen) == 1)
        async with relaying(other, second, pace=pace, clock=lambda: CLOSE_MS) as (taking_over, _):
            await asyncio.sleep(0.15)
            assert second.seen == []
            await until(lambda: len(first.taken) >= 2)
            relay.stop()
            async with asyncio.timeout(60):
                assert await taking_over.drained(60)
    other.close()
    taken = [*first.taken, *second.taken]
    assert sorted(taken) == sorted(set(taken))
    assert len(taken) == 8
    assert not any(one.possible_repeat for one in [*first.seen, *second.seen])


async def test_a_relay_that_waits_can_be_stopped(ledger: Ledger, tmp_path: Path) -> None:
    """It ends at once and has sent nothing."""
    store(ledger, "A")
    other = Ledger.open(f"sqlite:///{tmp_path}/tape.db")
    second = Scripted("out")
    async with relaying(ledger, Scripted("x")):
        async with asyncio.timeout(60):
            async with relaying(other, second, pace=QUICK):
                await asyncio.sleep(0.1)
    other.close()
    assert second.seen == []
