"""`run` through CCXT's own Binance against `simulate`: it finds what `signals` finds in the same candles."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from run_harness import (
    HOUR_MS,
    MINUTE_MS,
    Exchange,
    archive,
    command,
    configure,
    deliveries,
    easy,
    eventually,
    fetch,
    health_url,
    json_lines,
    lines_of,
    reached,
    running,
    series_of,
    simulated,
    stored_signals,
    values_of,
)

SYMBOLS = ("BTC/USDT", "ETH/USDT")
NAMES = {MINUTE_MS: "1m", 5 * MINUTE_MS: "5m", HOUR_MS: "1h"}
#: CCXT cannot make the simulated clock wait: a minute must take longer than its requests.
SPEED = "150"


def through_ccxt(exchange: Exchange) -> dict[str, object]:
    """The configuration's section for the library's Binance, pointed at the simulator."""
    api = {"public": f"{exchange.about['rest_url']}/api/v3", "ws": {"spot": f"{exchange.about['ws_url']}/ws"}}
    return {"ccxt": {"id": "binance", "options": {"fetchMarkets": {"types": ["spot"]}}, "urls": {"api": api}}}


def under_their_names(root: Path) -> None:
    """The archive again under the venue and the symbols that the library has."""
    for symbol in SYMBOLS:
        folder = root / "binance" / symbol.replace("/", "%2F")
        shutil.copytree(root / "binance_spot" / symbol.replace("/", ""), folder)


@pytest.mark.slow
def test_a_run_through_ccxt_finds_what_signals_finds(tmp_path: Path) -> None:
    """The same candidates to the last bit, across a stop and a start in the middle; health knows its connection."""
    root, start_ms = archive(tmp_path, hours=1)
    under_their_names(root)
    end_ms = start_ms + HOUR_MS
    options = ("--data", str(root), "--venue", "binance_spot", "--symbols", "BTCUSDT,ETHUSDT")
    faults = tmp_path / "faults.yaml"
    faults.write_text("- {kind: drop, at: 10m, for: 1m}\n- {kind: http_5xx, at: 20m, for: 2m}\n")
    more = ("--start", str(start_ms), "--at-end", "hold", "--speed", SPEED, "--faults", str(faults))
    with simulated(tmp_path, *options, *more) as exchange:
        configure(tmp_path, exchange, SYMBOLS, strategies=easy(), exchange=through_ccxt(exchange))
        assert command("check", "-c", str(tmp_path / "tapewatch.yaml"), "--connect").returncode == 0
        with running(tmp_path, "first") as run:
            url = health_url(run)
            eventually(lambda: fetch(f"{url}/readyz")[0] == 200 or run.code is not None)
            eventually(lambda: reached_any(tmp_path, start_ms + 15 * MINUTE_MS) or run.code is not None)
            assert run.stop() == 0, run.log
        with running(tmp_path, "second") as run:
            eventually(lambda: reached(tmp_path, SYMBOLS, end_ms) or run.code is not None, every_s=0.2)
            assert run.stop() == 0, run.log
    stored = stored_signals(tmp_path)
    expected = json_lines(
        "signals", "--strategy", "scalp", "--data", str(root), "--venue", "binance", "--symbols", ",".join(SYMBOLS),
        "--from", str(start_ms + 1), "--to", str(end_ms + 1), "--set", "min_factors=3", *history_starts(tmp_path),
        "--json",
    )  # fmt: skip
    assert len(expected) > 5
    assert values_of(stored) == values_of(expected)
    assert all(one["id"].startswith(("binance/BTC%2FUSDT/", "binance/ETH%2FUSDT/")) for one in stored)
    passed = {one["alert_id"] for one in stored if one["state"] == "passed"}
    assert {line["alert_id"] for line in deliveries(tmp_path)} == passed


def reached_any(folder: Path, end_ms: int) -> bool:
    """Whether some base bar up to then is stored."""
    return any((last or 0) >= end_ms for (_, step_ms), (_, last) in series_of(folder).items() if step_ms == MINUTE_MS)


def history_starts(folder: Path) -> list[str]:
    """The options that give `signals` the run's starts."""
    starts = {f"{NAMES[interval_ms]}={start_ms}" for (_, interval_ms), (start_ms, _) in series_of(folder).items()}
    assert len(starts) == len(NAMES)
    return [word for start in sorted(starts) for word in ("--history-start", start)]


def test_why_knows_symbols_with_a_slash(tmp_path: Path) -> None:
    """The archive's folder of `BTC/USDT` is found under its name."""
    root, start_ms = archive(tmp_path, hours=1)
    under_their_names(root)
    where = ("--data", str(root), "--venue", "binance", "--strategy", "scalp")
    found = json_lines("why", "BTC/USDT", str(start_ms), *where, "--json")
    assert found[0]["bar"]["symbol"] == "BTC/USDT"


def test_an_interval_that_the_exchange_lacks_is_said_at_the_start(tmp_path: Path) -> None:
    """`run` ends with exit code 2 and one line, as `check` does, before anything is asked."""
    strategies = {"scalp": {"timeframes": ["1m"], "higher": {"1m": "3m"}}}
    configure(tmp_path, "127.0.0.1:1", SYMBOLS, strategies=strategies, exchange={"ccxt": "kraken"})
    done = command("run", "-c", str(tmp_path / "tapewatch.yaml"))
    assert done.returncode == 2
    assert "kraken has no candles of 3m" in done.stderr
    assert "Traceback" not in done.stderr
    assert not lines_of(tmp_path / "alerts.jsonl")
