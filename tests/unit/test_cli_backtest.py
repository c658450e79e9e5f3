"""`tapewatch backtest`: what it prints and writes, and how the user's mistakes are told."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from command_line import Command, store
from core_samples import MONDAY_MS, walk
from tapewatch import __version__
from tapewatch.archive import funding
from tapewatch.study.document import COLUMNS

KEYS = {
    "strategy", "params", "account", "hashes", "universe", "bars", "trades", "metrics", "bounds", "pauses",
    "buy_and_hold", "model",
}  # fmt: skip
EXCHANGE = {
    "symbols": [
        {
            "symbol": "AAAUSDT",
            "filters": [
                {"filterType": "PRICE_FILTER", "tickSize": "0.01000000"},
                {"filterType": "LOT_SIZE", "stepSize": "0.00100000"},
                {"filterType": "NOTIONAL", "minNotional": "5.00000000"},
            ],
        }
    ]
}


def printed(run: Command, *asked: object) -> str:
    """What is said without --json."""
    code, lines, _ = run(*asked)
    assert code == 0
    return "\n".join(lines)


@pytest.fixture
def asked(tmp_path: Path) -> list[object]:
    """Options that find trades in three days of minutes."""
    bars = list(walk(3 * 1_440))
    store(tmp_path, [msgspec.structs.replace(bar, symbol="AAAUSDT") for bar in bars])
    return ["backtest", "--strategy", "scalp", "--data", tmp_path, "--set", "min_factors=3", "--account", "perpetual"]


def test_one_object_with_everything(run: Command, asked: list[object]) -> None:
    """Keys, counts and hashes; the same again."""
    (found,) = run.objects(*asked)
    assert set(found) == KEYS
    assert found["trades"] == found["metrics"]["trades"] > 10
    assert found["bars"] == 3 * 1_440
    assert found["params"]["min_factors"] == 3
    assert found["hashes"]["version"] == __version__
    assert set(found["bounds"]) == {"pessimistic", "optimistic"}
    assert found["bounds"]["optimistic"]["net"] >= found["bounds"]["pessimistic"]["net"]
    assert found["metrics"]["fees"] > 0
    assert run.objects(*asked) == [found]


def test_progress_is_shown_on_a_terminal_only(
    run: Command, asked: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bar runs on stderr while it works, of a single symbol too; stdout is the same."""
    _, plain, quiet = run(*asked, "--json")
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda _: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    code, lines, err = run(*asked, "--json")
    assert (code, lines) == (0, plain)
    assert "backtest" in err
    assert "backtest" not in quiet


def test_hashes_tell_other_data_and_other_questions(run: Command, asked: list[object], tmp_path: Path) -> None:
    """Each by itself."""
    (found,) = run.objects(*asked)
    (other,) = run.objects(*asked, "--risk", "0.5%")
    assert other["hashes"]["data"] == found["hashes"]["data"]
    assert other["hashes"]["config"] != found["hashes"]["config"]
    path = tmp_path / "binance_spot" / "AAAUSDT" / "1m.parquet"
    pl.read_parquet(path).with_columns(pl.col("volume") * 2).write_parquet(path)
    (moved,) = run.objects(*asked)
    assert moved["hashes"]["data"] != found["hashes"]["data"]
    assert moved["hashes"]["config"] == found["hashes"]["config"]


def test_funding_rates_are_data(run: Command, asked: list[object], tmp_path: Path) -> None:
    """They are in the hash and counted, those of the period; an archive without any is named where they are owed."""
    (without,) = run.objects(*asked)
    assert without["universe"]["symbols"]["AAAUSDT"]["funding_payments"] == 0
    assert "no funding rates in the archive" in printed(run, *asked)
    assert "funding 0.00" in printed(run, *asked[:-1], "spot")
    times = [MONDAY_MS + hours * 3_600_000 for hours in (-8, 0, 8, 71, 72)]
    funding.merge(tmp_path, "binance_spot", "AAAUSDT", pl.DataFrame({"time": times, "rate": [0.001] * 5}))
    (found,) = run.objects(*asked)
    assert found["universe"]["symbols"]["AAAUSDT"]["funding_payments"] == 3
    assert found["hashes"]["data"] != without["hashes"]["data"]
    assert found["hashes"]["config"] == without["hashes"]["config"]
    assert "no funding rates" not in printed(run, *asked)


def test_trades_are_written_in_three_forms(run: Command, asked: list[object], tmp_path: Path) -> None:
    """With the same rows, whose sums are those of the metrics."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for suffix in ("jsonl", "parquet", "csv"):
        (found,) = run.objects(*asked, "--trades", tmp_path / f"trades.{suffix}")
    rows["jsonl"] = [json.loads(line) for line in (tmp_path / "trades.jsonl").read_text().splitlines()]
    rows["parquet"] = pl.read_parquet(tmp_path / "trades.parquet").to_dicts()
    with (tmp_path / "trades.csv").open(newline="") as file:
        rows["csv"] = list(csv.DictReader(file))
    assert rows["jsonl"] == rows["parquet"]
    assert [row["trade_id"] for row in rows["csv"]] == [row["trade_id"] for row in rows["jsonl"]]
    assert [json.loads(row["exits"]) for row in rows["csv"]] == [row["exits"] for row in rows["jsonl"]]
    assert list(rows["jsonl"][0]) == list(COLUMNS)
    assert sum(row["net"] for row in rows["jsonl"]) == pytest.approx(found["metrics"]["net"])
    for row in rows["jsonl"]:
        assert sum(one["share"] for one in row["exits"]) == pytest.approx(100)
        assert row["trade_id"].startswith(row["signal_id"])
        assert row["net"] == pytest.approx(row["gross"] - row["fees"] - row["funding"])


def test_a_signal_is_traded_once_and_after_its_close(run: Command, asked: list[object], tmp_path: Path) -> None:
    """Every trade is of a signal that `signals` prints, which passed."""
    run.objects(*asked, "--trades", tmp_path / "trades.jsonl")
    trades = [json.loads(line) for line in (tmp_path / "trades.jsonl").read_text().splitlines()]
    signals = {
        one["id"]: one
        for one in run.objects("signals", *asked[1:7])
        if all(verdict["pass"] for verdict in one["verdicts"])
    }
    assert len({trade["signal_id"] for trade in trades}) == len(trades)
    for trade in trades:
        signal = signals[trade["signal_id"]]
        assert signal["close_ms"] <= trade["entry_ms"]
        assert signal["side"] == trade["side"]


def test_without_the_gate_more_is_traded(run: Command, asked: list[object]) -> None:
    """Unsettled candidates too; columns and single signals find the same ones."""
    (gated,) = run.objects(*asked, "--no-gate", "--interval", "1m")
    (passed,) = run.objects(*asked, "--interval", "1m")
    assert gated["trades"] > passed["trades"]


def test_text_says_costs_and_what_was_not_taken(run: Command, asked: list[object]) -> None:
    """For people."""
    code, lines, err = run(*asked)
    assert (code, err) == (0, "")
    assert lines[0].startswith("scalp: ")
    assert any(line.startswith("  costs      fees ") for line in lines)
    assert any(line.startswith("  not taken  ") for line in lines)


def test_nothing_traded_is_told_without_figures(run: Command, asked: list[object]) -> None:
    """Of a condition that is never met."""
    code, lines, err = run(*asked, "--interval", "5m", "--set", "min_factors=5", "--set", "spike=1000")
    assert (code, err, len(lines)) == (0, "", 3)
    assert "nan" not in "".join(lines)


def test_protections_are_asked_for_and_told(run: Command, asked: list[object]) -> None:
    """Pauses and what they kept out, in the object and for people."""
    (free,) = run.objects(*asked)
    guards = ["--losses", "2:1h", "--daily-loss", "0.4%", "--max-drawdown", "50%", "--after-stop", "30m"]
    (found,) = run.objects(*asked, *guards)
    assert free["pauses"] == []
    assert {pause["why"] for pause in found["pauses"]} == {"losses", "daily_loss"}
    for pause in found["pauses"]:
        length_ms = pause["until_ms"] - pause["since_ms"]
        assert length_ms == 3_600_000 if pause["why"] == "losses" else pause["until_ms"] % 86_400_000 == 0
    kept_out = ("entries were paused by a protection", "its symbol was stopped a short while ago")
    assert all(found["metrics"]["skipped"][why] > 0 for why in kept_out)
    named = ("daily_loss", "max_drawdown", "drawdown_pause_ms", "losses", "losses_pause_ms", "after_stop_ms")
    assert [found["account"][name] for name in named] == [0.004, 0.5, 7 * 86_400_000, 2, 3_600_000, 1_800_000]
    assert found["hashes"]["config"] != free["hashes"]["config"]
    assert any(line.endswith(" times: losses in a row") for line in run(*asked, *guards)[1])


def test_instruments_come_from_an_exchange_info(run: Command, asked: list[object], tmp_path: Path) -> None:
    """Prices on its ticks, quantities on its steps."""
    (tmp_path / "info.json").write_text(json.dumps(EXCHANGE))
    run.objects(*asked, "--instruments", tmp_path / "info.json", "--trades", tmp_path / "t.jsonl")
    for line in (tmp_path / "t.jsonl").read_text().splitlines():
        trade = json.loads(line)
        assert round(trade["entry_price"] * 100, 6).is_integer()
        assert round(trade["quantity"] * 1_000, 6).is_integer()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--risk", "2"], "--risk: '2' is no percentage above 0 up to 100% as 1%"),
        (["--cap-total", "0%"], "--cap-total"),
        (["--cap-total", "101%"], "--cap-total: '101%' is no percentage above 0 up to 100%"),
        (["--risk", "150%"], "--risk: '150%' is no percentage above 0 up to 100%"),
        (["--cash", "inf"], "Invalid value for '--cash'"),
        (["--size", "inf"], "Invalid value for '--size'"),
        (["--daily-loss", "101%"], "--daily-loss: '101%' is no percentage above 0 up to 100% as 1%"),
        (["--max-drawdown", "15%:"], "--max-drawdown: '' is no duration as 30m, 12h or 7d"),
        (["--max-drawdown", "7d"], "--max-drawdown: '7d' is no percentage"),
        (["--losses", "0"], "--losses: '0' is no number from 1 to 1000 as 5, nor one with its pause as 5:12h"),
        (["--losses", "3:1"], "--losses: '1' is no duration"),
        (["--after-stop", "0m"], "--after-stop: '0m' is no duration"),
        (["--account", "spot", "--leverage", "3"], "--leverage: a spot account borrows nothing"),
        (["--trades", "trades.xlsx"], "--trades: trades.xlsx must end in .csv, .parquet, .jsonl"),
        (["--trades", "nowhere/trades.csv"], "--trades: nowhere/trades.csv: No such file"),
        (["--instruments", "nowhere.json"], "--instruments: nowhere.json: No such file"),
        (["--interval", "3m"], "--interval: no timeframe 3m; scalp has 1m, 5m"),
        (["--from", "2024-02-01", "--to", "2024-01-01"], "--from: 2024-02-01 is not before --to 2024-01-01"),
        (["--from", "2035-01-01"], "AAAUSDT: no candles between --from and --to"),
        (["--symbols", "NOPEUSDT"], "NOPEUSDT"),
    ],
)
def test_mistakes_are_named(run: Command, asked: list[object], options: list[str], said: str) -> None:
    """Exit 2 and one message."""
    assert said in run.refused(*asked, *options)


def test_a_file_of_instruments_that_is_none_is_named(run: Command, asked: list[object], tmp_path: Path) -> None:
    """Not JSON, not an answer, not numbers."""
    for text in (
        "no",
        "{}",
        '{"symbols": [{"symbol": "A", "filters": [{"filterType": "LOT_SIZE", "stepSize": "x"}]}]}',
    ):
        (tmp_path / "info.json").write_text(text)
        assert "is no exchangeInfo" in run.refused(*asked, "--instruments", tmp_path / "info.json")
