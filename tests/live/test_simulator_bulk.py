"""The simulator serves the exchange's file archive: its layout, its formats, its lateness, its faults."""

import hashlib
import io
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import numpy as np
import pytest
from simulated import serving

from tapewatch.archive.candles import Candles
from tapewatch.model import DAY_MS
from tapewatch.simulator import FaultRule, Simulator

#: 2024-11-28 to 2025-02-03, hourly; simulated now is 2025-02-03 12:00.
FIRST_MS, NOW_MS = 1_732_752_000_000, 1_738_584_000_000
HOUR_MS = 3_600_000


class HourMarket:
    """One symbol with candles of an hour over the turn of a year."""

    venue = "binance_spot"
    symbols = ("BTCUSDT", "币安USDT")
    first_ms, last_ms = FIRST_MS, NOW_MS + DAY_MS

    def candles(self, symbol: str) -> Candles:
        """The same candles each time."""
        open_ms = np.arange(self.first_ms, self.last_ms, HOUR_MS)
        close = 100.0 + np.arange(len(open_ms)) % 7
        volume = np.full(len(open_ms), 2.5)
        columns = (close, close + 1, close - 1, close, volume, volume * close, volume * 4, volume / 2)
        return Candles(self.venue, symbol, HOUR_MS, open_ms, *columns)


@asynccontextmanager
async def archive(*faults: dict[str, Any]) -> AsyncIterator[Simulator]:
    """A simulator of that market, with faults."""
    rules = tuple(FaultRule.model_validate(fault) for fault in faults)
    async with serving(HourMarket(), start_ms=NOW_MS, faults=rules) as simulator:  # type: ignore[arg-type]
        yield simulator


async def fetch(simulator: Simulator, path: str) -> tuple[int, bytes]:
    """Status and body of a file."""
    async with aiohttp.ClientSession() as session, session.get(f"{simulator.rest_url}/data/{path}") as answer:
        return answer.status, await answer.read()


def lines(content: bytes, name: str) -> list[str]:
    """The lines of the one CSV file in a zip file."""
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        assert packed.namelist() == [name.replace(".zip", ".csv")]
        return packed.read(packed.namelist()[0]).decode().splitlines()


def path(kind: str, period: str, *, market: str = "spot", interval: str = "1h", symbol: str = "BTCUSDT") -> str:
    """A candle file's path."""
    return f"{market}/{kind}/klines/{symbol}/{interval}/{symbol}-{interval}-{period}.zip"


@pytest.mark.parametrize(
    ("market", "period", "header", "unit"),
    [("spot", "2024-12", 0, 1), ("spot", "2025-01", 0, 1000), ("futures/um", "2025-01", 1, 1)],
)
async def test_a_month_has_all_candles_in_the_markets_format(market: str, period: str, header: int, unit: int) -> None:
    """Spot has microseconds from 2025 on and no header; futures a header and milliseconds."""
    async with archive() as simulator:
        status, content = await fetch(simulator, path("monthly", period, market=market))
    assert status == 200
    rows = lines(content, f"BTCUSDT-1h-{period}.zip")
    assert [row.startswith("open_time,open,") for row in rows[: header + 1]] == [True] * header + [False]
    assert len(rows) == 31 * 24 + header
    first = rows[header].split(",")
    assert len(first) == 12
    assert int(first[6]) == int(first[0]) + HOUR_MS * unit - 1
    assert len(first[0]) == (16 if unit == 1000 else 13)
    assert first[7] == str(float(first[4]) * 2.5).removesuffix(".0")
    assert first[8:10] == ["10", "1.25"]


async def test_a_checksum_is_in_the_format_of_sha256sum() -> None:
    """64 hex digits, two spaces, the name; of any script."""
    name = path("daily", "2025-01-07", symbol="币安USDT")
    async with archive() as simulator:
        _, content = await fetch(simulator, name)
        status, said = await fetch(simulator, name + ".CHECKSUM")
    assert status == 200
    assert said.decode() == f"{hashlib.sha256(content).hexdigest()}  币安USDT-1h-2025-01-07.zip\n"


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (path("daily", "2025-02-02"), 200),
        (path("daily", "2025-02-03"), 404),
        (path("monthly", "2025-01"), 200),
        (path("monthly", "2025-02"), 404),
        (path("daily", "2024-11-27"), 404),
        (path("daily", "2024-11-28"), 200),
        (path("daily", "2025-01-07", interval="1m"), 404),
        (path("daily", "2025-01-07", interval="4h"), 200),
        (path("daily", "2025-01-07", interval="7h"), 404),
        (path("daily", "2025-01"), 404),
        (path("daily", "2025-13-41"), 404),
        (path("monthly", "2025-01", symbol="NONE"), 404),
        ("spot/monthly/klines/BTCUSDT/1h/ETHUSDT-1h-2025-01.zip", 404),
        ("futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2025-01.zip", 200),
        ("futures/um/daily/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2025-01-07.zip", 404),
        ("../etc/passwd", 404),
    ],
)
async def test_a_file_is_there_from_the_day_after_on(asked: str, status: int) -> None:
    """Today's and this month's are not yet, others never."""
    async with archive() as simulator:
        assert (await fetch(simulator, asked))[0] == status


async def test_files_are_missing_damaged_stale_or_have_a_hole_on_request() -> None:
    """By symbol and by kind of file; the first copy alone is damaged unless the rule lasts."""
    month, day = path("monthly", "2025-01"), path("daily", "2025-01-07")
    async with archive({"kind": "archive_missing", "at": "0s", "files": "monthly"}) as simulator:
        assert [(await fetch(simulator, name))[0] for name in (month, month + ".CHECKSUM", day)] == [404, 404, 200]
        assert simulator.books.faults["archive_missing"] == 2
    async with archive({"kind": "archive_corrupt", "at": "0s"}) as simulator:
        copies = [(await fetch(simulator, day))[1] for _ in range(3)]
        said = (await fetch(simulator, day + ".CHECKSUM"))[1]
    digests = [hashlib.sha256(copy).hexdigest() == said.decode()[:64] for copy in copies]
    assert digests == [False, True, True]
    async with archive({"kind": "archive_corrupt", "at": "0s", "for": "1h"}) as simulator:
        damaged = {(await fetch(simulator, day))[1] for _ in range(2)}
    assert len(damaged) == 1
    assert copies[1] not in damaged
    async with archive({"kind": "archive_stale_checksum", "at": "0s", "symbols": ["币安USDT"]}) as simulator:
        for name, right in ((day, True), (path("daily", "2025-01-07", symbol="币安USDT"), False)):
            content, said = (await fetch(simulator, name))[1], (await fetch(simulator, name + ".CHECKSUM"))[1]
            assert (hashlib.sha256(content).hexdigest() == said.decode()[:64]) is right
    async with archive({"kind": "archive_hole", "at": "0s"}) as simulator:
        content, said = (await fetch(simulator, month))[1], (await fetch(simulator, month + ".CHECKSUM"))[1]
        assert len(lines(content, "BTCUSDT-1h-2025-01.zip")) == 30 * 24
        assert hashlib.sha256(content).hexdigest() == said.decode()[:64]
        assert len(lines((await fetch(simulator, day))[1], "BTCUSDT-1h-2025-01-07.zip")) == 24


async def test_a_probability_chooses_files_not_requests() -> None:
    """A file that is missing stays so."""
    days = [path("daily", f"2025-01-{day:02}") for day in range(1, 31)]
    fault = {"kind": "archive_missing", "at": "0s", "probability": 0.5}
    async with archive(fault) as simulator:
        first = [(await fetch(simulator, day))[0] for day in days]
        second = [(await fetch(simulator, day))[0] for day in days]
    assert first == second
    assert 5 < first.count(404) < 25


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"kind": "archive_missing", "every": "1h"}, "every has no meaning"),
        ({"kind": "http_429", "at": "0s", "files": "daily"}, "files has no meaning"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(rule: dict[str, Any], said: str) -> None:
    """With the reason."""
    with pytest.raises(ValueError, match=said):
        FaultRule.model_validate(rule)


async def ask(simulator: Simulator, endpoint: str) -> tuple[int, Any, Any]:
    """Status, decoded body and headers of a futures request."""
    async with aiohttp.ClientSession() as session, session.get(f"{simulator.rest_url}/fapi/v1/{endpoint}") as answer:
        return answer.status, await answer.json(), answer.headers


async def test_futures_klines_have_their_own_pages_and_weights() -> None:
    """Up to 1,500 rows, and the more the dearer; spot's weight is another one."""
    async with archive() as simulator:
        for rows, used in ((99, 1), (499, 3), (1000, 8), (1500, 18), (9999, 28)):
            status, body, headers = await ask(simulator, f"klines?symbol=BTCUSDT&interval=1h&limit={rows}")
            assert status == 200
            assert len(body) == min(rows, 1500)
            assert headers["X-MBX-USED-WEIGHT-1M"] == str(used)
        _, info, _ = await ask(simulator, "exchangeInfo")
        assert [symbol["contractType"] for symbol in info["symbols"]] == ["PERPETUAL"] * 2
        assert info["rateLimits"][0]["limit"] == 2400
        assert (await ask(simulator, "time"))[1] == {"serverTime": NOW_MS}
        assert (await ask(simulator, "klines?symbol=NONE&interval=1h"))[1]["code"] == -1121
        assert (await ask(simulator, "nothing"))[0] == 404


async def test_funding_is_paged_from_the_start_and_follows_the_price() -> None:
    """Every eight hours; the rate is documented, the mark price is the last close before."""
    async with archive() as simulator:
        from_ms = FIRST_MS + 10 * DAY_MS
        _, rows, _ = await ask(simulator, f"fundingRate?symbol=BTCUSDT&startTime={from_ms}&limit=4")
        _, newest, _ = await ask(simulator, "fundingRate?symbol=BTCUSDT&limit=2")
        _, inclusive, _ = await ask(simulator, f"fundingRate?symbol=BTCUSDT&startTime={from_ms}&endTime={from_ms}")
        _, premium, _ = await ask(simulator, "premiumIndex?symbol=BTCUSDT")
        _, every, _ = await ask(simulator, "premiumIndex")
        _, info, _ = await ask(simulator, "fundingInfo")
    assert [row["fundingTime"] for row in rows] == [from_ms + step * 8 * HOUR_MS for step in range(4)]
    assert inclusive == rows[:1]
    assert newest[-1]["fundingTime"] == NOW_MS - 4 * HOUR_MS
    closes = {int(at) + HOUR_MS: close for at, close in zip(*_closes(), strict=True)}
    for row in rows:
        price, earlier = closes[row["fundingTime"]], closes[row["fundingTime"] - 8 * HOUR_MS]
        assert float(row["markPrice"]) == price
        assert float(row["fundingRate"]) == round(0.0001 + 0.01 * (price / earlier - 1), 8)
    assert premium["lastFundingRate"] == newest[-1]["fundingRate"]
    assert premium["nextFundingTime"] == NOW_MS + 4 * HOUR_MS
    assert [one["symbol"] for one in every] == [one["symbol"] for one in info] == list(HourMarket.symbols)


def _closes() -> tuple[list[int], list[float]]:
    candles = HourMarket().candles("BTCUSDT")
    return candles.open_ms.tolist(), candles.close.tolist()


async def test_funding_has_a_bucket_of_its_own() -> None:
    """500 requests in five minutes, then 429 and a breach; weight is not used."""
    async with archive() as simulator, aiohttp.ClientSession() as session:
        statuses = []
        for _ in range(501):
            async with session.get(f"{simulator.rest_url}/fapi/v1/fundingRate?symbol=BTCUSDT&limit=1") as answer:
                statuses.append(answer.status)
                await answer.read()
        assert statuses == [200] * 500 + [429]
        assert answer.headers["Retry-After"] == "300"
        assert answer.headers["X-MBX-USED-WEIGHT-1M"] == "0"
        assert simulator.books.breaches["127.0.0.1", "funding"] == 1
