from __future__ import annotations

from prometheus_client import generate_latest

from tapewatch.config.alerts import Operator
from tapewatch.live.delivery import DeliveryWatch
from tapewatch.live.lane import Attempt
from tapewatch.live.operator import OperatorDesk
from tapewatch.telemetry.health import Health
from tapewatch.telemetry.metrics import Metrics


def attempt(outcome: str, took_ms: int = 40) -> Attempt:
    """An attempt on the channel `mail`."""
    return Attempt(
        message_id="a@mail", alert_id="a", channel="mail", kind="signal", number=1, started_ms=1_000,
        ended_ms=1_000 + took_ms, outcome=outcome, late=False, error=None,
    )  # fmt: skip


def test_what_the_relay_does_is_metered() -> None:
    """Attempts with their time, what waits and since when, digests, superseded messages, how channels stand."""
    metrics, health = Metrics(), Health(0, [], ["mail"])
    desk = OperatorDesk(Operator(), lambda _step: None, lambda: 60_000)
    seen: list[Attempt] = []
    watch = DeliveryWatch(metrics, health, desk, ["out", "mail"], lambda: 60_000, seen.append)

    for outcome in ("failed", "rejected", "sent"):
        watch.attempted(attempt(outcome))
    watch.queue("mail", 7, 15_000)
    watch.queue("out", 2, 59_000)
    watch.queue("out", 0, None)
    watch.folded("mail", 40)
    watch.superseded("out", 3)
    watch.channel("mail", "held", "no connection")
    lines = set(generate_latest(metrics.registry).decode().splitlines())

    assert lines >= {
        'tapewatch_messages_total{channel="mail",outcome="failed"} 1.0',
        'tapewatch_delivery_seconds_count{channel="mail"} 3.0',
        'tapewatch_delivery_seconds_bucket{channel="mail",le="0.025"} 0.0',
        'tapewatch_delivery_seconds_bucket{channel="mail",le="0.1"} 3.0',
        'tapewatch_outbox_queued{channel="mail"} 7.0',
        'tapewatch_outbox_queued{channel="out"} 0.0',
        'tapewatch_outbox_oldest_seconds{channel="mail"} 45.0',
        'tapewatch_outbox_oldest_seconds{channel="out"} 0.0',
        'tapewatch_digests_total{channel="mail"} 1.0',
        'tapewatch_digested_total{channel="mail"} 40.0',
        'tapewatch_superseded_total{channel="out"} 3.0',
        'tapewatch_channel_state{channel="mail",state="held"} 1.0',
        'tapewatch_channel_state{channel="mail",state="ok"} 0.0',
        'tapewatch_channel_state{channel="out",state="ok"} 1.0',
    }
    assert (health.outbox_queued, len(seen), health.attempts["mail"]["sent"]) == (7, 3, 1)
    assert health.errors.total(60_000) == 2  # rejected, and held
