"""How often the relay tries, and how often a channel may be tried."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from tapewatch.config import Config
from tapewatch.live.quiet import QuietHours

MINUTE_MS = 60_000
#: More waits than goes out within this long: a storm.
SOON_MS = 10_000
#: What a service allows in a moment besides: so many attempts in so many milliseconds.
BURSTS: Mapping[str, tuple[int, int]] = {"discord": (5, 2_000), "telegram": (1, 1_000)}


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how long the relay tries; seconds of the wall clock.

    A message is tried `quick_attempts` times `quick_gap_s` apart, then after waits that double from `backoff_s` up to
    `backoff_cap_s`, each with a jitter; a channel that fails as a whole likewise. A message that waited longer than
    `useful_s` is delivered as late. `poll_s` is how often an idle channel looks for messages it was not told of;
    `send_limit_s` ends an attempt that hangs; `finish_s` is how long a stop waits for attempts under way;
    `store_retry_s` and its cap pace a ledger in trouble; `lease_s` is how often a second relay tries to take over.
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
    lease_s: float = 0.5


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a configuration asks of a channel.

    `per_minute` attempts in any minute (None: no limit), `burst` in a moment; `quiet` when it is silent; `fallback`
    are the channels that get what it cannot deliver.
    """

    per_minute: int | None = None
    burst: tuple[int, int] | None = None
    quiet: QuietHours | None = None
    fallback: tuple[str, ...] = ()


def rules_of(config: Config) -> dict[str, Rules]:
    """What a configuration asks of its channels, by name."""
    zone = ZoneInfo(config.alerts.time_zone)
    return {
        name: Rules(
            per_minute=spec.per_minute or None,
            burst=BURSTS.get(spec.type),
            quiet=None if spec.quiet is None else QuietHours(spec.quiet.start, spec.quiet.end, zone),
            fallback=tuple(spec.fallback),
        )
        for name, spec in config.channels.items()
    }


def since_start_ms() -> int:
    """Milliseconds since this machine started, those that it slept too, by a clock that nobody sets."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class _Past(NamedTuple):
    """An attempt that is over: when, how long it took, and whether it was of a digest."""

    ended_ms: int
    took_ms: int
    digest: bool


class Limiter:
    """Keeps attempts within so many in any minute, and in any moment; times are by a clock that nobody sets.

    An attempt counts from its end: by then the other side has counted it, so that by no clock but its own there are
    ever more in any window than allowed.

    Args:
        rules: of the channel.
        ended_ms: when attempts of the last minute were over, in order.
    """

    def __init__(self, rules: Rules, ended_ms: Iterable[int] = ()) -> None:
        self._per_minute = rules.per_minute
        self._windows = [(rules.per_minute, MINUTE_MS)] if rules.per_minute else []
        self._windows += [rules.burst] if rules.burst else []
        self._past = deque(_Past(at_ms, 0, False) for at_ms in ended_ms)

    def add(self, started_ms: int, ended_ms: int, *, digest: bool = False) -> None:
        """An attempt was over."""
        if self._windows:
            self._past.append(_Past(ended_ms, max(0, ended_ms - started_ms), digest))

    def free_ms(self, now_ms: int, beside_ms: Iterable[int] = ()) -> int:
        """When the next attempt may begin, with those that somebody else made and that were over then."""
        self._forget(now_ms)
        free_ms, ended_ms = now_ms, sorted([*(one.ended_ms for one in self._past), *beside_ms])
        for most, window_ms in self._windows:
            if len(ended_ms) >= most:
                free_ms = max(free_ms, ended_ms[-most] + window_ms + 1)
        return free_ms

    def soon(self, now_ms: int) -> int | None:
        """How many attempts can be begun soon, as the limit allows and as long as they take; None for any number."""
        if self._per_minute is None:
            return None
        self._forget(now_ms)
        allowed = self._per_minute - sum(one.ended_ms > now_ms + SOON_MS - MINUTE_MS for one in self._past)
        spent_ms = sum(one.took_ms for one in self._past)
        return min(allowed, MINUTE_MS * len(self._past) // spent_ms) if spent_ms else allowed

    def singles_left(self, now_ms: int) -> bool:
        """In a storm, whether a message may go by itself: half of a minute's attempts are for those, or of its time."""
        if self._per_minute is None:
            return True
        self._forget(now_ms)
        singles = [one.took_ms for one in self._past if not one.digest]
        return len(singles) < self._per_minute // 2 and sum(singles) < MINUTE_MS // 2

    def digest_ms(self) -> int:
        """In a storm, when the next digest may be made: they are spread over what is left of a minute."""
        made = [one.ended_ms for one in self._past if one.digest]
        if not made or self._per_minute is None:
            return 0
        return made[-1] + MINUTE_MS // (self._per_minute - self._per_minute // 2)

    def _forget(self, now_ms: int) -> None:
        while self._past and self._past[0].ended_ms <= now_ms - MINUTE_MS:
            self._past.popleft()
