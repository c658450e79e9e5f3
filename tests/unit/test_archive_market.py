"""A folder of candles is a market: its symbols, its span, each symbol's smallest interval."""

from pathlib import Path

import polars as pl
import pytest

from tapewatch.archive import reader
from tapewatch.errors import SetupError
from tapewatch.model import DAY_MS, MINUTE_MS
from tapewatch.simulator import ArchiveMarket, default_start_ms


def store(path: Path, opens: list[int]) -> None:
    """Writes flat candles."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = len(opens)
    pl.DataFrame(
        {"open_time": opens, **{name: [1.0] * rows for name in ("open", "high", "low", "close", "volume")}}
    ).write_parquet(path)


def test_the_span_is_that_of_all_chosen_symbols(tmp_path: Path) -> None:
    """From the first open to the last close, over monthly files too."""
    store(tmp_path / "binance_spot/AAAUSDT/1m/2024-01.parquet", [MINUTE_MS, 2 * MINUTE_MS])
    store(tmp_path / "binance_spot/AAAUSDT/1m/2024-02.parquet", [9 * MINUTE_MS])
    store(tmp_path / "binance_spot/BBBUSDT/5m.parquet", [0, 20 * MINUTE_MS])
    store(tmp_path / "binance_spot/BBBUSDT/1h.parquet", [0])
    market = ArchiveMarket(tmp_path)
    assert market.symbols == ("AAAUSDT", "BBBUSDT")
    assert (market.first_ms, market.last_ms) == (0, 25 * MINUTE_MS)
    assert market.candles("BBBUSDT").interval_ms == 5 * MINUTE_MS
    alone = ArchiveMarket(tmp_path, symbols=("AAAUSDT",))
    assert (alone.first_ms, alone.last_ms) == (MINUTE_MS, 10 * MINUTE_MS)
    assert len(alone.candles("AAAUSDT")) == 3


def test_the_default_start_leaves_a_day_to_play(tmp_path: Path) -> None:
    """Or half of what there is, on a minute."""
    store(tmp_path / "binance_spot/AAAUSDT/1m.parquet", [0, 5 * DAY_MS - MINUTE_MS])
    store(tmp_path / "binance_spot/BBBUSDT/1m.parquet", [0, 4 * MINUTE_MS])
    assert default_start_ms(ArchiveMarket(tmp_path)) == 4 * DAY_MS
    assert default_start_ms(ArchiveMarket(tmp_path, symbols=("BBBUSDT",))) == 2 * MINUTE_MS


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    """A symbol, a venue, candles at all, a readable file."""
    store(tmp_path / "binance_spot/AAAUSDT/1m.parquet", [0])
    with pytest.raises(SetupError, match="did you mean AAAUSDT"):
        ArchiveMarket(tmp_path, symbols=("AABUSDT",))
    with pytest.raises(SetupError, match="it holds binance_spot"):
        ArchiveMarket(tmp_path, "binance_usdm")
    with pytest.raises(SetupError, match="not a folder"):
        ArchiveMarket(tmp_path / "none")
    with pytest.raises(SetupError, match="holds no ZZZ"):
        reader.span(tmp_path, "binance_spot", "ZZZ", "1m")
    store(tmp_path / "binance_spot/CCCUSDT/1m.parquet", [])
    with pytest.raises(SetupError, match="holds no candles"):
        ArchiveMarket(tmp_path, symbols=("CCCUSDT",))
    (tmp_path / "binance_spot/CCCUSDT/1m.parquet").write_bytes(b"x")
    with pytest.raises(SetupError, match="cannot be read"):
        ArchiveMarket(tmp_path, symbols=("CCCUSDT",))
