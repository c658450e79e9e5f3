"""What happens, told to logs, metrics, health and the operator; decides nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import get_args

import msgspec

from tapewatch.errors import StoreError
from tapewatch.feeds import FeedObserver, FrameCounts
from tapewatch.feeds.breaker import BreakerState
from tapewatch.feeds.observer import Source
from tapewatch.live.bookwatch import BookWatch
from tapewatch.live.gaps import GapLog
from tapewatch.live.operator import OperatorDesk
from tapewatch.live.pipeline import StepReport
from tapewatch.live.relay import Attempt
from tapewatch.model import Alert, Bar, BarIgnored, Judged, StepFailed
from tapewatch.telemetry import get_logger
from tapewatch.telemetry.document import memory_bytes, summary, watch_loop
from tapewatch.telemetry.health import Health
from tapewatch.telemetry.metrics import Metrics
from tapewatch.universe import Review

#: How often the log tells how far loading is.
PROGRESS_S = 3.0

_feeds, _engine, _store, _health = (get_logger(name) for name in ("feeds", "engine", "store", "telemetry"))


class Reporter(FeedObserver):
    """Takes the reports of feed, pipeline and relay.

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
        self._data_errors_per_hour = data_errors_per_hour
        self._now_ms = now_ms
        self._counts = FrameCounts()
        self._gaps = GapLog()
        self._frames_seen = 0
        self._exchange_now_ms: Callable[[], int] = now_ms
        self._close_of: dict[str, int] = {}
        self.connected_once = asyncio.Event()
        self._said_progress_s = time.monotonic()  # a quick start needs no line
        self._show_breaker()
        self.book = BookWatch(metrics, health, operator)
        health.in_time_share = lambda: metrics.timeliness.share

    def watch(self, counts: FrameCounts, exchange_now_ms: Callable[[], int]) -> None:
        """Read these totals at each scrape, and measure alerts by this clock."""
        self._counts, self._exchange_now_ms = counts, exchange_now_ms
        self._metrics.watch_frames(self._frames)

    def _frames(self) -> Mapping[str, int]:
        counts = self._counts
        return {
            "running": counts.running,
            "closed": counts.closed,
            "malformed": counts.malformed,
            "unexpected": counts.unexpected,
        }

    async def run(self, health_every_s: float) -> None:
        """Watch the event loop, and write a line about the state of health every so often, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(watch_loop(self._each_second))
                while True:
                    await asyncio.sleep(health_every_s)
                    _health.info("health", **summary(self._health, self._now_ms(), memory_bytes()))
        finally:
            self._gaps.tell()

    def _each_second(self, lag_s: float) -> None:
        self._gaps.tell()
        self._health.event_loop_lag_s = lag_s
        self._metrics.event_loop_lag.set(lag_s)
        self._metrics.event_loop_tasks.set(len(asyncio.all_tasks()))
        if self._counts.frames != self._frames_seen:
            self._frames_seen = self._counts.frames
            self._metrics.ws_last_message.set(time.time())

    # The feed.

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
        self._metrics.ws_disconnects.labels(_short(reason)).inc()
        self._health.disconnected()
        self._metrics.ws_connected.set(self._health.connections > 0)
        _feeds.warning("disconnected", connection=connection, reason=reason)

    def attempt(self, number: int, delay_s: float, error: str, connection: str = "") -> None:
        """Connecting failed."""
        _feeds.warning(
            "connecting_failed", connection=connection or "rest", attempt=number, retry_s=round(delay_s, 1), error=error
        )

    def connection_lost(self, attempts: int, error: str) -> None:
        """Connecting failed so often that the operator is told."""
        self._error()
        _feeds.error("connection_lost", attempts=attempts, error=error)
        self._operator.alert(
            "connection_lost", "Connection to the exchange lost", f"{attempts} attempts failed; the last: {error}"
        )

    def caught_up(self) -> None:
        """All windows are loaded."""
        self._health.caught_up(self._now_ms())
        _feeds.info("caught_up", symbols=len(self._health.symbols))

    def released(self, bar: Bar, source: Source, delay_ms: int) -> None:
        """A live bar went to the engine."""
        self._metrics.candles_closed.labels(source).inc()
        self._metrics.candle_close_delay.observe(delay_ms / 1000)
        now_ms = self._now_ms()
        self._metrics.timeliness.came(delay_ms, now_ms)
        self._health.bar(bar.symbol, bar.close_ms, now_ms)

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
        self._metrics.candle_refused.labels(reason.partition(" (")[0]).inc()
        _feeds.warning("candle_refused", symbol=symbol, open_ms=open_ms, reason=reason)
        self._bad_datum(f"the last: {symbol}, open {open_ms}: {reason}")

    def malformed(self, error: str) -> None:
        """Something could not be read."""
        _feeds.warning("malformed", error=error)
        self._bad_datum(f"the last could not be read: {error}")

    def _bad_datum(self, last: str) -> None:
        count = self._health.data_errors.add(self._now_ms())
        if count > self._data_errors_per_hour:
            self._operator.alert(
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
        self._operator.alert(
            "emergency",
            "Streams cannot be had: candles come by polling",
            "Within the request limits, the most traded symbols first; alerts come some seconds later than usual.",
        )

    def emergency_ended(self) -> None:
        """Bars come by stream again."""
        self._health.emergency = False
        self._metrics.emergency.set(0)
        _feeds.warning("emergency_ended")
        self._operator.alert("emergency_over", "Streams are back", "Candles come by stream again.")

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

    # The universe.

    def universe_changed(self, review: Review) -> None:
        """Who is watched was looked at; perhaps somebody came or went."""
        self._health.unwatch(review.removed)
        self._health.watch(review.watched, self._now_ms())  # not only who came: an earlier run may have watched them
        self._metrics.universe_watched.set(len(review.watched))
        self._metrics.universe_eligible.set(sum(one.watched and one.eligible for one in review.decisions))

    # The pipeline.

    def waiting(self, since_ms: int | None) -> None:
        """Events wait for the engine since then, or none do."""
        self._health.waiting_since_ms = since_ms
        if since_ms is None:
            self._metrics.timeliness.processed(self._now_ms())

    def stepped(self, report: StepReport) -> None:
        """A step was committed."""
        self._metrics.step_seconds.observe(report.engine_s + report.commit_s)
        self._health.outbox_queued += len(report.messages)
        for effect in report.effects:
            if isinstance(effect, Judged):
                self._judged(effect)
            elif isinstance(effect, Alert):
                self._metrics.alerts.inc()
                self._health.alerts += 1
                self._close_of[effect.alert_id] = effect.signals[0].close_ms
            elif isinstance(effect, StepFailed):
                self._failed(effect)
            elif isinstance(effect, BarIgnored):
                _engine.warning("bar_ignored", symbol=effect.symbol, open_ms=effect.open_ms)
        self._metrics.outbox_queued.set(self._health.outbox_queued)
        self.book.take(report.effects)

    def _judged(self, effect: Judged) -> None:
        signal = effect.signal
        self._metrics.signals.labels(signal.strategy, signal.side, effect.state).inc()
        if effect.state == "passed":
            self._health.signal(signal.side)
        blocked = [verdict.check for verdict in signal.verdicts if not verdict.passed]
        _engine.info(
            "signal",
            symbol=signal.symbol,
            trace_id=signal.trace_id,
            id=signal.id,
            state=effect.state,
            late=effect.late,
            blocked_by=blocked,
        )

    def _failed(self, effect: StepFailed) -> None:
        self._error()
        self._metrics.step_failures.labels(effect.strategy).inc()
        bar = msgspec.to_builtins(effect.bar)
        _engine.error(
            "step_failed",
            symbol=effect.bar.symbol,
            strategy=effect.strategy,
            error=effect.error,
            bar=bar,
            state=effect.state,
        )
        self._operator.alert(
            f"step_failed/{effect.strategy}",
            f"Strategy {effect.strategy} failed on {effect.bar.symbol}",
            f"{effect.error}\nThe bar was skipped for this strategy and symbol.\nbar: {bar}\nstate: {effect.state}",
        )

    def ledger_trouble(self, error: StoreError | None) -> None:
        """The ledger could not be written, or can again."""
        if error is None:
            self._health.ledger_error = None
            _store.info("ledger_recovered")
            self._operator.alert("ledger", "The ledger could not be written for a while", "It can be written again.")
            return
        self._error()
        self._health.ledger_error = str(error)
        _store.error("ledger_trouble", error=str(error))

    def _error(self) -> None:
        self._health.errors.add(self._now_ms())

    # The relay.

    def attempted(self, attempt: Attempt) -> None:
        """A delivery attempt ended."""
        self._metrics.messages.labels(attempt.channel, attempt.outcome).inc()
        self._health.attempt(attempt.channel, attempt.outcome)
        if attempt.outcome == "failed":
            return
        self._health.outbox_queued = max(0, self._health.outbox_queued - 1)
        self._metrics.outbox_queued.set(self._health.outbox_queued)
        if attempt.outcome == "rejected":
            self._error()
        close_ms = self._close_of.pop(attempt.alert_id, None)
        if attempt.outcome == "sent" and close_ms is not None:
            self._metrics.bar_close_to_alert.observe(max(0, self._exchange_now_ms() - close_ms) / 1000)


def _short(reason: str) -> str:
    """A reason without its numbers and details, so that few labels arise."""
    return reason.partition(":")[0].partition(" (")[0].strip("0123456789 ")[:40] or "unknown"
