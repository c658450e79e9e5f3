from __future__ import annotations

import asyncio
import re
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from delivery_samples import CLOSE_MS, VENUE, alert_of, signal, step_of
from relay_rig import QUICK, Clock, Scripted, Seen, relaying, states, until
from tapewatch.channels import DeliveryError, RejectedError
from tapewatch.channels.escape import units
from tapewatch.channels.templates import read_templates
from tapewatch.channels.writer import Writer
from tapewatch.live.digest import digest_of
from tapewatch.live.messages import messages_for, messages_of_notice
from tapewatch.live.quiet import QuietHours
from tapewatch.live.relay import Pace, Rules
from tapewatch.store import Ledger, Notice, Step

PATIENT = Pace(poll_s=0.005, useful_s=100_000)
BERLIN = ZoneInfo("Europe/Berlin")  # CLOSE_MS is 16:07 there


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    """A new ledger."""
    opened = Ledger.open(f"sqlite:///{tmp_path}/tape.db")
    yield opened
    opened.close()


def store(
    ledger: Ledger, count: int, first: int = 0, created_ms: int = CLOSE_MS, channels: tuple[str, ...] = ("out",)
) -> list[str]:
    """So many alerts of symbols `S0USDT` and on, whose strengths go down; the symbols."""
    alerts = [
        alert_of(signal(f"S{first + place}USDT", strength=9.0 - 0.01 * (first + place))) for place in range(count)
    ]
    messages = [message for alert in alerts for message in messages_for(alert, [Anywhere(channels)], created_ms)]
    step = step_of(*alerts, channels=())
    ledger.commit_step(Step(VENUE, step.effects, messages))
    return [alert.signals[0].symbol for alert in alerts]


class Anywhere:
    """A route that takes everything."""

    strategies = symbols = kinds = min_confidence = None
    severity, min_strength = "low", 0.0

    def __init__(self, channels: tuple[str, ...]) -> None:
        self.channels = channels


async def drain(relay: object, clock: Clock, every_ms: int = 500) -> None:
    """Let time pass until nothing waits."""
    while not await relay.drained(0.02):  # type: ignore[attr-defined]
        clock.now_ms += every_ms


def named(text: str) -> list[str]:
    """The symbols in a text, in their order."""
    return re.findall(r"S\d+USDT", text)


async def test_a_burst_beyond_the_limit_comes_in_digests_strongest_first(ledger: Ledger) -> None:
    """The strongest go singly, the rest in digests of what fits; every alert is named once, in order of strength."""
    symbols = store(ledger, 100)
    clock, seen = Clock(), Seen()
    out = Scripted("out")
    out.style, out.room = "markdown", 2_000
    rules = {"out": Rules(per_minute=10)}
    async with relaying(ledger, out, pace=PATIENT, clock=clock, rules=rules, seen=seen) as (relay, attempts):
        await drain(relay, clock)

    singles = [one for one in out.seen if one.kind == "signal"]
    digests = [one for one in out.seen if one.kind == "digest"]
    told = [symbol for one in out.seen for symbol in named(one.text if one.members else one.alert_id)]
    assert sorted(told) == sorted(symbols)
    assert told[:5] == symbols[:5]
    assert [one.kind for one in out.seen[:6]] == ["signal"] * 5 + ["digest"]
    assert told == symbols
    assert len(digests) >= 4
    assert all(len(one.body) <= 2_000 for one in digests)
    assert [len(one.members) for one in digests] == seen.digests
    assert sum(seen.digests) + len(singles) == 100
    assert set(states(ledger).values()) == {"sent", "digested"}
    ended = [attempt.ended_ms for attempt in attempts]
    assert all(b - a >= 60_000 for a, b in zip(ended, ended[10:], strict=False))
    assert sorted(close for attempt in attempts for close in attempt.closes_ms) == [CLOSE_MS] * 100


async def test_what_the_limit_lets_out_soon_comes_singly(ledger: Ledger) -> None:
    """Ten alerts on a channel of ten a minute are ten messages, and two more a little later wait for theirs."""
    store(ledger, 10)
    clock = Clock()
    out = Scripted("out")
    async with relaying(ledger, out, pace=PATIENT, clock=clock, rules={"out": Rules(per_minute=10)}) as (relay, _):
        await drain(relay, clock)
        store(ledger, 1, first=10)
        await drain(relay, clock)
    assert [one.kind for one in out.seen] == ["signal"] * 11


async def test_a_line_of_a_digest_says_what_the_alert_is(ledger: Ledger) -> None:
    """Symbol, side, strategy, timeframe, strength, entry and time; of an alert in words its subject."""
    store(ledger, 2)
    notice = Notice("x/exit", "[BTC SCALP] LONG exit", "Closed.", CLOSE_MS, "exit", False, ("x",))
    ledger.commit_step(Step(VENUE, notices=[notice], messages=messages_of_notice(notice, ["out"], CLOSE_MS)))
    clock = Clock()
    out = Scripted("out")
    async with relaying(ledger, out, pace=PATIENT, clock=clock, rules={"out": Rules(per_minute=1)}) as (relay, _):
        await drain(relay, clock)
    [digest] = out.seen
    assert (digest.subject, digest.kind, digest.severity, len(digest.members)) == (
        "3 alerts: S0USDT, S1USDT", "digest", "high", 3,
    )  # fmt: skip
    lines = digest.text.splitlines()[-3:]
    assert lines[0] == "LONG S0USDT 9.0/10 scalp 1m at 67012.5, 2025-05-20 14:07 UTC (16:07 CEST)"
    assert lines[2] == "[BTC SCALP] LONG exit, 2025-05-20 14:07 UTC (16:07 CEST)"


async def test_operator_alerts_are_in_digests_of_their_own(ledger: Ledger) -> None:
    """After the signals; neither kind is in the other's digest, and the operator's are never late."""
    store(ledger, 5)
    for place in range(5):
        notice = Notice(f"operator/{place}", f"Trouble {place}", "Some.", CLOSE_MS)
        ledger.commit_step(Step(VENUE, notices=[notice], messages=messages_of_notice(notice, ["out"], CLOSE_MS)))
    clock = Clock()
    clock.now_ms += 900_000
    out = Scripted("out")
    async with relaying(ledger, out, pace=QUICK, clock=clock, rules={"out": Rules(per_minute=1)}) as (relay, _):
        await until(lambda: len(out.seen) == 1)
        await drain(relay, clock, 5_000)
    signals, operators = out.seen
    assert len(named(signals.text)) == 5
    assert "Trouble" not in signals.text
    assert signals.late
    assert "waited up to 15 min" in signals.text
    assert re.findall(r"Trouble \d", operators.text) == [f"Trouble {place}" for place in range(5)]
    assert not operators.late
    assert ledger.outbox.counts() == {"out": {"digested": 10, "late": 1, "sent": 1}}


async def test_a_digest_that_died_can_be_resent_by_any_alert_in_it(ledger: Ledger) -> None:
    """It is listed as dead; an alert's id, which it names, queues it again, once."""
    store(ledger, 5)
    clock = Clock()
    out = Scripted("out", RejectedError("too long"))
    async with relaying(ledger, out, pace=PATIENT, clock=clock, rules={"out": Rules(per_minute=1)}) as (relay, _):
        await drain(relay, clock)
        [dead] = ledger.alerts(state="dead")
        assert dead["kind"] == "digest"
        member = alert_of(signal("S3USDT")).alert_id
        assert ledger.outbox.resend(member, CLOSE_MS) == [dead["messages"][0]["message_id"]]
        assert ledger.outbox.resend(member, CLOSE_MS) == []
        await drain(relay, clock)
    assert [len(named(one.text)) for one in out.seen] == [5, 5]
    assert out.seen[0].text == out.seen[1].text


async def test_a_digest_cut_by_a_crash_comes_again_as_a_possible_repeat(ledger: Ledger) -> None:
    """With the same id and the same alerts."""
    store(ledger, 5)
    rules = {"out": Rules(per_minute=1)}
    out = Scripted("out", lambda: asyncio.sleep(60))
    async with relaying(ledger, out, pace=Pace(poll_s=0.005, finish_s=0.05), rules=rules):
        while not out.seen:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    clock = Clock()
    clock.now_ms += 100_000
    async with relaying(ledger, out, pace=PATIENT, clock=clock, rules=rules) as (relay, _):
        await drain(relay, clock)
    assert [one.possible_repeat for one in out.seen] == [False, True]
    assert out.seen[0].message_id == out.seen[1].message_id
    assert "Possible repeat" in out.seen[1].text
    assert named(out.seen[0].text) == named(out.seen[1].text)


async def test_a_limit_is_kept_over_a_restart(ledger: Ledger) -> None:
    """A new relay knows what the last one tried in the minute before."""
    store(ledger, 3)
    clock = Clock()
    out = Scripted("out")
    rules = {"out": Rules(per_minute=3)}
    async with relaying(ledger, out, pace=PATIENT, clock=clock, rules=rules) as (relay, attempts):
        await drain(relay, clock)
    first_ms = attempts[0].ended_ms
    store(ledger, 1, first=3)
    async with relaying(ledger, out, pace=PATIENT, clock=clock, rules=rules) as (relay, attempts):
        await drain(relay, clock, 2_000)
    assert len(out.seen) == 4
    assert 60_000 < attempts[0].started_ms - first_ms < 70_000


async def test_quiet_hours_end_with_one_digest(ledger: Ledger) -> None:
    """What came meanwhile waits, the operator's alerts do not; then one message names it all, on any channel."""
    quiet = QuietHours(16 * 60, 17 * 60, BERLIN)
    symbols = store(ledger, 8)
    clock = Clock()
    notice = Notice("operator/1", "Trouble", "Some.", CLOSE_MS)
    ledger.commit_step(Step(VENUE, notices=[notice], messages=messages_of_notice(notice, ["out"], CLOSE_MS)))
    out = Scripted("out")
    async with relaying(ledger, out, pace=PATIENT, clock=clock, rules={"out": Rules(quiet=quiet)}) as (relay, _):
        for _ in range(10):
            clock.now_ms += 60_000
            await asyncio.sleep(0.02)
        await until(lambda: out.seen != [])
        assert [one.kind for one in out.seen] == ["operator"]
        clock.now_ms = CLOSE_MS + 52 * 60_000
        await asyncio.sleep(0.05)
        assert len(out.seen) == 1
        clock.now_ms = CLOSE_MS + 53 * 60_000
        await drain(relay, clock)
        store(ledger, 2, first=8, created_ms=clock.now_ms)
        await drain(relay, clock)
    assert [one.kind for one in out.seen] == ["operator", "digest", "signal", "signal"]
    assert named(out.seen[1].text) == symbols
    assert "quiet hours" in out.seen[1].text


async def test_one_alert_of_quiet_hours_comes_by_itself_also_after_a_restart(ledger: Ledger) -> None:
    """Nothing about quiet hours is remembered: a relay that starts after them does the same."""
    quiet = {"out": Rules(quiet=QuietHours(16 * 60, 17 * 60, BERLIN))}
    store(ledger, 1)
    out, clock = Scripted("out"), Clock()
    async with relaying(ledger, out, pace=PATIENT, clock=clock, rules=quiet):
        await asyncio.sleep(0.05)
    assert out.seen == []
    clock.now_ms = CLOSE_MS + 60 * 60_000
    async with relaying(ledger, out, pace=PATIENT, clock=clock, rules=quiet) as (relay, _):
        await drain(relay, clock)
    assert [one.kind for one in out.seen] == ["signal"]


async def test_a_digest_that_cannot_be_delivered_is_told_by_the_next_channel(ledger: Ledger) -> None:
    """Alert by alert, so that it fits there; all are superseded here, and so is the digest, when all are told."""
    store(ledger, 6)
    clock = Clock()
    out, mail = Scripted("out", RejectedError("no")), Scripted("mail")
    rules = {"out": Rules(per_minute=1, fallback=("mail",))}
    async with relaying(ledger, out, mail, pace=PATIENT, clock=clock, rules=rules) as (relay, _):
        await drain(relay, clock)
    found = states(ledger)
    assert [state for name, state in found.items() if name.endswith("@mail")] == ["sent"] * 6
    assert [state for name, state in found.items() if name.endswith("@out")] == ["superseded"] * 7


async def test_a_digest_delivered_elsewhere_supersedes_what_it_stands_in_for(ledger: Ledger) -> None:
    """What a channel that cannot connect has is in a digest of the next one; that delivers, so it is done."""
    store(ledger, 6)
    clock = Clock()
    gone = DeliveryError("no connection", whole_channel=True)
    out, mail = Scripted("out", *[gone] * 99), Scripted("mail")
    rules = {"out": Rules(fallback=("mail",)), "mail": Rules(per_minute=1)}
    async with relaying(ledger, out, mail, pace=PATIENT, clock=clock, rules=rules) as (relay, _):
        await drain(relay, clock, 250)
    assert out.taken == []
    assert 1 <= len(mail.seen) <= 2
    assert sum(max(1, len(one.members)) for one in mail.seen) == 6
    found = states(ledger)
    assert {state for name, state in found.items() if name.endswith("@out")} == {"superseded"}
    assert {state for name, state in found.items() if name.endswith("@mail")} == {"sent", "digested"}


def folded(ledger: Ledger, channel: str) -> str:
    """All that waits on a channel is in one digest now; the id of its message."""
    waiting = ledger.outbox.waiting(channel, CLOSE_MS, 99)
    digest, message = digest_of(channel, waiting, "too many.", CLOSE_MS)
    assert ledger.outbox.fold(digest, message, [one.message_id for one in waiting])
    return message.message_id


@pytest.mark.parametrize("own", [0, 1])
async def test_a_digest_on_a_fallback_that_is_gone_is_told_by_the_next(ledger: Ledger, own: int) -> None:
    """Alert by alert; what it had by a route of its own stays in the digest, and is told when it is back."""
    store(ledger, 5)
    if own:
        ledger.commit_step(step_of(alert_of(signal("S9USDT", strength=0.1)), channels=("old",)))
    told = folded(ledger, "out")
    ledger.outbox.take(told, CLOSE_MS)
    ledger.outbox.mark_failed(told, CLOSE_MS, "no", next_ms=None, chains={"out": ["old"]})
    folded(ledger, "old")
    clock, out, old, new = Clock(), Scripted("out"), Scripted("old"), Scripted("new")
    rules = {"out": Rules(fallback=("new",))}
    async with relaying(ledger, out, new, clock=clock, rules=rules) as (relay, _):
        await until(lambda: len(new.seen) == 5)
    assert [one.alert_id.split("/")[1] for one in new.seen] == [f"S{place}USDT" for place in range(5)]
    async with relaying(ledger, out, old, new, clock=clock, rules=rules) as (relay, _):
        assert await relay.drained(5)
    assert [named(one.text) for one in old.seen] == [["S9USDT"]] * own
    assert all("1 alert in one message" in one.text for one in old.seen)
    assert (len(new.seen), out.seen) == (5, [])
    found = {name.partition("@")[2]: set[str]() for name in states(ledger)}
    for name, state in states(ledger).items():
        found[name.partition("@")[2]].add(state)
    assert found["new"] == {"sent"}
    assert found["out"] == {"superseded"}
    assert found["old"] == ({"superseded", "sent", "digested"} if own else {"superseded"})


async def test_a_digest_has_room_for_what_a_users_template_says_of_each(ledger: Ledger, tmp_path: Path) -> None:
    """However long that makes it, nothing is cut: fewer alerts are in each."""
    (tmp_path / "own").mkdir()
    words = "{% for line in lines %}{{ line }} " + "is what it says. " * 10 + "{% endfor %}"
    (tmp_path / "own" / "digest.md").write_text(words, encoding="utf-8")
    symbols = store(ledger, 30)
    clock = Clock()
    out = Scripted("out")
    out.style, out.room = "markdown", 2_000
    writer = Writer(BERLIN, read_templates(tmp_path / "own", {"out": "discord"}, ["digest"]))
    async with relaying(
        ledger, out, pace=PATIENT, clock=clock, rules={"out": Rules(per_minute=1)}, writer=writer
    ) as (relay, _):  # fmt: skip
        await drain(relay, clock, 5_000)
    assert [symbol for one in out.seen for symbol in dict.fromkeys(named(one.body))] == symbols
    assert all(units(one.body) <= 2_000 for one in out.seen)


@pytest.mark.parametrize("count", [400, 4_000])
async def test_what_waits_is_not_in_memory(ledger: Ledger, count: int) -> None:
    """A relay at work on ten times as many messages that wait takes no more: both stay below the same bound."""
    for first in range(0, count, 200):
        store(ledger, 200, first=first)
    clock = Clock()
    out = Scripted("out")
    out.style, out.room = "markdown", 4_096
    tracemalloc.start()
    async with relaying(ledger, out, pace=PATIENT, clock=clock, rules={"out": Rules(per_minute=30)}):
        async with asyncio.timeout(30):
            while len(out.seen) < 20:
                clock.now_ms += 500
                await asyncio.sleep(0.005)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 12_000_000
