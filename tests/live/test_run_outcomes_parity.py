"""What a run says became of its signals is what `signals --outcomes` says on the same candles, to the bit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from test_run_paper_parity import OFTEN, UNASKED

from run_harness import (
    HOUR_MS,
    Line,
    archive,
    configure,
    eventually,
    json_lines,
    query,
    reached,
    running,
    series_of,
    simulated,
)
from tapewatch import strategies
from tapewatch.draw import LIVE_ONE_IN
from tapewatch.model import INTERVAL_NAMES, MINUTE_MS
from tapewatch.study.outcomes import outcomes_of
from tapewatch.study.signals import Request, find

SYMBOLS = ("BTCUSDT", "ETHUSDT")
HOURS = 8
#: As stored, and as printed.
SAME = ("result", "ambiguous", "bars", "mfe_r", "mae_r", "gross_r", "net_r", "gross_pct", "risk_pct", "price", "ms")


def seen(folder: Path) -> dict[str, list[Any]]:
    """What the run saw, by signal."""
    rows = query(folder, f"SELECT signal_id, {', '.join(SAME)} FROM outcomes WHERE source = 'live'")
    return {identity: values for identity, *values in rows}


def computed(folder: Path, root: Path, symbols: Sequence[str], start_ms: int) -> dict[str, Line]:
    """What `signals --outcomes` says from the starts of the folder's run, by signal."""
    lines = json_lines(
        "signals", "--strategy", str(folder / "often.yaml"), "--data", str(root), "--venue", "binance_spot",
        "--symbols", ",".join(symbols), "--from", str(start_ms + 1), *starts_of(folder), "--outcomes", "--json",
    )  # fmt: skip
    return {line["id"]: line["outcome"] for line in lines}


def starts_of(folder: Path) -> list[str]:
    """Where the run's series start, as options."""
    starts = sorted({f"{INTERVAL_NAMES[step_ms]}={ms}" for (_, step_ms), (ms, _) in series_of(folder).items()})
    return [word for start in starts for word in ("--history-start", start)]


def random_entries(folder: Path, root: Path, symbols: Sequence[str], start_ms: int) -> set[tuple[str | int, ...]]:
    """What became of the bars that the run had to draw, by timeframe, side, symbol and hour: how many, and hits."""
    starts = {step_ms: ms for (_, step_ms), (ms, _) in series_of(folder).items()}
    (often,) = strategies.from_mappings({"often": OFTEN})
    request = Request(root, "binance_spot", symbols, from_ms=start_ms + 1, starts=starts)
    known = outcomes_of(often, request, find(often, request), 20.0, one_in=LIVE_ONE_IN)
    return {
        (kind.timeframe, kind.side, symbol, hour, sums.n, sums.hits)
        for kind, of_kind in known.drawn.items()
        for symbol, baseline in of_kind.items()
        for hour, sums in enumerate(baseline.hours)
        if sums.n
    }


def same(folder: Path, root: Path, symbols: Sequence[str], start_ms: int, end_ms: int) -> None:
    """Run to the end of the candles; assert that the run saw what is computed, and told only what was known."""
    options = ("--data", str(root), "--start", str(start_ms), "--at-end", "hold", "--speed", "20000")
    with simulated(folder, *options, "--symbols", ",".join(symbols)) as exchange:
        configure(folder, exchange, symbols, strategies={"often": OFTEN}, alerts=UNASKED)
        with running(folder) as run:
            eventually(lambda: reached(folder, symbols, end_ms) or run.code is not None)
            assert run.stop() == 0, run.log
    with (folder / "often.yaml").open("w") as file:
        YAML().dump({"often": OFTEN}, file)
    live, study = seen(folder), computed(folder, root, symbols, start_ms)
    assert len(live) > 100
    ended = {identity: one for identity, one in study.items() if one["result"] != "open"}
    assert set(live) == set(ended)
    for identity, values in live.items():
        assert values == [ended[identity][name] for name in SAME], identity
    assert {values[0] for values in live.values()} == {"target", "stop", "time"}
    columns = "timeframe, side, symbol, hour, entries, targets"
    drawn = query(folder, f"SELECT {columns} FROM baselines WHERE source = 'live'")
    assert len(drawn) == len(set(drawn)) > 0
    assert set(drawn) == random_entries(folder, root, symbols, start_ms)
    records_know_only_the_past(folder)


def records_know_only_the_past(folder: Path) -> None:
    """Each alert's record counts the passed signals of its kind that had ended by the close of its bar, no other.

    Of those that end in candles of that very minute, only what had come before the alert was decided.
    """
    alerts = query(
        folder,
        "SELECT signals.strategy, signals.side, signals.timeframe, signals.close_ms, alerts.record FROM alerts "
        "JOIN signals ON signals.id = json_extract(alerts.signal_ids, '$[0]') WHERE alerts.kind = 'signal'",
    )
    assert len(alerts) > 50
    told = 0
    for strategy, side, timeframe, close_ms, record in alerts:
        found = json.loads(record)
        about = f"strategy = '{strategy}' AND side = '{side}' AND timeframe = '{timeframe}' AND state = 'passed'"
        if found["regime"] is not None:
            about += f" AND regime = '{found['regime']}'"
        ended = query(folder, f"SELECT ms + {MINUTE_MS}, result = 'target' FROM outcomes WHERE {about}")
        earlier = [hit for known_ms, hit in ended if known_ms < close_ms]
        known = [hit for known_ms, hit in ended if known_ms <= close_ms]
        assert len(earlier) <= found["all"]["n"] <= len(known)
        assert sum(earlier) <= found["all"]["hits"] <= sum(known)
        told += found["all"]["n"] > 0
    assert told > 20


@pytest.mark.slow
def test_a_run_sees_what_is_computed_on_its_candles(tmp_path: Path) -> None:
    """On a market out of a seed: results, prices, extremes and random entries; and no record knew the future."""
    root, start_ms = archive(tmp_path, SYMBOLS, hours=HOURS)
    same(tmp_path, root, SYMBOLS, start_ms, start_ms + HOURS * HOUR_MS)


@pytest.mark.slow
def test_it_does_on_real_candles(tmp_path: Path, market_data: Path) -> None:
    """The same, on what was traded one day in 2021."""
    root, symbols = market_data / "candles/scan-1m-2021-04", ("ADAUSDT", "ALGOUSDT")
    listed = json_lines("archive", "ls", "--data", str(root), "--json")
    end_ms = min(one["last_ms"] for one in listed if one["symbol"] in symbols) + MINUTE_MS
    same(tmp_path, root, symbols, end_ms - HOURS * HOUR_MS, end_ms)
