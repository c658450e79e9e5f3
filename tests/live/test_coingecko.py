"""Market capitalisations from a server that speaks CoinGecko's protocol on a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tapewatch.errors import EdgeError
from tapewatch.feeds.coingecko import PAGE, CapSettings, MarketCaps

T0 = 1_750_000_000_000
HOUR_MS = 3_600_000


@dataclass
class Gecko:
    """`/coins/markets` over the coins it knows: id -> (symbol, market cap)."""

    coins: dict[str, tuple[str, Any]]
    queries: list[dict[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    #: Sent in place of an answer.
    instead: web.Response | None = None
    stall_s: float = 0.0

    async def markets(self, request: web.Request) -> web.Response:
        """A page, with the members that the real one has beside those that are read."""
        self.queries.append(dict(request.query))
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        await asyncio.sleep(self.stall_s)
        if self.instead is not None:
            return self.instead
        query = request.query
        assert query["vs_currency"] == "usd"
        size, page = int(query["per_page"]), int(query["page"])
        assert size <= 250
        names = query["ids"].split(",") if "ids" in query else sorted(
            self.coins, key=lambda name: -(self.coins[name][1] if isinstance(self.coins[name][1], int | float) else 0)
        )  # fmt: skip
        found = [name for name in names if name in self.coins][(page - 1) * size : page * size]
        rows = [
            {"id": name, "symbol": self.coins[name][0], "name": name.title(), "image": None, "current_price": 70187,
             "market_cap": self.coins[name][1], "market_cap_rank": None, "roi": None, "last_updated": "2025-01-01"}
            for name in found
        ]  # fmt: skip
        return web.json_response(rows)


COINS: dict[str, tuple[str, Any]] = {
    "bitcoin": ("btc", 1_317_802_988_326), "ethereum": ("eth", 3.6e11), "shiba-inu": ("shib", 7.5e9),
    "batcat": ("btc", 123_456), "nothing": ("nil", None), "broken": ("brk", "a lot"),
}  # fmt: skip


@pytest.fixture
async def gecko() -> AsyncIterator[tuple[Gecko, str]]:
    """A server and its address."""
    server = Gecko(dict(COINS))
    app = web.Application()
    app.router.add_get("/api/v3/coins/markets", server.markets)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield server, f"http://127.0.0.1:{runner.addresses[0][1]}/api/v3"
    await runner.cleanup()


def client(url: str, folder: Path, now_ms: int = T0, **changes: Any) -> MarketCaps:
    """A client without pauses."""
    values: dict[str, Any] = {
        "ids": {"BTC": "bitcoin", "1000SHIB": "shiba-inu"}, "top": 0, "file": folder / "caps.json",
        "every_ms": 6 * HOUR_MS, "pause_s": 0.0,
    }  # fmt: skip
    return MarketCaps(CapSettings(url, **{**values, **changes}), lambda: now_ms)


async def test_coins_are_asked_for_by_their_ids(gecko: tuple[Gecko, str], tmp_path: Path) -> None:
    """One request for all, and what comes is known by base asset, whatever its symbol is there."""
    server, url = gecko
    caps = client(url, tmp_path)
    assert (caps.values, caps.due_in_s) == ({}, 0.0)
    await caps.refresh()
    assert caps.values == {"BTC": 1_317_802_988_326.0, "1000SHIB": 7.5e9}
    assert server.queries == [{"vs_currency": "usd", "ids": "bitcoin,shiba-inu", "per_page": "250", "page": "1"}]
    assert not {name for name in server.headers[0] if name.startswith("x-cg")}


async def test_many_ids_take_pages_of_250(gecko: tuple[Gecko, str], tmp_path: Path) -> None:
    """Ids are not paged by the server: each request names its own."""
    server, url = gecko
    server.coins = {f"coin-{number:03d}": (f"c{number}", float(number + 1)) for number in range(PAGE + 30)}
    caps = client(url, tmp_path, ids={f"C{number}": f"coin-{number:03d}" for number in range(PAGE + 30)})
    await caps.refresh()
    assert len(caps.values) == PAGE + 30
    assert caps.values["C279"] == 280.0
    assert [len(query["ids"].split(",")) for query in server.queries] == [PAGE, 30]


async def test_the_largest_are_known_by_their_symbol(gecko: tuple[Gecko, str], tmp_path: Path) -> None:
    """Of equal symbols the largest counts; ids win; null and nonsense are unknown."""
    server, url = gecko
    caps = client(url, tmp_path, ids={"ETH": "batcat", "NIL": "nothing", "XYZ": "no-such-coin"}, top=300)
    await caps.refresh()
    assert caps.values == {"BTC": 1_317_802_988_326.0, "ETH": 123_456.0, "SHIB": 7.5e9}
    assert [query.get("page") for query in server.queries[1:]] == ["1", "2"]
    assert {query["order"] for query in server.queries[1:]} == {"market_cap_desc"}


async def test_answers_are_kept_in_a_file_for_hours(gecko: tuple[Gecko, str], tmp_path: Path) -> None:
    """The next start knows them without asking, until they are too old or others are wanted."""
    _, url = gecko
    await client(url, tmp_path).refresh()
    later = client(url, tmp_path, now_ms=T0 + HOUR_MS)
    assert later.values == {"BTC": 1_317_802_988_326.0, "1000SHIB": 7.5e9}
    assert later.due_in_s == 5 * 3600
    assert client(url, tmp_path, now_ms=T0 + 7 * HOUR_MS).due_in_s == 0
    assert client(url, tmp_path, now_ms=T0 - HOUR_MS).due_in_s == 0  # a clock was wrong
    assert client(url, tmp_path, ids={"BTC": "bitcoin"}).due_in_s > 0
    more = client(url, tmp_path, ids={"BTC": "bitcoin", "ETH": "ethereum"})
    assert (more.values, more.due_in_s) == ({"BTC": 1_317_802_988_326.0}, 0.0)
    assert client(url, tmp_path, top=250).due_in_s == 0


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"fetched_ms": "x"}', b"\xff\xfe"])
async def test_a_broken_file_is_said_and_replaced(gecko: tuple[Gecko, str], tmp_path: Path, content: bytes) -> None:
    """It is no more than a cache."""
    _, url = gecko
    (tmp_path / "caps.json").write_bytes(content)
    caps = client(url, tmp_path)
    assert caps.values == {}
    assert "cannot be read" in str(caps.trouble)
    await caps.refresh()
    assert caps.trouble is None
    assert client(url, tmp_path).values == caps.values


async def test_a_file_that_cannot_be_written_is_said(gecko: tuple[Gecko, str], tmp_path: Path) -> None:
    """What came is known all the same."""
    _, url = gecko
    (tmp_path / "there").write_text("")
    caps = client(url, tmp_path, file=tmp_path / "there" / "caps.json")
    await caps.refresh()
    assert "cannot be written" in str(caps.trouble)
    assert caps.values["BTC"] > 0


FAILURES = {
    "server error": (lambda: web.Response(status=500), "HTTP 500", None),
    "limit": (lambda: web.Response(status=429, headers={"Retry-After": "7"}), "HTTP 429", 7.0),
    "limit without a time": (lambda: web.Response(status=429), "HTTP 429", 60.0),
    "limit without end": (lambda: web.Response(status=429, headers={"Retry-After": "999999999"}), "HTTP 429", 3600.0),
    "wrong key": (lambda: web.json_response({"status": {"error_code": 10002}}, status=401), "HTTP 401", None),
    "elsewhere": (lambda: web.Response(status=302, headers={"Location": "http://127.0.0.1:9/"}), "HTTP 302", None),
    "garbage": (lambda: web.Response(body=b"<html>"), "cannot be read", None),
    "an object": (lambda: web.json_response({"error": "no"}), "cannot be read", None),
    "nobody": (lambda: web.json_response([]), "none of the coins", None),
}


@pytest.mark.parametrize("kind", FAILURES)
async def test_a_failure_changes_nothing(gecko: tuple[Gecko, str], tmp_path: Path, kind: str) -> None:
    """What was known last is still known; how long to wait is told where the server says so."""
    server, url = gecko
    caps = client(url, tmp_path)
    await caps.refresh()
    before, stored = dict(caps.values), (tmp_path / "caps.json").read_bytes()
    answer, says, wait_s = FAILURES[kind]
    server.instead = answer()
    with pytest.raises(EdgeError, match=says) as error:
        await caps.refresh()
    assert error.value.retry_after_s == wait_s
    assert (caps.values, (tmp_path / "caps.json").read_bytes()) == (before, stored)


async def test_no_server_and_one_that_does_not_answer(gecko: tuple[Gecko, str], tmp_path: Path) -> None:
    """Both end in time."""
    server, url = gecko
    server.stall_s = 5.0
    with pytest.raises(EdgeError, match="markets"):
        await client(url, tmp_path, timeout_s=0.2).refresh()
    with pytest.raises(EdgeError, match="markets"):
        await client("http://127.0.0.1:9/api/v3", tmp_path).refresh()


async def test_the_key_goes_into_a_header_and_nowhere_else(gecko: tuple[Gecko, str], tmp_path: Path) -> None:
    """Not into the address, nor into the file, nor into what settings look like in a log."""
    server, url = gecko
    caps = client(url, tmp_path, api_key="CG-hush")
    await caps.refresh()
    assert server.headers[0]["x-cg-demo-api-key"] == "CG-hush"
    assert "hush" not in json.dumps(server.queries) + (tmp_path / "caps.json").read_text() + repr(caps._settings)
