"""The API for notebooks: candles, indicators, signals, outcomes and backtests as Polars frames."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from command_line import Command, store
from core_samples import MONDAY_MS, walk
from tapewatch import strategies, study
from tapewatch.errors import SetupError
from tapewatch.model import DAY_MS, MINUTE_MS
from tapewatch.strategy.build import close, crossover, ema, strategy
from tapewatch.study.signals import Request, find

SYMBOLS = ("AAAUSDT", "BBBUSDT")
DAYS = 3


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two symbols of three days of minutes, one with a hole."""
    root = tmp_path_factory.mktemp("candles")
    for seed, symbol in enumerate(SYMBOLS):
        bars = walk(DAYS * 1440, seed + 7, holes=range(1000, 1100) if seed else ())
        store(root, [msgspec.structs.replace(one, symbol=symbol) for one in bars])
    return root


@pytest.fixture(scope="module")
def minutes(archive: Path) -> pl.DataFrame:
    """Those of the symbol with a hole."""
    return study.candles(archive, "BBBUSDT", "1m")


def test_what_is_not_used_is_not_imported() -> None:
    """The package alone brings in neither NumPy nor Polars, and says what it has."""
    text = (
        "import sys; from tapewatch import study; "
        "print(any(name in sys.modules for name in ('numpy', 'polars', 'numba')), *study.__all__)"
    )
    said = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout.split()
    assert said == ["False", *study.__all__]
    assert set(study.__all__) <= set(dir(study))
    with pytest.raises(AttributeError, match="no attribute 'candle'"):
        _ = study.candle


def test_candles_are_those_of_the_archive(archive: Path, minutes: pl.DataFrame) -> None:
    """As stored, of a part of the time, and built from smaller ones."""
    stored = pl.read_parquet(archive / "binance_spot" / "BBBUSDT" / "1m.parquet")
    assert minutes.equals(stored.select(minutes.columns).with_columns(pl.col("trades").cast(pl.Int64)))
    part = study.candles(archive, "BBBUSDT", "1m", from_="2024-01-01T01:00", to="2024-01-01T02:00")
    assert part.equals(minutes.slice(60, 60))
    hourly = study.candles(archive, "BBBUSDT", "1h", venue="binance_spot")
    assert hourly["open_time"].to_list()[:2] == [MONDAY_MS, MONDAY_MS + 60 * MINUTE_MS]
    assert hourly["high"][0] == minutes["high"][:60].max()


@pytest.mark.parametrize(
    "moment",
    [
        "2024-01-01T01:00",
        "2024-01-01T02:00+01:00",
        datetime(2024, 1, 1, 1),  # noqa: DTZ001 - a time without a zone is UTC
        datetime(2024, 1, 1, 2, tzinfo=timezone(timedelta(hours=1))),
        MONDAY_MS + 60 * MINUTE_MS,
    ],
)
def test_a_time_can_be_written_in_several_ways(archive: Path, minutes: pl.DataFrame, moment: Any) -> None:
    """Each means the same millisecond."""
    assert study.candles(archive, "BBBUSDT", "1m", from_=moment).equals(minutes[60:])


@pytest.mark.parametrize("name", ["scalp", "trend"])
def test_indicators_are_those_of_a_signal(archive: Path, name: str) -> None:
    """To the bit, on all its bars, those of larger timeframes and conditions too."""
    loaded = strategies.load(name)
    timeframe = "1m" if name == "scalp" else "15m"
    frame = study.candles(archive, "BBBUSDT", timeframe)
    signals = list(find(loaded, Request(archive, "binance_spot", ["BBBUSDT"], [timeframe])))
    names = sorted({text for signal in signals for text in signal.indicators})
    found = study.indicators(frame, names, params=loaded.params, higher=loaded.higher[timeframe])
    rows = dict(zip(frame["open_time"].to_list(), found.iter_rows(named=True), strict=True))
    assert len(signals) > 5
    for signal in signals:
        row = rows[signal.open_ms]
        for text, value in signal.indicators.items():
            assert row[text] == (None if value != value else value), text


def test_indicators_stand_beside_the_candles(minutes: pl.DataFrame) -> None:
    """Numbers and conditions; what is not known is null."""
    names = ["sma(close, 9)", "close > sma(close, 9)", "trades", "2 + 1"]
    found = study.indicators(minutes, names)
    assert found.columns == [*minutes.columns[:7], "trades", *minutes.columns[8:], *names[:2], "2 + 1"]
    assert found.schema["close > sma(close, 9)"] == pl.Boolean
    assert found["sma(close, 9)"].null_count() == found["close > sma(close, 9)"].null_count() == 8
    known = found[8:]
    assert (known["close > sma(close, 9)"] == (known["close"] > known["sma(close, 9)"])).all()
    assert study.indicators(minutes, []).equals(minutes)
    assert study.indicators(minutes, "hl2").columns[-1] == "hl2"


def test_a_prefix_of_candles_gives_a_prefix_of_values(minutes: pl.DataFrame) -> None:
    """Nothing knows the future, larger timeframes neither."""
    names = ['on("15m", rsi(close, 14))', "vwap()", 'on("1h", close > open)', "close[3]"]
    whole = study.indicators(minutes, names).select(names)
    for count in (61, 1000, 2000):
        assert study.indicators(minutes[:count], names).select(names).equals(whole[:count])


def test_frames_with_dates_are_candles_too(minutes: pl.DataFrame) -> None:
    """In any unit; the dates stay."""
    wanted = study.indicators(minutes, ["sma(close, 5)"])["sma(close, 5)"]
    for unit in ("ms", "us", "ns"):
        dated = minutes.with_columns(pl.from_epoch("open_time", "ms").dt.cast_time_unit(unit))
        found = study.indicators(dated, ["sma(close, 5)"])
        assert found["sma(close, 5)"].equals(wanted)
        assert found["open_time"].equals(dated["open_time"])
    few = minutes.select("open_time", "open", "high", "low", "close", "volume")
    assert study.indicators(few, ["sma(close, 5)", "taker_buy"])["taker_buy"].null_count() == len(few)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda frame: frame.reverse(), "in order"),
        (lambda frame: pl.concat([frame[:3], frame[:3]]), "in order"),
        (lambda frame: frame[:1], "1 candles do not tell"),
        (lambda frame: frame.drop("high"), "high"),
        (lambda frame: frame.with_columns(pl.lit("x").alias("close")), "not of candles"),
        (lambda frame: frame.with_columns(pl.col("low") + 1e6), "high below low"),
        (lambda frame: frame.with_columns(pl.lit(None, pl.Float64).alias("close")), "not a number"),
        (lambda frame: frame.with_columns(pl.col("open_time") * 7), "opens 420000 ms after"),
    ],
)
def test_what_is_no_frame_of_candles_is_refused(
    minutes: pl.DataFrame, wrong: Callable[[pl.DataFrame], pl.DataFrame], said: str
) -> None:
    """With the reason."""
    with pytest.raises(SetupError, match=said):
        study.indicators(wrong(minutes[:50]), ["close"])


def test_wrong_names_are_refused(archive: Path, minutes: pl.DataFrame) -> None:
    """Expressions with their place, and what the archive does not have."""
    with pytest.raises(SetupError, match="did you mean 'ema'"):
        study.indicators(minutes, ["emma(close, 9)"])
    with pytest.raises(SetupError, match="'higher' says nothing for 1m"):
        study.indicators(minutes, ["higher(close)"])
    for name in ("7m", "30s"):
        with pytest.raises(SetupError, match="higher: "):
            study.indicators(minutes, ["higher(close)"], higher=name)
    with pytest.raises(SetupError, match="did you mean AAAUSDT"):
        study.candles(archive, "AAUSDT", "1m")
    with pytest.raises(SetupError, match="from_: 'soon' is no ISO time"):
        study.candles(archive, "AAAUSDT", "1m", from_="soon")
    store(archive.parent / "two", walk(3), venue="one")
    store(archive.parent / "two", walk(3), venue="other")
    with pytest.raises(SetupError, match=r"venue: .* holds one, other"):
        study.candles(archive.parent / "two", "AAAUSDT", "1m")


@pytest.fixture(scope="module")
def research(archive: Path) -> study.Research:
    """A shipped strategy over all of it."""
    return study.Research("scalp", archive, params={"fast": 8})


def test_signals_are_those_of_the_command(research: study.Research, archive: Path, run: Command) -> None:
    """Each of them, with the same values."""
    told = run.objects("signals", "--strategy", "scalp", "--data", archive, "--set", "fast=8")
    found = research.signals()
    assert len(found) == len(told) > 20
    for row, one in zip(found.iter_rows(named=True), told, strict=True):
        assert row["signal_id"] == one["id"]
        for name in ("side", "close_ms", "entry", "stop", "strength", "targets", "indicators", "settled"):
            assert row[name] == one[name], name
        assert (row["met"], row["asked"]) == (one["confidence"]["met"], one["confidence"]["asked"])
        assert row["factors"] == {factor["name"]: factor["met"] for factor in one["factors"]}
        assert row["blocked_by"] == [verdict["check"] for verdict in one["verdicts"] if not verdict["pass"]]
        assert row["passed"] == (not row["blocked_by"])


@pytest.mark.parametrize("table", ["features", "outcomes"])
def test_tables_are_those_that_are_exported(
    research: study.Research, archive: Path, run: Command, tmp_path: Path, table: str
) -> None:
    """A row per signal, in its order."""
    path = tmp_path / "table.parquet"
    assert run("export", table, "--strategy", "scalp", "--data", archive, "--set", "fast=8", "--out", path)[0] == 0
    found = getattr(research, table)()
    assert found.equals(pl.read_parquet(path))
    assert found["signal_id"].equals(research.signals()["signal_id"])


def test_scores_are_of_what_became_of_signals(research: study.Research) -> None:
    """One per timeframe beside random entries; what is dearer brings less."""
    dear = research.outcomes(cost_bps=50.0)
    assert (dear["net_r"].drop_nulls() < research.outcomes()["net_r"].drop_nulls()).all()
    fates = research.outcomes().to_dicts()
    scores = research.scores()
    assert scores["timeframe"].to_list() == ["1m", "5m"]
    ended = [fate for fate in fates if fate["result"] not in ("open", None)]
    assert scores["n"].sum() == len(ended)
    assert scores["hits"].sum() == sum(fate["result"] == "target" for fate in ended)


def test_a_backtest_is_that_of_the_command(research: study.Research, archive: Path, run: Command) -> None:
    """The same document; its trades add up, its equity ends where it says."""
    options = ["--account", "perpetual", "--taker-bps", "4", "--cash", "5000", "--no-gate"]
    (told,) = run.objects("backtest", "--strategy", "scalp", "--data", archive, "--set", "fast=8", *options)
    traded = research.backtest(study.Account(kind="perpetual", taker_bps=4.0, cash=5000.0), gate=False)
    assert msgspec.json.decode(msgspec.json.encode(traded.document)) == told
    assert len(traded.trades) == traded.metrics["trades"] == told["trades"] > 10
    assert traded.trades["net"].sum() == pytest.approx(traded.metrics["net"])
    assert traded.equity["equity"].to_list()[0] == 5000.0
    assert traded.equity["equity"].to_list()[-1] == traded.metrics["final_equity"]
    assert traded.equity["ms"].to_list() == [MONDAY_MS + day * DAY_MS for day in range(DAYS + 1)]


BROAD = study.Asked(objective="expectancy_r", trials=8, sampler="random", min_trades=5)


def test_a_search_is_judged(archive: Path) -> None:
    """The best of what was tried is the best, its figure that of its backtest; a random walk has nothing to find."""
    research = study.Research("scalp", archive, intervals="1m", to="2024-01-03")
    perpetual = study.Account(kind="perpetual")
    ranges = {"fast": "5,8,12", "spike": "1..2/0.05"}
    found = research.optimize(BROAD, ranges=ranges, account=perpetual, gate=False, permutations=20)
    assert found.trials.columns == ["fast", "spike", "objective", "trades", "why"]
    assert len(found.trials) == 8
    assert set(found.trials["fast"]) <= {5.0, 8.0, 12.0}
    best = study.Research("scalp", archive, intervals="1m", to="2024-01-03", params=found.best)
    assert best.backtest(perpetual, gate=False).metrics["expectancy_r"] == found.trials["objective"].max()
    assert found.survives is found.document["survives"] is False
    assert found.sentence == found.document["sentence"]
    assert found.sentence.startswith("Would not survive")
    assert found.lines
    again = research.optimize(BROAD, ranges=ranges, account=perpetual, gate=False, permutations=20)
    assert again.trials.equals(found.trials)
    assert again.document == found.document
    none = research.optimize(study.Asked(trials=2, min_trades=10_000), account=perpetual, gate=False, permutations=2)
    assert (none.best, none.survives, none.lines) == ({}, False, [])
    assert none.trials["objective"].null_count() == len(none.trials)
    assert set(none.trials["why"]) == {"too few trades"}
    with pytest.raises(SetupError, match="no parameter 'fist'"):
        research.optimize(ranges={"fist": "1..3"})


def test_a_walk_forward_trades_what_came_next(archive: Path) -> None:
    """Its trades are after what was searched, in folds of which each has its choice."""
    research = study.Research("scalp", archive, intervals="1m")
    found = research.walk_forward(BROAD, account=study.Account(kind="perpetual"), gate=False, folds=2)
    assert len(found.folds) == 2
    assert found.sentence.startswith(("Does not survive", "Nothing found"))
    first_ms = found.folds[0].split.test_from_ms
    assert first_ms > found.folds[0].split.train_to_ms
    assert len(found.tested.trades) > 5
    assert all(trade.entry_ms >= first_ms for trade in found.tested.trades)


def test_two_strategies_are_compared(archive: Path) -> None:
    """On the same candles; what is the same is not better."""
    mine, other = study.Research("scalp", archive), study.Research("scalp", archive, params={"spike": 3})
    perpetual = study.Account(kind="perpetual")
    same = mine.compare(mine, account=perpetual, gate=False, draws=100)
    assert same.better == ""
    assert "cannot be told" in same.sentence
    found = mine.compare(other, account=perpetual, gate=False, draws=100)
    assert found.a.metrics["trades"] == mine.backtest(perpetual, gate=False).metrics["trades"] > 20
    assert found.b.metrics["trades"] == other.backtest(perpetual, gate=False).metrics["trades"]
    with pytest.raises(SetupError, match="other: "):
        mine.compare(study.Research("scalp", archive, to="2024-01-02"))


def test_a_strategy_may_be_built_in_place(archive: Path) -> None:
    """Of a part of the symbols and of the time; a frame without rows has its columns."""
    built = strategy(
        "mine", timeframes=["5m"], long={"up": crossover(close, ema(close, 20))}, stop="atr(14)",
        targets=[{"at": "atr(14)", "share": "100%"}],
    )  # fmt: skip
    at = datetime(2024, 1, 2, tzinfo=UTC)
    one = study.Research(built, archive, symbols="AAAUSDT", from_=at, to=at + timedelta(hours=12))
    found = one.signals()
    assert set(found["symbol"]) == {"AAAUSDT"}
    day_ms = MONDAY_MS + DAY_MS
    assert found["close_ms"].is_between(day_ms, day_ms + DAY_MS // 2, closed="left").all()
    none = study.Research(built, archive, from_=at, to=at + timedelta(minutes=1))
    assert len(none.signals()) == len(none.outcomes()) == 0
    assert none.signals().columns == found.columns


def test_what_cannot_be_asked_is_refused(archive: Path) -> None:
    """Strategies, parameters, symbols, timeframes and accounts that there are not."""
    for wrong, said in [
        ({"strategy": "scalpp"}, "did you mean 'scalp'"),
        ({"params": {"fist": 3}}, "fist"),
        ({"symbols": []}, "symbols: scalp watches none"),
        ({"intervals": ["3m"]}, "intervals: no timeframe 3m; scalp has 1m, 5m"),
        ({"venue": "mars"}, "holds nothing of venue mars"),
    ]:
        with pytest.raises(SetupError, match=said):
            study.Research(**{"strategy": "scalp", "root": archive, **wrong})
    research = study.Research("scalp", archive, symbols=["AAAUSDT"])
    for account, said in [
        ({"kind": "margin"}, "kind: 'margin' is none of spot, perpetual"),
        ({"leverage": 3.0}, "leverage: a spot account"),
        ({"cash": 0.0}, "cash: 0.0 is not above 0"),
    ]:
        with pytest.raises(SetupError, match=said):
            research.backtest(study.Account(**account))
