"""How many time series a run makes: bounded, whoever and however many are watched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from core_samples import bar, strategy
from tapewatch.config.alerts import Operator
from tapewatch.engine import Engine
from tapewatch.live.delivery import DeliveryWatch
from tapewatch.live.lane import Attempt
from tapewatch.live.operator import OperatorDesk
from tapewatch.live.pipeline import StepReport
from tapewatch.live.reporter import Reporter
from tapewatch.model import BarClosed, Effect, Judged
from tapewatch.telemetry.figures import Sampler
from tapewatch.telemetry.health import Health
from tapewatch.telemetry.metrics import Few, Metrics

CHANNELS = ("mail", "desk", "out")
#: For three strategies and three channels; a histogram of twelve buckets has fifteen.
MOST_SERIES = 700


def judged(symbols: Sequence[str]) -> Iterator[Effect]:
    """What an engine says of a bar of each on which three strategies fire: first they are not settled, so blocked."""
    plans = [strategy(name, long={"up": "close > 0"}) for name in ("one", "two", "three")]
    engine = Engine("venue", plans)
    for symbol in symbols:
        yield from engine.process(BarClosed(bar(0, symbol=symbol), 0))


def busy(symbols: Sequence[str]) -> Metrics:
    """The metrics of a run to which everything has happened, with each symbol."""
    metrics, health = Metrics(), Health(0, [])
    desk = OperatorDesk(Operator(channels=["out"]), lambda _step: None, lambda: 60_000)
    reporter = Reporter(metrics, health, desk, 10, lambda: 60_000)
    watch = DeliveryWatch(metrics, health, desk, CHANNELS, lambda: 60_000, lambda _attempt: None)
    metrics.watch_followed(lambda: dict.fromkeys(symbols, 1))
    metrics.watch_events(lambda: 1, lambda: 1)
    health.watch(symbols, 0)
    reporter.connected(len(symbols), "ws1")
    reporter.caught_up()
    for place, symbol in enumerate(symbols):
        reporter.released(bar(0, symbol=symbol), "ws", 100)
        reporter.duplicate(symbol, 0)
        reporter.correction(symbol, 0)
        reporter.refused(symbol, 0, f"high below low ({place} < {place + 1})")
        reporter.refused(symbol, 0, f"{symbol} makes no sense")
        reporter.silent(symbol)
        reporter.disconnected(f"closed by {symbol}: {place}", "ws1")
        reporter.outage(symbol, 0, 60_000)
        reporter.rest_request("/api/v3/klines", 200, place)
    effects = list(judged(symbols))
    assert sum(isinstance(effect, Judged) for effect in effects) == 3 * len(symbols)
    reporter.stepped(StepReport([], effects, [], 0.0, 0.1, 0.1, 0.1, 0.2))
    for channel in CHANNELS:
        for outcome in ("sent", "failed", "rejected"):
            watch.attempted(attempt(channel, outcome))
        watch.queue(channel, 3, 0)
        watch.folded(channel, 2)
        watch.superseded(channel, 1)
    return metrics


def attempt(channel: str, outcome: str) -> Attempt:
    """One of them."""
    return Attempt(
        message_id="m", alert_id="a", channel=channel, kind="signal", number=1, started_ms=0, ended_ms=5,
        outcome=outcome, late=False, error=None, closes_ms=(0,),
    )  # fmt: skip


def series(metrics: Metrics) -> set[str]:
    """Every series of a scrape, by its name with its labels."""
    return {
        f"{one.name}{sorted(one.labels.items())}" for family in metrics.registry.collect() for one in family.samples
    }


def test_300_symbols_make_no_more_series_than_30() -> None:
    """No label has a symbol in it; what is text of others is bounded. Nor do the figures of a minute grow."""
    few, many = (busy([f"S{number:03d}USDT" for number in range(count)]) for count in (30, 300))
    assert series(many) == series(few)
    assert len(series(many)) < MOST_SERIES
    figures = Sampler(many.registry).sample()
    assert figures['tapewatch_signals_blocked_total{check="settled"}'] == 900
    assert figures['tapewatch_symbols{liquidity="thin"}'] == 300
    assert len(figures) < 250
    labels = [name for name in figures if "USDT" in name]
    assert all(name.startswith(("tapewatch_ws_disconnects", "tapewatch_candle_refused")) for name in labels)
    assert len(labels) < 40


@pytest.mark.parametrize("count", [2, 3, 50])
def test_texts_become_few_labels(count: int) -> None:
    """The first ones as they are, for good; all others together."""
    few = Few(3)
    found = [few(f"text {number}") for number in range(count)]
    assert found == [f"text {number}" if number < 3 else "other" for number in range(count)]
    assert few("text 0") == "text 0"
