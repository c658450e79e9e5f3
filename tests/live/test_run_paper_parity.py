"""What a run trades on paper is what a backtest trades on the same candles."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from test_run_faults import FAULTS

from run_harness import (
    HOUR_MS,
    UNASKED,
    Exchange,
    Line,
    archive,
    command,
    configure,
    eventually,
    fetch,
    json_lines,
    query,
    reached,
    running,
    series_of,
    simulated,
)
from tapewatch.model import INTERVAL_NAMES, MINUTE_MS

SYMBOLS = ("BTCUSDT", "ETHUSDT")
HOURS = 8
#: Signals on both sides every few minutes, exits of every kind; what passed before the start changes nothing.
OFTEN: dict[str, Any] = {
    "timeframes": ["1m", "5m"],
    "higher": {"1m": "5m", "5m": "15m"},
    "long": {"turn": "crossover(ema(close, 3), ema(close, 8))"},
    "short": {"turn": "crossunder(ema(close, 3), ema(close, 8))"},
    "stop": "1.5 * atr(14)",
    "targets": [{"at": "1.0 * atr(14)", "share": "40%"}, {"at": "2.5 * atr(14)", "share": "60%"}],
    "break_even": "0.8 * atr(14)",
    "trailing": {"after": "1.2 * atr(14)", "by": "1.0 * atr(14)"},
    "time_limit": 12,
    "duplicate": {"window": "1m", "move": "0%"},
    "cooldown": "0m",
}
PAPER: dict[str, Any] = {
    "account": "perpetual",
    "cash": 20_000,
    "risk": "0.5%",
    "leverage": 3,
    "taker_bps": 5,
    "maker_bps": 2,
    "slippage_bps": 1.5,
    "on_opposite": "reverse",
    "cap_symbol": "90%",
    "protections": {"losses": {"count": 4, "pause": "20m"}, "after_stop": "3m"},
}
#: The same of a backtest.
ACCOUNT = (
    "--account", "perpetual", "--cash", "20000", "--risk", "0.5%", "--leverage", "3",
    "--taker-bps", "5", "--maker-bps", "2", "--slippage-bps", "1.5", "--on-opposite", "reverse",
    "--cap-symbol", "90%", "--losses", "4:20m", "--after-stop", "3m",
)  # fmt: skip


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """An archive, and where its last hours begin."""
    return archive(tmp_path_factory.mktemp("archive"), SYMBOLS, hours=HOURS)


def exchange_options(candles: tuple[Path, int]) -> tuple[str, ...]:
    """What the simulated exchange is told."""
    return ("--data", str(candles[0]), "--start", str(candles[1]), "--at-end", "hold", "--speed", "20000")


def traded(folder: Path) -> dict[str, Any]:
    """The closed trades of the folder's ledger: entry and exits, then money."""
    rows = query(
        folder,
        "SELECT trade_id, entry_ms, entry, quantity, gross, fees, funding FROM trades WHERE state = 'closed'",
    )
    found = {}
    for identity, entry_ms, entry, quantity, *money in rows:
        chosen = f"trade_id = '{identity}' AND number > 0 ORDER BY number"
        fills = query(folder, f"SELECT ms, price, quantity, reason FROM fills WHERE {chosen}")
        exits = [(ms, float(price), float(part) / float(quantity) * 100, reason) for ms, price, part, reason in fills]
        found[identity] = ((entry_ms, float(entry), float(quantity), exits), [float(one) for one in money])
    return found


def backtest_of(
    folder: Path,
    candles: tuple[Path, int],
    exchange: Exchange,
    symbols: Sequence[str],
    account: Sequence[str] = ACCOUNT,
) -> dict[str, Any]:
    """The same of a backtest from the starts of the folder's run."""
    root, start_ms = candles
    (folder / "info.json").write_text(fetch(f"{exchange.about['rest_url']}/api/v3/exchangeInfo")[1])
    with (folder / "often.yaml").open("w") as file:
        YAML().dump({"often": OFTEN}, file)
    starts = sorted({f"{INTERVAL_NAMES[step_ms]}={ms}" for (_, step_ms), (ms, _) in series_of(folder).items()})
    end_ms = min(last_ms or 0 for _, last_ms in series_of(folder).values())
    trades = folder / "trades.jsonl"
    done = command(
        "backtest", "--strategy", str(folder / "often.yaml"), "--data", str(root), "--venue", "binance_spot",
        "--symbols", ",".join(symbols), "--from", str(start_ms + 1), "--instruments", str(folder / "info.json"),
        *(word for start in starts for word in ("--history-start", start)), *account, "--trades", str(trades), "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert end_ms
    found = {}
    for line in map(json.loads, trades.read_text().splitlines()):
        exits = [(one["ms"], one["price"], one["share"], one["reason"]) for one in line["exits"]]
        entry = (line["entry_ms"], line["entry_price"], line["quantity"], exits)
        found[line["trade_id"]] = (entry, [line["gross"], line["fees"], line.get("funding", 0.0)])
    return found


def agree(live: dict[str, Any], backtest: dict[str, Any]) -> None:
    """Assert that both traded the same, to a billionth."""
    assert set(live) == set(backtest)
    assert len(live) > 20
    for identity, (fills, money) in live.items():
        assert _near(fills, backtest[identity][0]), identity
        assert money == pytest.approx(backtest[identity][1], rel=1e-9, abs=1e-9), identity


def _near(one: Any, other: Any) -> bool:
    """Whether prices and shares differ only by what doubles lose."""
    assert (one[0], len(one[3])) == (other[0], len(other[3]))
    assert one[1:3] == pytest.approx(other[1:3], rel=1e-12)
    for mine, theirs in zip(one[3], other[3], strict=True):
        assert (mine[0], mine[3]) == (theirs[0], theirs[3])
        assert mine[1:3] == pytest.approx(theirs[1:3], rel=1e-12)
    return True


def verified(folder: Path) -> Line:
    """What `replay --verify` says, asserted to be that all is equal."""
    (result,) = json_lines("replay", "-c", str(folder / "tapewatch.yaml"), "--verify", "--json")
    assert result["equal"], result["differences"][:3]
    return result


def same(folder: Path, candles: tuple[Path, int], symbols: Sequence[str], end_ms: int) -> None:
    """Run to the end of the candles on a fault-free exchange; assert that run and backtest trade the same."""
    with simulated(folder, *exchange_options(candles), "--symbols", ",".join(symbols)) as exchange:
        configure(folder, exchange, symbols, strategies={"often": OFTEN}, paper=PAPER, alerts=UNASKED)
        with running(folder) as run:
            eventually(lambda: reached(folder, symbols, end_ms) or run.code is not None)
            assert run.stop() == 0, run.log
        agree(traded(folder), backtest_of(folder, candles, exchange, symbols))
    assert verified(folder)["trades"] > 20


@pytest.mark.slow
def test_run_and_backtest_trade_the_same(tmp_path: Path, candles: tuple[Path, int]) -> None:
    """Bars, reasons, prices, quantities and money, on a market out of a seed."""
    same(tmp_path, candles, SYMBOLS, candles[1] + HOURS * HOUR_MS)
    reasons = {reason for (reason,) in query(tmp_path, "SELECT DISTINCT reason FROM fills")}
    assert reasons >= {"entry", "target", "stop", "opposite", "break_even", "trailing_stop"}


@pytest.mark.slow
def test_they_trade_the_same_on_real_candles(tmp_path: Path, market_data: Path) -> None:
    """The same, on what was traded one day in 2021."""
    root, symbols = market_data / "candles/scan-1m-2021-04", ("ADAUSDT", "ALGOUSDT")
    listed = json_lines("archive", "ls", "--data", str(root), "--json")
    end_ms = min(one["last_ms"] for one in listed if one["symbol"] in symbols) + MINUTE_MS
    same(tmp_path, (root, end_ms - HOURS * HOUR_MS), symbols, end_ms)


@pytest.mark.slow
def test_with_faults_and_kills_the_journal_says_what_was_traded(tmp_path: Path, candles: tuple[Path, int]) -> None:
    """Lost connections, late and repeated candles, two kills: every trade is what a replay says, to the last digit."""
    root, start_ms = candles
    faults = tmp_path / "faults.yaml"
    faults.write_text(FAULTS)
    options = ("--data", str(root), "--start", str(start_ms), "--at-end", "hold", "--speed", "5000")
    with simulated(tmp_path, *options, "--faults", str(faults)) as exchange:
        configure(tmp_path, exchange, SYMBOLS, strategies={"often": OFTEN}, paper=PAPER)
        for place, least in enumerate((5, 15)):
            with running(tmp_path, f"killed-{place}") as run:
                eventually(lambda run=run, least=least: closed(tmp_path) > least or run.code is not None)
                assert run.code is None, run.log
        with running(tmp_path) as run:
            eventually(lambda: reached(tmp_path, SYMBOLS, start_ms + HOURS * HOUR_MS) or run.code is not None)
            assert run.stop() == 0, run.log
        assert exchange.faults
    assert verified(tmp_path)["trades"] == len(query(tmp_path, "SELECT 1 FROM trades"))


def closed(folder: Path) -> int:
    """How many trades of the folder's ledger are closed."""
    return len(query(folder, "SELECT 1 FROM trades WHERE state = 'closed'"))
