"""What a feed says about itself, for logs, metrics, health and operator alerts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tapewatch.feeds.breaker import BreakerState
from tapewatch.model import Bar

Source = Literal["ws", "rest"]
#: Ways to the exchange that can be lost each for itself.
Reached = Literal["stream", "REST"]


@dataclass(slots=True)
class FrameCounts:
    """Running totals of what came over the stream; read by metrics, since a call per frame would cost more than it."""

    frames: int = 0
    running: int = 0
    closed: int = 0
    duplicates: int = 0
    corrections: int = 0
    refused: int = 0
    malformed: int = 0
    unexpected: int = 0


class FeedObserver:
    """Takes a feed's reports and does nothing with them; the live shell overrides what it wants to know.

    Calls are synchronous, must be quick and must not raise.
    """

    def connected(self, streams: int, connection: str = "") -> None:
        """A connection stands and its streams are acknowledged (which is no proof that data will come)."""

    def replaced(self, reason: str, connection: str = "") -> None:
        """A new connection took over from one of the same name for `reason`, without a pause."""

    def disconnected(self, reason: str, connection: str = "") -> None:
        """A connection was lost, or was let go because nothing was left for it to carry."""

    def attempt(self, number: int, delay_s: float, error: str, connection: str = "") -> None:
        """Connecting failed for the `number`th time in a row; the next try is in `delay_s`."""

    def connection_lost(self, attempts: int, error: str, what: Reached = "stream") -> None:
        """So many attempts in a row failed that somebody should know; connecting goes on for ever."""

    def connection_found(self, what: Reached) -> None:
        """What was reported as lost works again: data came, or an answer."""

    def caught_up(self) -> None:
        """The first windows of every symbol are complete and live bars follow."""

    def released(self, bar: Bar, source: Source, delay_ms: int) -> None:
        """A live bar went out, `delay_ms` after its close by the exchange's clock."""

    def gap(self, symbol: str, from_ms: int, to_ms: int) -> None:
        """The bars that open in [from_ms, to_ms) did not come; they are being fetched."""

    def filled(self, symbol: str, from_ms: int, bars: int) -> None:
        """A gap that began at `from_ms` was filled with `bars` bars over REST."""

    def outage(self, symbol: str, from_ms: int, to_ms: int) -> None:
        """The exchange has no candles that open in [from_ms, to_ms); none is invented."""

    def duplicate(self, symbol: str, open_ms: int) -> None:
        """A closed bar came again."""

    def correction(self, symbol: str, open_ms: int) -> None:
        """A bar that went out came again with other values; what was decided on it stands."""

    def refused(self, symbol: str, open_ms: int, reason: str) -> None:
        """A candle made no sense and was left out."""

    def malformed(self, error: str) -> None:
        """A frame or a row of REST could not be read."""

    def rest_request(self, endpoint: str, status: int, used_weight: int) -> None:
        """A REST answer came; status 0 is none at all."""

    def banned(self, host: str, seconds: float, reason: str) -> None:
        """This REST host asked to be left alone for so long: a ban or its firewall."""

    def breaker(self, state: BreakerState) -> None:
        """REST requests go (closed), wait because they failed (open), or one of them tries (half-open)."""

    def emergency_began(self) -> None:
        """Streams cannot be had, so bars come by polling from now on."""

    def emergency_ended(self) -> None:
        """Bars come by stream again."""

    def silent(self, symbol: str) -> None:
        """A stream that stands did not bring this symbol's last bars; it is subscribed to anew."""

    def progress(self, complete: int, watched: int) -> None:
        """The first windows of so many symbols are complete, of so many that are watched."""

    def warning(self, text: str) -> None:
        """Something else the operator should read."""
