"""The relay: takes messages from the outbox and delivers each through its channel, once.

A message is marked as being sent, committed, before its channel sees it; what a crash leaves in that state is sent
again as a possible repeat. Channels are served by tasks of their own, so one that hangs delays no other.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from datetime import tzinfo
from typing import ParamSpec, TypeVar

import msgspec

from tapewatch.channels.port import Channel, DeliveryError, Outgoing, RejectedError
from tapewatch.channels.render import Rendered, render_notice, render_signals
from tapewatch.channels.routing import Route, channels_for
from tapewatch.errors import EdgeError, StoreError
from tapewatch.model import Alert, Signal
from tapewatch.store import Due, Message, Notice, Outbox
from tapewatch.telemetry.log import get_logger

P = ParamSpec("P")
T = TypeVar("T")

_log = get_logger("channels")


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how long the relay tries; seconds of the wall clock.

    A message is tried `quick_attempts` times `quick_gap_s` apart, then after waits that double from `backoff_s` up to
    `backoff_cap_s`, each with a jitter. One that waited longer than `useful_s` is delivered as late. `poll_s` is how
    often an idle channel looks for messages it was not told of; `send_limit_s` ends an attempt that hangs;
    `finish_s` is how long a stop waits for attempts under way; `store_retry_s` and its cap pace a ledger in trouble.
    """

    quick_attempts: int = 3
    quick_gap_s: float = 5.0
    backoff_s: float = 30.0
    backoff_cap_s: float = 900.0
    useful_s: float = 300.0
    poll_s: float = 1.0
    send_limit_s: float = 120.0
    finish_s: float = 15.0
    store_retry_s: float = 0.5
    store_retry_cap_s: float = 30.0


#: Of the messages due on a channel the lowest goes first.
PRIORITY_SIGNAL, PRIORITY_BOOK, PRIORITY_OPERATOR, PRIORITY_LATE = 0, 5, 10, 20
#: Kinds that are of use for a while only.
_TIMELY = frozenset({"signal", "entry", "partial", "exit", "paused", "resumed", "follow_up"})


def messages_for(alert: Alert, routes: Sequence[Route], now_ms: int, *, possible_repeat: bool = False) -> list[Message]:
    """The messages an alert becomes: one for each channel its routes name."""
    priority = PRIORITY_LATE if alert.late else PRIORITY_SIGNAL
    channels = channels_for(alert.signals, routes)
    return [Message(alert.alert_id, channel, now_ms, "signal", priority, possible_repeat) for channel in channels]


def messages_of_notice(
    notice: Notice, channels: Sequence[str], now_ms: int, *, possible_repeat: bool = False
) -> list[Message]:
    """The messages an alert in words becomes: one for each of these channels."""
    priority = PRIORITY_OPERATOR if notice.kind == "operator" else PRIORITY_LATE if notice.late else PRIORITY_BOOK
    names = dict.fromkeys(channels)
    return [Message(notice.alert_id, name, now_ms, notice.kind, priority, possible_repeat) for name in names]


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What the observer is told of each attempt; `outcome` is sent, failed (tried again later) or rejected."""

    message_id: str
    alert_id: str
    channel: str
    kind: str
    number: int
    started_ms: int
    ended_ms: int
    outcome: str
    late: bool
    error: str | None


class Relay:
    """Delivers the messages of one outbox.

    Args:
        outbox: where the messages are; used in `executor` only.
        channels: the channels; messages for others stay queued.
        executor: runs the ledger's calls, one at a time.
        zone: the user's time zone.
        now_ms: the wall clock.
        pace: how often and how long to try.
        observer: called after each attempt.
    """

    def __init__(
        self,
        outbox: Outbox,
        channels: Sequence[Channel],
        executor: Executor,
        *,
        zone: tzinfo,
        now_ms: Callable[[], int],
        pace: Pace | None = None,
        observer: Callable[[Attempt], None] = lambda _attempt: None,
    ) -> None:
        self._outbox = outbox
        self._wakes = {channel.name: asyncio.Event() for channel in channels}
        self._channels = channels
        self._executor = executor
        self._zone = zone
        self._now_ms = now_ms
        self._pace = pace or Pace()
        self._observer = observer
        self._stopping = asyncio.Event()
        self._progress = asyncio.Event()

    async def run(self) -> None:
        """Deliver until `stop`; then finish what is under way, for at most `finish_s`."""
        recovered = await self._stored(self._outbox.recover, self._now_ms())
        if recovered:
            _log.warning("messages_recovered", count=recovered)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._serve(channel)) for channel in self._channels]
            await self._stopping.wait()
            if tasks:
                await asyncio.wait(tasks, timeout=self._pace.finish_s)
            for task in tasks:
                task.cancel()

    def wake(self) -> None:
        """Tell the relay that messages were stored, so that it does not find them at its next look only."""
        for wake in self._wakes.values():
            wake.set()

    def stop(self) -> None:
        """Take no further message; `run` returns soon."""
        self._stopping.set()
        self.wake()

    async def drained(self, within_s: float) -> bool:
        """Whether every message of its channels was delivered or given up before `within_s` have passed."""
        try:
            async with asyncio.timeout(within_s):
                self._progress.clear()
                while await self._waiting():
                    await self._progress.wait()
                    self._progress.clear()
        except TimeoutError:
            return False
        return True

    async def _waiting(self) -> int:
        counts = await self._stored(self._outbox.counts)
        states = (counts.get(name, {}) for name in self._wakes)
        return sum(state.get("queued", 0) + state.get("sending", 0) for state in states)

    async def _serve(self, channel: Channel) -> None:
        wake = self._wakes[channel.name]
        while not self._stopping.is_set():
            wake.clear()  # before looking: what is stored after the look sets it again
            due = await self._stored(self._outbox.due_messages, channel.name, self._now_ms(), 1)
            if due:
                await self._deliver(channel, due[0])
                continue
            try:
                async with asyncio.timeout(self._pace.poll_s):
                    await wake.wait()
            except TimeoutError:
                pass

    async def _deliver(self, channel: Channel, due: Due) -> None:
        started_ms = self._now_ms()
        message_id = due.message.message_id
        if not await self._stored(self._outbox.mark_sending, message_id, started_ms):
            return
        late = self._late(due, started_ms)
        error = await self._attempt(channel, due, started_ms, late)
        ended_ms = self._now_ms()
        if error is None:
            past_use = self._past_use(due, started_ms)
            await self._stored(self._outbox.mark_sent, message_id, ended_ms, late=past_use)
        else:
            next_ms = None if isinstance(error, RejectedError) else ended_ms + self._delay_ms(due.failures + 1, error)
            await self._stored(
                self._outbox.mark_failed,
                message_id,
                ended_ms,
                str(error),
                next_ms=next_ms,
                delivered_to=list(dict.fromkeys(due.delivered_to + error.delivered_to)),
                maybe_delivered=error.maybe_delivered,
            )
        self._report(due, started_ms, ended_ms, error, late=late is not None)

    async def _attempt(self, channel: Channel, due: Due, started_ms: int, late: str | None) -> DeliveryError | None:
        try:
            async with asyncio.timeout(self._pace.send_limit_s):
                await channel.send(self._outgoing(due, started_ms, late))
        except DeliveryError as error:
            return error
        except EdgeError as error:
            return DeliveryError(str(error), retry_after_s=error.retry_after_s)
        except TimeoutError:
            return DeliveryError(f"no answer within {self._pace.send_limit_s:g} s", maybe_delivered=True)
        except Exception as error:  # one message that cannot be written must not stop the others, at every start anew
            _log.exception("message_broken", message_id=due.message.message_id, channel=channel.name)
            return RejectedError(f"cannot be written or sent: {type(error).__name__}")
        return None

    def _outgoing(self, due: Due, started_ms: int, late: str | None) -> Outgoing:
        rendered, alert = self._rendered(due, late), due.alert
        return Outgoing(
            message_id=due.message.message_id,
            alert_id=alert.alert_id,
            kind=alert.kind,
            subject=rendered.subject,
            text=rendered.text,
            html=rendered.html,
            signal=msgspec.json.decode(msgspec.json.encode(_lead(due))),
            created_ms=due.message.created_ms,
            sent_ms=started_ms,
            possible_repeat=due.possible_repeat,
            late=late is not None or alert.late,
            delivered_to=due.delivered_to,
        )

    def _rendered(self, due: Due, late: str | None) -> Rendered:
        alert = due.alert
        if alert.signals:
            return render_signals(alert.signals, self._zone, late=late, repeat=due.possible_repeat)
        return render_notice(alert.subject or "", alert.text or "", late=late, repeat=due.possible_repeat)

    def _past_use(self, due: Due, now_ms: int) -> bool:
        return due.message.kind in _TIMELY and now_ms - due.message.created_ms > self._pace.useful_s * 1000

    def _late(self, due: Due, now_ms: int) -> str | None:
        if self._past_use(due, now_ms):
            minutes = (now_ms - due.message.created_ms) / 60_000
            return f"this alert waited {minutes:.0f} min before it could be delivered."
        return "the candle it is about arrived late." if due.alert.late and due.alert.signals else None

    def _delay_ms(self, failures: int, error: DeliveryError) -> int:
        pace = self._pace
        if failures < pace.quick_attempts:
            delay_s = pace.quick_gap_s
        else:
            doubled_s = pace.backoff_s * 2 ** min(failures - pace.quick_attempts, 30)
            delay_s = min(doubled_s, pace.backoff_cap_s) * random.uniform(0.75, 1.0)
        return round(max(delay_s, error.retry_after_s or 0.0) * 1000)

    async def _stored(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a ledger's call, tried again while the ledger is in trouble."""
        delay_s = self._pace.store_retry_s
        while True:
            try:
                return await asyncio.get_running_loop().run_in_executor(self._executor, lambda: call(*args, **kwargs))
            except StoreError as error:
                _log.error("ledger_trouble", error=str(error), retry_s=delay_s)
            await asyncio.sleep(delay_s * random.uniform(0.75, 1.0))
            delay_s = min(delay_s * 2, self._pace.store_retry_cap_s)

    def _report(self, due: Due, started_ms: int, ended_ms: int, error: DeliveryError | None, *, late: bool) -> None:
        attempt = Attempt(
            message_id=due.message.message_id,
            alert_id=due.message.alert_id,
            channel=due.message.channel,
            kind=due.message.kind,
            number=due.attempts + 1,
            started_ms=started_ms,
            ended_ms=ended_ms,
            outcome="sent" if error is None else "rejected" if isinstance(error, RejectedError) else "failed",
            late=late,
            error=None if error is None else str(error),
        )
        about = {"symbol": lead.symbol, "trace_id": lead.trace_id} if (lead := _lead(due)) else {}
        (_log.info if error is None else _log.warning)("delivery", **msgspec.structs.asdict(attempt), **about)
        self._observer(attempt)
        self._progress.set()


def _lead(due: Due) -> Signal | None:
    return due.alert.signals[0] if due.alert.signals else None
