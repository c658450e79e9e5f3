"""The exchange's clock, as known here.

Two clocks: bars, settling and boundaries run on the exchange's, which a simulator may run fast and stop at a boundary;
time-outs, backoff and limits run on the wall clock. Both are read through this object, so that tests can turn them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from tapewatch.model import MINUTE_MS

#: A paced simulator stops this long after a boundary until the client has acknowledged it.
HOLD_MS = 1_000
#: The exchange is asked for its time this often; a simulated one far oftener.
SYNC_S, SYNC_PACED_S = 600.0, 10.0
#: What REST tells further from what is reckoned than this is a leap, which is not believed before an event or a candle
#: shows it too: a clock that is ahead takes candles for closed that are not.
LEAP_MS = 2_000
#: The same of an event further ahead, long after the candle that it is about; and of any.
STRAY_MS, EVENT_LEAP_MS = 5_000, 300_000
#: For so long an event says something about the time that REST tells.
WITNESS_S = 120.0


class ExchangeClock:
    """Estimates the exchange's time from what it last said, its rate and the wall time since.

    Args:
        wall: monotonic seconds.
    """

    def __init__(self, wall: Callable[[], float] = time.monotonic) -> None:
        self.wall_s = wall
        self.rate = 1.0
        #: Whether the exchange is a simulation, which has a time of its own at any rate.
        self.simulated = False
        self._base_ms = 0.0
        self._shown_ms = 0
        self._at_s = wall()
        self._acknowledged_ms: int | None = None
        self._cap_ms: float | None = None
        self._event: tuple[int, float] | None = None
        self._told: tuple[int, float] | None = None
        #: The newest time that events have borne, whether it is believed or not.
        self.heard_ms = 0

    @property
    def paced(self) -> bool:
        """Whether the exchange is a simulation whose clock waits for us at boundaries."""
        return self.rate != 1.0

    @property
    def shown_ms(self) -> int:
        """The newest time that the exchange itself has shown; `now_ms` reckons on from there."""
        return self._shown_ms

    @property
    def sure_ms(self) -> int:
        """The exchange's time; of a simulated clock, which may stand, only what it has shown is sure."""
        return self.shown_ms if self.paced else self.now_ms()

    def now_ms(self) -> int:
        """The exchange's time, in ms."""
        estimate = self._reckoned(self.wall_s())
        if self._cap_ms is not None and estimate > self._cap_ms:
            estimate = self._cap_ms
        return int(estimate)

    @property
    def in_doubt(self) -> bool:
        """Whether what the exchange shows does not fit together, so that REST should be asked for the time again."""
        return self._told is not None or self._lead_ms() > LEAP_MS

    @property
    def refused_ms(self) -> int | None:
        """What REST told last, where it was not believed."""
        return None if self._told is None else self._told[0]

    def sync(self, server_ms: int, sent_s: float, received_s: float, rate: float) -> None:
        """Take the server's time from an answer; half of the round trip is counted as the way back."""
        self.rate, self._told, at_s = rate, None, (sent_s + received_s) / 2
        if self._contradicted(server_ms, at_s):
            self._told = server_ms, at_s
        else:
            self._shown_ms = server_ms
            self._set(server_ms, at_s)

    def candle(self, open_ms: int) -> None:
        """The newest candle opens then: REST's time is believed after all where events are as far behind."""
        if self._told is not None and self._event is not None:
            server_ms, at_s = self._told
            if self._event[0] + (at_s - self._event[1]) * 1000 + LEAP_MS < open_ms <= server_ms:
                self._told, self._shown_ms = None, server_ms
                self._set(server_ms, at_s)

    def seen(self, event_ms: int, close_ms: int | None = None) -> None:
        """An event bears this time, so it is not earlier than that now.

        Args:
            event_ms: the time.
            close_ms: when the candle closed that it tells of at once: such an event is a witness of the time.
        """
        self.heard_ms = max(self.heard_ms, event_ms)
        if event_ms <= self._shown_ms and self._cap_ms is None and self._told is None:
            return  # nothing new, as most of the thousands of a boundary
        now_s, ahead_ms = self.wall_s(), event_ms - self.now_ms()
        if close_ms is not None:
            self._event = event_ms, now_s
        stray = close_ms is not None and event_ms - close_ms > STRAY_MS and not self.paced
        if ahead_ms < (STRAY_MS if stray else EVENT_LEAP_MS):
            self._shown_ms = max(self._shown_ms, event_ms)
            if ahead_ms > 0:
                self._set(event_ms, now_s)

    def reconnected(self) -> None:
        """Streams were not heard for a while, in which this machine may have slept: REST's next word is believed."""
        self._event = None

    def acknowledged(self, close_ms: int) -> None:
        """The boundary up to which a paced exchange was told to go on: it will wait at the next."""
        self._acknowledged_ms = close_ms
        self._limit()

    def _reckoned(self, at_s: float) -> float:
        return self._base_ms + (at_s - self._at_s) * 1000.0 * self.rate

    def _contradicted(self, server_ms: int, at_s: float) -> bool:
        """Whether this is a leap that the last event does not know of."""
        if self.paced or self._event is None or abs(server_ms - self._reckoned(at_s)) <= LEAP_MS:
            return False
        event_ms, event_s = self._event
        return at_s - event_s < WITNESS_S and abs(server_ms - event_ms - (at_s - event_s) * 1000) > LEAP_MS

    def _lead_ms(self) -> float:
        """How far the last event is ahead of what is reckoned."""
        if self._event is None or self.paced:
            return 0.0
        return max(0.0, self._event[0] + (self.wall_s() - self._event[1]) * 1000 - self.now_ms())

    def _set(self, server_ms: int, at_s: float) -> None:
        self._base_ms, self._at_s = float(server_ms), at_s
        self._limit()

    def _limit(self) -> None:
        if not self.paced or self._acknowledged_ms is None:
            self._cap_ms = None
            return
        # The first boundary it has neither been told to pass nor passed by itself (it does, after ten seconds).
        passed = -(-int(self._base_ms - HOLD_MS) // MINUTE_MS) * MINUTE_MS
        self._cap_ms = max(self._acknowledged_ms + MINUTE_MS, passed) + HOLD_MS


async def keep_synced(clock: ExchangeClock, sync: Callable[[], Awaitable[int]]) -> None:
    """Has the clock set by the exchange's time again and again, until cancelled."""
    while True:
        await asyncio.sleep(SYNC_PACED_S if clock.paced else SYNC_S)
        await sync()
