"""A download brings the exchange's very candles, from whatever it has of them, and asks for nothing twice."""

import asyncio
import hashlib
import os
import signal
import socket
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from command_process import command, ran
from history_market import (
    FIRST_MS,
    HOUR_MS,
    NOW_MS,
    HourMarket,
    asked,
    contents,
    equals_the_market,
    fetch,
    history,
)
from simulated import TableMarket, eventually

from tapewatch.archive import reader
from tapewatch.archive.manifest import Manifest, Series
from tapewatch.errors import EdgeError, SetupError
from tapewatch.feeds import history as feed_history
from tapewatch.model import DAY_MS, MINUTE_MS
from tapewatch.simulator import Limits

SERIES = Series("binance_spot", "BTCUSDT", "1h")


async def test_months_days_and_rest_together_are_the_market(tmp_path: Path) -> None:
    """Files of whole months, of days where no month is over, REST for today; all columns, the very bits."""
    async with history() as simulator:
        summary, heard = await fetch(simulator, tmp_path)
        counts = asked(simulator)
    assert equals_the_market(tmp_path)
    assert counts == {"monthly": 4, "daily": 10, "klines": 2, "time": 1, "exchangeInfo": 1}
    assert (summary.files, summary.added, summary.missing, summary.failed) == (7, summary.rows, 0, 0)
    assert heard.done["BTCUSDT", "1h"].notes == []
    names = [done.name for done in Manifest(tmp_path).imports(SERIES)]
    assert names[:4] == [f"BTCUSDT-1h-{part}.zip" for part in ("2024-11-28", "2024-11-29", "2024-11-30", "2024-12")]


async def test_what_is_stored_and_verified_is_not_fetched_again(tmp_path: Path) -> None:
    """Neither files nor candles over REST; a month that somebody deleted is."""
    async with history() as simulator:
        await fetch(simulator, tmp_path)
        before = contents(tmp_path)
        simulator.books.requests.clear()
        summary, _ = await fetch(simulator, tmp_path)
        assert asked(simulator) == {"time": 1, "exchangeInfo": 1}
        assert (summary.added, summary.files, summary.requests) == (0, 0, 0)
        (tmp_path / "binance_spot/BTCUSDT/1h/2024-12.parquet").unlink()
        summary, _ = await fetch(simulator, tmp_path)
        assert (summary.added, summary.files) == (31 * 24, 1)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("fault", "counts"),
    [
        ({"kind": "archive_missing", "files": "monthly"}, {"daily": 2 * 67, "klines": 2}),
        ({"kind": "archive_missing", "files": "daily"}, {"monthly": 4, "klines": 3}),
        ({"kind": "archive_missing"}, {"klines": 5}),
        ({"kind": "archive_corrupt"}, {"monthly": 8, "daily": 20, "klines": 2}),
        ({"kind": "archive_corrupt", "for": "1h", "files": "monthly"}, {"monthly": 8, "daily": 2 * 67, "klines": 2}),
        ({"kind": "archive_corrupt", "for": "1h"}, {"monthly": 8, "daily": 4 * 67, "klines": 5}),
        ({"kind": "archive_stale_checksum"}, {"monthly": 8, "daily": 4 * 67, "klines": 5}),
        ({"kind": "archive_hole"}, {"monthly": 4, "daily": 14, "klines": 2}),
    ],
)
async def test_whatever_is_wrong_with_the_files_the_candles_come(
    tmp_path: Path, fault: dict[str, Any], counts: dict[str, int]
) -> None:
    """A file that does not fit its checksum is fetched once more, then days stand in for months and REST for days."""
    async with history(fault | {"at": "0s"}) as simulator:
        summary, heard = await fetch(simulator, tmp_path)
        assert asked(simulator) == {**counts, "time": 1, "exchangeInfo": 1}
        told = {fault["kind"]} <= set(simulator.books.faults)
    assert told
    assert equals_the_market(tmp_path)
    assert (summary.missing, summary.failed) == (0, 0)
    doubtful = fault["kind"] == "archive_stale_checksum" or "for" in fault
    assert any("checksum, 2 times" in note for note in heard.done["BTCUSDT", "1h"].notes) == doubtful


@pytest.mark.parametrize("source", ["bulk", "rest"])
async def test_one_source_alone(tmp_path: Path, source: str) -> None:
    """The other one is not asked at all; files alone end with yesterday."""
    async with history() as simulator:
        summary, heard = await fetch(simulator, tmp_path, source=source, to_ms=NOW_MS - 2 * HOUR_MS)
        counts = asked(simulator)
    stored = reader.load(tmp_path, "binance_spot", "BTCUSDT", "1h").open_ms
    if source == "bulk":
        assert counts == {"monthly": 4, "daily": 10}
        assert (stored[-1], summary.missing) == (NOW_MS - NOW_MS % DAY_MS - HOUR_MS, 10)
    else:
        assert counts == {"klines": 5, "time": 1, "exchangeInfo": 1}
        assert (stored[-1], summary.missing) == (NOW_MS - 3 * HOUR_MS, 0)
    assert heard.done["BTCUSDT", "1h"].error is None


async def test_only_what_was_asked_for_is_stored(tmp_path: Path) -> None:
    """Parts of days too, from either source."""
    from_ms, to_ms = FIRST_MS + 10 * DAY_MS + 5 * HOUR_MS, FIRST_MS + 13 * DAY_MS + HOUR_MS
    async with history() as simulator:
        for source in ("auto", "bulk"):
            await fetch(simulator, tmp_path / source, source=source, from_ms=from_ms, to_ms=to_ms)
            stored = reader.load(tmp_path / source, "binance_spot", "BTCUSDT", "1h").open_ms
            assert stored.tolist() == list(range(from_ms, to_ms, HOUR_MS))
    assert contents(tmp_path / "auto") == contents(tmp_path / "bulk")


async def test_what_the_exchange_does_not_have_is_asked_for_once(tmp_path: Path) -> None:
    """An outage, and the time before the first candle, are confirmed and remembered; nothing is invented."""
    outage = FIRST_MS + 20 * DAY_MS + 3 * HOUR_MS
    market = HourMarket(holes=(outage, outage + 30 * HOUR_MS))
    async with history(market=market) as simulator:
        summary, _ = await fetch(simulator, tmp_path, from_ms=FIRST_MS - 40 * DAY_MS)
        assert (summary.absent, summary.missing, summary.failed) == (40 * 24 + 30, 0, 0)
        simulator.books.requests.clear()
        again, _ = await fetch(simulator, tmp_path, from_ms=FIRST_MS - 40 * DAY_MS)
        assert set(asked(simulator)) == {"time", "exchangeInfo"}
        assert not [path for path, status in simulator.books.requests if status == 404 and "monthly" in path]
        assert (again.rows, again.absent, again.added) == (summary.rows, summary.absent, 0)
    assert equals_the_market(tmp_path, market=market)


async def test_a_time_without_candles_is_no_failure(tmp_path: Path) -> None:
    """Where REST says so, as of a symbol that is traded only since; that there are no files alone is no answer."""
    wanted = {"from_ms": FIRST_MS - 9 * DAY_MS, "to_ms": FIRST_MS - 2 * DAY_MS}
    async with history() as simulator:
        summary, heard = await fetch(simulator, tmp_path, **wanted)
        assert (summary.rows, summary.absent, summary.failed) == (0, 7 * 24, 0)
        assert heard.done["BTCUSDT", "1h"].notes == ["the exchange has no candles then"]
        alone, _ = await fetch(simulator, tmp_path / "alone", **wanted, source="bulk")
        assert (alone.missing, alone.failed) == (7 * 24, 1)


async def test_refresh_takes_files_that_the_exchange_has_replaced(tmp_path: Path) -> None:
    """Only those: the others are asked for their checksum alone."""
    no_days = {"kind": "archive_missing", "at": "0s", "files": "daily"}
    to_ms = NOW_MS - 2 * DAY_MS - 12 * HOUR_MS
    wanted = {"source": "bulk", "from_ms": FIRST_MS + 3 * DAY_MS, "to_ms": to_ms}
    async with history(no_days, {"kind": "archive_hole", "at": "0s"}) as simulator:
        summary, _ = await fetch(simulator, tmp_path, **wanted)
        assert (summary.files, summary.missing) == (2, 48)
    async with history(no_days) as simulator:
        plain, _ = await fetch(simulator, tmp_path, **wanted)
        assert (plain.files, plain.missing) == (0, 48)
        assert asked(simulator) == {}
        summary, heard = await fetch(simulator, tmp_path, **wanted, refresh=True)
        assert (summary.files, summary.added, summary.missing, summary.changed) == (2, 48, 0, 0)
        assert sum("was replaced" in note for note in heard.done["BTCUSDT", "1h"].notes) == 2
        simulator.books.requests.clear()
        again, _ = await fetch(simulator, tmp_path, **wanted, refresh=True)
        assert (again.files, asked(simulator)) == (0, {"monthly": 2})


async def test_a_candle_that_changed_at_the_exchange_is_reported(tmp_path: Path) -> None:
    """Files win over what REST said before."""
    first = FIRST_MS + 3 * DAY_MS
    async with history() as simulator:
        await fetch(simulator, tmp_path, source="rest", from_ms=first)
        path = tmp_path / "binance_spot/BTCUSDT/1h/2024-12.parquet"
        frame = pl.read_parquet(path)
        frame.with_columns(close=pl.col("close") - pl.col("open_time").eq(first) * 0.1).write_parquet(path)
        assert not equals_the_market(tmp_path)
        summary, _ = await fetch(simulator, tmp_path, from_ms=first)
    assert summary.changed == 1
    stored = reader.load(tmp_path, "binance_spot", "BTCUSDT", "1h")
    assert stored.close[0] == HourMarket().candles("BTCUSDT").slice(first).close[0]


@pytest.mark.parametrize("after", [1, 9, 30, 60])
async def test_a_killed_download_goes_on_and_ends_the_same(tmp_path: Path, after: int) -> None:
    """Whatever it was doing: no half file, and the archive is that of a download nobody disturbed."""
    fault = {"kind": "archive_missing", "at": "0s", "files": "monthly"}
    async with history(fault) as simulator:
        await fetch(simulator, tmp_path / "whole")
        simulator.books.requests.clear()
        root = tmp_path / "cut"
        urls = ("--rest-url", simulator.rest_url, "--bulk-url", simulator.rest_url)
        arguments = ("download", "--data", root, "--symbols", "BTCUSDT", "--interval", "1h", "--from", FIRST_MS, *urls)
        async with command(*arguments) as process:
            await eventually(lambda: sum(simulator.books.requests.values()) >= 2 + after, 60)
            assert process.returncode is None
            os.kill(process.pid, signal.SIGKILL)
            await process.wait()
        for path in root.rglob("*.parquet"):
            assert pl.read_parquet(path)["open_time"].is_sorted()
        code, lines, err = await ran(*arguments)
    assert (code, err) == (0, "")
    assert lines[-1]["missing"] == 0
    assert contents(root) == contents(tmp_path / "whole")
    assert not [path for path in root.rglob("*") if path.name.endswith(".tmp")]


async def test_two_downloads_at_once_end_the_same(tmp_path: Path) -> None:
    """Into one archive, of the same series."""
    async with history() as simulator:
        await fetch(simulator, tmp_path / "one")
        await asyncio.gather(*(fetch(simulator, tmp_path / "two") for _ in range(3)))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


async def test_pages_of_minutes_come_in_order_and_whole(tmp_path: Path) -> None:
    """Over REST, more than a page, the running candle left out."""
    market = TableMarket()
    async with history(market=market, start_ms=market.last_ms - 30_000) as simulator:
        await fetch(simulator, tmp_path, intervals=["1m", "5m"], source="rest", from_ms=market.first_ms)
    minutes = reader.load(tmp_path, "binance_spot", "BTCUSDT", "1m")
    wanted = market.candles("BTCUSDT").slice(to_ms=market.last_ms - MINUTE_MS)
    assert np.array_equal(minutes.open_ms, wanted.open_ms)
    assert np.array_equal(minutes.taker_buy, wanted.taker_buy)
    assert reader.load(tmp_path, "binance_spot", "BTCUSDT", "5m").open_ms[-1] == market.last_ms - 10 * MINUTE_MS


@pytest.mark.slow
async def test_limits_are_kept_whatever_is_asked(tmp_path: Path) -> None:
    """Half of a small limit is waited for, and never broken."""
    market = TableMarket(symbols=("BTCUSDT", "ETHUSDT", "BNBUSDT"))
    limits = Limits(weight_per_minute=160)
    intervals = ["1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h"]
    async with history(market=market, limits=limits, start_ms=market.last_ms - 30_000) as simulator:
        summary, _ = await fetch(
            simulator,
            tmp_path,
            symbols=list(market.symbols),
            intervals=intervals,
            source="rest",
            from_ms=market.first_ms,
        )
        weight = 20 + 1 + 2 * summary.requests
        assert weight > 80
        assert simulator.books.meter("127.0.0.1").used <= 80
        assert not simulator.books.breaches
    assert (summary.failed, summary.missing) == (0, 0)


@pytest.mark.parametrize("fault", [{"kind": "http_429", "for": "1s"}, {"kind": "http_5xx", "for": "1s"}])
async def test_trouble_of_rest_is_outlived(tmp_path: Path, fault: dict[str, Any]) -> None:
    """What the exchange asks to wait is waited."""
    market = TableMarket()
    start_ms = market.last_ms - 30_000
    rules = {"market": market, "start_ms": start_ms, "rate": 1.0}
    async with history(fault | {"at": "0s"}, **rules) as simulator:
        from simulated import connected

        async with connected(simulator, "/ws/btcusdt@kline_1m"):  # starts the clock, and so the fault
            await eventually(lambda: simulator.clock.now_ms() > start_ms)
            summary, _ = await fetch(simulator, tmp_path, intervals=["5m"], source="rest", from_ms=market.first_ms)
        assert simulator.books.faults[fault["kind"]] >= 1
    assert (summary.failed, summary.missing) == (0, 0)


async def test_files_go_on_without_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host is gone: said, and what files have is taken; with REST alone that is an error."""
    monkeypatch.setattr(feed_history, "GIVE_UP", 2)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{probe.getsockname()[1]}"
    async with history() as simulator:
        wanted = {"rest_url": nowhere, "to_ms": FIRST_MS + 3 * DAY_MS}
        summary, heard = await fetch(simulator, tmp_path, **wanted)
        assert (summary.rows, summary.files, summary.failed) == (72, 3, 0)
        assert "; trying again in " in heard.notes[0]
        assert heard.notes[-1].endswith("; going on with files alone")
        with pytest.raises(EdgeError):
            await fetch(simulator, tmp_path, **wanted, source="rest")


async def test_the_command_prints_a_line_a_series_and_the_whole(tmp_path: Path) -> None:
    """Patterns mean what is traded; the exit code says whether something failed."""
    async with history() as simulator:
        urls = ("--rest-url", simulator.rest_url, "--bulk-url", simulator.rest_url)
        rest = ("--data", tmp_path, "--interval", "1h,4h", "--from", FIRST_MS, *urls)
        code, lines, err = await ran("download", "--symbols", "*USDT", *rest)
        assert (code, err) == (0, "")
        assert sorted((line["symbol"], line["interval"]) for line in lines[:-1]) == [
            ("BTCUSDT", "1h"), ("BTCUSDT", "4h"), ("币安USDT", "1h"), ("币安USDT", "4h"),
        ]  # fmt: skip
        assert lines[-1]["series"] == 4
        assert lines[-1]["rows"] == sum(line["rows"] for line in lines[:-1])
        code, lines, _ = await ran("download", "--symbols", "BTCUSDT,NONE", *rest)
        assert (code, lines[-1]["failed"]) == (1, 2)
        assert all("Invalid symbol" in line["error"] for line in lines[:-1] if line["symbol"] == "NONE")
        async with command("download", "--all", *rest) as process:
            out, err_bytes = await process.communicate()
        assert (process.returncode, err_bytes) == (0, b"")
        assert "4 series, " in out.decode().splitlines()[-1]


@pytest.mark.parametrize("option", ["--rest-url", "--bulk-url"])
async def test_one_host_on_this_machine_is_both(tmp_path: Path, option: str) -> None:
    """A simulator's candles are never mixed with the world's."""
    async with history() as simulator:
        wanted = ("--symbols", "BTCUSDT", "--interval", "1h", "--from", FIRST_MS)
        code, lines, err = await ran("download", "--data", tmp_path, *wanted, option, simulator.rest_url)
    assert (code, err, lines[-1]["files"]) == (0, "", 7)
    assert equals_the_market(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"venue": "kraken"}, "--venue: history can be had of binance_spot binance_usdm"),
        ({"funding": True}, "spot pays no funding"),
        ({"from_ms": NOW_MS + 1}, "--from: nothing is before"),
        ({"symbols": ["X*"]}, "nothing that is traded matches X"),
        ({"symbols": ["X*"], "source": "bulk"}, "the pattern X\\* needs REST"),
        ({"symbols": [".."]}, "cannot be a symbol"),
        ({"bulk_url": "ftp://x"}, "--bulk-url"),
        ({"bulk_url": "http://example.invalid"}, "--bulk-url: .* must be https"),
        ({"rest_url": "nowhere"}, "--rest-url"),
        ({"intervals": ["7m"]}, "unknown interval 7m"),
    ],
)
async def test_an_order_that_makes_no_sense_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    """With the option that is wrong; nothing is stored."""
    async with history() as simulator:
        with pytest.raises(SetupError, match=said):
            await fetch(simulator, tmp_path, **changes)
    assert contents(tmp_path) == {}


async def test_the_checksum_is_kept_with_the_import(tmp_path: Path) -> None:
    """That of the exchange's file."""
    async with history() as simulator:
        await fetch(simulator, tmp_path, source="bulk", to_ms=FIRST_MS + DAY_MS)
        import aiohttp

        url = f"{simulator.rest_url}/data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-11-28.zip"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            sha256 = hashlib.sha256(await answer.read()).hexdigest()
    (done,) = Manifest(tmp_path).imports(SERIES)
    assert (done.sha256, done.rows, done.from_ms, done.to_ms) == (sha256, 24, FIRST_MS, FIRST_MS + DAY_MS)
