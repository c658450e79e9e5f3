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
from itertools import pairwise
from pathlib import Path

import pytest
from aiohttp import web

from channel_servers import Discord
from core_samples import strategy, walk
from delivery_samples import CLOSE_MS, VENUE, alert_of, signal, step_of
from mail_server import HOST, Mailbox, mail_server
from relay_rig import Seen
from tapewatch.channels import Channel
from tapewatch.channels.discord import DiscordChannel, DiscordSettings
from tapewatch.channels.email import EmailChannel, EmailSettings
from tapewatch.channels.file import FileChannel
from tapewatch.channels.writer import Writer
from tapewatch.engine import Engine
from tapewatch.live.messages import PRIORITY_SIGNAL
from tapewatch.live.pace import BURSTS
from tapewatch.live.relay import Attempt, Pace, Relay, Rules
from tapewatch.model import BarClosed, Boundary, Judged
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


async def commit(ledger: Ledger, executor: ThreadPoolExecutor, step: Step) -> None:
    """Store a step as the run does, beside the event loop and behind what the relay asks of the ledger."""
    await asyncio.get_running_loop().run_in_executor(executor, ledger.commit_step, step)


class Market:
    """The engine on a symbol of its own that has a signal on each bar and is sent nowhere."""

    def __init__(self) -> None:
        self._engine = Engine(VENUE, [strategy(long={"up": "close > 0"})])
        self._bars = iter(walk(1_000))

    async def stepped_s(self, ledger: Ledger, executor: ThreadPoolExecutor) -> float:
        """How long the next bar takes from the engine into the ledger."""
        bar, started = next(self._bars), time.perf_counter()
        effects = [*self._engine.process(BarClosed(bar, bar.close_ms)), *self._engine.process(Boundary(bar.close_ms))]
        assert any(isinstance(effect, Judged) for effect in effects)
        await commit(ledger, executor, Step(VENUE, effects))
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
    clock, seen, box, market = Clock(), Seen(), Mailbox(), Market()
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
                calm_s = [await market.stepped_s(ledger, executor) for _ in range(150)]
                before_bytes, began_ms = resident_bytes(), clock()
                peak_bytes, stored_ms = 0, dict[str, int]()
                for place in range(0, ALERTS, 10):
                    await commit(ledger, executor, storm(place, 10, names, clock()))
                    stored_ms |= {f"S{one}USDT": clock() for one in range(place, place + 10)}
                    relay.wake()
                    peak_bytes = max(peak_bytes, resident_bytes())
                    await asyncio.sleep(max(0.0, (60_000 * (place + 10) / ALERTS - clock() + began_ms) / SPEED / 1000))
                loaded_s = []
                for _ in range(150):
                    loaded_s.append(await market.stepped_s(ledger, executor))
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
    in_discord = [_named(embed["title"], embed["description"]) for embed in embeds]
    in_mails = list(_of_mails(box))
    _each_once(in_discord)
    _each_once(in_mails)
    compared = [
        _strongest_first(in_discord, [one for one in seen.attempts if one.channel == "discord"], stored_ms),
        _strongest_first(in_mails, [one for one in seen.attempts if one.channel == "mail"], stored_ms),
    ]
    lines = [json.loads(line) for line in (tmp_path / "alerts.jsonl").read_text().splitlines()]
    assert Counter(line["alert_id"] for line in lines).most_common(1)[0][1] == 1
    assert len(lines) == ALERTS
    ratio = statistics.median(loaded_s) / statistics.median(calm_s)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{len(service.came_ms)} to Discord ({len(seen.digests)} digests in all), last after "
            f"{(service.came_ms[-1] - began_ms) / 60_000:.1f} min; {len(box.mails)} mails, all told after "
            f"{(ended_ms - began_ms) / 60_000:.1f} min; {compared} pairs in order; "
            f"a step of the engine beside the storm takes {ratio:.2f} of its time without (medians "
            f"of 150: {statistics.median(calm_s) * 1000:.1f} ms, "
            f"{statistics.median(loaded_s) * 1000:.1f} ms); memory +{(peak_bytes - before_bytes) / 1e6:.0f} MB\n"
        )
    assert peak_bytes - before_bytes < 40e6
    assert ratio < 4
    assert min(compared) > ALERTS


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


def _strongest_first(messages: list[list[str]], attempts: Sequence[Attempt], stored_ms: dict[str, int]) -> int:
    """No message goes before a stronger alert that waits; how often that could be said.

    An alert waited for sure that was stored before the channel's attempt before was over, since it makes one at a time.
    One that failed does not count as waiting, since it lets others go first. What is tried for the first time is as
    strong as its weakest, for a digest is made of the strongest at that moment; what is tried anew as its strongest.
    """
    told = [one for one in attempts if one.outcome == "sent"]
    failed = {one.alert_id for one in attempts if one.outcome != "sent"}
    ended_ms = {one.message_id: before.ended_ms for before, one in pairwise(attempts) if one.outcome == "sent"}
    assert len(told) == len(messages)
    pairs = 0
    for place, (message, attempt) in enumerate(zip(messages, told, strict=True)):
        weakest = min if attempt.number == 1 else max
        floor = weakest(strength(int(symbol[1:-4])) for symbol in message)
        later = (
            symbol
            for following, other in zip(messages[place + 1 :], told[place + 1 :], strict=True)
            if other.number == 1
            for symbol in following
            if stored_ms[symbol] < ended_ms.get(attempt.message_id, 0) and not any(symbol in one for one in failed)
        )
        for symbol in later:
            pairs += 1
            assert strength(int(symbol[1:-4])) <= floor, (place, message, symbol)
    return pairs
