"""`tapewatch export features` and `outcomes`: what is in the files, from candles and from a run."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import msgspec
import polars as pl
import pytest

from command_line import Command, store
from core_samples import MONDAY_MS, walk
from engine_runs import _with_boundaries
from tapewatch import strategies
from tapewatch.engine import Engine, MarketSettings
from tapewatch.features import VERSION, FeatureSet
from tapewatch.model import Bar, Effect, Judged, Outcome
from tapewatch.outcomes import OutcomeSettings
from tapewatch.store import Ledger, Step
from tapewatch.strategy import compile_program
from tapewatch.study.labels import COLUMNS

FEW = ("--set", "min_factors=3")


def market(count: int = 5_000) -> list[Bar]:
    """Three days of two symbols, in order of time."""
    bitcoin = [msgspec.structs.replace(bar, symbol="BTCUSDT") for bar in walk(count, 2, holes=range(3_000, 3_050))]
    return sorted([*walk(count, 1), *bitcoin], key=lambda bar: (bar.close_ms, bar.symbol))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """They, stored."""
    root = tmp_path_factory.mktemp("archive")
    for symbol in ("AAAUSDT", "BTCUSDT"):
        store(root, [bar for bar in market() if bar.symbol == symbol])
    return root


def test_files_hold_the_rows_that_are_printed_and_say_what_they_are(
    run: Command, archive: Path, tmp_path: Path
) -> None:
    """Parquet and CSV alike, each with its schema, to which every row conforms; Parquet has it inside too."""
    for table, names in (("features", None), ("outcomes", [column.name for column in COLUMNS])):
        asked = ("export", table, "--strategy", "scalp", "--data", archive, *FEW)
        rows = run.objects(*asked)
        for form in ("csv", "parquet"):
            out = tmp_path / f"{table}.{form}"
            (told,) = run.objects(*asked, "--out", out)
            schema = json.loads((tmp_path / f"{table}.schema.json").read_text())
            types = {name: _type(one) for name, one in schema["properties"].items()}
            frame = pl.read_csv(out, schema=types) if form == "csv" else pl.read_parquet(out)

            assert told == {
                "file": str(out), "schema": str(tmp_path / f"{table}.schema.json"), "version": VERSION,
                "rows": len(rows), "columns": len(types),
            }  # fmt: skip
            assert frame.rows(named=True) == rows
            assert frame.schema == types
            assert names is None or list(types) == names
        assert json.loads(pl.read_parquet_metadata(tmp_path / f"{table}.parquet")["tapewatch"]) == schema
        assert schema["about"]["strategy"] == "scalp"
        assert schema["about"]["params"]["min_factors"] == 3.0
        jsonschema.Draft202012Validator.check_schema(schema)
        for row in rows[::50]:
            jsonschema.validate(row, schema)
        assert run(*asked)[1] == (tmp_path / f"{table}.csv").read_text().splitlines()
        assert len(rows) > 300
        assert {row["symbol"] for row in rows} == {"AAAUSDT", "BTCUSDT"}


def _type(column: dict[str, object]) -> type[pl.DataType]:
    name = str(column["type"][0] if isinstance(column["type"], list) else column["type"])
    return {"string": pl.String, "integer": pl.Int64, "number": pl.Float64, "boolean": pl.Boolean}[name]


def test_every_feature_has_a_column_with_its_unit_and_meaning(run: Command, archive: Path, tmp_path: Path) -> None:
    """As the feature set of the strategy has them."""
    run("export", "features", "--strategy", "trend", "--data", archive, "--out", tmp_path / "a.parquet")
    columns = json.loads((tmp_path / "a.schema.json").read_text())["properties"]
    known = FeatureSet.of(compile_program(strategies.load("trend", []), "1h"))

    for name, unit, meaning in known.features:
        assert (columns[name]["unit"], columns[name]["description"]) == (unit, meaning)
    assert list(columns)[-len(known.names) :] == list(known.names)


@pytest.mark.parametrize("interval", ["1m", "5m"])
def test_rows_do_not_change_with_later_candles(run: Command, archive: Path, tmp_path: Path, interval: str) -> None:
    """Of an archive that ends earlier, features are the first lines, and every outcome that has ended is the same."""
    asked = ("--strategy", "scalp", *FEW, "--interval", interval, "--data")
    rows = run.objects("export", "outcomes", *asked, archive)
    later = {row["signal_id"]: row for row in rows}
    until_ms = rows[len(rows) * 3 // 4]["close_ms"]
    for symbol in ("AAAUSDT", "BTCUSDT"):
        store(tmp_path, [bar for bar in market() if bar.symbol == symbol and bar.close_ms <= until_ms])

    _, whole, _ = run("export", "features", *asked, archive)
    _, cut, _ = run("export", "features", *asked, tmp_path)
    known = run.objects("export", "outcomes", *asked, tmp_path)

    assert cut == whole[: len(cut)]
    assert len(whole) > len(cut) > 20
    ended = [row for row in known if row["end_ms"] is not None]
    assert ended == [later[row["signal_id"]] for row in ended]
    assert min(row["weight"] for row in ended) < 0.7
    still = [row for row in known if row["end_ms"] is None]
    assert all(row["result"] == "open" and row["weight"] is None for row in still)
    assert still
    assert all(later[row["signal_id"]]["end_ms"] > until_ms for row in still)


def test_outcomes_are_those_of_signals(run: Command, archive: Path) -> None:
    """What `signals --outcomes` says, in columns, at the cost that is asked for."""
    asked = ("--strategy", "scalp", *FEW, "--data", archive, "--cost-bps", 7)
    rows = {row["signal_id"]: row for row in run.objects("export", "outcomes", *asked)}
    told = run.objects("signals", "--outcomes", *asked)

    assert list(rows) == [line["id"] for line in told]
    for line in told:
        row, fate = rows[line["id"]], line["outcome"]
        names = ("result", "bars", "price", "gross_r", "net_r", "gross_pct", "risk_pct", "mfe_r", "mae_r", "ambiguous")
        assert [row[name] for name in names] == [fate[name] for name in names]
        assert (row["end_ms"], row["close_ms"]) == (fate["known_ms"], line["close_ms"])


@pytest.fixture(scope="module")
def effects() -> list[Effect]:
    """What a run does with the market."""
    around = MarketSettings(outlooks=True, correlation=True)
    scalp = strategies.load("scalp", [("min_factors", 3.0)])
    engine = Engine("binance_spot", [scalp], market=around, outcomes=OutcomeSettings())
    return [effect for event in _with_boundaries(market()) for effect in engine.process(event)]


@pytest.fixture
def config(ledger_url: str, effects: list[Effect], tmp_path: Path) -> Path:
    """A configuration whose ledger has them."""
    ledger = Ledger.open(ledger_url)
    kept = [effect for effect in effects if isinstance(effect, Judged | Outcome)]
    ledger.commit_step(Step("binance_spot", effects=kept))
    ledger.close()
    path = tmp_path / "tapewatch.yaml"
    path.write_text(
        "exchange: {venue: binance_spot}\nuniverse: {include: [BTCUSDT]}\n"
        "strategies: {scalp: {params: {min_factors: 3}}, trend: {}}\n"
        "channels: {out: {type: file, path: alerts.jsonl}}\nalerts: {routes: [{channels: [out]}]}\n"
        f'ledger: {{url: "{ledger_url}", folder: "{tmp_path}"}}\nweb: {{enabled: false}}\n'
    )
    return path


def test_a_run_has_stored_the_rows_that_its_candles_give(run: Command, archive: Path, config: Path) -> None:
    """Features with regimes, trends and correlation, and outcomes with their end and weight, to the bit."""
    for table in ("features", "outcomes"):
        asked = ("export", table, "--strategy", "scalp", "--interval", "1m")
        stored = run.objects(*asked, "--stored", "-c", config)
        searched = run.objects(*asked, "--data", archive, *FEW)

        assert _ended(stored) == _ended(searched)
        assert [row["signal_id"] for row in stored] == [row["signal_id"] for row in searched]
        assert len(stored) > 200
    assert [row["result"] for row in stored] == [row["result"] for row in searched]
    part = run.objects(*asked, "--stored", "-c", config, "--symbols", "AAAUSDT", "--from", MONDAY_MS + 10**8)
    assert 0 < len(part) < len(stored)
    assert {row["symbol"] for row in part} == {"AAAUSDT"}


def _ended(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [row for row in rows if row.get("result") != "open"]


def test_mistakes_are_said_before_any_work(run: Command, archive: Path, config: Path, tmp_path: Path) -> None:
    """Each names the option."""
    asked = ("export", "features", "--strategy", "scalp")
    said = {
        "--data": asked,
        "-c": (*asked, "--data", archive, "-c", config),
        "--out": (*asked, "--data", archive, "--out", tmp_path / "a.txt"),
        "is a folder": (*asked, "--data", archive, "--out", tmp_path / "there.csv"),
        "--interval": (*asked, "--data", archive, "--interval", "4h"),
        "--set": (*asked, "--stored", "-c", config, *FEW),
        "no strategy momentum; it has scalp, trend": (
            "export", "features", "--strategy", "momentum", "--stored", "-c", config,
        ),
        "--cost-bps": ("export", "outcomes", "--strategy", "scalp", "--stored", "-c", config, "--cost-bps", 9),
    }  # fmt: skip
    (tmp_path / "there.csv").mkdir()
    for words, arguments in said.items():
        assert words in run.refused(*arguments)


def test_nothing_found_is_a_table_without_rows(run: Command, archive: Path, tmp_path: Path) -> None:
    """With all its columns."""
    asked = ("--strategy", "scalp", "--data", archive, "--set", "spike=1e9", "--out", tmp_path / "none.parquet")
    for table in ("features", "outcomes"):
        (told,) = run.objects("export", table, *asked)

        assert (told["rows"], pl.read_parquet(tmp_path / "none.parquet").height) == (0, 0)
        assert told["columns"] == pl.read_parquet(tmp_path / "none.parquet").width
