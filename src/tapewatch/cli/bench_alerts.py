"""How long alerts take from their bar's close to their delivery, stage by stage, when few and when many fire at once.

Two programs of this module run beside the one that measures: the exchange, a simulator at the exchange's own speed over
TLS into whose market signals are planted, and the run, which is `tapewatch run` with watchers that write down what they
see. Alerts go to a file: what a service on the network needs comes on top.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tapewatch.cli.bench_feed import certificate
from tapewatch.cli.bench_market import WEIGHT_PER_MINUTE, configuration
from tapewatch.cli.bench_process import line_of, say, started
from tapewatch.cli.figures import Figure, cpu_s
from tapewatch.errors import SetupError
from tapewatch.model import MINUTE_MS
from tapewatch.telemetry.stages import STAGES, percentile

_HERE = "tapewatch.cli.bench_alerts"
HISTORY_MS, LIVE_MS = 3 * 86_400_000, 3_600_000
#: Alerts of a boundary are delivered within this, or something is wrong.
PATIENCE_S = 120.0
WINDOWS_S = 600.0


class Size(NamedTuple):
    """A market, and how many of its symbols fire together: the first few at one boundary, then the others at another.

    `few_at` and `all_at` are the minutes of those boundaries after the exchange's clock has begun.
    """

    symbols: int
    few: int
    speed: float
    few_at: int
    all_at: int


FULL, SMOKE = Size(300, 20, 1.0, 3, 5), Size(6, 2, 30.0, 6, 8)


def measure(*, smoke: bool) -> Iterator[Figure]:
    """Stages of a few alerts at one boundary and of many, the step that decides them, and the CPU meanwhile."""
    size = SMOKE if smoke else FULL
    with tempfile.TemporaryDirectory(prefix="tapewatch-bench-") as folder:
        authority = str(certificate(Path(folder)))
        with started(_HERE, "exchange", json.dumps(size), authority) as exchange:
            about = json.loads(line_of(exchange))
            config = Path(folder, "bench.json")
            config.write_text(json.dumps(configuration(about, authority)), "utf-8")
            with started(_HERE, "run", str(config), json.dumps(about["planted"])) as run:
                line_of(run)  # says that it has caught up
                before_s, began_s = cpu_s(run.pid), time.monotonic()
                seen = json.loads(line_of(run))
                share = (cpu_s(run.pid) - before_s) / (time.monotonic() - began_s) * 100
    name = f"alerts, {size.symbols} symbols"
    for boundary in seen:
        yield from _figures(name, boundary)
    yield Figure(f"{name}, CPU", share, "% of a core", size.symbols, 1)


def _figures(name: str, boundary: Mapping[str, Any]) -> Iterator[Figure]:
    alerts = boundary["stages"]
    if len(alerts) < boundary["planted"]:
        raise SetupError(f"bench: {len(alerts)} of {boundary['planted']} planted alerts were delivered and measured")
    at_once = f"{name}, {len(alerts)} at once"
    for stage in STAGES:
        spans_ms = sorted(alert[stage] * 1000 for alert in alerts)
        for share in (50, 99):
            yield Figure(f"{at_once}: {stage}, p{share}", percentile(spans_ms, share), "ms", len(alerts), 1)
    yield Figure(f"{at_once}: engine", boundary["engine_s"] * 1000, "ms", len(alerts), 1)


async def _exchange(size: Size, authority: str) -> None:
    import ssl

    from tapewatch.simulator import Simulator, SyntheticMarket, names
    from tapewatch.simulator.limits import Limits
    from tapewatch.simulator.plants import Planter
    from tapewatch.simulator.script import Plant, PlantScript
    from tapewatch.simulator.synthetic import START_MS

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority)
    symbols = names(size.symbols)
    # Signals at their natural places are as few as usual; these come together.
    at_ms = [START_MS + (size.few_at if place < size.few else size.all_at) * MINUTE_MS for place in range(len(symbols))]
    plants = [
        Plant.model_validate({"side": ("long", "short")[place % 2], "symbol": symbol, "at": at_ms[place]})
        for place, symbol in enumerate(symbols)
    ]
    market = SyntheticMarket(
        1, symbols, history_ms=HISTORY_MS, live_ms=LIVE_MS, planter=Planter(PlantScript(plants=tuple(plants)))
    )
    for symbol in symbols:
        market.candles(symbol)  # before the clock begins
    simulator = Simulator(
        market,
        rate=size.speed,
        start_ms=START_MS,
        limits=Limits(weight_per_minute=WEIGHT_PER_MINUTE, requests_per_5m=WEIGHT_PER_MINUTE),
        ssl_context=context,
    )
    await simulator.start()
    about = {"rest_url": simulator.rest_url, "ws_url": simulator.ws_url, "symbols": list(symbols)}
    planted = {str(close_ms): at_ms.count(close_ms) for close_ms in sorted(set(at_ms))}
    say(json.dumps({**about, "planted": planted}))
    await asyncio.Event().wait()


class _Boundary:
    """What is seen of the alerts of one boundary."""

    def __init__(self, planted: int) -> None:
        self.planted = planted
        self.alerts: set[str] = set()
        self.stages: list[Mapping[str, float]] = []
        self.engine_s = 0.0

    @property
    def complete(self) -> bool:
        return len(self.alerts) >= self.planted and len(self.stages) == len(self.alerts)


async def _run(path: Path, planted: Mapping[int, int]) -> None:
    """Run until the planted alerts have been delivered."""
    from tapewatch.cli.run import health_server
    from tapewatch.config import load
    from tapewatch.live.pipeline import StepReport
    from tapewatch.live.shell import Live, Watchers
    from tapewatch.model import Alert
    from tapewatch.telemetry import LogSetup

    logs = LogSetup(level="error")
    boundaries = {close_ms: _Boundary(count) for close_ms, count in planted.items()}

    def on_step(report: StepReport) -> None:
        alerts = [effect for effect in report.effects if isinstance(effect, Alert)]
        for close_ms, boundary in boundaries.items():
            fired = {alert.alert_id for alert in alerts if alert.signals[0].close_ms == close_ms}
            boundary.alerts |= fired
            boundary.engine_s += report.engine_s if fired else 0.0

    def on_stages(alert_id: str, stages: Mapping[str, float]) -> None:
        for boundary in boundaries.values():
            if alert_id in boundary.alerts and stages:
                boundary.stages.append(stages)

    live = Live(load([path], {}), health_server, Watchers(on_step=on_step, on_stages=on_stages))
    running = asyncio.create_task(live.run())
    async with asyncio.timeout(WINDOWS_S):
        while not live.caught_up and not running.done():  # noqa: ASYNC110  (nothing of the run tells)
            await asyncio.sleep(0.1)
    say("caught_up")
    last_ms, patience_s = max(boundaries), time.monotonic() + PATIENCE_S
    while not all(one.complete for one in boundaries.values()) and not running.done():
        if live.exchange_now_ms() < last_ms:
            patience_s = time.monotonic() + PATIENCE_S
        elif time.monotonic() > patience_s:
            break
        await asyncio.sleep(0.1)
    found = [{"planted": one.planted, "stages": one.stages, "engine_s": one.engine_s} for one in boundaries.values()]
    say(json.dumps(found))
    live.stop()
    await running
    logs.close()


if __name__ == "__main__":
    role, first, second = sys.argv[1:]
    if role == "run":
        asyncio.run(_run(Path(first), {int(close_ms): count for close_ms, count in json.loads(second).items()}))
    else:
        asyncio.run(_exchange(Size(*json.loads(first)), second))
