"""`tapewatch export`: samples, and what is known of the market and its days, in either kind of database."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest

from command_line import Command
from delivery_samples import VENUE, signal
from tapewatch.errors import StoreError
from tapewatch.live import figures as live
from tapewatch.model import Bar, Judged
from tapewatch.store import Ledger, Step
from tapewatch.telemetry.metrics import Metrics

AT_MS = 1_747_750_020_000
MESSAGES = 'tapewatch_messages_total{channel="out",outcome="sent"}'


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """An empty ledger."""
    ledger = Ledger.open(ledger_url)
    yield ledger
    ledger.close()


@pytest.fixture
def config(ledger_url: str, ledger: Ledger, tmp_path: Path) -> Path:
    """A configuration whose ledger has three samples, the last of them after a restart."""
    ledger.figures.keep(AT_MS, AT_MS - 60_000, {"tapewatch_alerts_total": 7, MESSAGES: 7, "up": 0.5})
    ledger.figures.keep(AT_MS + 60_000, AT_MS - 60_000, {"tapewatch_alerts_total": 9, MESSAGES: 8})
    ledger.figures.keep(AT_MS + 180_000, AT_MS + 120_000, {"tapewatch_alerts_total": 1})
    path = tmp_path / "tapewatch.yaml"
    path.write_text(
        "exchange: {venue: binance_spot}\nuniverse: {include: [BTCUSDT]}\nstrategies: {scalp: {}}\n"
        "channels: {out: {type: file, path: alerts.jsonl}}\nalerts: {routes: [{channels: [out]}]}\n"
        f'ledger: {{url: "{ledger_url}", folder: "{tmp_path}"}}\nweb: {{enabled: false}}\n'
    )
    return path


def test_samples_come_out_as_they_were_kept(run: Command, config: Path) -> None:
    """As CSV a line for each figure, as JSON a line for each sample; a restart shows in the run's start."""
    code, lines, err = run("export", "figures", "-c", config)
    assert (code, err) == (0, "")
    assert list(csv.reader(lines)) == [
        ["time", "run_started", "figure", "value"],
        ["2025-05-20T14:07:00.000Z", "2025-05-20T14:06:00.000Z", "tapewatch_alerts_total", "7"],
        ["2025-05-20T14:07:00.000Z", "2025-05-20T14:06:00.000Z", MESSAGES, "7"],
        ["2025-05-20T14:07:00.000Z", "2025-05-20T14:06:00.000Z", "up", "0.5"],
        ["2025-05-20T14:08:00.000Z", "2025-05-20T14:06:00.000Z", "tapewatch_alerts_total", "9"],
        ["2025-05-20T14:08:00.000Z", "2025-05-20T14:06:00.000Z", MESSAGES, "8"],
        ["2025-05-20T14:10:00.000Z", "2025-05-20T14:09:00.000Z", "tapewatch_alerts_total", "1"],
    ]
    found = run.objects("export", "figures", "-c", config)
    assert found[2] == {
        "at_ms": AT_MS + 180_000, "started_ms": AT_MS + 120_000, "figures": {"tapewatch_alerts_total": 1}
    }  # fmt: skip


def test_a_period_and_names_are_chosen(run: Command, config: Path) -> None:
    """The end is excluded; names are beginnings."""
    period = ("--from", AT_MS, "--to", AT_MS + 60_000)
    found = run.objects("export", "figures", "-c", config, *period, "--names", "up,tapewatch_mess")
    assert [one["figures"] for one in found] == [{MESSAGES: 7, "up": 0.5}]
    assert "--from: 2025-05-21 is not before --to 2025-05-20" in run.refused(
        "export", "figures", "-c", config, "--from", "2025-05-21", "--to", "2025-05-20"
    )


def test_a_run_samples_and_a_ledger_in_trouble_is_a_hole(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sampling goes on, and it is said once."""
    metrics, clock = Metrics(), iter(range(AT_MS, AT_MS + 1_000))
    metrics.alerts.inc(5)
    keep, tried, said = ledger.figures.keep, list[int](), list[str]()
    enough = Event()

    def failing(at_ms: int, started_ms: int, figures: dict[str, float]) -> None:
        tried.append(at_ms)
        if len(tried) in (2, 3):
            raise StoreError("the disk is full")
        if len(tried) == 5:
            enough.set()
        keep(at_ms, started_ms, figures)

    async def sampled() -> None:
        with ThreadPoolExecutor(1) as executor:
            task = asyncio.create_task(live.keeping(metrics, ledger, executor, lambda: next(clock)))
            await asyncio.to_thread(enough.wait)
            task.cancel()
            await asyncio.wait([task])

    monkeypatch.setattr(live, "EVERY_S", 0.01)
    monkeypatch.setattr(live, "_log", SimpleNamespace(warning=lambda event, **_data: said.append(event)))
    monkeypatch.setattr(ledger.figures, "keep", failing)
    asyncio.run(sampled())
    found = list(ledger.figures.between(None, None))
    assert [one["at_ms"] for one in found][:3] == [tried[0], tried[3], tried[4]]
    assert {(one["started_ms"], one["figures"]["tapewatch_alerts_total"]) for one in found} == {(AT_MS, 5)}
    assert said == ["figures_not_kept"]


def test_the_market_and_its_days_are_exported(run: Command, config: Path, ledger: Ledger) -> None:
    """As CSV with the table's columns, or as rows; what is not known is empty."""
    one = signal(indicators={"ema(close, 9)": 1.5})
    bar = Bar("BTCUSDT", 60_000, one.open_ms, 1.0, 2.0, 0.5, 1.5, 7.0)
    judged = Judged(one, "blocked", False, 5, None, bar)
    ledger.commit_step(Step(VENUE, [judged]))
    ledger.market.found([judged])
    ledger.metrics.update()

    _, (head, line), _ = run("export", "snapshots", "-c", config, "--symbols", "BTCUSDT,ETHUSDT")
    assert head.startswith("time,venue,symbol,signal_id,price,quote_volume_24h,spread_bps,timeframe,regime,trend,")
    assert line.startswith(f"2025-05-20T14:07:00.000Z,{VENUE},BTCUSDT,{one.id},67012.5,,,1m,")
    assert run.objects("export", "snapshots", "-c", config, "--symbols", "ETHUSDT") == []
    _, (head, line), _ = run("export", "candles", "-c", config)
    assert head == ("time,venue,symbol,timeframe,open,high,low,close,volume,quote_volume,trades,taker_buy,indicators")
    assert line.endswith(',1m,1.0,2.0,0.5,1.5,7.0,,,,"{""scalp"":{""ema(close, 9)"":1.5}}"')
    [day] = run.objects("export", "metrics", "-c", config, "--strategy", "scalp")
    assert (day["signals"], day["passed"], day["win_rate"]) == (1, 0, None)
    assert run.objects("export", "metrics", "-c", config, "--to", "2025-05-20") == []
