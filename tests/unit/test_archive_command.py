"""`archive ls`, `archive check` and `archive import`: what is there, what is wrong with it, and more of it."""

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from command_line import Command
from tapewatch.archive import funding, reader, writer
from tapewatch.archive.manifest import Import, Manifest, Series
from tapewatch.model import DAY_MS, MINUTE_MS

#: 2024-05-01 UTC.
MAY_MS = 1_714_521_600_000


def frame(opens: list[int], **columns: list[Any]) -> pl.DataFrame:
    """Sound candles that open then."""
    rows = len(opens)
    data = {"open_time": opens, "open": [10.0] * rows, "high": [12.0] * rows, "low": [9.0] * rows}
    return pl.DataFrame(data | {"close": [11.0] * rows, "volume": [1.5] * rows} | columns)


def minutes(count: int, *, without: tuple[int, ...] = ()) -> list[int]:
    """The opens of the first minutes of May, but for some."""
    return [MAY_MS + minute * MINUTE_MS for minute in range(count) if minute not in without]


def store(root: Path, opens: list[int], interval: str = "1m", **columns: list[Any]) -> Path:
    """A month file that somebody else wrote."""
    path = root / "binance_spot/AAAUSDT" / interval / "2024-05.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame(opens, **columns).write_parquet(path)
    return path


def findings(run: Command, root: Path) -> dict[str, dict[str, Any]]:
    """What `check` finds, by kind; the exit code fits."""
    code, lines, err = run("archive", "check", "--data", root, "--json")
    *found, summary = map(json.loads, lines)
    assert err == ""
    assert code == (1 if found else 0)
    assert summary["findings"] == len(found)
    return {line["finding"]: line for line in found}


def test_ls_has_a_line_for_each_series(run: Command, tmp_path: Path) -> None:
    """First and last open, rows, holes and what is missing in them; funding too."""
    store(tmp_path, minutes(20, without=(3, 4, 9)))
    writer.merge(tmp_path, "binance_usdm", "BBB", "1mo", frame([0, 31 * DAY_MS, 90 * DAY_MS]))
    paid = pl.DataFrame({"time": [DAY_MS, DAY_MS + 28_800_003, 3 * DAY_MS], "rate": [0.0001] * 3})
    funding.merge(tmp_path, "binance_usdm", "BBB", paid)
    assert run.objects("archive", "ls", "--data", tmp_path) == [
        {"venue": "binance_spot", "symbol": "AAAUSDT", "interval": "1m", "first_ms": MAY_MS,
         "last_ms": MAY_MS + 19 * MINUTE_MS, "rows": 17, "gaps": 2, "missing": 3},
        {"venue": "binance_usdm", "symbol": "BBB", "interval": "1mo", "first_ms": 0, "last_ms": 90 * DAY_MS,
         "rows": 3, "gaps": 1, "missing": 1},
        {"venue": "binance_usdm", "symbol": "BBB", "interval": "funding", "first_ms": DAY_MS, "last_ms": 3 * DAY_MS,
         "rows": 3, "gaps": 1, "missing": 4},
    ]  # fmt: skip
    code, lines, _ = run("archive", "ls", "--data", tmp_path, "--venue", "binance_spot")
    assert (code, len(lines), lines[-1]) == (0, 2, "1 series")
    assert "3 missing in 2 gaps" in lines[0]


def test_ls_agrees_with_what_is_known_of_real_data(run: Command, market_data: Path) -> None:
    """Both outages of the set, on every symbol that traded then."""
    lines = run.objects("archive", "ls", "--data", market_data / "candles/scan-1m-2021-04")
    assert len(lines) == 45
    assert sum(line["rows"] for line in lines) == 932_028
    assert (sum(line["gaps"] for line in lines), sum(line["missing"] for line in lines)) == (88, 19_092)


def test_a_sound_archive_has_no_findings(run: Command, tmp_path: Path) -> None:
    """Nothing is written into it either."""
    store(tmp_path, minutes(20))
    assert findings(run, tmp_path) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["binance_spot"]
    code, lines, _ = run("archive", "check", "--data", tmp_path)
    assert (code, lines) == (0, ["1 series, no findings"])


@pytest.mark.parametrize(
    ("opens", "columns", "finding", "count", "first"),
    [
        (minutes(9, without=(4, 5)), {}, "gap", 2, 4),
        ([*minutes(3), MAY_MS], {}, "duplicates", 1, 0),
        ([*minutes(3)[1:], MAY_MS], {}, "order", 1, 0),
        (minutes(3), {"high": [12.0, 8.0, 12.0]}, "impossible", 1, 1),
        (minutes(3), {"close": [11.0, 11.0, float("nan")]}, "impossible", 1, 2),
        ([*minutes(2), MAY_MS + 90_000], {}, "impossible", 1, 1.5),
        ([*minutes(2), MAY_MS + 40 * DAY_MS], {}, "misplaced", 1, 40 * 1440),
    ],
)
def test_what_is_wrong_with_candles_is_found(
    run: Command,
    tmp_path: Path,
    opens: list[int],
    columns: dict[str, Any],
    finding: str,
    count: int,
    first: float,
) -> None:
    """With how many, and from when on."""
    store(tmp_path, opens, **columns)
    found = findings(run, tmp_path)[finding]
    assert (found["count"], found["first_ms"]) == (count, MAY_MS + first * MINUTE_MS)
    code, lines, _ = run("archive", "check", "--data", tmp_path)
    assert code == 1
    assert any(f"binance_spot AAAUSDT 1m: {finding}: {count} candles" in line for line in lines)


def test_files_that_changed_or_were_cut_are_found(run: Command, tmp_path: Path) -> None:
    """By the checksum noted when they were written; what no Parquet file is, and what a writer left."""
    writer.merge(tmp_path, "binance_spot", "AAAUSDT", "1m", frame(minutes(5)))
    assert findings(run, tmp_path) == {}
    path = tmp_path / "binance_spot/AAAUSDT/1m/2024-05.parquet"
    frame(minutes(5), close=[11.5] * 5).write_parquet(path)
    assert set(findings(run, tmp_path)) == {"checksum"}
    path.write_bytes(path.read_bytes()[:100])
    path.with_name("2024-05.parquet.tmp").touch()
    assert set(findings(run, tmp_path)) == {"checksum", "unreadable", "unfinished"}


def test_outages_that_the_exchange_confirmed_are_no_trouble(run: Command, tmp_path: Path) -> None:
    """What was imported and is gone is."""
    store(tmp_path, minutes(9, without=(4, 5)))
    series, manifest = Series("binance_spot", "AAAUSDT", "1m"), Manifest(tmp_path)
    manifest.confirm_absent(series, [(MAY_MS + 4 * MINUTE_MS, MAY_MS + 6 * MINUTE_MS)])
    assert findings(run, tmp_path) == {}
    manifest.imported(series, Import("AAAUSDT-1m-2024-05-01.zip", "0" * 64, MAY_MS, MAY_MS + DAY_MS, 9))
    assert findings(run, tmp_path)["lost"]["count"] == 2


def test_larger_candles_are_compared_with_smaller_ones(run: Command, tmp_path: Path) -> None:
    """Where those are complete; the last bits of sums do not matter."""
    store(tmp_path, minutes(20, without=(12,)), volume=[0.1] * 19)
    fives = [MAY_MS + step * 5 * MINUTE_MS for step in range(4)]
    volumes = [0.5 + 1e-13, 0.5, 0.4, 0.5]
    store(tmp_path, fives, "5m", volume=volumes)
    assert set(findings(run, tmp_path)) == {"gap"}
    store(tmp_path, fives, "5m", volume=volumes, high=[12.0, 12.5, 12.5, 12.0])
    differs = findings(run, tmp_path)["differs"]
    assert (differs["interval"], differs["count"], differs["first_ms"]) == ("5m", 1, fives[1])
    assert differs["text"] == "1 of 3 compared with 1m"


def test_the_exchanges_own_candles_agree_with_its_minutes(run: Command, market_data: Path, tmp_path: Path) -> None:
    """Real 5m, 15m and 1h candles against real minutes."""
    folder = tmp_path / "binance_spot/BTCUSDT"
    folder.mkdir(parents=True)
    for source in ("long-1m", "resample-ref"):
        for path in (market_data / "candles" / source / "binance_spot/BTCUSDT").glob("*.parquet"):
            (folder / path.name).symlink_to(path)
    assert len(list(folder.iterdir())) >= 2
    assert set(findings(run, tmp_path)) == {"gap"}


def test_funding_rates_are_checked(run: Command, tmp_path: Path) -> None:
    """Holes, and rates that are none."""
    times = [0, 8 * 3_600_000, 24 * 3_600_000]
    path = funding.path_of(tmp_path, "binance_usdm", "AAA")
    path.parent.mkdir(parents=True)
    pl.DataFrame({"time": times, "rate": [0.0001, 7.0, 0.0001]}).write_parquet(path)
    found = findings(run, tmp_path)
    assert set(found) == {"impossible", "gap"}
    assert found["gap"]["text"] == "no payment from 1970-01-01 08:00 to 1970-01-02 00:00"


def test_the_exchanges_zip_file_is_imported_by_its_name(run: Command, market_data: Path, tmp_path: Path) -> None:
    """An official daily file; once more it changes nothing."""
    path = market_data / "raw/csv/BTCUSDT-1m-2023-01-01.zip"
    (line,) = run.objects("archive", "import", path, "--data", tmp_path)
    assert (line["venue"], line["symbol"], line["interval"]) == ("binance_spot", "BTCUSDT", "1m")
    assert (line["rows"], line["added"], line["refused"]) == (1440, 1440, {})
    stored = reader.load(tmp_path, "binance_spot", "BTCUSDT", "1m")
    known = reader.load(market_data / "candles/long-1m", "binance_spot", "BTCUSDT", "1m").slice(
        int(stored.open_ms[0]), int(stored.open_ms[-1]) + 1
    )
    for name in ("open_ms", "open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy"):
        assert np.array_equal(getattr(stored, name), getattr(known, name))
    (again,) = run.objects("archive", "import", path, "--data", tmp_path)
    assert (again["same"], again["added"]) == (1440, 0)
    assert findings(run, tmp_path) == {}


@pytest.mark.parametrize(
    ("name", "symbol", "interval", "rows", "first_ms"),
    [
        ("csv/BTCUSDT-1m-2026-03_first1440.csv.gz", "BTCUSDT", "1m", 1440, 1_772_323_200_000),
        ("csv/BTCUSDT_1m_iso_times_first1441.csv.gz", "BTCUSDT", "1m", 1440, 1_754_006_400_000),
        ("csv/1000PEPEUSDT_15m_no_tz.csv", "1000PEPEUSDT", "15m", None, 1_760_772_600_000),
        ("freqtrade/SLP_USDT-1m.json.gz", "SLPUSDT", "1m", None, 1_619_784_000_000),
        ("freqtrade/GALA_USDT-5m.feather", "GALAUSDT", "5m", None, None),
        ("freqtrade/XRP_ETH-1m.feather", "XRPETH", "1m", None, None),
    ],
)
def test_real_files_of_other_programs_are_imported(
    run: Command, market_data: Path, tmp_path: Path,
    name: str, symbol: str, interval: str, rows: int | None, first_ms: int | None,
) -> None:  # fmt: skip
    """µs and ms, ISO times with and without a zone, gzip, JSON, Feather: nothing is refused."""
    (line,) = run.objects("archive", "import", market_data / "raw" / name, "--data", tmp_path)
    assert (line["symbol"], line["interval"], line["refused"], line["conflicts"]) == (symbol, interval, {}, 0)
    assert line["added"] == line["rows"] == (rows or line["rows"])
    (listed,) = run.objects("archive", "ls", "--data", tmp_path)
    assert listed["rows"] == line["rows"] > 100
    assert first_ms is None or listed["first_ms"] == first_ms


@pytest.mark.parametrize("kind", ["named.csv", "tabs.csv", "seconds.csv", "zip", "feather", "parquet"])
def test_every_form_of_a_file_gives_the_same_candles(run: Command, tmp_path: Path, kind: str) -> None:
    """Names in any spelling, any separator, dates with and without a zone."""
    candles = frame(minutes(5), quote_volume=[16.5] * 5, trades=[3] * 5, taker_buy_base=[0.5] * 5)
    named = candles.rename(
        {"open_time": "Open Time", "quote_volume": "Quote asset volume", "trades": "Number of trades"}
    )
    named = named.rename({"taker_buy_base": "Taker buy base asset volume"})
    path = tmp_path / f"AAAUSDT-1m-2024-05.{kind}"
    if kind == "named.csv":
        named.write_csv(path)
    elif kind == "tabs.csv":
        named.with_columns(pl.from_epoch("Open Time", time_unit="ms")).write_csv(path, separator=";")
    elif kind == "seconds.csv":
        named.with_columns(pl.col("Open Time") / 1000).write_csv(path)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr("anything.csv", named.write_csv())
    elif kind == "feather":
        dated = named.rename({"Open Time": "date"}).with_columns(pl.from_epoch("date", time_unit="ms"))
        dated.with_columns(pl.col("date").dt.replace_time_zone("UTC")).write_ipc(path)
    else:
        named.write_parquet(path)
    (line,) = run.objects("archive", "import", path, "--data", tmp_path / "archive")
    assert (line["added"], line["refused"]) == (5, {})
    stored = pl.read_parquet(tmp_path / "archive/binance_spot/AAAUSDT/1m/2024-05.parquet")
    assert stored.equals(candles)


def test_rows_that_make_no_sense_are_refused_and_told(run: Command, tmp_path: Path) -> None:
    """The others are imported."""
    path = tmp_path / "AAAUSDT_1m.csv"
    rows = [
        "date,open,high,low,close,volume",
        "2024-05-01 00:00:00 UTC,10,12,9,11,1",
        "2024-05-01 00:01:00,10,8,9,11,1",
    ]
    path.write_text("\n".join([*rows, "yesterday,10,12,9,11,1", "2024-05-01 00:03:00,10,12,9,,1"]) + "\n")
    code, lines, _ = run("archive", "import", path, "--data", tmp_path / "archive")
    assert code == 0
    assert [line.strip() for line in lines[1:]] == [
        "1 refused: high below low", "1 refused: not a number", "1 refused: open time not on the interval",
    ]  # fmt: skip


@pytest.mark.parametrize(("prefer", "close"), [("stored", 11.0), ("new", 11.5)])
def test_conflicts_are_told_and_decided_as_asked(run: Command, tmp_path: Path, prefer: str, close: float) -> None:
    """What is stored stays unless told otherwise."""
    store(tmp_path / "archive", minutes(3))
    path = tmp_path / "AAAUSDT-1m.parquet"
    frame(minutes(4), close=[11.0, 11.5, 11.0, 11.0]).write_parquet(path)
    code, lines, _ = run("archive", "import", path, "--data", tmp_path / "archive", "--prefer", prefer)
    assert code == 0
    assert lines[0].endswith("4 rows: 1 added, 2 same, 1 conflicts")
    assert lines[1].strip() == "the first conflict is at 2024-05-01 00:01"
    assert reader.load(tmp_path / "archive", "binance_spot", "AAAUSDT", "1m").close[1] == close


def test_names_tell_and_options_overrule(run: Command, tmp_path: Path) -> None:
    """Futures of freqtrade, an archive's own path, no name at all."""
    source = tmp_path / "BTC_USDT_USDT-1m-futures.feather"
    frame(minutes(5)).rename({"open_time": "date"}).write_ipc(source)
    (line,) = run.objects("archive", "import", source, "--data", tmp_path / "a")
    assert (line["venue"], line["symbol"]) == ("binance_usdm", "BTCUSDT")
    stored = tmp_path / "a/binance_usdm/BTCUSDT/1m/2024-05.parquet"
    (line,) = run.objects("archive", "import", stored, "--data", tmp_path / "b")
    assert (line["venue"], line["symbol"], line["interval"]) == ("binance_usdm", "BTCUSDT", "1m")
    bare = tmp_path / "candles.csv"
    frame(minutes(5)).write_csv(bare)
    assert "--symbol does" in run.refused("archive", "import", bare, "--data", tmp_path / "c")
    asked = ("--data", tmp_path / "c", "--symbol", "X/Y", "--venue", "other")
    (line,) = run.objects("archive", "import", bare, *asked)
    assert (line["venue"], line["symbol"], line["interval"]) == ("other", "X/Y", "1m")


def test_a_file_named_after_another_interval_is_not_guessed_at(run: Command, tmp_path: Path) -> None:
    """Unless the option says that it is so."""
    path = tmp_path / "AAAUSDT_1m.csv"
    frame(minutes(5 * 6)[::5]).write_csv(path)
    said = run.refused("archive", "import", path, "--data", tmp_path / "archive")
    assert "is named 1m, but its rows are 5m apart" in said
    (line,) = run.objects("archive", "import", path, "--data", tmp_path / "archive", "--interval", "1m")
    assert line["added"] == 6


def test_what_is_no_text_is_not_shown_on_the_terminal(run: Command, tmp_path: Path) -> None:
    """A file that is something else altogether: its bytes could mean anything to a terminal."""
    path = tmp_path / "AAA-1m.csv"
    path.write_bytes(b"GIF89a\x1b]0;owned\x07\x00,,,\n")
    code, _, err = run("archive", "import", path, "--data", tmp_path / "a")
    assert (code, err) == (1, "tapewatch: AAA-1m.csv is no text, so no CSV\n")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("AAA-1m.csv", b""),
        ("AAA-1m.csv", b"\xff\xfe\x00\x01,,,\n"),
        ("AAA-1m.csv", b"1,2,3\n"),
        ("AAA-1m.csv", b"date,open,high,low,close,volume\nnever,1,1,1,1,1\n"),
        ("AAA-1m.csv", b"when,open\n1,2\n"),
        ("AAA-1m.zip", b"PK"),
        ("AAA-1m.csv.gz", b"\x1f\x8b\x08 no"),
        ("AAA-1m.csv.gz", gzip.compress(b"x" * 100, mtime=0)[:-9]),
        ("AAA-1m.json", b"{}"),
        ("AAA-1m.json", b"[[1]]"),
        ("AAA-1m.json", b"["),
        ("AAA-1m.feather", b"ARROW1"),
        ("AAA-1m.parquet", b"PAR1"),
        ("AAA-1m.xlsx", b"PK"),
    ],
)
def test_a_file_that_is_none_is_said_and_the_others_are_imported(
    run: Command, tmp_path: Path, name: str, content: bytes
) -> None:
    """Exit 1, no traceback."""
    bad, good = tmp_path / name, tmp_path / "BBB-1m.csv"
    bad.write_bytes(content)
    frame(minutes(5)).write_csv(good)
    code, lines, err = run("archive", "import", bad, tmp_path / "none.csv", good, "--data", tmp_path / "a", "--json")
    assert "Traceback" not in err
    assert code == 1
    assert name in err
    assert "none.csv cannot be read" in err
    assert json.loads(lines[-1])["added"] == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("archive", "ls", "--data", "{none}"), "is not a folder of candles"),
        (("archive", "check", "--data", "{none}"), "is not a folder of candles"),
        (("archive", "check", "--data", "{data}", "--symbols", "NONE"), "holds no NONE"),
        (("archive", "check", "--data", "{data}", "--venue", "kraken"), "holds no kraken"),
        (("archive", "import", "{data}/BBB-1m.csv", "--data", "{data}", "--interval", "7m"), "unknown interval 7m"),
        (("archive", "import", "{data}/BBB-1m.csv", "--data", "{data}", "--venue", ".."), "cannot be a venue"),
        (("download", "--data", "{data}"), "either --symbols or --all"),
        (("download", "--data", "{data}", "--symbols", "A", "--all"), "either --symbols or --all"),
        (("download", "--data", "{data}", "--symbols", "A", "--from", "soon"), "--from: 'soon'"),
        (("download", "--data", "{data}", "--symbols", "A", "--interval", "7m"), "unknown interval 7m"),
    ],
)
def test_misuse_is_said(run: Command, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    """Exit 2, with what is wrong."""
    store(tmp_path, minutes(3))
    frame(minutes(3)).write_csv(tmp_path / "BBB-1m.csv")
    given = [one.format(data=tmp_path, none=tmp_path / "none") for one in arguments]
    assert said in run.refused(*given)
