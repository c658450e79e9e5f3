"""The Prometheus metrics of one running tapewatch, in a registry of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, Info, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from tapewatch import __version__
from tapewatch.telemetry.health import Health
from tapewatch.telemetry.timeliness import Timeliness

#: From a bar's close by the exchange's clock to its arrival here: the stream closes within tenths of a second.
DELAY_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0)
#: One delivery attempt: a local file, a service far away, one that hangs.
DELIVERY_BUCKETS_S = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
#: One engine step with its transaction.
STEP_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
#: A timer of the event loop: idle, at work on a boundary, or held up.
LATE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
#: A stage of an alert: from a write to a local file to a channel that keeps everybody waiting.
STAGE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)


class Metrics:
    """What is counted and measured; every attribute is a prometheus_client metric whose labels its help names."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.timeliness = Timeliness()
        Info("tapewatch_build", "The version that runs.", registry=self.registry).info({"version": __version__})
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._feed()
        self._universe()
        self._decisions()
        self._paper()
        self._surroundings()
        self._delivery()
        self._program()

    def watch_frames(self, totals: Callable[[], Mapping[str, int]]) -> None:
        """Serve `ws_frames_total{kind}` from running totals, read at each scrape: a call per frame would cost more."""
        self.registry.register(_Frames(totals))

    def watch_connections(self, states: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        """Serve `ws_connection_…{connection}` from what the health document shows of them, read at each scrape."""
        self.registry.register(_Connections(states))

    def watch_operator(self, counts: Callable[[], Mapping[str, int]], troubles: Callable[[], int]) -> None:
        """Serve `operator_alerts_total{outcome}` and `operator_troubles`, read at each scrape."""
        self.registry.register(_Operator(counts, troubles))

    def watch_health(self, health: Health, now_ms: Callable[[], int]) -> None:
        """Serve what `_Health` makes of it, read at each scrape."""
        self.registry.register(_Health(health, now_ms))

    def watch_followed(self, counts: Callable[[], Mapping[str, int]]) -> None:
        """Serve `followed` from what is followed of each symbol, read at each scrape."""
        gauge = self._gauge("followed", "Signals and random entries whose end is not known yet.")
        gauge.set_function(lambda: sum(counts().values()))

    def watch_events(self, processed: Callable[[], int], waiting: Callable[[], int]) -> None:
        """Serve `events_total` and `events_waiting`, read at each scrape."""
        self.registry.register(_Totals("events", "Events that the engine was told.", processed))
        self._gauge("events_waiting", "Events that wait for the engine.").set_function(waiting)

    def _feed(self) -> None:
        self.ws_connected = self._gauge("ws_connected", "Whether a market data connection stands.")
        self.ws_connects = self._counter("ws_connects", "Market data connections made.")
        self.ws_disconnects = self._counter("ws_disconnects", "Market data connections lost.", "reason")
        self.ws_last_message = self._gauge("ws_last_message_timestamp_seconds", "When data last came, Unix time.")
        self.candles_closed = self._counter("candles_closed", "Closed bars that went to the engine.", "source")
        self.candle_close_delay = self._histogram(
            "candle_close_delay_seconds", "From a bar's close to its arrival, exchange's clock.", DELAY_BUCKETS_S
        )
        self.candle_gaps = self._counter("candle_gaps", "Holes in the stream that were fetched.")
        self.candle_refused = self._counter("candle_refused", "Candles that made no sense.", "reason")
        self.candle_duplicates = self._counter("candle_duplicates", "Closed bars that came again.")
        self.candle_corrections = self._counter("candle_corrections", "Closed bars that came again, changed.")
        self.rest_requests = self._counter("rest_requests", "REST requests; code 0 is no answer.", "endpoint", "code")
        self.rest_used_weight = self._gauge("rest_used_weight", "Request weight used in this minute.")
        self.rest_breaker = self._gauge("rest_breaker", "1 for the state REST is in, 0 for the others.", "state")
        self.rest_banned_until = self._gauge(
            "rest_banned_until_timestamp_seconds", "Until when a REST host asked to be left alone, Unix time."
        )
        self.emergency = self._gauge("emergency", "1 while bars come by polling, because streams cannot be had.")
        self.silent_streams = self._counter("silent_streams", "Streams that stood and did not bring their bars.")
        self.windows_complete = self._gauge("windows_complete", "Symbols whose first windows are loaded.")
        self.windows_wanted = self._gauge("windows_wanted", "Symbols whose first windows are wanted.")
        self.registry.register(_Totals("bars_due", "Bars that were due.", lambda: self.timeliness.due))
        self.registry.register(
            _Totals("bars_in_time", "Bars processed within 2 s of their close.", lambda: self.timeliness.in_time)
        )

    def _universe(self) -> None:
        self.universe_watched = self._gauge("universe_watched", "Symbols that are watched.")
        self.universe_eligible = self._gauge("universe_eligible", "Watched symbols liquid enough for alerts.")

    def _decisions(self) -> None:
        self.signals = self._counter(
            "signals", "Candidates stored; state is passed or blocked.", "strategy", "side", "state"
        )
        self.signals_blocked = self._counter("signals_blocked", "Verdicts against candidates stored.", "check")
        self.alerts = self._counter("alerts", "Alerts stored.")
        self.outcomes = self._counter(
            "outcomes",
            "Signals whose end is known; result is target, stop or time.",
            "strategy",
            "side",
            "state",
            "result",
        )
        self.step_seconds = self._histogram("step_seconds", "One engine step with its transaction.", STEP_BUCKETS_S)
        self.commit_seconds = self._histogram("commit_seconds", "The transaction of one step.", STEP_BUCKETS_S)
        self.step_failures = self._counter("step_failures", "Strategy steps that raised.", "strategy")

    def _paper(self) -> None:
        self.paper_positions = self._gauge("paper_positions", "Open paper positions.", "side")
        self.paper_equity = self._gauge("paper_equity_quote", "Paper cash and open positions at their last closes.")
        self.paper_paused = self._gauge("paper_paused", "1 while a protection pauses paper entries.")
        self.paper_fills = self._counter("paper_fills", "Paper fills; reason is entry or why a part closed.", "reason")
        self.paper_skipped = self._counter("paper_skipped", "Signals that led to no paper position.", "reason")
        self.paper_failures = self._counter("paper_failures", "Candles on which a paper position raised.", "strategy")

    def _delivery(self) -> None:
        self.messages = self._counter(
            "messages", "Delivery attempts; outcome is sent, failed or rejected.", "channel", "outcome"
        )
        self.bar_close_to_alert = self._histogram(
            "bar_close_to_alert_seconds",
            "From a bar's close to its alert's delivery, exchange's clock.",
            DELAY_BUCKETS_S,
        )
        self.alert_stage = self._histogram(
            "alert_stage_seconds",
            "Parts of the time from a bar's close to its alert's delivery.",
            STAGE_BUCKETS_S,
            "stage",
        )
        self.delivery_seconds = self._histogram(
            "delivery_seconds", "One delivery attempt.", DELIVERY_BUCKETS_S, "channel"
        )
        self.outbox_queued = self._gauge("outbox_queued", "Messages that wait for delivery.", "channel")
        self.outbox_oldest = self._gauge(
            "outbox_oldest_seconds", "How long the oldest message that waits has done so.", "channel"
        )
        self.digests = self._counter("digests", "Digests made.", "channel")
        self.digested = self._counter("digested", "Messages that went into digests.", "channel")
        self.superseded = self._counter("superseded", "Messages that another channel delivered.", "channel")
        self.channel_state = self._gauge(
            "channel_state", "1 for how a channel stands, 0 otherwise.", "channel", "state"
        )

    def _surroundings(self) -> None:
        self.context_seconds = self._histogram(
            "context_seconds", "From a candidate to what goes with it: book, funding and the like.", STEP_BUCKETS_S
        )
        self.context_missing = self._counter(
            "context_missing", "What went with candidates and did not come in time.", "field"
        )

    def _program(self) -> None:
        self.heartbeats = self._counter("heartbeats", "Signs of life; outcome is sent, failed or withheld.", "outcome")
        self.event_loop_tasks = self._gauge("event_loop_tasks", "Tasks of the event loop.")
        self.event_loop_lag = self._gauge("event_loop_lag_seconds", "How late the event loop ran its last timer.")
        self.event_loop_late = self._histogram(
            "event_loop_late_seconds", "How late the event loop ran the timer of each second.", LATE_BUCKETS_S
        )
        self._gauge("threads", "Threads of this process.").set_function(threading.active_count)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"tapewatch_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"tapewatch_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"tapewatch_{name}", text, labels, registry=self.registry, buckets=buckets)


class Few:
    """Texts that become labels, however many there are: the first so many; all others are `other`."""

    def __init__(self, most: int = 20) -> None:
        self._known: set[str] = set()
        self._most = most

    def __call__(self, text: str) -> str:
        """The label of a text."""
        if text not in self._known and len(self._known) == self._most:
            return "other"
        self._known.add(text)
        return text


class _Totals:
    """A counter that is kept elsewhere and read at each scrape."""

    def __init__(self, name: str, text: str, total: Callable[[], int]) -> None:
        self._name, self._text, self._total = name, text, total

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(f"tapewatch_{self._name}", self._text, value=self._total())


class _Frames:
    def __init__(self, totals: Callable[[], Mapping[str, int]]) -> None:
        self._totals = totals

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily("tapewatch_ws_frames", "Frames received over the stream.", labels=["kind"])
        for kind, count in self._totals().items():
            family.add_metric([kind], count)
        yield family


class _Operator:
    def __init__(self, counts: Callable[[], Mapping[str, int]], troubles: Callable[[], int]) -> None:
        self._counts, self._troubles = counts, troubles

    def collect(self) -> Iterator[Metric]:
        text = "Alerts to the operator; outcome is told, held_back or maintenance."
        family = CounterMetricFamily("tapewatch_operator_alerts", text, labels=["outcome"])
        for outcome, count in self._counts().items():
            family.add_metric([outcome], count)
        yield family
        text = "Troubles that the operator was told of and that are not over."
        yield GaugeMetricFamily("tapewatch_operator_troubles", text, value=self._troubles())


class _Health:
    """`ready`, `errors_last_hour`, `disk_free_bytes{folder}`, `clock_ahead_seconds`, the database and its symbols."""

    def __init__(self, health: Health, now_ms: Callable[[], int]) -> None:
        self._health, self._now_ms = health, now_ms

    def collect(self) -> Iterator[Metric]:
        health, now_ms = self._health, self._now_ms()
        ready = health.ready(now_ms).ok
        yield GaugeMetricFamily("tapewatch_ready", "1 while it does its work, as /readyz says.", value=ready)
        text = "Errors of the last hour, as /health has them."
        yield GaugeMetricFamily("tapewatch_errors_last_hour", text, value=health.errors.total(now_ms))
        text = "Free where a folder is, which is named by what it is for."
        free = GaugeMetricFamily("tapewatch_disk_free_bytes", text, labels=["folder"])
        for name, count in health.disk_free.items():
            free.add_metric([name], count)
        text = "How far this machine's clock is ahead of the exchange's, where that is known."
        ahead = GaugeMetricFamily("tapewatch_clock_ahead_seconds", text)
        if health.clock_ahead_s is not None:
            ahead.add_metric([], health.clock_ahead_s)
        text = "1 while the ledger can be read and written."
        yield GaugeMetricFamily("tapewatch_ledger_ok", text, value=health.ledger.trouble is None)
        size = GaugeMetricFamily("tapewatch_ledger_bytes", "What the database takes, where that is known.")
        if health.ledger.size_bytes is not None:
            size.add_metric([], health.ledger.size_bytes)
        yield from (free, ahead, size, *_symbols(health, now_ms))


def _symbols(health: Health, now_ms: int) -> Iterator[Metric]:
    labels = ["liquidity"]
    watched = GaugeMetricFamily("tapewatch_symbols", "Symbols of which bars are expected.", labels=labels)
    stale = GaugeMetricFamily("tapewatch_symbols_stale", "Of them, those without a bar for too long.", labels=labels)
    text = "Age of the oldest last bar of any of them."
    age = GaugeMetricFamily("tapewatch_symbols_oldest_bar_seconds", text, labels=labels)
    for name, found in health.classes(now_ms).items():
        watched.add_metric([name], found.symbols)
        stale.add_metric([name], found.stale)
        age.add_metric([name], found.age_ms / 1000)
    yield from (watched, stale, age)


class _Connections:
    def __init__(self, states: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        self._states = states

    def collect(self) -> Iterator[Metric]:
        prefix, labels = "tapewatch_ws_connection", ["connection"]
        up = GaugeMetricFamily(f"{prefix}_live", "1 for a connection that is live.", labels=labels)
        streams = GaugeMetricFamily(f"{prefix}_streams", "Streams that a connection carries.", labels=labels)
        frames = CounterMetricFamily(f"{prefix}_frames", "Data frames of a connection.", labels=labels)
        for state in self._states():
            up.add_metric([state["name"]], state["state"] == "live")
            streams.add_metric([state["name"]], state["streams"])
            frames.add_metric([state["name"]], state["frames"])
        yield from (up, streams, frames)
