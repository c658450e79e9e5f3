"""Stored candles are read whole, sorted and checked, or refused with a text that helps."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tapewatch.archive import reader, stored
from tapewatch.errors import SetupError
from tapewatch.model import MINUTE_MS, fault_of


def store(path: Path, opens: list[int], **columns: list[float]) -> None:
    """Writes a file of sound candles that open at the given times, with columns replaced as told."""
    rows = len(opens)
    data = {"open_time": opens, "open": [10.0] * rows, "high": [12.0] * rows, "low": [9.0] * rows}
    data |= {"close": [11.0] * rows, "volume": [1.5] * rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(data | columns).write_parquet(path)


def test_unsorted_and_repeated_candles_come_out_sorted_and_once(tmp_path: Path) -> None:
    """Rows are ascending, and of a repeated open the last stored row is kept."""
    store(tmp_path / "v/AAA/1m.parquet", [120_000, 0, 120_000], close=[11.0, 11.0, 10.5])
    candles = reader.load(tmp_path, "v", "AAA", "1m")
    assert candles.open_ms.tolist() == [0, 120_000]
    assert candles.close.tolist() == [11.0, 10.5]
    assert candles.refused == 0


def test_a_single_file_and_monthly_files_are_one_series(tmp_path: Path) -> None:
    """Both layouts of one interval are read together, in order of time."""
    store(tmp_path / "v/AAA/1m.parquet", [0])
    store(tmp_path / "v/AAA/1m/2024-02.parquet", [2 * MINUTE_MS])
    store(tmp_path / "v/AAA/1m/2024-01.parquet", [MINUTE_MS])
    assert reader.load(tmp_path, "v", "AAA", "1m").open_ms.tolist() == [0, MINUTE_MS, 2 * MINUTE_MS]


def test_a_large_file_is_read_column_by_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same candles, and the same words about what is wrong."""
    store(tmp_path / "v/AAA/1m.parquet", [120_000, 0, 120_000], close=[11.0, 11.0, 10.5], trades=[1, 2, 3])
    whole = reader.load(tmp_path, "v", "AAA", "1m")
    monkeypatch.setattr(reader, "LARGE_BYTES", 0)
    asked: list[object] = []
    read = pl.read_parquet

    def noted(path: Path, columns: list[str] | None = None) -> pl.DataFrame:
        asked.append(columns)
        return read(path, columns=columns)

    monkeypatch.setattr(pl, "read_parquet", noted)
    parts = reader.load(tmp_path, "v", "AAA", "1m")
    assert list(map(str, parts.bars())) == list(map(str, whole.bars()))
    assert [len(columns) for columns in asked if isinstance(columns, list)] == [1] * len(asked) == [1] * 7
    (tmp_path / "v/AAA/1m.parquet").write_text("no candles")
    with pytest.raises(SetupError, match="cannot be read as Parquet"):
        reader.load(tmp_path, "v", "AAA", "1m")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("open", 0.0),
        ("close", -1.0),
        ("high", 8.0),
        ("low", 11.5),
        ("volume", -1.0),
        ("volume", float("nan")),
        ("close", float("nan")),
        ("high", float("inf")),
        ("volume", float("inf")),
        ("open_time", 61_000),
    ],
)
def test_bad_candles_are_refused_as_the_model_would(tmp_path: Path, column: str, value: float) -> None:
    """What `model.fault_of` refuses is left out and counted, the rest stays."""
    opens = [0, 60_000, 120_000]
    columns: dict[str, list[float]] = {}
    if column == "open_time":
        opens[1] = int(value)
    else:
        columns[column] = [{"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 1.5}[column]] * 3
        columns[column][1] = value
    store(tmp_path / "v/AAA/1m.parquet", opens, **columns)
    candles = reader.load(tmp_path, "v", "AAA", "1m")
    assert candles.open_ms.tolist() == [0, 120_000]
    assert candles.refused == 1
    assert [fault_of(bar) for bar in candles.bars()] == [None, None]


def test_columns_that_a_source_lacks_are_nan(tmp_path: Path) -> None:
    """Quote volume, trades and taker volume are NaN unless stored."""
    store(tmp_path / "v/AAA/1m.parquet", [0])
    store(tmp_path / "v/BBB/1m.parquet", [0], quote_volume=[16.0], trades=[7], taker_buy_base=[0.5])
    (bare,) = reader.load(tmp_path, "v", "AAA", "1m").bars()
    (full,) = reader.load(tmp_path, "v", "BBB", "1m").bars()
    assert np.isnan([bare.quote_volume, bare.trades, bare.taker_buy]).all()
    assert (full.quote_volume, full.trades, full.taker_buy) == (16.0, 7.0, 0.5)


def test_inventory_lists_series_with_decoded_symbols(tmp_path: Path) -> None:
    """Every venue, symbol and known interval is listed, other files are not."""
    store(tmp_path / "v/AAA/1m.parquet", [0])
    store(tmp_path / "v/AAA/1h/2024-01.parquet", [0])
    store(tmp_path / "w/%E5%B8%81USDT/5m.parquet", [0])
    store(tmp_path / "v/AAA/7m.parquet", [0])
    assert reader.inventory(tmp_path) == [
        reader.Stored("v", "AAA", "1h"),
        reader.Stored("v", "AAA", "1m"),
        reader.Stored("w", "币USDT", "5m"),
    ]
    assert len(reader.load(tmp_path, "w", "币USDT", "5m")) == 1


def test_a_series_is_built_from_the_largest_interval_that_divides_it(tmp_path: Path) -> None:
    """15m comes from stored 5m rather than 1m, and 5m is what is stored."""
    store(tmp_path / "v/AAA/1m.parquet", [n * MINUTE_MS for n in range(15)])
    store(tmp_path / "v/AAA/5m.parquet", [n * 5 * MINUTE_MS for n in range(3)], volume=[2.0] * 3)
    assert reader.series(tmp_path, "v", "AAA", "15m").volume.tolist() == [6.0]
    assert reader.series(tmp_path, "v", "AAA", "5m").volume.tolist() == [2.0] * 3
    assert reader.series(tmp_path, "v", "AAA", "3m").volume.tolist() == [4.5] * 5


@pytest.mark.parametrize(
    ("venue", "symbol", "interval", "said"),
    [
        ("v", "AAA", "1m", "holds v AAA as 5m"),
        ("v", "AAB", "5m", "did you mean AAA"),
        ("x", "AAA", "5m", "it holds v"),
        ("v", "AAA", "9m", "unknown interval 9m"),
    ],
)
def test_what_cannot_be_had_is_said(tmp_path: Path, venue: str, symbol: str, interval: str, said: str) -> None:
    """The error names what is stored instead."""
    store(tmp_path / "v/AAA/5m.parquet", [0])
    with pytest.raises(SetupError, match=said):
        reader.series(tmp_path, venue, symbol, interval)
    with pytest.raises(SetupError, match=said):
        reader.load(tmp_path, venue, symbol, interval)


def test_an_empty_or_missing_folder_is_said(tmp_path: Path) -> None:
    """Neither gives an empty series."""
    with pytest.raises(SetupError, match="holds no candles"):
        reader.load(tmp_path, "v", "AAA", "1m")
    with pytest.raises(SetupError, match="is not a folder"):
        reader.load(tmp_path / "none", "v", "AAA", "1m")


def test_files_that_are_no_candles_are_named(tmp_path: Path) -> None:
    """A damaged file, a lacking column, times or values of another type: the error names the file."""
    path = tmp_path / "v/AAA/1m.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no parquet")
    with pytest.raises(SetupError, match=r"1m\.parquet cannot be read"):
        reader.load(tmp_path, "v", "AAA", "1m")
    pl.DataFrame({"open_time": [0], "open": [1.0]}).write_parquet(path)
    with pytest.raises(SetupError, match="has no column high low close volume"):
        reader.load(tmp_path, "v", "AAA", "1m")
    store(path, [0])
    pl.read_parquet(path).with_columns(pl.lit("x").alias("volume")).write_parquet(path)
    with pytest.raises(SetupError, match="not numbers"):
        reader.load(tmp_path, "v", "AAA", "1m")
    pl.read_parquet(path).with_columns(pl.lit("2024-01-01").alias("open_time")).write_parquet(path)
    with pytest.raises(SetupError, match="whole milliseconds"):
        reader.load(tmp_path, "v", "AAA", "1m")


def test_a_slice_is_half_open_and_bars_keep_their_values(tmp_path: Path) -> None:
    """`slice` takes [from, to) on the open, either end may be left out."""
    store(tmp_path / "v/AAA/1m.parquet", [n * MINUTE_MS for n in range(5)])
    candles = reader.load(tmp_path, "v", "AAA", "1m")
    assert [bar.open_ms for bar in candles.slice(60_000, 180_000).bars()] == [60_000, 120_000]
    assert len(candles.slice()) == 5
    assert len(candles.slice(to_ms=60_001)) == 2
    (bar,) = candles.slice(from_ms=240_000).bars()
    assert (bar.symbol, bar.interval_ms, bar.open, bar.high, bar.low, bar.close) == ("AAA", 60_000, 10, 12, 9, 11)


def test_what_is_replaced_while_it_is_read_is_read_as_it_was_or_is(tmp_path: Path) -> None:
    """A download puts whole files in the place of others; nobody who reads beside it sees half of each."""
    path, counts = tmp_path / "v/AAA/1m.parquet", (700, 20_000)
    files = []
    for rows in counts:
        store(path, [MINUTE_MS * k for k in range(rows)])
        files.append(path.read_bytes())
    over = threading.Event()

    def replace() -> None:
        for content in itertools.cycle(files):
            unfinished = path.with_suffix(".tmp")
            unfinished.write_bytes(content)
            unfinished.replace(path)
            if over.is_set():
                return

    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(replace)
        try:
            for _ in range(100):
                assert len(reader.load(tmp_path, "v", "AAA", "1m")) in counts
                assert len(stored.opens(path.with_suffix(""))) in counts
                assert len(stored.read(path)) in counts
                assert reader.span(tmp_path, "v", "AAA", "1m")[1] in [MINUTE_MS * rows for rows in counts]
        finally:
            over.set()
        written.result()
