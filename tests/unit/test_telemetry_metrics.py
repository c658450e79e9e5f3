"""Metrics: their names and labels, and that two runs do not share them."""

from __future__ import annotations

import gc
import threading

from prometheus_client import generate_latest

from tapewatch import __version__
from tapewatch.telemetry.health import Health
from tapewatch.telemetry.metrics import Metrics

EXPECTED = {
    "tapewatch_build_info",
    "tapewatch_ws_connected",
    "tapewatch_ws_connects_total",
    "tapewatch_ws_disconnects_total",
    "tapewatch_ws_frames_total",
    "tapewatch_ws_last_message_timestamp_seconds",
    "tapewatch_candles_closed_total",
    "tapewatch_candle_close_delay_seconds_bucket",
    "tapewatch_candle_gaps_total",
    "tapewatch_candle_refused_total",
    "tapewatch_candle_duplicates_total",
    "tapewatch_candle_corrections_total",
    "tapewatch_rest_requests_total",
    "tapewatch_rest_used_weight",
    "tapewatch_signals_total",
    "tapewatch_alerts_total",
    "tapewatch_messages_total",
    "tapewatch_bar_close_to_alert_seconds_bucket",
    "tapewatch_outbox_queued",
    "tapewatch_step_seconds_bucket",
    "tapewatch_step_failures_total",
    "tapewatch_event_loop_lag_seconds",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
}


def test_first_set_is_served() -> None:
    """Every metric of the first set appears under its name, with the labels it is counted by."""
    metrics = Metrics()
    metrics.watch_frames(lambda: {"kline": 7, "malformed": 1})
    metrics.ws_disconnects.labels(reason="silence").inc()
    metrics.candles_closed.labels(source="rest").inc(3)
    metrics.candle_refused.labels(reason="price not above zero").inc()
    metrics.rest_requests.labels(endpoint="/api/v3/klines", code="200").inc()
    metrics.signals.labels(strategy="scalp", side="long", state="passed").inc()
    metrics.messages.labels(channel="mail", outcome="sent").inc()
    metrics.outbox_queued.labels(channel="mail").set(3)
    metrics.step_failures.labels(strategy="scalp").inc()
    metrics.step_seconds.observe(0.002)
    text = generate_latest(metrics.registry).decode()
    names = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if not line.startswith("#")}
    assert names >= EXPECTED
    assert f'tapewatch_build_info{{version="{__version__}"}} 1.0' in text
    assert 'tapewatch_ws_frames_total{kind="kline"} 7.0' in text
    assert 'tapewatch_candles_closed_total{source="rest"} 3.0' in text
    assert 'tapewatch_step_seconds_bucket{le="0.0025"} 1.0' in text


def test_each_connection_has_its_series() -> None:
    """As the health document shows them at that moment."""
    metrics = Metrics()
    states = [{"name": "ws1", "state": "live", "streams": 400, "frames": 7}]
    metrics.watch_connections(lambda: states)
    states.append({"name": "ws2", "state": "down", "streams": 12, "frames": 0})
    text = generate_latest(metrics.registry).decode()
    assert 'tapewatch_ws_connection_live{connection="ws1"} 1.0' in text
    assert 'tapewatch_ws_connection_live{connection="ws2"} 0.0' in text
    assert 'tapewatch_ws_connection_streams{connection="ws1"} 400.0' in text
    assert 'tapewatch_ws_connection_frames_total{connection="ws1"} 7.0' in text


def test_the_process_is_measured() -> None:
    """CPU, memory, open files, threads, garbage collections, and how late the event loop is."""
    metrics = Metrics()
    metrics.event_loop_late.observe(0.3)
    value = metrics.registry.get_sample_value
    before = value("tapewatch_threads")
    thread = threading.Thread(target=(stop := threading.Event()).wait)
    thread.start()
    assert value("tapewatch_threads") == (before or 0) + 1
    stop.set()
    thread.join()
    collections = value("python_gc_collections_total", {"generation": "2"})
    gc.collect()
    assert value("python_gc_collections_total", {"generation": "2"}) == (collections or 0) + 1
    assert (value("process_open_fds") or 0) > 2
    assert value("tapewatch_event_loop_late_seconds_bucket", {"le": "0.25"}) == 0
    assert value("tapewatch_event_loop_late_seconds_bucket", {"le": "0.5"}) == 1


def test_events_are_read_at_each_scrape() -> None:
    """How many went to the engine, and how many wait."""
    metrics, counts = Metrics(), [7, 2]
    metrics.watch_events(lambda: counts[0], lambda: counts[1])
    counts[:] = [8, 3]
    assert metrics.registry.get_sample_value("tapewatch_events_total") == 8
    assert metrics.registry.get_sample_value("tapewatch_events_waiting") == 3


def test_every_metric_is_explained() -> None:
    """Each of our metrics has a help text."""
    text = generate_latest(Metrics().registry).decode()
    helps = [line for line in text.splitlines() if line.startswith("# HELP tapewatch_")]
    assert helps
    assert all(line.endswith(".") for line in helps)


def test_each_run_counts_for_itself() -> None:
    """Two sets of metrics in one process share nothing."""
    one, two = Metrics(), Metrics()
    one.alerts.inc()
    assert one.registry.get_sample_value("tapewatch_alerts_total") == 1.0
    assert two.registry.get_sample_value("tapewatch_alerts_total") == 0.0


def test_health_is_served_as_numbers() -> None:
    """Whether it is ready at the time of the scrape, each disk, and the clock only where it is known."""
    metrics, health = Metrics(), Health(0, ["BTCUSDT"])
    metrics.watch_health(health, lambda: 1_000)
    value = metrics.registry.get_sample_value
    assert value("tapewatch_ready") == 0
    assert value("tapewatch_clock_ahead_seconds") is None
    health.connected()
    health.caught_up(0)
    health.disk_free = {"ledger": 5, "log": 7}
    health.clock_ahead_s = -1.5
    assert value("tapewatch_ready") == 1
    assert [value("tapewatch_disk_free_bytes", {"folder": name}) for name in ("ledger", "log")] == [5, 7]
    assert value("tapewatch_clock_ahead_seconds") == -1.5
    assert value("tapewatch_ledger_bytes") is None
    assert value("tapewatch_ledger_ok") == 1
    health.ledger.unread, health.ledger.size_bytes = "gone", 4_096
    health.errors.add(1_000, 3)
    assert (value("tapewatch_ledger_bytes"), value("tapewatch_ledger_ok"), value("tapewatch_ready")) == (4_096, 0, 0)
    assert value("tapewatch_errors_last_hour") == 3
    health.volume_24h = lambda _symbol: 1e9
    liquid = {"liquidity": "liquid"}
    assert value("tapewatch_symbols", liquid) == 1
    assert (value("tapewatch_symbols_stale", liquid), value("tapewatch_symbols_stale", {"liquidity": "thin"})) == (0, 0)
    assert value("tapewatch_symbols_oldest_bar_seconds", liquid) == 1
