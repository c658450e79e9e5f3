"""A thousand signals in a minute, with Discord at 30 a minute and no mail for ten: over real sockets, time sped up."""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC
from pathlib import Path

import pytest
from aiohttp import web

from channel_servers import Discord
from delivery_samples import CLOSE_MS, VENUE, alert_of, signal, step_of
from mail_server import HOST, Mailbox, mail_server
from relay_rig import Seen
from tapewatch.channels import Channel
from tapewatch.channels.discord import DiscordChannel, DiscordSettings
from tapewatch.channels.email import EmailChannel, EmailSettings
from tapewatch.channels.file import FileChannel
from tapewatch.channels.writer import Writer
from tapewatch.live.messages import PRIORITY_SIGNAL
from tapewatch.live.pace import BURSTS
from tapewatch.live.relay import Pace, Relay, Rules
from tapewatch.store import Ledger, Message, Step

#: Seconds of the relay's clock in a second.
SPEED = 30
ALERTS = 1_000
PACE = Pace(poll_s=0.01, useful_s=1e9)
SYMBOL = re.compile(r"S\d+USDT")


class Clock:
    """A wall clock that goes faster."""

    def __init__(self) -> None:
        self._started_s = time.monotonic()

    def __call__(self) -> int:
        """Milliseconds."""
        return CLOSE_MS + round((time.monotonic() - self._started_s) * SPEED * 1000)


class Counting(Discord):
    """Discord, which notes when each request came."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(burst=30, window_s=60 / SPEED)
        self.clock = clock
        self.came_ms: list[int] = []

    async def usual(self, request: web.Request, body: bytes) -> web.StreamResponse:
        """As ever."""
        self.came_ms.append(self.clock())
        return await super().usual(request, body)


def strength(place: int) -> float:
    """Of the alert at a place: all different, in no order."""
    return place * 617 % ALERTS / 100


def storm(first: int, count: int, channels: Sequence[str], now_ms: int) -> Step:
    """A step of so many alerts."""
    places = range(first, first + count)
    alerts = [alert_of(signal(f"S{place}USDT", strength=strength(place))) for place in places]
    messages = [
        Message(alert.alert_id, name, now_ms, "signal", PRIORITY_SIGNAL, False, alert.signals[0].strength)
        for alert in alerts
        for name in channels
    ]
    return Step(VENUE, step_of(*alerts, channels=()).effects, messages)


async def committed_s(ledger: Ledger, executor: ThreadPoolExecutor, step: Step) -> float:
    """How long the engine would wait for a step."""
    started = time.perf_counter()
    await asyncio.get_running_loop().run_in_executor(executor, ledger.commit_step, step)
    return time.perf_counter() - started


@asynccontextmanager
async def relaying(
    ledger: Ledger, channels: Sequence[Channel], executor: ThreadPoolExecutor, clock: Clock, seen: Seen
) -> AsyncIterator[Relay]:
    """A relay with limits as the configuration has them by default."""
    rules = {
        "discord": Rules(per_minute=30, burst=BURSTS["discord"]),
        "mail": Rules(per_minute=30),
    }
    relay = Relay(
        ledger.outbox,
        channels,
        executor,
        writer=Writer(UTC),
        now_ms=clock,
        passed_ms=clock,
        pace=PACE,
        rules=rules,
        observer=seen,
    )
    task = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        relay.stop()
        await task


def resident_bytes() -> int:
    """What this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def broken(times: Sequence[int], most: int, window_ms: int) -> list[int]:
    """Where there were more than allowed in a window."""
    return [last - first for first, last in zip(times, times[most:], strict=False) if last - first < window_ms]


@pytest.mark.slow
@pytest.mark.alone
async def test_a_storm_is_told_whole_within_every_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each alert once on each channel, the strongest first; no limit broken by the server's times; memory flat."""
    clock, seen, box = Clock(), Seen(), Mailbox()
    ledger = Ledger.open(f"sqlite:///{tmp_path}/tape.db")
    service = Counting(clock)
    with ThreadPoolExecutor(1) as executor:
        async with service.running() as url, mail_server(Mailbox()) as port:
            pass
        async with service.running() as url:
            mail = EmailSettings(HOST, port, "none", "tape@example.com", ("ann@example.com",), timeout_s=2)
            channels: list[Channel] = [
                DiscordChannel("discord", DiscordSettings(f"{url}{service.path}")),
                EmailChannel("mail", mail),
                FileChannel("file", tmp_path / "alerts.jsonl"),
            ]
            names = [channel.name for channel in channels]
            async with relaying(ledger, channels, executor, clock, seen) as relay:
                calm_s = [
                    await committed_s(ledger, executor, storm(ALERTS + place, 1, (), clock())) for place in range(150)
                ]
                before_bytes, began_ms = resident_bytes(), clock()
                stormy_s, peak_bytes = [], 0
                for place in range(0, ALERTS, 10):
                    stormy_s.append(await committed_s(ledger, executor, storm(place, 10, names, clock())))
                    relay.wake()
                    peak_bytes = max(peak_bytes, resident_bytes())
                    await asyncio.sleep(max(0.0, (60_000 * (place + 10) / ALERTS - clock() + began_ms) / SPEED / 1000))
                loaded_s = []
                for place in range(150):
                    loaded_s.append(await committed_s(ledger, executor, storm(2 * ALERTS + place, 1, (), clock())))
                    peak_bytes = max(peak_bytes, resident_bytes())
                    await asyncio.sleep(0.01)
                await asyncio.sleep(max(0.0, (began_ms + 600_000 - clock()) / SPEED / 1000))
                assert box.mails == []
                async with mail_server(box, port=port):
                    assert await relay.drained(60), (ledger.outbox.counts(), ledger.outbox.channel_states(), clock())
                    ended_ms = clock()
    told = ledger.outbox.counts()
    ledger.close()

    assert service.limited == 0
    assert broken(service.came_ms, 30, 60_000) == []
    assert broken(service.came_ms, 5, 2_000) == []
    assert set(told) == set(names)
    assert all(set(states) <= {"sent", "digested"} for states in told.values())
    embeds = [embed for message in service.messages for embed in message["embeds"]]
    _each_once([_named(embed["title"], embed["description"]) for embed in embeds])
    _each_once(list(_of_mails(box)))
    lines = [json.loads(line) for line in (tmp_path / "alerts.jsonl").read_text().splitlines()]
    assert Counter(line["alert_id"] for line in lines).most_common(1)[0][1] == 1
    assert len(lines) == ALERTS
    ratio = statistics.median(loaded_s) / statistics.median(calm_s)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{len(service.came_ms)} to Discord ({len(seen.digests)} digests in all), last after "
            f"{(service.came_ms[-1] - began_ms) / 60_000:.1f} min; {len(box.mails)} mails, all told after "
            f"{(ended_ms - began_ms) / 60_000:.1f} min; a step's commit beside the storm {ratio:.2f} of its time "
            f"without (medians of 150: {statistics.median(calm_s) * 1000:.1f} ms, "
            f"{statistics.median(loaded_s) * 1000:.1f} ms); memory +{(peak_bytes - before_bytes) / 1e6:.0f} MB\n"
        )
    assert peak_bytes - before_bytes < 40e6
    assert ratio < 4


def _named(subject: str, body: str) -> list[str]:
    """The symbols of a digest, or the one that a message is about."""
    named = SYMBOL.findall(body)
    return named if re.match(r"\d+ alerts", subject) else named[:1]


def _of_mails(box: Mailbox) -> Iterator[list[str]]:
    for mail in box.mails:
        body = mail.get_body(("plain",))
        assert body is not None
        yield _named(mail["Subject"], body.get_content())


def _each_once(messages: list[list[str]]) -> None:
    """Every alert is in one of the messages, and each digest names its own from the strongest on."""
    told = [symbol for message in messages for symbol in message]
    assert Counter(told) == Counter(f"S{place}USDT" for place in range(ALERTS))
    for message in messages:
        strengths = [strength(int(symbol[1:-4])) for symbol in message]
        assert strengths == sorted(strengths, reverse=True)
