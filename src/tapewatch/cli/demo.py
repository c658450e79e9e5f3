"""`tapewatch demo`: the whole live pipeline against the built-in exchange simulator, in a minute, on real sockets."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapewatch.cli import options
from tapewatch.cli.demo_parity import outcome
from tapewatch.cli.run import health_server
from tapewatch.errors import SetupError

if TYPE_CHECKING:
    from tapewatch.config import Config
    from tapewatch.live.pipeline import StepReport
    from tapewatch.live.relay import Attempt
    from tapewatch.simulator import Market

#: Simulated time over wall time: more than any machine keeps up with, so the simulator waits for the pipeline.
RATE = 60_000.0
HOUR_MS = 3_600_000
#: What the paper account begins with, in quote units.
CASH = 10_000.0


def demo(
    data: Annotated[Path | None, typer.Option(help="Archive of real candles; without it a synthetic market.")] = None,
    venue: Annotated[str | None, typer.Option(help="Folder in the archive; needed when it has several.")] = None,
    symbols: Annotated[
        list[str] | None, typer.Option(help="Symbols, with commas or repeated; default all, or 10 synthetic ones.")
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="Where live data begin: ISO (UTC) or ms; default as simulate.")
    ] = None,
    hours: Annotated[float, typer.Option(min=0.1, max=24 * 31, help="How many hours are played.")] = 24.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the synthetic market.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON on stdout, alerts on stderr.")] = False,
) -> None:
    """Run the whole pipeline against the built-in simulator and print what it found.

    Example: tapewatch demo --data candles --symbols BTCUSDT --start 2023-03-10 --hours 24
    """
    from tapewatch.telemetry import LogSetup

    market, start_ms = _market(data, venue, options.words(symbols), options.moment_ms(start, "--start"), hours, seed)
    logs = LogSetup(level="error")
    try:
        with tempfile.TemporaryDirectory(prefix="tapewatch-demo-") as folder:
            summary = asyncio.run(_play(market, start_ms, Path(folder), as_json=as_json))
    finally:
        logs.close()
    if as_json:
        options.print_json(summary)
    else:
        _print(summary, hours)


def _market(
    data: Path | None, venue: str | None, symbols: Sequence[str], start_ms: int | None, hours: float, seed: int
) -> tuple[Market, int]:
    from tapewatch.simulator import ArchiveMarket, SyntheticMarket, default_start_ms, names
    from tapewatch.simulator.synthetic import START_MS

    live_ms = int(hours * HOUR_MS)
    if data is None:
        start_ms = START_MS if start_ms is None else start_ms
        return SyntheticMarket(seed, symbols or names(10), start_ms=start_ms, live_ms=live_ms), start_ms
    stored = ArchiveMarket(data, options.venue_of(data, venue), tuple(symbols))
    start_ms = default_start_ms(stored) if start_ms is None else start_ms
    if not stored.first_ms <= start_ms < stored.last_ms:
        held = f"{options.iso(stored.first_ms)} to {options.iso(stored.last_ms)}"
        raise SetupError(f"--start: the archive holds {held} of these symbols")
    stored.last_ms = min(stored.last_ms, start_ms + live_ms)
    return stored, start_ms


@dataclass
class _Tally:
    """What the run did, and when each alert's bar came (monotonic seconds)."""

    counts: Counter[str] = field(default_factory=Counter)
    came_s: dict[str, float] = field(default_factory=dict)
    latency_ms: list[float] = field(default_factory=list)

    def step(self, report: StepReport) -> None:
        from tapewatch.model import MINUTE_MS, Alert, BarDone, Judged

        for effect in report.effects:
            if isinstance(effect, BarDone):
                self.counts["bars"] += effect.interval_ms == MINUTE_MS
            elif isinstance(effect, Judged):
                self.counts["signals"] += 1
                self.counts["passed"] += effect.state == "passed"
            elif isinstance(effect, Alert):
                self.counts["alerts"] += 1
                self.came_s[effect.alert_id] = report.taken_s

    def attempt(self, attempt: Attempt) -> None:
        if attempt.kind != "signal":
            self.counts["failed"] += attempt.outcome == "rejected"
        elif attempt.outcome == "sent":
            self.counts["delivered"] += 1
            self.latency_ms.append((time.monotonic() - self.came_s[attempt.alert_id]) * 1000)
        elif attempt.outcome == "rejected":
            self.counts["failed"] += 1


async def _play(market: Market, start_ms: int, folder: Path, *, as_json: bool) -> dict[str, Any]:
    from tapewatch.live.shell import Live, Watchers
    from tapewatch.simulator import Simulator

    started_s, tally = time.monotonic(), _Tally()
    # It has nothing to reload, ends by itself, and a terminal that is closed must not leave its folder behind.
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: None)
    simulator = Simulator(market, rate=RATE, start_ms=start_ms)
    await simulator.start()
    try:
        config = _config(simulator, market, folder)
        live = Live(
            config,
            health_server,
            Watchers(tally.step, tally.attempt),
            console=sys.stderr if as_json else sys.stdout,
        )
        running = asyncio.create_task(live.run())
        ended = asyncio.create_task(simulator.wait_ended())
        await asyncio.wait([running, ended], return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            await live.delivered(30)
            live.stop()
        ended.cancel()
        await running
    finally:
        await simulator.stop()
    names = ("bars", "signals", "passed", "alerts", "delivered", "failed")
    counts = {name: tally.counts[name] for name in names}
    latency = {"p50": _percentile(tally.latency_ms, 50), "p99": _percentile(tally.latency_ms, 99)}
    wall_s = round(time.monotonic() - started_s, 2)
    paper = outcome(config, market, folder / "played")
    return {
        **counts,
        "symbols": len(market.symbols),
        "latency_ms": latency,
        "wall_s": wall_s,
        "trades": paper.trades,
        "net": float(paper.net),
        "parity": {"checked": paper.parity.checked, "equal": paper.parity.equal},
    }


def _config(simulator: Any, market: Market, folder: Path) -> Config:
    from tapewatch.config import Config

    return Config.model_validate(
        {
            "exchange": {"venue": market.venue, "rest_url": simulator.rest_url, "ws_url": simulator.ws_url},
            "universe": {"include": list(market.symbols)},
            "strategies": {"scalp": {}},
            "channels": {"screen": {"type": "console"}},
            "alerts": {"routes": [{"channels": ["screen"]}]},
            "paper": {"account": "perpetual", "cash": CASH},
            "ledger": {"url": f"sqlite:///{folder / 'demo.db'}"},
            "web": {"port": 0},
        }
    )


def _percentile(values: list[float], percent: int) -> float | None:
    if not values:
        return None
    return round(values[0] if len(values) == 1 else quantiles(values, n=100, method="inclusive")[percent - 1], 2)


def _print(summary: dict[str, Any], hours: float) -> None:
    """In words; others read "N alerts delivered", so that stays as it is for one."""
    latency, counted = summary["latency_ms"], options.counted
    hour = "hour" if hours == 1 else "hours"
    timing = "" if latency["p50"] is None else f", bar to delivery p50 {latency['p50']} ms, p99 {latency['p99']} ms"
    sys.stdout.write(
        f"\n{counted(summary['symbols'], 'symbol')}, {hours:g} {hour}, {counted(summary['bars'], 'bar')} "
        f"over real sockets in {summary['wall_s']} s.\n"
        f"{counted(summary['signals'], 'signal')} found, {summary['passed']} passed the gate.\n"
        f"{_traded(summary)}\n"
        f"{summary['delivered']} alerts delivered, {summary['failed']} failed{timing}.\n"
    )


def _traded(summary: dict[str, Any]) -> str:
    """What the paper account did; it has no funding, which a spot market does not pay."""
    parity = summary["parity"]
    return (
        f"{options.counted(summary['trades'], 'paper trade')} closed, long and short without funding, "
        f"net {summary['net']:+,.2f} of {CASH:,.0f} after fees and slippage; "
        f"{parity['equal']} of {parity['checked']} equal to a backtest of the same candles."
    )
