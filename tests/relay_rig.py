"""A relay with scripted channels and a clock that tests move."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any
from zoneinfo import ZoneInfo

from delivery_samples import CLOSE_MS
from tapewatch.channels import Outgoing
from tapewatch.channels.port import Style
from tapewatch.channels.writer import Writer
from tapewatch.live.relay import Attempt, Pace, Relay, RelayObserver, Rules
from tapewatch.store import Ledger

BERLIN = ZoneInfo("Europe/Berlin")
QUICK = Pace(
    quick_gap_s=0.01,
    backoff_s=0.02,
    backoff_cap_s=0.05,
    poll_s=0.01,
    store_retry_s=0.02,
    store_retry_cap_s=0.05,
    finish_s=2,
)


#: What a scripted channel does with a message.
Entry = Exception | Callable[[], Coroutine[Any, Any, None]] | float | None


class Scripted:
    """A channel that follows a script: each entry is raised, awaited or, when it is None or a pause, a delivery."""

    def __init__(self, name: str, *script: Entry) -> None:
        self.name = name
        self.style: Style = "html"
        self.room: int | None = None
        self.script = list(script)
        self.seen: list[Outgoing] = []
        self.taken: list[str] = []

    async def send(self, outgoing: Outgoing) -> float | None:
        """Follow the script's next entry."""
        self.seen.append(outgoing)
        entry = self.script.pop(0) if self.script else None
        if isinstance(entry, float):
            self.taken.append(outgoing.message_id)
            return entry
        if isinstance(entry, Exception):
            raise entry
        if entry is not None:
            await entry()
        self.taken.append(outgoing.message_id)
        return None


class Clock:
    """A wall clock that tests move; they let time pass by its `now_ms`, and put it by `put`."""

    def __init__(self) -> None:
        self.now_ms = CLOSE_MS
        self._put_ms = 0

    def __call__(self) -> int:
        """The time; each look is a millisecond later than the last."""
        self.now_ms += 1
        return self.now_ms

    def put(self, by_ms: int) -> None:
        """Somebody sets it, forward or back; no time passes."""
        self.now_ms += by_ms
        self._put_ms += by_ms

    def passed(self) -> int:
        """The time by a clock that nobody sets."""
        return self() - self._put_ms


class Seen(RelayObserver):
    """What a relay reports."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.channels: list[tuple[str, str]] = []
        self.digests: list[int] = []
        self.supersedes: Counter[str] = Counter()
        self.queued: dict[str, int] = {}

    def attempted(self, attempt: Attempt) -> None:
        """Keep it."""
        self.attempts.append(attempt)

    def channel(self, name: str, state: str, reason: str | None) -> None:
        """Keep it."""
        assert (reason is None) == (state == "ok")
        self.channels.append((name, state))

    def folded(self, channel: str, members: int) -> None:
        """Keep it."""
        self.digests.append(members)

    def superseded(self, channel: str, count: int) -> None:
        """Count it."""
        self.supersedes[channel] += count

    def queue(self, channel: str, queued: int, oldest_ms: int | None) -> None:
        """Keep the last."""
        assert (oldest_ms is None) == (queued == 0)
        self.queued[channel] = queued


@asynccontextmanager
async def relaying(
    ledger: Ledger,
    *channels: Scripted,
    pace: Pace = QUICK,
    clock: Callable[[], int] | None = None,
    rules: Mapping[str, Rules] | None = None,
    seen: Seen | None = None,
    writer: Writer | None = None,
) -> AsyncIterator[tuple[Relay, list[Attempt]]]:
    """A relay at work, and the attempts it reports."""
    seen, clock = seen or Seen(), clock or Clock()
    passed = clock.passed if isinstance(clock, Clock) else clock
    with ThreadPoolExecutor(1) as executor:
        relay = Relay(
            ledger.outbox, channels, executor, writer=writer or Writer(BERLIN, pictures=True),
            now_ms=clock, passed_ms=passed, pace=pace, rules=rules, observer=seen,
        )  # fmt: skip
        task = asyncio.create_task(relay.run())
        try:
            yield relay, seen.attempts
        finally:
            relay.stop()
            await task


async def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds."""
    while not condition():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.01)


def states(ledger: Ledger) -> dict[str, str]:
    """The state of each message by symbol and channel."""
    found = (message for alert in ledger.alerts() for message in alert["messages"])
    return {message["message_id"].split("/")[1] + "@" + message["channel"]: message["state"] for message in found}
