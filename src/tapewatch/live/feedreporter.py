"""What the feed reports, told to logs, metrics, health and the operator; decides nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import get_args

from tapewatch.feeds import FeedObserver
from tapewatch.feeds.breaker import BreakerState
from tapewatch.feeds.observer import Reached, Source
from tapewatch.live.gaps import GapLog
from tapewatch.live.operator import OperatorDesk
from tapewatch.live.troubles import span
from tapewatch.model import Bar
from tapewatch.telemetry import get_logger
from tapewatch.telemetry.health import Health
from tapewatch.telemetry.metrics import Few, Metrics
from tapewatch.telemetry.stages import STAGES, Stages

#: How often the log tells how far loading is.
PROGRESS_S = 3.0

_feeds = get_logger("feeds")


class FeedReporter(FeedObserver):
    """Takes the reports of a feed.

    Args:
        metrics, health, operator: where they go.
        data_errors_per_hour: refused candles in an hour beyond which the operator is told.
        now_ms: the wall clock.
    """

    def __init__(
        self,
        metrics: Metrics,
        health: Health,
        operator: OperatorDesk,
        data_errors_per_hour: int,
        now_ms: Callable[[], int],
    ) -> None:
        self._metrics = metrics
        self._health = health
        self._operator = operator
        self.data_errors_per_hour = data_errors_per_hour
        self._now_ms = now_ms
        self._gaps = GapLog()
        self._stages = Stages(lambda stage, span_s: metrics.alert_stage.labels(stage).observe(span_s))
        self._few_reasons, self._few_faults = Few(), Few()
        self._lost: set[Reached] = set()
        self._down_ms: int | None = None
        self._missed = 0
        self.connected_once = asyncio.Event()
        self._said_progress_s = time.monotonic()  # a quick start needs no line
        self._show_breaker()
        for source in get_args(Source):
            metrics.candles_closed.labels(source)
        for stage in STAGES:
            metrics.alert_stage.labels(stage)

    def connected(self, streams: int, connection: str = "") -> None:
        """A connection stands."""
        self._metrics.ws_connected.set(1)
        self._metrics.ws_connects.inc()
        self._health.connected()
        self.connected_once.set()
        _feeds.info("connected", connection=connection, streams=streams)

    def replaced(self, reason: str, connection: str = "") -> None:
        """A new connection took over."""
        self._metrics.ws_connects.inc()
        _feeds.info("connection_replaced", connection=connection, reason=reason)

    def disconnected(self, reason: str, connection: str = "") -> None:
        """A connection was lost."""
        self._metrics.ws_disconnects.labels(self._few_reasons(_short(reason))).inc()
        self._health.disconnected()
        self._metrics.ws_connected.set(self._health.connections > 0)
        _feeds.warning("disconnected", connection=connection, reason=reason)

    def attempt(self, number: int, delay_s: float, error: str, connection: str = "") -> None:
        """Connecting failed."""
        _feeds.warning(
            "connecting_failed", connection=connection or "rest", attempt=number, retry_s=round(delay_s, 1), error=error
        )

    def connection_lost(self, attempts: int, error: str, what: Reached = "stream") -> None:
        """Connecting failed so often that the operator is told."""
        self._error()
        self._lost.add(what)
        _feeds.error("connection_lost", what=what, attempts=attempts, error=error)
        self._operator.trouble(
            "connection_lost", "Connection to the exchange lost", f"{attempts} attempts failed; the last: {error}"
        )

    def connection_found(self, what: Reached) -> None:
        """What was lost works again."""
        self._lost.discard(what)
        _feeds.info("connection_found", what=what)
        if not self._lost:
            self._operator.over("connection_lost", "The exchange is reached again; bars that were missed follow.")

    def starts_over(self) -> None:
        """The feed has ended, and another one begins."""
        health = self._health
        health.connections, health.emergency, health.windows_loaded, health.progress = 0, False, False, (0, 0)
        health.unwatch(list(health.symbols))
        self._lost.clear()
        self._metrics.ws_connected.set(0)
        self._metrics.emergency.set(0)

    def goes_on_after(self, down_ms: int) -> None:
        """The run before this one did not end as one that is stopped: told when what was missed has come."""
        self._down_ms = down_ms

    def caught_up(self) -> None:
        """All windows are loaded."""
        if self._down_ms is not None:
            text = f"It had ended without being stopped and was down for {span(self._down_ms)}. "
            text += f"Candles that were missed, have come since and were decided on: {self._missed}."
            self._operator.alert("recovered", "tapewatch goes on", text, "low")
            self._down_ms = None
        if not self._lost:  # in an earlier run, perhaps
            self._operator.over("connection_lost", "The exchange is reached again.")
        if not self._health.emergency:
            self._operator.over("emergency", "Candles come by stream.")
        self._health.caught_up(self._now_ms())
        _feeds.info("caught_up", symbols=len(self._health.symbols))

    def released(self, bar: Bar, source: Source, delay_ms: int) -> None:
        """A live bar went to the engine."""
        self._metrics.candles_closed.labels(source).inc()
        self._metrics.candle_close_delay.observe(delay_ms / 1000)
        if self._down_ms is not None and source == "rest":
            self._missed += 1
        now_s = time.monotonic()
        self._metrics.timeliness.came(delay_ms, int(now_s * 1000))
        self._stages.came(bar.symbol, bar.close_ms, delay_ms / 1000, now_s)
        self._health.bar(bar.symbol, bar.close_ms, self._now_ms())

    def gap(self, symbol: str, from_ms: int, to_ms: int) -> None:
        """Bars are missing."""
        self._metrics.candle_gaps.inc()
        self._gaps.gap(symbol, from_ms, to_ms)

    def filled(self, symbol: str, from_ms: int, bars: int) -> None:
        """A gap was filled."""
        self._gaps.filled(symbol, from_ms, bars)

    def outage(self, symbol: str, from_ms: int, to_ms: int) -> None:
        """The exchange has no candles there."""
        _feeds.warning("outage", symbol=symbol, from_ms=from_ms, to_ms=to_ms)

    def duplicate(self, symbol: str, open_ms: int) -> None:
        """A bar came again."""
        self._metrics.candle_duplicates.inc()
        _feeds.debug("duplicate", symbol=symbol, open_ms=open_ms)

    def correction(self, symbol: str, open_ms: int) -> None:
        """A bar came again, changed."""
        self._metrics.candle_corrections.inc()
        _feeds.warning("correction", symbol=symbol, open_ms=open_ms)

    def refused(self, symbol: str, open_ms: int, reason: str) -> None:
        """A candle made no sense."""
        self._metrics.candle_refused.labels(self._few_faults(reason.partition(" (")[0])).inc()
        _feeds.warning("candle_refused", symbol=symbol, open_ms=open_ms, reason=reason)
        self._bad_datum(f"the last: {symbol}, open {open_ms}: {reason}")

    def malformed(self, error: str) -> None:
        """Something could not be read."""
        _feeds.warning("malformed", error=error)
        self._bad_datum(f"the last could not be read: {error}")

    def _bad_datum(self, last: str) -> None:
        count = self._health.data_errors.add(self._now_ms())
        if count > self.data_errors_per_hour:
            self._operator.trouble(
                "data_errors", "Bad market data", f"{count} candles or frames refused in an hour; {last}"
            )

    def rest_request(self, endpoint: str, status: int, used_weight: int) -> None:
        """A REST answer came."""
        self._metrics.rest_requests.labels(endpoint, str(status)).inc()
        self._metrics.rest_used_weight.set(used_weight)
        self._health.rest_used_weight = used_weight
        if status != 200:
            _feeds.warning("rest_failed", endpoint=endpoint, status=status)

    def banned(self, host: str, seconds: float, reason: str) -> None:
        """A REST host asked to be left alone."""
        until_ms = self._now_ms() + int(seconds * 1000)
        self._health.rest_banned_until_ms = until_ms
        self._metrics.rest_banned_until.set(until_ms / 1000)
        self._error()
        _feeds.error("rest_banned", host=host, seconds=seconds, reason=reason)
        self._operator.alert(
            "rest_banned",
            "The exchange asks to be left alone",
            f"{host} is not asked for {seconds:.0f} s: {reason}\nStreams go on; what they miss comes after that.",
        )

    def breaker(self, state: BreakerState) -> None:
        """REST works, fails, or is tried again."""
        self._health.rest_state = state
        self._show_breaker()
        if state != "half-open":
            _feeds.warning("rest_breaker", state=state)

    def _show_breaker(self) -> None:
        for state in get_args(BreakerState):
            self._metrics.rest_breaker.labels(state).set(state == self._health.rest_state)

    def emergency_began(self) -> None:
        """Bars come by polling from now on."""
        self._health.emergency = True
        self._metrics.emergency.set(1)
        self._error()
        _feeds.error("emergency_began")
        self._operator.trouble(
            "emergency",
            "Streams cannot be had: candles come by polling",
            "Within the request limits, the most traded symbols first; alerts come some seconds later than usual.",
        )

    def emergency_ended(self) -> None:
        """Bars come by stream again."""
        self._health.emergency = False
        self._metrics.emergency.set(0)
        _feeds.warning("emergency_ended")
        self._operator.over("emergency", "Candles come by stream again.")

    def silent(self, symbol: str) -> None:
        """A stream that stands did not bring its bars."""
        self._metrics.silent_streams.inc()
        _feeds.warning("stream_silent", symbol=symbol)

    def progress(self, complete: int, watched: int) -> None:
        """The first windows of so many symbols are loaded."""
        self._health.progress = complete, watched
        self._metrics.windows_complete.set(complete)
        self._metrics.windows_wanted.set(watched)
        now_s = time.monotonic()
        if complete < watched and now_s - self._said_progress_s >= PROGRESS_S:
            self._said_progress_s = now_s
            _feeds.info("loading", complete=complete, symbols=watched)

    def warning(self, text: str) -> None:
        """Something else the operator should read."""
        _feeds.warning("warning", text=text)

    def _error(self) -> None:
        self._health.errors.add(self._now_ms())


def _short(reason: str) -> str:
    """A reason without its numbers and details, so that few labels arise."""
    return reason.partition(":")[0].partition(" (")[0].strip("0123456789 ")[:40] or "unknown"
