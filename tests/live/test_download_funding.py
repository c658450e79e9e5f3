"""Funding rates of futures: downloaded with their candles, from files and over REST, within the limits."""

import asyncio
from pathlib import Path

import polars as pl
import pytest
from history_market import (
    FIRST_MS,
    HOUR_MS,
    NOW_MS,
    HourMarket,
    asked,
    equals_the_market,
    fetch,
    history,
)

from tapewatch.archive import funding
from tapewatch.feeds import history as feed_history
from tapewatch.model import DAY_MS


async def test_futures_come_with_their_funding(tmp_path: Path) -> None:
    """Files with a header, klines of /fapi, rates with the mark price; a second time only the end is asked for."""
    wanted = {"venue": "binance_usdm", "funding": True, "symbols": ["BTCUSDT", "币安USDT"]}
    async with history() as simulator:
        summary, heard = await fetch(simulator, tmp_path, **wanted)
        counts = asked(simulator)
        again, _ = await fetch(simulator, tmp_path, **wanted)
    assert equals_the_market(tmp_path, "币安USDT", venue="binance_usdm")
    assert (counts["monthly"], counts["fundingRate"], summary.failed) == (8, 2, 0)
    rates = funding.load(tmp_path, "binance_usdm", "BTCUSDT")
    assert rates["time"].to_list() == list(range(FIRST_MS + 8 * HOUR_MS, NOW_MS, 8 * HOUR_MS))
    closes = dict(zip(*_closes(), strict=True))
    assert rates["mark_price"].to_list() == [closes[at - HOUR_MS] for at in rates["time"].to_list()]
    assert heard.done["BTCUSDT", "funding"].rows == len(rates)
    assert (again.added, again.requests, again.files) == (0, 2, 0)


async def test_funding_from_files_alone(tmp_path: Path) -> None:
    """By month, verified, without the mark price; REST completes them later."""
    wanted = {"venue": "binance_usdm", "funding": True, "intervals": []}
    async with history({"kind": "archive_corrupt", "at": "0s"}) as simulator:
        summary, _ = await fetch(simulator, tmp_path, **wanted, source="bulk")
        assert (summary.files, summary.failed) == (3, 0)
        rates = funding.load(tmp_path, "binance_usdm", "BTCUSDT")
        assert rates["mark_price"].null_count() == len(rates) == 194
        again, _ = await fetch(simulator, tmp_path, **wanted, source="bulk")
        assert again.files == 0
        funding.path_of(tmp_path, "binance_usdm", "BTCUSDT").unlink()
        await fetch(simulator, tmp_path, **wanted)
    completed = funding.load(tmp_path, "binance_usdm", "BTCUSDT")
    assert completed["rate"].to_list()[:194] == rates["rate"].to_list()
    assert completed["mark_price"].null_count() == 0


async def test_stored_rates_are_what_a_simulator_of_that_archive_pays(tmp_path: Path) -> None:
    """Downloaded from one, served by the next."""
    from tapewatch.simulator import ArchiveMarket

    wanted = {"venue": "binance_usdm", "funding": True}
    async with history() as simulator:
        await fetch(simulator, tmp_path / "a", **wanted)
    path = funding.path_of(tmp_path / "a", "binance_usdm", "BTCUSDT")
    funding.read(path).with_columns(rate=pl.lit(0.00123)).write_parquet(path)
    market = ArchiveMarket(tmp_path / "a", "binance_usdm")
    async with history(market=market, start_ms=market.last_ms - DAY_MS) as simulator:
        await fetch(simulator, tmp_path / "b", **wanted)
    assert funding.load(tmp_path / "b", "binance_usdm", "BTCUSDT")["rate"].unique().to_list() == [0.00123]


async def test_funding_requests_keep_to_their_own_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than so many in any window."""
    monkeypatch.setattr(feed_history, "FUNDING_REQUESTS", 2)
    monkeypatch.setattr(feed_history, "FUNDING_WINDOW_S", 1.0)
    monkeypatch.setattr(HourMarket, "symbols", tuple(f"S{number}USDT" for number in range(6)))
    async with history() as simulator:
        started = asyncio.get_running_loop().time()
        await fetch(
            simulator, tmp_path, venue="binance_usdm", symbols=["S*"], intervals=[], funding=True, source="rest"
        )
    assert asyncio.get_running_loop().time() - started >= 2.0


def _closes() -> tuple[list[int], list[float]]:
    candles = HourMarket().candles("BTCUSDT")
    return candles.open_ms.tolist(), candles.close.tolist()
