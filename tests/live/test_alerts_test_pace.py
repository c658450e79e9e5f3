"""`alerts test` and a run keep to a channel's limit together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC
from pathlib import Path

import pytest

from delivery_samples import alert_of, signal, step_of
from relay_rig import Clock, Scripted, relaying, until
from tapewatch.channels import RejectedError
from tapewatch.channels.writer import Writer
from tapewatch.live.relay import Pace, Rules
from tapewatch.live.trial import send_test
from tapewatch.store import Ledger

PACE = Pace(poll_s=0.005, useful_s=1e9)
TWO = Rules(per_minute=2)


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    """A new ledger."""
    opened = Ledger.open(f"sqlite:///{tmp_path}/tape.db")
    yield opened
    opened.close()


def store(ledger: Ledger, *names: str) -> None:
    """Alerts of these symbols."""
    ledger.commit_step(step_of(*(alert_of(signal(f"{name}USDT")) for name in names), channels=("out",)))


async def tried(out: Scripted, ledger: Ledger, clock: Clock) -> list[float]:
    """Send a test; the waits it told of."""
    waits: list[float] = []
    await send_test(out, TWO, Writer(UTC), ledger.outbox, clock, waits.append)
    return waits


@pytest.mark.parametrize("restart", [False, True])
async def test_a_run_counts_what_was_sent_by_hand(ledger: Ledger, restart: bool) -> None:
    """A message and a test are two: the next one waits until a minute after the first, in the same run or the next."""
    clock, out = Clock(), Scripted("out")
    store(ledger, "A")
    async with relaying(ledger, out, pace=PACE, clock=clock, rules={"out": TWO}) as (relay, _):
        assert await relay.drained(5)
        assert await tried(Scripted("out"), ledger, clock) == []
        if not restart:
            store(ledger, "B")
            await asyncio.sleep(0.1)
            assert len(out.seen) == 1
    async with relaying(ledger, out, pace=PACE, clock=clock, rules={"out": TWO}) as (relay, _):
        if restart:
            store(ledger, "B")
        await asyncio.sleep(0.1)
        clock.now_ms += 50_000
        await asyncio.sleep(0.1)
        assert len(out.seen) == 1
        clock.now_ms += 12_000
        assert await relay.drained(5)


async def test_a_test_waits_for_what_a_run_has_sent(ledger: Ledger) -> None:
    """And says for how long."""
    clock, out = Clock(), Scripted("out")
    store(ledger, "A", "B")
    async with relaying(ledger, out, pace=PACE, clock=clock, rules={"out": TWO}) as (_, attempts):
        await until(lambda: len(attempts) == 2)
    clock.now_ms = attempts[0].ended_ms + 59_800
    [waited_s] = await tried(out, ledger, clock)
    assert 0.15 < waited_s <= 0.201
    assert out.seen[-1].kind == "test"


async def test_a_test_is_in_the_ledger_with_what_became_of_it(ledger: Ledger) -> None:
    """Delivered, or given up with the reason; one that was cut is sent again by the next run, as a possible repeat."""
    clock, out = Clock(), Scripted("out", None, RejectedError("550 no such user"), lambda: asyncio.sleep(60))
    await tried(out, ledger, clock)
    with pytest.raises(RejectedError, match="550"):
        await tried(out, ledger, clock)
    clock.now_ms += 60_000
    cut = asyncio.create_task(tried(out, ledger, clock))
    await until(lambda: len(out.seen) == 3)
    cut.cancel()
    found = [alert["messages"][0] for alert in ledger.alerts()]
    assert [(one["state"], one["attempts"], one["last_error"]) for one in found] == [
        ("sent", 1, None), ("dead", 1, "550 no such user"), ("sending", 1, None),
    ]  # fmt: skip

    async with relaying(ledger, out, pace=PACE, clock=clock) as (relay, _):
        assert await relay.drained(5)
    assert [(one.kind, one.possible_repeat) for one in out.seen[3:]] == [("test", True)]
