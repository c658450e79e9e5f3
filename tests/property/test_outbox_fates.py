"""Random lives of an outbox: whatever happens to it, each alert ends told or listed, and nothing is doubled."""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from delivery_samples import CLOSE_MS, alert_of, signal, step_of
from tapewatch.channels import DeliveryError, Outgoing, RejectedError
from tapewatch.channels.port import Style
from tapewatch.channels.writer import Writer
from tapewatch.live.relay import Pace, Relay, Rules
from tapewatch.store import Ledger
from tapewatch.store.fallback import Post, needless, next_channel

NAMES = ("a", "b", "c")
QUICK = Pace(
    quick_gap_s=1, backoff_s=2, backoff_cap_s=10, poll_s=0.002, finish_s=0.0, useful_s=1e9, lease_s=0.01
)  # fmt: skip
DELIVERED = {"sent", "late"}


class Moody:
    """A channel that takes a message, refuses it, fails as a whole, is gone for good, or hangs until it is killed."""

    style: Style = "plain"
    room: int | None = 1_200

    def __init__(self, name: str, moods: list[str]) -> None:
        self.name, self.moods = name, moods
        self.told: list[Outgoing] = []

    async def send(self, outgoing: Outgoing) -> None:
        """As its next mood is; content when it has none left."""
        mood = self.moods.pop(0) if self.moods else "take"
        if mood == "reject":
            raise RejectedError("400")
        if mood == "fail":
            raise DeliveryError("451")
        if mood == "gone":
            raise DeliveryError("no connection", whole_channel=True)
        if mood == "slow":
            raise DeliveryError("429", retry_after_s=3, whole_channel=True)
        if mood == "disable":
            raise RejectedError("404", disable=True)
        self.told.append(outgoing)
        if mood == "hang":
            await asyncio.sleep(60)


class Clock:
    """A wall clock that goes two seconds with each look."""

    now_ms = CLOSE_MS

    def __call__(self) -> int:
        """The time."""
        self.now_ms += 2_000
        return self.now_ms


MOODS = st.lists(
    st.sampled_from(["take", "take", "reject", "fail", "gone", "gone", "gone", "slow", "disable", "hang"]), max_size=12
)
RULES = st.fixed_dictionaries({
    "a": st.sampled_from([(), ("b",), ("b", "c")]),
    "b": st.sampled_from([(), ("c",)]),
    "limits": st.lists(st.sampled_from([None, 1, 4]), min_size=3, max_size=3),
})  # fmt: skip
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("store"), st.integers(1, 8), st.sets(st.sampled_from(NAMES), min_size=1)),
        st.tuples(st.sampled_from(["work", "kill"]), st.integers(1, 40), st.just(frozenset())),
    ),
    min_size=2,
    max_size=7,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(moods=st.tuples(MOODS, MOODS, MOODS), rules=RULES, steps=STEPS)
def test_every_alert_ends_told_or_listed(moods: tuple[list[str], ...], rules: dict, steps: list[tuple]) -> None:  # type: ignore[type-arg]
    """After stores, failures, holds, kills and restarts in any order, and then time enough for all that can be."""
    with TemporaryDirectory() as folder:
        asyncio.run(_life(Path(folder), moods, rules, steps))


async def _life(folder: Path, moods: tuple[list[str], ...], rules: dict, steps: list[tuple]) -> None:  # type: ignore[type-arg]
    ledger = Ledger.open(f"sqlite:///{folder}/tape.db")
    channels = [Moody(name, list(own)) for name, own in zip(NAMES, moods, strict=True)]
    asked = {
        name: Rules(per_minute=limit, fallback=rules.get(name, ()))
        for name, limit in zip(NAMES, rules["limits"], strict=True)
    }
    clock, stored, routed = Clock(), 0, {}
    for what, count, names in [*steps, ("work", 0, ())]:
        if what == "store":
            for place in range(stored, stored + count):
                alert = alert_of(signal(f"S{place}USDT", strength=random.uniform(0, 10)))
                ledger.commit_step(step_of(alert, channels=tuple(names)))
                routed[alert.alert_id] = set(names)
            stored += count
            continue
        if not count:
            for channel in channels:
                channel.moods = [mood for mood in channel.moods if mood != "hang"]
        await _work(ledger, channels, asked, clock, killed_after=count or None)
    _check(ledger, channels, routed)
    ledger.close()


async def _work(
    ledger: Ledger, channels: list[Moody], asked: dict[str, Rules], clock: Clock, killed_after: int | None
) -> None:
    """A relay at work until nothing waits, or until it is killed, wherever it is then."""
    with ThreadPoolExecutor(1) as executor:
        relay = Relay(
            ledger.outbox, channels, executor, writer=Writer(UTC), now_ms=clock, passed_ms=clock, pace=QUICK,
            rules=asked,
        )  # fmt: skip
        task = asyncio.create_task(relay.run())
        if killed_after is None:
            assert await relay.drained(60)
            relay.stop()
            await task
            return
        await asyncio.sleep(killed_after / 1000)
        task.cancel()
        await asyncio.wait([task])


def _check(ledger: Ledger, channels: list[Moody], routed: dict[str, set[str]]) -> None:
    alerts = {alert["alert_id"]: alert for alert in ledger.alerts()}
    states = {one["message_id"]: one for alert in alerts.values() for one in alert["messages"]}
    assert not {"queued", "sending"} & {one["state"] for one in states.values()}
    told: set[tuple[str, str]] = set()
    for channel in channels:
        for outgoing in channel.told:  # twice, alone and in a digest too, only where it says that it may be
            named = {(channel.name, one) for one in outgoing.members or (outgoing.alert_id,)}
            assert outgoing.possible_repeat or not named & told, outgoing
            told |= named
    for alert_id, names in routed.items():
        messages = {one["channel"]: one for one in alerts[alert_id]["messages"]}
        assert names <= messages.keys()
        for one in messages.values():
            inside = states.get(f"{one['digest_id']}@{one['channel']}", {"state": ""})["state"]
            fate = inside if one["state"] == "digested" else one["state"]
            assert fate in {*DELIVERED, "dead", "superseded"}, (one, inside)
            assert (fate in DELIVERED) <= ((one["channel"], alert_id) in told)
            if fate == "superseded":
                others = [_fate(other, states) for other in messages.values() if other is not one]
                assert DELIVERED & set(others), messages


def _fate(message: dict[str, str], states: dict[str, dict[str, str]]) -> str:
    if message["state"] != "digested":
        return message["state"]
    return states[f"{message['digest_id']}@{message['channel']}"]["state"]


POSTS = st.lists(
    st.tuples(
        st.sampled_from(["queued", "sending", "sent", "dead", "superseded", "digested"]),
        st.booleans(),
        st.sampled_from([None, 0, 1, 2, 3]),
        st.sampled_from([None, "", 0, 1, 2, 3]),
    ),
    min_size=4,
    max_size=4,
)


@given(POSTS, st.sampled_from([(), (1,), (2, 1), (1, 2, 3), (3, 1, 2)]))
def test_decisions_about_any_messages_of_an_alert_end_and_touch_nothing_delivered(
    drawn: list[tuple[str, bool, int | None, int | str | None]], chain: tuple[int, ...]
) -> None:
    """Rings of stand-ins too; the next channel is never one's own, and what is needless was not delivered."""
    posts = {
        f"x@{place}": Post(
            f"x@{place}",
            str(place),
            state,
            state == "sent" or (state == "digested" and inside),
            None if of is None else f"x@{of}",
            stand_in if stand_in in (None, "") else f"x@{stand_in}",
        )
        for place, (state, inside, of, stand_in) in enumerate(drawn)
    }
    found = needless(posts)
    assert not any(posts[one].delivered or posts[one].state in {"superseded", "sending"} for one in found)
    assert needless({one.message_id: one._replace(state="superseded") if one.message_id in found else one
                     for one in posts.values()}) == set()  # fmt: skip
    chains = {"0": [str(place) for place in chain]}
    assert next_channel(posts, posts["x@0"], chains) != "0"
