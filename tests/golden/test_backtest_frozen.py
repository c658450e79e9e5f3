"""Backtests of the shipped strategies on real candles, frozen: any change of one trade is seen.

The yardstick is a rule whose trades were counted by other means; see its folder beside the data.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from command_line import Command

FROZEN = Path(__file__).with_name("backtests.json")
SETS = {
    "long-1m": ["--symbols", "BTCUSDT", "--from", "2023-03-01", "--to", "2023-04-01"],
    "scan-5m-2025-04": ["--symbols", "BTCUSDT,ETHUSDT,SOLUSDT,DOGEUSDT", "--interval", "15m"],
}
YARDSTICK = """
yardstick:
  timeframes: [1m]
  long:
    vwap: close > vwap()
    cross: barssince(crossover(ema(close, 9), ema(close, 21))) < 2
    above: ema(close, 9) > ema(close, 21)
    volume: volume > 1.5 * sma(volume, 20)
    rsi: 30 <= rsi(close, 6) <= 70
    bias: close > ema(close, 50)
  short:
    vwap: close < vwap()
    cross: barssince(crossunder(ema(close, 9), ema(close, 21))) < 2
    above: ema(close, 9) < ema(close, 21)
    volume: volume > 1.5 * sma(volume, 20)
    rsi: 30 <= rsi(close, 6) <= 70
    bias: close < ema(close, 50)
  stop: 1.5 * atr(14)
  targets: [{at: 1.0 * atr(14), share: 100%}]
  time_limit: 1000000
"""


def trades_in(path: Path) -> list[dict[str, Any]]:
    """What `--trades` wrote."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def digest(trades: list[dict[str, Any]]) -> str:
    """Of everything that is a decision: when, where, how much, why."""
    told = [
        [trade["signal_id"], trade["entry_ms"], trade["entry_price"], trade["quantity"], trade["exits"]]
        for trade in trades
    ]
    return hashlib.blake2b(json.dumps(told).encode(), digest_size=16).hexdigest()


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("strategy", ["scalp", "momentum", "trend"])
def test_a_shipped_strategys_trades_are_what_they_were(
    run: Command, market_data: Path, tmp_path: Path, strategy: str, name: str
) -> None:
    """Counts, money, and a hash of every trade."""
    options = SETS[name]
    if strategy == "scalp" and "15m" in options:
        options = [*options[:-1], "5m"]
    path = tmp_path / "trades.jsonl"
    (found,) = run.objects(
        "backtest", "--strategy", strategy, "--data", market_data / "candles" / name, *options,
        "--account", "perpetual", "--trades", path,
    )  # fmt: skip
    metrics = found["metrics"]
    seen = {
        "trades": found["trades"],
        "won": round(metrics["win_rate_pct"], 6),
        "net": round(metrics["net"], 6),
        "fees": round(metrics["fees"], 6),
        "drawdown": round(metrics["max_drawdown_pct"], 6),
        "hash": digest(trades_in(path)),
    }
    assert seen == json.loads(FROZEN.read_text())[f"{strategy} {name}"]


@pytest.mark.parametrize(("count", "trades"), [(100_000, 289), (1_000_000, 2_889)])
def test_the_yardsticks_trades_are_all_found(
    run: Command, market_data: Path, tmp_path: Path, count: int, trades: int
) -> None:
    """2,889 trades on a million bars, 289 on the first tenth of them, entered and left on the very bars."""
    folder = market_data.parent / "yardstick"
    if not folder.is_dir():
        pytest.skip("the yardstick is not beside the data")
    kernel, series = (_module(folder / f"{name}.py") for name in ("kernel", "series"))
    columns = [column[:count] for column in series.gen(1_000_000)]
    names = ("open_time", "open", "high", "low", "close", "volume")
    archive = tmp_path / "binance_spot" / "YARDUSDT"
    archive.mkdir(parents=True)
    pl.DataFrame(dict(zip(names, columns, strict=True))).write_parquet(archive / "1m.parquet")
    (tmp_path / "yardstick.yaml").write_text(YARDSTICK)
    (found,) = run.objects(
        "backtest", "--strategy", tmp_path / "yardstick.yaml", "--data", tmp_path, "--no-gate", "--levels", "fill",
        "--account", "perpetual", "--slippage-bps", 0, "--size", 1_000, "--cash", 1_000_000,
        "--from", int(columns[0][50]) + 60_000, "--trades", tmp_path / "trades.jsonl",
    )  # fmt: skip
    assert found["trades"] == trades
    out = kernel.np.empty((10_000, 6))
    assert kernel.kernel(*columns, *kernel.PARAMS, out)[0] == trades
    expected = out[:trades, :3].astype(int).tolist()
    first_ms = int(columns[0][0])
    bars = [
        [
            (trade["entry_ms"] - first_ms) // 60_000,
            (trade["exits"][-1]["ms"] - first_ms) // 60_000,
            1 if trade["side"] == "long" else -1,
        ]
        for trade in trades_in(tmp_path / "trades.jsonl")
    ]
    assert bars == expected


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"yardstick_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
