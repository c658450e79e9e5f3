"""What is known about the state of health, and the verdicts and documents made of it.

The live shell reports what happens; nothing here reads a clock. All times are wall-clock milliseconds, since they judge
this program and its connections; a bar's close, which is the exchange's time, is only shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

MINUTE_MS = 60_000
HOUR_MS = 3_600_000


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
        latency: percentiles of each stage of alerts in seconds, asked for when they are shown.
        disk_free: bytes that are free, by what a folder is for, where that is known.
        clock_ahead_s: how far this machine's clock is ahead of the exchange's, None where that is not known.
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
    ledger_error: str | None = None
    outbox_queued: int = 0
    event_loop_lag_s: float = 0.0
    disk_free: dict[str, int] = field(default_factory=dict)
    clock_ahead_s: float | None = None
    signals: Counter[str] = field(default_factory=Counter)
    alerts: int = 0
    attempts: dict[str, Counter[str]] = field(default_factory=dict)
    errors: HourCount = field(default_factory=HourCount)
    data_errors: HourCount = field(default_factory=HourCount)
    freshness: dict[str, Freshness] = field(default_factory=dict)
    parts: dict[str, Callable[[], Any]] = field(default_factory=dict)

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
        if waiting is None or self.ledger_error is not None or now_ms - waiting <= self.stuck_ms:
            return Verdict(())
        return Verdict((f"events have waited for the engine for {(now_ms - waiting) // 1000} s",))

    def ready(self, now_ms: int) -> Verdict:
        """Whether it does its work: exchange reached, windows loaded, data fresh, ledger writable, and live.

        Without a connection it still does while bars come by polling.
        """
        reasons = list(self.live(now_ms).reasons)
        if not self.connections and not self.emergency:
            reasons.append("no connection to the exchange")
        if not self.windows_loaded:
            reasons.append("the first windows are not loaded yet")
        elif len(self.stale(now_ms)) == len(self.freshness):
            reasons.append(f"no symbol had a bar for {self.stale_ms // 1000} s")
        if self.ledger_error is not None:
            reasons.append(f"the ledger cannot be written: {self.ledger_error}")
        return Verdict(tuple(reasons))

    def stale(self, now_ms: int) -> list[str]:
        """The symbols without a bar for too long."""
        return [symbol for symbol, known in self.freshness.items() if now_ms - known.seen_ms > self.stale_ms]

    def last_bar(self) -> tuple[int, int] | None:
        """When the newest bar came and its close; None before the first."""
        seen = [(known.seen_ms, known.close_ms) for known in self.freshness.values() if known.close_ms is not None]
        return max(seen, default=None)

    def email_success(self) -> float | None:
        """The share of e-mail attempts that were delivered; None before the first."""
        counts = [self.attempts[name] for name in self.email_channels if name in self.attempts]
        total = sum(count.total() for count in counts)
        return sum(count["sent"] for count in counts) / total if total else None
