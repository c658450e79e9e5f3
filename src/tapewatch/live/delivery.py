"""What the relay does, told to metrics, health and the operator; decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, get_args

from tapewatch.live.lane import Attempt, RelayObserver
from tapewatch.live.operator import OperatorDesk
from tapewatch.store.records import ChannelCondition
from tapewatch.telemetry.health import Health
from tapewatch.telemetry.metrics import Metrics

_KEY = "channel/"
#: How an attempt can end.
OUTCOMES = ("sent", "failed", "rejected")


class DeliveryWatch(RelayObserver):
    """Takes the reports of a relay.

    Args:
        metrics, health, operator: where they go.
        channels: the names of all channels.
        now_ms: the wall clock.
        on_attempt: told of each attempt too.
    """

    def __init__(
        self,
        metrics: Metrics,
        health: Health,
        operator: OperatorDesk,
        channels: Iterable[str],
        now_ms: Callable[[], int],
        on_attempt: Callable[[Attempt], None],
    ) -> None:
        self._metrics = metrics
        self._health = health
        self._operator = operator
        self._now_ms = now_ms
        self._on_attempt = on_attempt
        self._queued: dict[str, int] = {}
        self._oldest_ms: dict[str, int | None] = {}
        self._states: dict[str, tuple[ChannelCondition, str | None, int]] = {}
        for name in channels:
            self._show(name, "ok")
            for outcome in OUTCOMES:  # there before the first, so that it is seen as a change
                metrics.messages.labels(name, outcome)
            metrics.delivery_seconds.labels(name)
        health.parts["channels"] = self.state
        for trouble in operator.troubles:  # of an earlier run
            if trouble.key.startswith(_KEY) and trouble.key.removeprefix(_KEY) not in self._states:
                operator.over(trouble.key, "It is not configured any more.")

    def ended(self, left: Collection[str]) -> None:
        """Another relay takes over, with these channels; for it all of them stand well until it has tried."""
        self._operator.failing.clear()
        for name in self._states.keys() - set(left):
            for metric in (self._metrics.outbox_queued, self._metrics.outbox_oldest):
                metric.remove(name)
            for one in get_args(ChannelCondition):
                self._metrics.channel_state.remove(name, one)

    def attempted(self, attempt: Attempt) -> None:
        """An attempt ended."""
        self._metrics.messages.labels(attempt.channel, attempt.outcome).inc()
        seconds = max(0, attempt.ended_ms - attempt.started_ms) / 1000
        self._metrics.delivery_seconds.labels(attempt.channel).observe(seconds)
        self._health.attempt(attempt.channel, attempt.outcome)
        if attempt.outcome == "sent":
            self._operator.over(f"{_KEY}{attempt.channel}", "It delivers again.")  # an earlier run may have told
        if attempt.outcome == "rejected":
            self._health.errors.add(self._now_ms())
            self._given_up(attempt)
        self._on_attempt(attempt)

    def _given_up(self, attempt: Attempt) -> None:
        """An alert is lost on its channel, unless somebody sends it again: the others say so."""
        if attempt.kind in ("operator", "test"):  # of these the log tells; else it would go round in circles
            return
        text = f"{attempt.alert_id}: {attempt.error}\nWhat was given up is listed by: tapewatch alerts dead\n"
        text += f"When the cause is mended, send it again by: tapewatch alerts resend {attempt.alert_id}"
        subject = f"Channel {attempt.channel} has refused an alert for good"
        self._operator.alert(f"dead/{attempt.channel}", subject, text, avoid=attempt.channel)

    def state(self) -> dict[str, Any]:
        """As the health document shows it: of each channel its state, why and since when, and how much waits."""
        return {
            name: {"state": state, "reason": reason, "since_ms": since_ms, "queued": self._queued.get(name, 0)}
            for name, (state, reason, since_ms) in sorted(self._states.items())
        }

    def channel(self, name: str, state: ChannelCondition, reason: str | None) -> None:
        """How a channel stands has changed."""
        self._show(name, state, reason)
        key = f"{_KEY}{name}"
        if state == "ok":
            self._operator.failing.discard(name)
            self._operator.over(key, "It delivers again.")
            return
        self._operator.failing.add(name)
        self._health.errors.add(self._now_ms())
        subject = f"Channel {name} is disabled" if state == "disabled" else f"Channel {name} does not deliver"
        after = (
            "It is not used before its configuration is changed, or the next start."
            if state == "disabled"
            else "It is tried again, ever more rarely."
        )
        self._operator.trouble(key, subject, f"{reason}\n{after}")

    def queue(self, channel: str, queued: int, oldest_ms: int | None) -> None:
        """So many messages of a channel wait."""
        self._queued[channel] = queued
        self._oldest_ms[channel] = oldest_ms
        self._health.outbox_queued = sum(self._queued.values())
        self._health.outbox_oldest_ms = min((one for one in self._oldest_ms.values() if one is not None), default=None)
        self._metrics.outbox_queued.labels(channel).set(queued)
        age_s = 0.0 if oldest_ms is None else max(0, self._now_ms() - oldest_ms) / 1000
        self._metrics.outbox_oldest.labels(channel).set(age_s)

    def folded(self, channel: str, members: int) -> None:
        """A digest was made."""
        self._metrics.digests.labels(channel).inc()
        self._metrics.digested.labels(channel).inc(members)

    def superseded(self, channel: str, count: int) -> None:
        """Messages were delivered by another channel."""
        self._metrics.superseded.labels(channel).inc(count)

    def _show(self, name: str, state: ChannelCondition, reason: str | None = None) -> None:
        self._states[name] = state, reason, self._now_ms()
        for one in get_args(ChannelCondition):
            self._metrics.channel_state.labels(name, one).set(one == state)
