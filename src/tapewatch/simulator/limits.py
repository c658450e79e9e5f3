"""What the exchange allows, and the counting of it; all on the wall clock, per client address."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The exchange's limits and habits; the defaults are Binance's (protocol reference, sections 2 to 5).

    Attributes:
        weight_per_minute: request weight per clock minute.
        requests_per_5m: requests per five minutes, whatever their weight.
        refusals_before_ban: answers 429 within one window after which a client that goes on is banned (418).
        ban_s: the first ban; each further one is twice as long, up to `ban_max_s`.
        messages_per_s: messages a connection may send in any second; pings and pongs count.
        penalty_after: so often within `connections_window_s` that may be broken before there is a penalty.
        penalty_s: how long a client is refused new connections then.
        streams: streams per connection.
        url_chars: a longer address of a connection is refused.
        control_bytes: a longer control message is swallowed without a word.
        connections: connection attempts per `connections_window_s`.
        ping_s: how often the server pings.
        pong_s: how long it waits for the pong.
        max_age_s: age at which a connection is cut.
        settle_ms: simulated time by which REST candles lag behind the streams.
        close_delay_ms: a bar's closed frame comes 1 to this many simulated milliseconds after its end.
        quiet_close_omitted: probability that the closed frame of a bar without trades is never sent.
        patience_s: how long simulated time waits for a client that asked for it, and for a slow reader.
        queue_frames: frames waiting for one connection before simulated time waits for it.
    """

    weight_per_minute: int = 6000
    requests_per_5m: int = 300_000
    refusals_before_ban: int = 10
    ban_s: float = 120
    ban_max_s: float = 259_200
    messages_per_s: int = 5
    penalty_after: int = 3
    penalty_s: float = 120
    streams: int = 1024
    url_chars: int = 8004
    control_bytes: int = 4096
    connections: int = 300
    connections_window_s: float = 300
    ping_s: float = 20
    pong_s: float = 60
    max_age_s: float = 86_400
    settle_ms: int = 500
    close_delay_ms: int = 300
    quiet_close_omitted: float = 0.0
    patience_s: float = 10
    queue_frames: int = 20_000


class RollingWindow:
    """Counts events in any window of `window_s` seconds."""

    def __init__(self, limit: int, window_s: float) -> None:
        self._limit, self._window_s = limit, window_s
        self._times: deque[float] = deque()

    def admit(self) -> bool:
        """Whether one more event now is within the limit; it counts only when it is."""
        now_s = time.monotonic()
        while self._times and self._times[0] <= now_s - self._window_s:
            self._times.popleft()
        if len(self._times) >= self._limit:
            return False
        self._times.append(now_s)
        return True


@dataclass
class Refusal:
    """A request is refused: the status (429 or 418), the wait in whole seconds, and the exchange's words.

    `limit` is the name under which the books count it.
    """

    status: int
    retry_after_s: int
    message: str
    limit: str


class Meter:
    """The request weight one client has used, and the bans it has earned."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._window = 0
        self._raw_window = 0
        self._requests = 0
        self._refusals = 0
        self._bans = 0
        self._banned_until_s = 0.0
        self.used = 0

    def charge(self, weight: int) -> Refusal | None:
        """Count one request, or say why it is refused."""
        now_s = time.time()
        if now_s < self._banned_until_s:
            return self._banned(now_s)
        if int(now_s // 60) != self._window:
            self._window, self.used, self._refusals = int(now_s // 60), 0, 0
        if int(now_s // 300) != self._raw_window:
            self._raw_window, self._requests = int(now_s // 300), 0
        self.used += weight
        self._requests += 1
        if self.used > self._limits.weight_per_minute:
            text = (
                f"Too much request weight used; current limit is {self._limits.weight_per_minute} request weight per 1"
            )
            return self._refuse(now_s, 60, text + " MINUTE. Please use WebSocket Streams for live updates.", "weight")
        if self._requests > self._limits.requests_per_5m:
            text = f"Too many requests; current limit is {self._limits.requests_per_5m} raw requests per 5 MINUTE."
            return self._refuse(now_s, 300, text, "requests")
        return None

    def _refuse(self, now_s: float, window_s: int, message: str, limit: str) -> Refusal:
        self._refusals += 1
        if self._refusals > self._limits.refusals_before_ban:
            self._banned_until_s = now_s + min(self._limits.ban_s * 2**self._bans, self._limits.ban_max_s)
            self._bans += 1
            self._refusals = 0
            return self._banned(now_s)
        return Refusal(429, int(window_s - now_s % window_s) + 1, message, limit)

    def _banned(self, now_s: float) -> Refusal:
        until_ms = int(self._banned_until_s * 1000)
        message = f"Way too much request weight used; IP banned until {until_ms}. Please use WebSocket Streams."
        return Refusal(418, int(self._banned_until_s - now_s) + 1, message, "ban")


class Books:
    """What each client address has used, and what the simulator did; tests and the summary read the counters.

    Attributes:
        frames: stream frames sent, by kind (`closed`, `push`, `miniTicker`, `bookTicker`, `miniTickers`).
        requests: REST answers by path and status.
        faults: injected faults by kind.
        breaches: limits broken, by client address and limit: `weight requests funding ban` of REST, `messages
            connections penalty streams url control pong age slow` of connections.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.frames: Counter[str] = Counter()
        self.requests: Counter[tuple[str, int]] = Counter()
        self.faults: Counter[str] = Counter()
        self.breaches: Counter[tuple[str, str]] = Counter()
        self._meters: dict[str, Meter] = {}
        self._connections: dict[str, RollingWindow] = {}
        self._storms: dict[str, deque[float]] = {}
        self._penalised: dict[str, float] = {}

    def meter(self, client: str) -> Meter:
        """The client's request weight."""
        return self._meters.setdefault(client, Meter(self.limits))

    def admits(self, client: str) -> bool:
        """Whether the client may open one more WebSocket connection now."""
        window = self._connections.setdefault(
            client, RollingWindow(self.limits.connections, self.limits.connections_window_s)
        )
        if time.monotonic() < self._penalised.get(client, 0.0):
            self.breach(client, "penalty")
            return False
        if not window.admit():
            self.breach(client, "connections")
            return False
        return True

    def breach(self, client: str, limit: str) -> None:
        """The client has broken a limit."""
        self.breaches[client, limit] += 1

    def penalise(self, client: str) -> None:
        """The client sent too many messages; who does that again and again is refused for a while."""
        self.breach(client, "messages")
        now_s = time.monotonic()
        storms = self._storms.setdefault(client, deque(maxlen=self.limits.penalty_after))
        storms.append(now_s)
        if len(storms) == storms.maxlen and storms[0] > now_s - self.limits.connections_window_s:
            self._penalised[client] = now_s + self.limits.penalty_s

    def told(self) -> dict[str, object]:
        """All counters, as `/tapewatch/books` tells them."""
        return {
            "frames": dict(self.frames),
            "requests": [
                {"path": path, "status": status, "count": count} for (path, status), count in self.requests.items()
            ],
            "faults": dict(self.faults),
            "breaches": [
                {"client": client, "limit": limit, "count": count} for (client, limit), count in self.breaches.items()
            ],
        }
