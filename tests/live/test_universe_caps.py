"""Who is watched when market capitalisations choose too, told by a CoinGecko that answers or fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from feed_exchange import START_MS, until
from universe_run import board, running

from tapewatch.feeds.coingecko import CapSettings, MarketCaps
from tapewatch.universe import Rules


@dataclass
class Gecko:
    """CoinGecko's `/coins/markets` on a socket."""

    caps: dict[str, float] = field(default_factory=dict)
    status: int = 200
    asked: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        """Those coins that are asked for."""
        self.asked += 1
        if self.status != 200:
            return web.Response(status=self.status)
        asked = request.query["ids"].split(",")
        rows = [{"id": name, "symbol": name[:3], "market_cap": cap} for name, cap in self.caps.items() if name in asked]
        return web.json_response(rows)


@asynccontextmanager
async def gecko(folder: Path, caps: dict[str, float], every_ms: int = 600_000) -> AsyncIterator[tuple[Gecko, Any]]:
    """A server, and what makes a client of it."""
    server = Gecko(caps)
    app = web.Application()
    app.router.add_get("/api/v3/coins/markets", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/api/v3"
    ids = {"BTC": "bitcoin", "ETH": "ethereum", "DOGE": "dogecoin"}
    try:
        yield server, lambda: MarketCaps(CapSettings(url, ids, 0, folder / "caps.json", every_ms), lambda: START_MS)
    finally:
        await runner.cleanup()


async def test_market_caps_choose_and_their_loss_changes_nothing(tmp_path: Path) -> None:
    """Small and unknown ones are left out; a start without an answer uses what an earlier one kept."""
    market = board("BTC", "ETH", "DOGE", "XRP")
    rules = Rules(min_market_cap=1e9)
    async with gecko(tmp_path, {"bitcoin": 1e12, "ethereum": 1e11, "dogecoin": 1e8}) as (server, client):
        async with running(rules, market, caps=client()) as run:
            await until(lambda: run.feed.progress == (2, 2))
            assert set(run.planned[0]) == {"BTCUSDT", "ETHUSDT"}
            assert run.service.state()["left_out"] == {"market_cap": 2}
        server.status = 500
        async with running(rules, market, caps=client()) as run:
            await until(lambda: run.feed.progress == (2, 2))
        assert server.asked == 1


async def test_a_first_start_waits_for_market_caps_unless_the_unknown_may_pass(tmp_path: Path) -> None:
    """429 and failures are waited out; names need no market cap."""
    market = board("BTC", "ETH", "DOGE")
    async with gecko(tmp_path, {"bitcoin": 1e12, "dogecoin": 1e8}) as (server, client):
        server.status = 503
        async with running(Rules(min_market_cap=1e9, include=("ETHUSDT",)), market, caps=client()) as run:
            await until(lambda: run.watched == 1)
        async with running(Rules(min_market_cap=1e9), market, caps=client()) as run:
            await until(lambda: len(run.said("market_caps_failed")) > 2)
            assert not run.planned
            assert run.service.state()["waits_for"] == "market capitalisations"
            server.status = 200
            await until(lambda: run.planned == [["BTCUSDT"]])
            await until(lambda: run.service.state()["waits_for"] is None)
        (tmp_path / "caps.json").unlink()
        server.status = 503
        async with running(
            Rules(min_market_cap=1e9, unknown_market_cap=True, min_stay_ms=0), market, caps=client()
        ) as run:
            await until(lambda: run.watched == 3)
            assert run.said("market_caps_failed")
            server.status = 200
            await until(lambda: run.watched == 2)
            assert run.changes[-1].gone == ("DOGEUSDT",)
