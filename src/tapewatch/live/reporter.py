"""What happens, told to logs, metrics, health and the operator; decides nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from tapewatch.errors import StoreError
from tapewatch.feeds import FrameCounts
from tapewatch.live.bookwatch import BookWatch
from tapewatch.live.feedreporter import FeedReporter
from tapewatch.live.operator import OperatorDesk
from tapewatch.live.pipeline import StepReport
from tapewatch.live.relay import Attempt
from tapewatch.live.troubles import span
from tapewatch.model import Alert, BarIgnored, Context, Judged, Outcome, StepFailed, trace_id
from tapewatch.telemetry import get_logger
from tapewatch.telemetry.document import memory_bytes, summary, watch_loop
from tapewatch.telemetry.health import Health
from tapewatch.telemetry.metrics import Metrics
from tapewatch.universe import Review

_feeds, _engine, _store, _health = (get_logger(name) for name in ("feeds", "engine", "store", "telemetry"))


class Reporter(FeedReporter):
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
        super().__init__(metrics, health, operator, data_errors_per_hour, now_ms)
        self._counts = FrameCounts()
        self._frames_seen = 0
        self._exchange_now_ms: Callable[[], int] = now_ms
        self._ledger_since_s = 0.0
        #: Called with each delivered alert and its stages, where they are known.
        self.on_stages: Callable[[str, Mapping[str, float]], None] = lambda _alert_id, _stages: None
        self._and_each_second: Callable[[float], None] = lambda _lag_s: None
        self.book = BookWatch(metrics, health, operator)
        health.in_time_share = lambda: metrics.timeliness.share
        health.latency = self._stages.percentiles
        health.parts["operator"] = operator.state
        health.troubles = lambda: [trouble.subject for trouble in operator.troubles]
        metrics.watch_health(health, now_ms)
        metrics.watch_frames(self._frames)
        metrics.watch_operator(lambda: operator.counts, lambda: len(operator.troubles))

    def watch(self, counts: FrameCounts, exchange_now_ms: Callable[[], int]) -> None:
        """Read these totals at each scrape, and measure alerts by this clock, from now on."""
        self._counts, self._exchange_now_ms = counts, exchange_now_ms

    def _frames(self) -> Mapping[str, int]:
        counts = self._counts
        return {
            "running": counts.running,
            "closed": counts.closed,
            "malformed": counts.malformed,
            "unexpected": counts.unexpected,
        }

    async def run(self, health_every_s: float, each_second: Callable[[float], None] = lambda _lag_s: None) -> None:
        """Watch the event loop, and write a line about the state of health every so often, until cancelled.

        Args:
            health_every_s: how often.
            each_second: called each second with how late that is.
        """
        self._and_each_second = each_second
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
        if not self._health.data_errors.total(self._now_ms()):
            self._operator.over("data_errors", "An hour has passed without any.")
        self._and_each_second(lag_s)
        self._operator.look()
        self._health.event_loop_lag_s = lag_s
        self._metrics.event_loop_lag.set(lag_s)
        self._metrics.event_loop_late.observe(lag_s)
        self._metrics.event_loop_tasks.set(len(asyncio.all_tasks()))
        if self._counts.frames != self._frames_seen:
            self._frames_seen = self._counts.frames
            self._metrics.ws_last_message.set(time.time())

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
            self._metrics.timeliness.processed(int(time.monotonic() * 1000))

    def answered(self, seconds: float, answers: Sequence[Context]) -> None:
        """What was asked around candidates came, or did not within its time."""
        self._metrics.context_seconds.observe(seconds)
        for context in answers:
            for field in context.missing:
                self._metrics.context_missing.labels(field).inc()

    def stepped(self, report: StepReport) -> None:
        """A step was committed."""
        self._metrics.step_seconds.observe(report.engine_s + report.commit_s)
        self._metrics.commit_seconds.observe(report.commit_s)
        self._health.ledger.commit_s = report.commit_s
        for effect in report.effects:
            if isinstance(effect, Judged):
                self._judged(effect)
            elif isinstance(effect, Alert):
                self._alerted(effect, report)
            elif isinstance(effect, Outcome):
                self._ended(effect)
            elif isinstance(effect, StepFailed):
                self._failed(effect)
            elif isinstance(effect, BarIgnored):
                _engine.warning("bar_ignored", symbol=effect.symbol, open_ms=effect.open_ms)
        self.book.take(report.effects)

    def _alerted(self, alert: Alert, report: StepReport) -> None:
        self._metrics.alerts.inc()
        self._health.alerts += 1
        lead = alert.signals[0]
        self._stages.stored(alert.alert_id, lead.symbol, lead.close_ms, report.decided_s, report.committed_s)
        traces = [one.trace_id for one in alert.signals]
        about = {"symbol": lead.symbol, "trace_id": lead.trace_id, "alert_id": alert.alert_id}
        _engine.info(
            "alert", **about, trace_ids=traces, messages=sum(one.alert_id == alert.alert_id for one in report.messages)
        )

    def _judged(self, effect: Judged) -> None:
        signal = effect.signal
        delay_s = self._stages.delay_s(signal.symbol, signal.close_ms)
        about = {"symbol": signal.symbol, "trace_id": signal.trace_id}
        _feeds.info("bar", **about, close_ms=signal.close_ms, delay_s=None if delay_s is None else round(delay_s, 3))
        self._metrics.signals.labels(signal.strategy, signal.side, effect.state).inc()
        if effect.state == "passed":
            self._health.signal(signal.side)
        blocked = [verdict.check for verdict in signal.verdicts if not verdict.passed]
        for check in blocked:
            self._metrics.signals_blocked.labels(check).inc()
        _engine.info(
            "signal",
            **about,
            id=signal.id,
            state=effect.state,
            late=effect.late,
            blocked_by=blocked,
        )

    def _ended(self, outcome: Outcome) -> None:
        self._metrics.outcomes.labels(outcome.strategy, outcome.side, outcome.state, outcome.result).inc()
        _engine.info(
            "outcome",
            symbol=outcome.symbol,
            trace_id=trace_id(outcome.signal_id),
            id=outcome.signal_id,
            state=outcome.state,
            result=outcome.result,
            price=outcome.price,
            gross_r=round(outcome.gross_r, 3),
            ambiguous=outcome.ambiguous,
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
            stack=effect.stack,
        )
        self._operator.alert(
            f"step_failed/{effect.strategy}",
            f"Strategy {effect.strategy} failed on {effect.bar.symbol}",
            f"{effect.error}\nThe bar was skipped for this strategy and symbol.\nbar: {bar}\nstate: {effect.state}",
        )

    def ledger_trouble(self, error: StoreError | None) -> None:
        """The ledger could not be written, or can again."""
        if error is None:
            self._health.ledger.error = None
            _store.info("ledger_recovered")
            lasted = span(round((time.monotonic() - self._ledger_since_s) * 1000))
            text = f"For {lasted}. It can be written again; nothing is lost, and what waited is on its way."
            self._operator.alert("ledger", "The ledger could not be written for a while", text)
            return
        self._error()
        if self._health.ledger.error is None:
            self._ledger_since_s = time.monotonic()
        self._health.ledger.error = str(error)
        _store.error("ledger_trouble", error=str(error))

    # The relay.

    def attempted(self, attempt: Attempt) -> None:
        """A delivery attempt ended: how long what it delivered took since its bar closed."""
        if attempt.outcome == "sent":
            since_s = time.monotonic() - self._now_ms() / 1000  # the relay's times are by the wall clock
            stages = self._stages.delivered(
                attempt.alert_id, attempt.started_ms / 1000 + since_s, attempt.ended_ms / 1000 + since_s
            )
            self.on_stages(attempt.alert_id, stages)
            for close_ms in attempt.closes_ms:
                self._metrics.bar_close_to_alert.observe(max(0, self._exchange_now_ms() - close_ms) / 1000)
