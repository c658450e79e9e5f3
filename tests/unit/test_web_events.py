"""The ring of events that open pages read: what comes after a number, what is lost, who is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tapewatch.web import events
from tapewatch.web.events import KEPT, Hub


async def take(stream: AsyncIterator[bytes], count: int) -> list[tuple[int, str]]:
    """Number and kind of the next events."""
    found = []
    async with asyncio.timeout(10):
        for _ in range(count):
            number, kind = (await anext(stream)).decode().splitlines()[:2]
            found.append((int(number.removeprefix("id: ")), kind.removeprefix("event: ")))
    return found


async def test_a_page_gets_each_event_once_from_its_number_on() -> None:
    """Those that came before it opened the stream too."""
    hub = Hub(100)
    hub.attend()
    seq = hub.seq
    for kind in ("bars", "signal", "fill"):
        hub.publish(kind, {})
    stream = hub.stream(seq + 1)
    assert await take(stream, 2) == [(seq + 2, "signal"), (seq + 3, "fill")]
    waiting = asyncio.create_task(take(stream, 1))
    await asyncio.sleep(0)
    hub.publish("health", {})
    assert await waiting == [(seq + 4, "health")]


@pytest.mark.parametrize("after", [1, 10**15])
async def test_a_number_that_nobody_knows_begins_anew(after: int) -> None:
    """One of an earlier run, and one that has not been."""
    hub = Hub(100)
    stream = hub.stream(after)
    assert await take(stream, 1) == [(101, "reset")]
    hub.publish("bars", {})
    assert await take(stream, 1) == [(102, "bars")]


async def test_a_slow_page_is_skipped_ahead_and_keeps_nothing() -> None:
    """So much is kept and no more; the page hears `reset` and what comes after it."""
    hub = Hub(100)
    hub.attend()
    stream = hub.stream(hub.seq)
    hub.publish("bars", {})
    assert await take(stream, 1) == [(102, "bars")]
    for _ in range(KEPT + 1):
        hub.publish("bars", {})
    assert len(hub._ring) == KEPT
    assert await take(stream, 1) == [(hub.seq, "reset")]


async def test_large_events_are_kept_up_to_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer of them, and at least the last."""
    monkeypatch.setattr(events, "KEPT_BYTES", 1_000)
    hub = Hub(100)
    hub.attend()
    for _ in range(10):
        hub.publish("watch", {"rows": "x" * 300})
    assert len(hub._ring) == 2
    hub.publish("watch", {"rows": "x" * 3_000})
    assert len(hub._ring) == 1


async def test_what_nobody_looked_at_is_not_gone_on_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the last page has gone for a while, events were not gathered: a page that comes again begins anew."""
    monkeypatch.setattr(events, "GRACE_S", 0.05)
    hub = Hub(100)
    assert not hub.attended
    stream = hub.stream(None)
    waiting = asyncio.create_task(take(stream, 1))
    await asyncio.sleep(0)
    hub.publish("bars", {})
    (last, _), *_ = await waiting
    await stream.aclose()
    await asyncio.sleep(0.1)
    assert not hub.attended
    assert await take(hub.stream(last), 1) == [(last + 1, "reset")]


async def test_silence_is_broken_and_the_end_is_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event now and then, so that a page notices a dead connection; closed, every stream ends."""
    monkeypatch.setattr(events, "QUIET_S", 0.02)
    hub = Hub(100)
    stream = hub.stream(None)
    assert await anext(stream) == b"event: quiet\ndata: {}\n\n"
    hub.close()
    assert [one async for one in stream] == []
