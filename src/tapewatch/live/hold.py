"""When to try again: a message after its failures, a channel after trouble of the whole of it."""

from __future__ import annotations

import math
import random

from tapewatch.channels.port import DeliveryError
from tapewatch.live.pace import Pace
from tapewatch.store import ChannelState

#: No peer is left alone for longer than this, whatever it asks for.
LONGEST_S = 86_400.0
#: A message that met trouble of its channel several times lets another one be tried first.
STEP_ASIDE_MS = 1_000


def delay_ms(failures: int, pace: Pace, asked_s: float | None = None) -> int:
    """How long to wait after so many failures in a row, with what the other side asked for, in milliseconds."""
    asked_s = min(asked_s, LONGEST_S) if asked_s is not None and asked_s >= 0 else None
    if failures < pace.quick_attempts:
        return math.ceil((pace.quick_gap_s if asked_s is None else asked_s) * 1000)
    doubled_s = pace.backoff_s * 2 ** min(failures - pace.quick_attempts, 30)
    delay_s: float = min(doubled_s, pace.backoff_cap_s) * random.uniform(0.75, 1.0)
    return math.ceil(max(delay_s, asked_s or 0.0) * 1000)


def after_failure(state: ChannelState, error: DeliveryError, now_ms: int, pace: Pace) -> ChannelState:
    """How a channel stands after an attempt failed: disabled, held, or working where only the message was at fault."""
    if error.disable:
        return ChannelState(state.channel, "disabled", 0, state.failures + 1, str(error), now_ms)
    if error.whole_channel or error.retry_after_s is not None:
        failures = state.failures + 1
        until_ms = now_ms + delay_ms(failures, pace, error.retry_after_s)
        return ChannelState(state.channel, "held", until_ms, failures, str(error), now_ms)
    return after_success(state, None, now_ms)


def after_success(state: ChannelState, rest_s: float | None, now_ms: int) -> ChannelState:
    """How a channel stands after it delivered; `rest_s` is how long the other side wants to be left alone now."""
    if rest_s is not None and rest_s > 0:
        until_ms = now_ms + math.ceil(min(rest_s, LONGEST_S) * 1000)
        return ChannelState(state.channel, "held", until_ms, 0, "it asked for a pause", now_ms)
    if state.state == "ok" and not state.failures:
        return state
    return ChannelState(state.channel, changed_ms=now_ms)


def lasting(state: ChannelState, pace: Pace) -> bool:
    """Whether a channel is in more than passing trouble, so that others take its messages and the operator is told."""
    passing_ms = pace.quick_attempts * pace.quick_gap_s * 1000
    held_ms = state.until_ms - state.changed_ms
    return state.state == "disabled" or (
        state.state == "held" and (state.failures >= pace.quick_attempts or held_ms > passing_ms)
    )


def rest_ms(state: ChannelState, now_ms: int) -> int:
    """For how long a channel is still left alone; not for longer than it was to be, though the clock was set back."""
    return max(0, state.until_ms - max(now_ms, state.changed_ms))


def message_due_ms(failures: int, error: DeliveryError, channel: ChannelState, now_ms: int, pace: Pace) -> int:
    """When a message is tried again that now failed so many times.

    One that its channel's trouble stopped waits for the channel; after several times it lets others go first, for it
    may be what makes the other side fail.
    """
    if error.retry_after_s is not None:
        return max(channel.until_ms, now_ms)
    if not error.whole_channel:
        return now_ms + delay_ms(failures, pace)
    aside_ms = STEP_ASIDE_MS if failures >= pace.quick_attempts else 0
    return max(channel.until_ms + aside_ms, now_ms + delay_ms(failures, pace))
