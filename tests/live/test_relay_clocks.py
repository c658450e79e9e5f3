"""A wall clock that somebody sets: limits and holds are kept by another, and over restarts by the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from delivery_samples import alert_of, signal, step_of
from relay_rig import Clock, Scripted, relaying, until
from tapewatch.channels import DeliveryError
from tapewatch.live.relay import Pace, Rules
from tapewatch.store import Ledger

PACE = Pace(poll_s=0.005, useful_s=1e9)
TWO = {"out": Rules(per_minute=2)}
HOUR_MS = 3_600_000


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    """A new ledger."""
    opened = Ledger.open(f"sqlite:///{tmp_path}/tape.db")
    yield opened
    opened.close()


def store(ledger: Ledger, *names: str) -> None:
    """Alerts of these symbols for the channel."""
    ledger.commit_step(step_of(*(alert_of(signal(f"{name}USDT")) for name in names), channels=("out",)))


async def looks() -> None:
    """The relay looks again some times."""
    await asyncio.sleep(0.1)


@pytest.mark.parametrize("put_ms", [HOUR_MS, -HOUR_MS])
async def test_a_limit_is_kept_though_the_clock_is_set_in_the_run(ledger: Ledger, put_ms: int) -> None:
    """Neither forgotten with the clock set forward, nor longer than a minute with it set back."""
    clock, out = Clock(), Scripted("out")
    store(ledger, "A", "B")
    async with relaying(ledger, out, pace=PACE, clock=clock, rules=TWO) as (relay, _):
        await until(lambda: len(out.taken) == 2)
        clock.put(put_ms)
        store(ledger, "C")
        await looks()
        clock.now_ms += 50_000
        await looks()
        assert len(out.taken) == 2
        clock.now_ms += 12_000
        assert await relay.drained(60)


async def test_a_limit_is_kept_over_a_restart_with_the_clock_set_back(ledger: Ledger) -> None:
    """What was sent at a time that is still to come counts as if it were sent now: a minute, no longer."""
    clock, out = Clock(), Scripted("out")
    store(ledger, "A", "B")
    async with relaying(ledger, out, pace=PACE, clock=clock, rules=TWO) as (relay, _):
        assert await relay.drained(60)
    clock.put(-HOUR_MS)
    store(ledger, "C")
    async with relaying(ledger, out, pace=PACE, clock=clock, rules=TWO) as (relay, _):
        await looks()
        clock.now_ms += 50_000
        await looks()
        assert len(out.taken) == 2
        clock.now_ms += 12_000
        assert await relay.drained(60)


@pytest.mark.parametrize(("put_ms", "restart"), [(HOUR_MS, False), (-HOUR_MS, False), (-HOUR_MS, True)])
async def test_a_pause_that_was_asked_for_is_kept_though_the_clock_is_set(
    ledger: Ledger, put_ms: int, restart: bool
) -> None:
    """A server that said 60 seconds is left alone for so long, whatever the wall clock says meanwhile."""
    clock, out = Clock(), Scripted("out", DeliveryError("slow down", retry_after_s=60))
    store(ledger, "A")
    async with relaying(ledger, out, pace=PACE, clock=clock) as (relay, attempts):
        await until(lambda: len(attempts) == 1)
        clock.put(put_ms)
        await looks()
        if not restart:
            clock.now_ms += 50_000
            await looks()
            assert len(out.seen) == 1
            clock.now_ms += 12_000
            assert await relay.drained(60)
    async with relaying(ledger, out, pace=PACE, clock=clock) as (relay, _):
        if restart:
            await looks()
            assert len(out.seen) == 1
            clock.now_ms += 62_000
        assert await relay.drained(60)


@pytest.mark.parametrize("put_ms", [300_000, -300_000])
async def test_a_message_that_has_failed_for_long_waits_no_longer_than_it_was_to(ledger: Ledger, put_ms: int) -> None:
    """Also where the clock is set in the middle of a wait, when what was tried is past by it either way."""
    pace = Pace(poll_s=0.005, quick_attempts=1, backoff_s=600, backoff_cap_s=600, useful_s=1e9)
    clock, out = Clock(), Scripted("out", DeliveryError("busy"))
    store(ledger, "A")
    async with relaying(ledger, out, pace=pace, clock=clock) as (relay, attempts):
        await until(lambda: len(attempts) == 1)
        clock.now_ms += 400_000
        await looks()
        assert len(out.seen) == 1
        clock.put(put_ms)
        clock.now_ms += 200_000
        assert await relay.drained(60)
