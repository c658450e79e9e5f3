"""The messages of one channel: which goes next and when, and what becomes of it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec

from tapewatch.channels.port import Channel, DeliveryError, RejectedError
from tapewatch.errors import EdgeError
from tapewatch.live.digest import MOST, Packing, digest_of
from tapewatch.live.hold import after_failure, after_success, lasting, message_due_ms, rest_ms
from tapewatch.live.pace import MINUTE_MS, Limiter, Pace, Rules
from tapewatch.live.writing import Words, lead_of
from tapewatch.store import ChannelState, Due, Outbox, StoredAlert, Waiting
from tapewatch.store.fallback import Chains
from tapewatch.store.records import ChannelCondition, Marked
from tapewatch.telemetry.log import get_logger

T = TypeVar("T")

_log = get_logger("channels")

#: Alerts whose lines are written before others get their turn.
_SLICE = 25
_STORM = "More was to be told than this channel takes one by one."
_AFTER_QUIET = "They came in its quiet hours."


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What the observer is told of each attempt; `outcome` is sent, failed (tried again later) or rejected.

    `closes_ms` are the closes of the bars it is about, of a digest all.
    """

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
    closes_ms: tuple[int, ...] = ()


class RelayObserver:
    """Is told what the relay does; the methods here do nothing."""

    def attempted(self, attempt: Attempt) -> None:
        """An attempt ended."""

    def channel(self, name: str, state: ChannelCondition, reason: str | None) -> None:
        """A channel is `held` for longer, `disabled`, or `ok` again, which all are at the start."""

    def queue(self, channel: str, queued: int, oldest_ms: int | None) -> None:
        """So many messages of a channel wait, the oldest since then."""

    def folded(self, channel: str, members: int) -> None:
        """A digest of so many alerts was made."""

    def superseded(self, channel: str, count: int) -> None:
        """So many messages of a channel were delivered by another."""


class Stored(Protocol):
    """Calls the ledger in its executor, again while it is in trouble."""

    def __call__(self, call: Callable[..., T], *args: Any, **kwargs: Any) -> Coroutine[Any, Any, T]: ...  # noqa: D102


@dataclass(frozen=True)
class Surroundings:
    """What the lanes of a relay share.

    Attributes:
        outbox: where the messages are.
        stored: runs its calls.
        words: writes messages.
        pace: how often and how long to try.
        chains: channel -> the channels that get what it cannot deliver.
        now_ms: the wall clock.
        passed_ms: a clock that nobody sets.
        observer: is told what happens.
    """

    outbox: Outbox
    stored: Stored
    words: Words
    pace: Pace
    chains: Chains
    now_ms: Callable[[], int]
    passed_ms: Callable[[], int]
    observer: RelayObserver


class Lane:
    """Serves one channel: one message at a time.

    Args:
        channel: the channel.
        rules: its limits, quiet hours and fallbacks.
        shared: see `Surroundings`.
    """

    def __init__(self, channel: Channel, rules: Rules, shared: Surroundings) -> None:
        self.name = channel.name
        self.wake = asyncio.Event()
        self._channel = channel
        self._rules = rules
        self._shared = shared
        self._limiter = Limiter(rules)
        self._state = ChannelState(channel.name)
        self._told: ChannelCondition = "ok"
        self._held_ms = 0  # until then by the clock that nobody sets
        self._quiet_done_ms = 0
        self._looked_ms = 0
        self._clock_ms = math.inf
        self._stopping = asyncio.Event()
        #: Where nothing but the channel itself says when the next message may go, it is claimed as one is marked.
        self._limited = rules.per_minute is not None or rules.burst is not None
        self._unlimited = not self._limited and rules.quiet is None

    async def serve(self, stopping: asyncio.Event) -> None:
        """Deliver until it is to stop."""
        self._stopping = stopping
        self._limiter = Limiter(self._rules, await self._ended(by_hand=False))
        await self._refresh()
        while not stopping.is_set():
            self.wake.clear()  # before looking: what is stored after the look sets it again
            wait_s = await self._turn()
            await self._measure()
            if wait_s > 0:
                try:
                    async with asyncio.timeout(min(wait_s, self._shared.pace.poll_s)):
                        await self.wake.wait()
                except TimeoutError:
                    pass

    async def _ended(self, *, by_hand: bool) -> list[int]:
        """When attempts of the last minute were over that the ledger knows of, by the clock that nobody sets."""
        shared, now_ms = self._shared, self._shared.now_ms()
        ended = await shared.stored(shared.outbox.attempts_since, self.name, now_ms - MINUTE_MS, by_hand=by_hand)
        passed_ms = shared.passed_ms()  # of an attempt in the future, after the clock was set back, as if it were now
        return [passed_ms - max(0, now_ms - one_ms) for one_ms in ended]

    async def _turn(self) -> float:
        """Do one thing; seconds until there may be another, 0 for at once."""
        shared = self._shared
        if self._state.state == "disabled":
            await self._refresh()  # `alerts resend` may have changed that
        if self._state.state == "disabled":
            while await self._pass_on():
                pass
            await shared.stored(shared.outbox.give_up, self.name, f"channel is disabled: {self._state.reason}")
            return shared.pace.poll_s
        now_ms = shared.now_ms()
        if now_ms < self._clock_ms:  # the first look, or the clock was set back
            seen = self._clock_ms != math.inf
            await shared.stored(shared.outbox.clock_set_back, self.name, now_ms, seen=seen)
        self._clock_ms = now_ms
        if (held_ms := self._held_ms - shared.passed_ms()) > 0:
            if lasting(self._state, shared.pace) and any(shared.chains.values()):
                while await self._pass_on():
                    pass
            return held_ms / 1000
        chosen = await self._choose(now_ms)
        if isinstance(chosen, str):
            await self._deliver(chosen)
            return 0.0
        return chosen

    async def _choose(self, now_ms: int) -> str | float:
        """The message to send now, or how many seconds to wait."""
        quiet, poll_s = self._rules.quiet, self._shared.pace.poll_s
        silent = quiet is not None and quiet.until(now_ms) is not None
        if quiet is not None and not silent and (hours := quiet.last(now_ms)) is not None:
            await self._fold_quiet(hours, now_ms)
        first = await self._first(now_ms, ("operator",) if silent else ())
        if first is None:
            return poll_s
        passed_ms, tests = self._shared.passed_ms(), await self._ended(by_hand=True) if self._limited else []
        free_ms = self._limiter.free_ms(passed_ms, tests)
        if free_ms > passed_ms:
            return (free_ms - passed_ms) / 1000
        if silent or first.kind == "digest" or not await self._storm(now_ms):
            return first.message_id
        if self._limiter.singles_left(passed_ms):
            return first.message_id
        if (digest_ms := self._limiter.digest_ms()) > passed_ms:
            return (digest_ms - passed_ms) / 1000
        return await self._fold(now_ms, _STORM, operators=first.kind == "operator") or first.message_id

    async def _first(self, now_ms: int, kinds: tuple[Any, ...]) -> Waiting | None:
        shared = self._shared
        found = await shared.stored(shared.outbox.waiting, self.name, now_ms, 1, kinds=kinds)
        return found[0] if found else None

    async def _storm(self, now_ms: int) -> bool:
        """Whether more is due than goes out soon."""
        soon = self._limiter.soon(self._shared.passed_ms())
        if soon is None:
            return False
        most = max(1, soon) + 1
        return await self._shared.stored(self._shared.outbox.due_count, self.name, now_ms, most) == most

    async def _fold_quiet(self, hours: tuple[int, int], now_ms: int) -> None:
        """Put into digests what came in the quiet hours that are over."""
        if hours[1] != self._quiet_done_ms:
            while await self._fold(now_ms, _AFTER_QUIET, created=hours) is not None:
                pass
            self._quiet_done_ms = hours[1]

    async def _fold(
        self, now_ms: int, why: str, *, operators: bool = False, created: tuple[int, int] | None = None
    ) -> str | None:
        """Make a digest of the first that are due, as many as it has room for; its message's id, None for under two."""
        shared = self._shared
        which: dict[str, Any] = {"kinds": ("operator",)} if operators else {"but": ("operator", "digest")}
        while True:
            due = await shared.stored(
                shared.outbox.waiting, self.name, now_ms, MOST, foldable=True, created=created, **which
            )
            alerts = await self._fitting(due, why)
            if len(alerts) < 2:
                return None
            members = due[: len(alerts)]
            digest, message = digest_of(self.name, members, why, now_ms)
            ids = [one.message_id for one in members]
            if await shared.stored(shared.outbox.fold, digest, message, ids):
                _log.info("digest", channel=self.name, alert_id=digest.alert_id, members=len(ids), why=why)
                shared.observer.folded(self.name, len(ids))
                return message.message_id

    async def _fitting(self, due: list[Waiting], why: str) -> list[StoredAlert]:
        """The alerts of as many of the first of these as fit into one message of the channel."""
        shared, packing, alerts = self._shared, Packing(self._channel.room), list[StoredAlert]()
        for start in range(0, len(due), _SLICE):
            ids = [one.alert_id for one in due[start : start + _SLICE]]
            for alert in await shared.stored(shared.outbox.stored, ids):
                if not packing.add(shared.words.line(alert, self._channel.style)):
                    return shared.words.fitting(alerts, self._channel, why)
                alerts.append(alert)
        return shared.words.fitting(alerts, self._channel, why)

    async def _deliver(self, message_id: str) -> None:
        """Deliver a message, and those after it that may go at once."""
        shared = self._shared
        started_ms = shared.now_ms()
        due = await shared.stored(shared.outbox.take, message_id, started_ms)
        while due is not None:
            began_ms = shared.passed_ms()
            error, rest_s = await self._attempt(due, started_ms)
            ended_ms = shared.now_ms()
            self._limiter.add(began_ms, shared.passed_ms(), digest=bool(due.members))
            if error is None:
                superseded, following = await self._sent(due, started_ms, ended_ms, rest_s)
            else:
                superseded, following = await self._failed(due, ended_ms, error), None
            self._report(due, started_ms, ended_ms, error)
            for channel, count in superseded.items():
                shared.observer.superseded(channel, count)
            due, started_ms = following, ended_ms
            if due is not None:
                await self._measure()

    async def _sent(self, due: Due, started_ms: int, ended_ms: int, rest_s: float | None) -> Marked:
        shared = self._shared
        change = self._become(after_success(self._state, rest_s, ended_ms))
        return await shared.stored(
            shared.outbox.mark_sent,
            due.message.message_id,
            ended_ms,
            late=shared.words.past_use(due, started_ms),
            channel=change,
            go_on=self._unlimited and self._state.state == "ok" and not self._stopping.is_set(),
        )

    async def _failed(self, due: Due, ended_ms: int, error: DeliveryError) -> Mapping[str, int]:
        shared, failures = self._shared, due.failures + 1
        change = self._become(after_failure(self._state, error, ended_ms, shared.pace))
        rejected = isinstance(error, RejectedError)
        next_ms = None if rejected else message_due_ms(failures, error, self._state, ended_ms, shared.pace)
        return await shared.stored(
            shared.outbox.mark_failed,
            due.message.message_id,
            ended_ms,
            str(error),
            next_ms=next_ms,
            delivered_to=list(dict.fromkeys(due.delivered_to + error.delivered_to)),
            maybe_delivered=error.maybe_delivered,
            channel=change,
            chains=shared.chains if rejected or failures >= shared.pace.quick_attempts else None,
        )

    async def _attempt(self, due: Due, started_ms: int) -> tuple[DeliveryError | None, float | None]:
        """What went wrong, and for how long the other side wants to be left alone."""
        limit_s, written = self._shared.pace.send_limit_s, False
        try:
            async with asyncio.timeout(limit_s):
                # In a thread, since a template of the user's may take its time, and a picture does.
                outgoing = await asyncio.to_thread(self._shared.words.outgoing, due, self._channel, started_ms)
                written = True
                return None, await self._channel.send(outgoing)
        except DeliveryError as error:
            return error, None
        except EdgeError as error:
            return DeliveryError(str(error), retry_after_s=error.retry_after_s), None
        except TimeoutError:
            text = f"{'no answer' if written else 'not written'} within {limit_s:g} s"
            return DeliveryError(text, maybe_delivered=written, whole_channel=written), None
        except Exception as error:  # one message that cannot be written must not stop the others, at every start anew
            _log.exception("message_broken", message_id=due.message.message_id, channel=self.name)
            return RejectedError(f"cannot be written or sent: {type(error).__name__}"), None

    async def _pass_on(self) -> int:
        """Put some of what waits to other channels; how many were looked at."""
        shared = self._shared
        return await shared.stored(shared.outbox.pass_on, self.name, shared.chains)

    async def _refresh(self) -> None:
        """How the channel stands by the ledger."""
        shared = self._shared
        states = await shared.stored(shared.outbox.channel_states)
        self._become(states.get(self.name, ChannelState(self.name)))

    def _become(self, state: ChannelState) -> ChannelState | None:
        """The channel stands like this now; the state where that is another than before."""
        changed = state != self._state
        if changed:
            self._held_ms = self._shared.passed_ms() + rest_ms(state, self._shared.now_ms())
        self._state = state
        told: ChannelCondition = state.state if lasting(state, self._shared.pace) else "ok"
        if told == "ok" and state.failures:
            told = self._told  # not over before it works again
        if told != self._told:
            self._told = told
            (_log.info if told == "ok" else _log.warning)(
                "channel_state", channel=self.name, state=told, until_ms=state.until_ms, reason=state.reason
            )
            self._shared.observer.channel(self.name, told, state.reason)
        return state if changed else None

    async def _measure(self) -> None:
        """Tell how much waits, at most once a second."""
        shared, now_ms = self._shared, self._shared.now_ms()
        if not 0 <= now_ms - self._looked_ms < 1_000:
            self._looked_ms = now_ms
            shared.observer.queue(self.name, *await shared.stored(shared.outbox.depth, self.name))

    def _report(self, due: Due, started_ms: int, ended_ms: int, error: DeliveryError | None) -> None:
        message = due.message
        attempt = Attempt(
            message_id=message.message_id,
            alert_id=message.alert_id,
            channel=message.channel,
            kind=message.kind,
            number=due.attempts + 1,
            started_ms=started_ms,
            ended_ms=ended_ms,
            outcome="sent" if error is None else "rejected" if isinstance(error, RejectedError) else "failed",
            late=self._shared.words.late(due, started_ms) is not None,
            error=None if error is None else str(error),
            closes_ms=tuple(one.signals[0].close_ms for one in (due.alert, *due.members) if one.signals),
        )
        about = {"symbol": lead.symbol, "trace_id": lead.trace_id} if (lead := lead_of(due)) else {}
        traces = [signal.trace_id for one in (due.alert, *due.members) for signal in one.signals]
        several = {"members": len(due.members)} if due.members else {}
        fields = msgspec.structs.asdict(attempt) | about | several | ({"trace_ids": traces} if len(traces) > 1 else {})
        del fields["closes_ms"]
        (_log.info if error is None else _log.warning)("delivery", **fields)
        self._shared.observer.attempted(attempt)
