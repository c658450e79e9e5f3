"""What is known about the state of health, and the verdicts and documents made of it.

The live shell reports what happens; nothing here reads a clock. All times are wall-clock milliseconds, since they judge
this program and its connections; a bar's close, which is the exchange's time, is only shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import Any

from tapewatch.telemetry.leap import Leap

MINUTE_MS = 60_000
HOUR_MS = 3_600_000

#: Symbols are liquid or ordinary from so many quote units on that are traded in 24 hours. What is not known is thin.
LIQUID, ORDINARY = 10_000_000.0, 1_000_000.0


@dataclass(frozen=True)
class Verdict:
    """Whether something holds, and if not, every reason why."""

    reasons: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """No reason against it."""
        return not self.reasons


class HourCount:
    """How often something happened in the last hour, kept by the minute."""

    def __init__(self) -> None:
        self._minutes = [0] * 61
        self._newest = 0

    def add(self, now_ms: int, count: int = 1) -> int:
        """Count it and return the new total."""
        self._forget(now_ms)
        self._minutes[self._newest % 61] += count
        return sum(self._minutes)

    def total(self, now_ms: int) -> int:
        """The count of the last 60 to 61 minutes."""
        self._forget(now_ms)
        return sum(self._minutes)

    def _forget(self, now_ms: int) -> None:
        minute = now_ms // MINUTE_MS
        for passed in range(max(self._newest + 1, minute - 60), minute + 1):
            self._minutes[passed % 61] = 0
        self._newest = max(self._newest, minute)


@dataclass
class Freshness:
    """When a symbol's last live bar came, and the close of that bar (None before the first)."""

    seen_ms: int
    close_ms: int | None = None


@dataclass
class ClassFreshness:
    """How fresh the symbols of one class are: how many there are and are stale, and the worst with its bar's age."""

    symbols: int = 0
    stale: int = 0
    worst: str | None = None
    age_ms: int = 0


@dataclass
class LedgerState:
    """What is known of the database.

    Attributes:
        error: why it cannot be written, None when it can.
        unread: why it could not be read when it was looked at last, None when it could.
        commit_s: what the last transaction of a step took.
        size_bytes, revision: of the database and its tables, as of the last look.
    """

    error: str | None = None
    unread: str | None = None
    commit_s: float | None = None
    size_bytes: int | None = None
    revision: str | None = None

    @property
    def trouble(self) -> str | None:
        """Why nothing can be stored, None when it can."""
        if self.error is not None:
            return f"the ledger cannot be written: {self.error}"
        return None if self.unread is None else f"the ledger cannot be read: {self.unread}"


@dataclass
class Health:
    """The state of one running tapewatch.

    Attributes:
        started_ms: when it started.
        symbols: who is watched; see `watch` and `unwatch`.
        email_channels: the channels whose attempts count for the e-mail success rate.
        stale_ms: a symbol without a bar for longer is stale; without any fresh symbol it is not ready.
        stuck_ms: events that wait for the engine longer than this mean that it makes no progress.
        troubles: what the operator was told of and is not over, asked for when it is shown.
        heartbeat_every_ms, heartbeat_ms: how often a sign of life is given, None for never, and when the last one was.
        ledger: the database.
        outbox_oldest_ms: since when the oldest message waits, None where none does.
        latency: percentiles of each stage of alerts in seconds, asked for when they are shown.
        disk_free: bytes that are free, by what a folder is for, where that is known.
        disk_least, memory_most: bytes that are to be free on each disk, and that the process may hold.
        volume_24h: quote units traded in 24 hours by symbol, NaN where that is not known.
        clock_ahead_s: how far this machine's clock is ahead of the exchange's, None where that is not known.
        role: what of a run this process does.
        parts: what other parts of the program show in the health document, asked for when it is: name -> JSON value.
    """

    started_ms: int
    symbols: Sequence[str]
    email_channels: Collection[str] = ()
    stale_ms: int = 150_000
    stuck_ms: int = 60_000

    connections: int = 0
    connects: int = 0
    windows_loaded: bool = False
    progress: tuple[int, int] = (0, 0)
    emergency: bool = False
    rest_state: str = "closed"
    rest_banned_until_ms: int = 0
    rest_used_weight: int = 0
    troubles: Callable[[], list[str]] = list
    heartbeat_every_ms: int | None = None
    heartbeat_ms: int | None = None
    latency: Callable[[], dict[str, dict[str, float]]] = dict
    in_time_share: Callable[[], float | None] = lambda: None
    waiting_since_ms: int | None = None
    ledger: LedgerState = field(default_factory=LedgerState)
    outbox_queued: int = 0
    outbox_oldest_ms: int | None = None
    event_loop_lag_s: float = 0.0
    disk_free: dict[str, int] = field(default_factory=dict)
    disk_least: int = 0
    memory_most: int | None = None
    volume_24h: Callable[[str], float] = lambda _symbol: nan
    clock_ahead_s: float | None = None
    role: str = "all"
    signals: Counter[str] = field(default_factory=Counter)
    alerts: int = 0
    attempts: dict[str, Counter[str]] = field(default_factory=dict)
    errors: HourCount = field(default_factory=HourCount)
    data_errors: HourCount = field(default_factory=HourCount)
    freshness: dict[str, Freshness] = field(default_factory=dict)
    parts: dict[str, Callable[[], Any]] = field(default_factory=dict)

    @property
    def watching(self) -> bool:
        """Whether candles come to this process; one that only delivers has none."""
        return self.role != "relay"

    def watch(self, symbols: Iterable[str], now_ms: int) -> None:
        """These are watched too; who is already stays as it is."""
        known = set(self.symbols)
        fresh = [symbol for symbol in symbols if symbol not in known]
        self.symbols = [*self.symbols, *fresh]
        if self.windows_loaded:
            self.freshness.update((symbol, Freshness(now_ms)) for symbol in fresh)

    def unwatch(self, symbols: Collection[str]) -> None:
        """Nothing is expected of these any more."""
        self.symbols = [symbol for symbol in self.symbols if symbol not in symbols]
        for symbol in symbols:
            self.freshness.pop(symbol, None)

    def connected(self) -> None:
        """A market data connection stands."""
        self.connections += 1
        self.connects += 1

    def disconnected(self) -> None:
        """A market data connection was lost."""
        self.connections = max(0, self.connections - 1)

    def caught_up(self, now_ms: int) -> None:
        """The windows are loaded; from here on bars are expected of every symbol."""
        self.windows_loaded = True
        for symbol in self.symbols:
            self.freshness.setdefault(symbol, Freshness(now_ms))

    def bar(self, symbol: str, close_ms: int, now_ms: int) -> None:
        """A live bar of a symbol went to the engine."""
        known = self.freshness.get(symbol)
        if known is None:
            if symbol in self.symbols:  # else one that was on its way when its symbol went
                self.freshness[symbol] = Freshness(now_ms, close_ms)
        else:
            known.seen_ms, known.close_ms = now_ms, close_ms

    def clock_set(self, leap: Leap) -> None:
        """The wall clock was set: nothing is older or younger by that."""
        self.started_ms = leap.moved(self.started_ms)
        self.rest_banned_until_ms = leap.moved(self.rest_banned_until_ms)
        for known in self.freshness.values():
            known.seen_ms = leap.moved(known.seen_ms)
        if self.heartbeat_ms is not None:
            self.heartbeat_ms = leap.moved(self.heartbeat_ms)
        if self.waiting_since_ms is not None:
            self.waiting_since_ms = leap.moved(self.waiting_since_ms)

    def signal(self, side: str) -> None:
        """A signal passed the gate."""
        self.signals[side] += 1

    def attempt(self, channel: str, outcome: str) -> None:
        """A delivery attempt ended: sent, failed or rejected."""
        self.attempts.setdefault(channel, Counter())[outcome] += 1

    def live(self, now_ms: int) -> Verdict:
        """Whether a restart is not needed: whoever asks this inside the event loop has shown that it turns.

        The exchange and a ledger in trouble are no reason: a restart would not help them.
        """
        waiting = self.waiting_since_ms
        if waiting is None or self.ledger.trouble is not None or now_ms - waiting <= self.stuck_ms:
            return Verdict(())
        return Verdict((f"events have waited for the engine for {(now_ms - waiting) // 1000} s",))

    def ready(self, now_ms: int) -> Verdict:
        """Whether it does its work: exchange reached, windows loaded, data fresh, ledger at hand, and live.

        Without a connection it still does while bars come by polling.
        """
        reasons = list(self.live(now_ms).reasons)
        if self.watching:
            reasons += self._without_data(now_ms)
        if self.ledger.trouble is not None:
            reasons.append(self.ledger.trouble)
        return Verdict(tuple(reasons))

    def _without_data(self, now_ms: int) -> list[str]:
        reasons = [] if self.connections or self.emergency else ["no connection to the exchange"]
        if not self.windows_loaded:
            reasons.append("the first windows are not loaded yet")
        elif len(self.stale(now_ms)) == len(self.freshness):
            reasons.append(f"no symbol had a bar for {self.stale_ms // 1000} s")
        return reasons

    def stale(self, now_ms: int) -> list[str]:
        """The symbols without a bar for too long."""
        return [symbol for symbol, known in self.freshness.items() if now_ms - known.seen_ms > self.stale_ms]

    def classes(self, now_ms: int) -> dict[str, ClassFreshness]:
        """How fresh the symbols are that are liquid, ordinary and thin."""
        found = {name: ClassFreshness() for name in ("liquid", "ordinary", "thin")}
        for symbol, known in self.freshness.items():
            volume, age_ms = self.volume_24h(symbol), now_ms - known.seen_ms
            one = found["liquid" if volume >= LIQUID else "ordinary" if volume >= ORDINARY else "thin"]
            one.symbols += 1
            one.stale += age_ms > self.stale_ms
            if one.worst is None or age_ms > one.age_ms:
                one.worst, one.age_ms = symbol, age_ms
        return found

    def outbox_age_s(self, now_ms: int) -> float | None:
        """How long the oldest message that waits has done so; None where none does."""
        oldest_ms = self.outbox_oldest_ms
        return None if oldest_ms is None else max(0, now_ms - oldest_ms) / 1000

    def last_bar(self) -> tuple[int, int] | None:
        """When the newest bar came and its close; None before the first."""
        seen = [(known.seen_ms, known.close_ms) for known in self.freshness.values() if known.close_ms is not None]
        return max(seen, default=None)

    def email_success(self) -> float | None:
        """The share of e-mail attempts that were delivered; None before the first."""
        counts = [self.attempts[name] for name in self.email_channels if name in self.attempts]
        total = sum(count.total() for count in counts)
        return sum(count["sent"] for count in counts) / total if total else None
