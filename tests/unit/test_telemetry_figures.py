"""What is sampled of the metrics: names, quantiles of a minute, and what is left out."""

from __future__ import annotations

import pytest

from tapewatch.telemetry.figures import Sampler, named, quantile
from tapewatch.telemetry.metrics import Metrics


def test_counters_gauges_and_the_process_are_figures() -> None:
    """Under the names Prometheus has; zeros and the build are left out."""
    metrics = Metrics()
    metrics.alerts.inc(3)
    metrics.messages.labels(channel='a "b"\\', outcome="sent").inc()
    metrics.event_loop_lag.set(0.01234567891)
    found = Sampler(metrics.registry).sample()
    assert found["tapewatch_alerts_total"] == 3
    assert found['tapewatch_messages_total{channel="a \\"b\\"\\\\",outcome="sent"}'] == 1
    assert found["tapewatch_event_loop_lag_seconds"] == 0.012346
    process = {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"}
    assert process <= set(found)
    assert "tapewatch_ws_connects_total" not in found
    assert not any(name.startswith("tapewatch_build") or "_created" in name or "_bucket" in name for name in found)


def test_what_has_many_labels_is_summed_up() -> None:
    """However many connections there are, each of their metrics is one figure."""
    metrics = Metrics()
    states = [{"name": f"c{place}", "state": "live", "streams": 10, "frames": 5} for place in range(40)]
    metrics.watch_connections(lambda: states)
    found = Sampler(metrics.registry).sample()
    of_connections = {name: value for name, value in found.items() if name.startswith("tapewatch_ws_connection_")}
    assert of_connections == {
        "tapewatch_ws_connection_live": 40,
        "tapewatch_ws_connection_streams": 400,
        "tapewatch_ws_connection_frames_total": 200,
    }


def test_quantiles_are_of_what_came_since_the_last_sample() -> None:
    """Slow deliveries of an earlier minute are not seen in a later one, nor any where there were none."""
    metrics = Metrics()
    sampler = Sampler(metrics.registry)
    for _ in range(100):
        metrics.delivery_seconds.labels(channel="out").observe(8.0)
    found = sampler.sample()
    name = 'tapewatch_delivery_seconds{channel="out",quantile="0.5"}'
    assert (found[name], found['tapewatch_delivery_seconds_count{channel="out"}']) == (7.5, 100)
    for _ in range(10):
        metrics.delivery_seconds.labels(channel="out").observe(0.001)
    found = sampler.sample()
    assert (found[name], found['tapewatch_delivery_seconds_count{channel="out"}']) == (0.0025, 110)
    assert not any("quantile" in one for one in sampler.sample())


@pytest.mark.parametrize(("share", "value"), [(0.25, 0.5), (0.5, 1.0), (0.6875, 3.0), (0.875, 4.0), (0.99, 4.0)])
def test_a_quantile_is_spread_over_its_bucket(share: float, value: float) -> None:
    """Half of eight up to 1, none up to 2 (an empty bucket is passed over), three up to 4, one beyond all bounds."""
    buckets = [(1.0, 4.0), (2.0, 4.0), (4.0, 7.0), (float("inf"), 8.0)]
    assert quantile(buckets, share) == pytest.approx(value)


def test_a_figure_without_labels_is_its_name() -> None:
    """And one with labels has them in the order given."""
    assert named("up", {}) == "up"
    assert named("up", {"b": "1", "a": "x\ny"}) == 'up{b="1",a="x\\ny"}'
