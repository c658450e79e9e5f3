"""The dashboard over a day: thousands of symbols, thousands of updates, a server that is started anew."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from browser import Page, browsing
from stand_in import StandIn
from stand_in_data import MINUTE_MS, NOW_MS, Market

LIVE = "document.querySelector('.pill').dataset.state === 'live'"
COUNT = "document.querySelectorAll('.rows .row').length"


async def opened(page: Page, server: StandIn) -> None:
    """The page, with its list and its chart."""
    await page.open(server.url, 1_600)
    await page.until(f"{LIVE} && document.querySelectorAll('#legend li').length === 3")


async def test_two_thousand_symbols_scroll(tmp_path: Path) -> None:
    """To the end and back there are never more rows than a window and a half has; each is where it belongs."""
    async with StandIn(Market(2_000)).serving() as server, browsing(tmp_path / "profile") as page:
        await opened(page, server)
        before = await page.evaluate(COUNT)
        assert before < 60
        await page.evaluate("document.querySelector('#grid').scrollTop = 1e6")
        await page.until("[...document.querySelectorAll('.rows .row')].some(row => row.dataset.index === '1999')")
        assert await page.evaluate(COUNT) <= before + 8
        await page.evaluate("document.querySelector('#grid').focus()")
        for key, index in (("Home", 0), ("PageDown", None), ("End", 1999)):
            await page.press(key)
            if index is not None:
                await page.until(f"document.querySelector('.row.active')?.dataset.index === '{index}'")
        await page.evaluate("document.querySelector('[data-name=change] button').click()")
        await page.until("document.querySelector('[data-name=change]').getAttribute('aria-sort') === 'descending'")
        await page.evaluate("document.querySelector('#grid').scrollTop = 0")
        await page.until("document.querySelector('.rows .row[data-index=\"0\"]') !== null")
        shares = await page.evaluate(
            "[...document.querySelectorAll('.rows .row:not([hidden])')]"
            ".sort((a, b) => a.dataset.index - b.dataset.index).slice(0, 10)"
            ".map(row => parseFloat(row.querySelector('.change').textContent.replace('▲', '')))"
        )
        assert shares == sorted(shares, reverse=True)


async def test_what_comes_is_shown(tmp_path: Path) -> None:
    """A bar, a row, a signal, its delivery: each where it belongs, without the page being loaded again."""
    market = Market(60)
    async with StandIn(market).serving() as server, browsing(tmp_path / "profile") as page:
        await opened(page, server)
        symbol = await page.evaluate("document.querySelector('#chart-symbol').textContent")
        server.emit("bars", {"ms": NOW_MS, "bars": [[symbol, MINUTE_MS, NOW_MS, 10.0, 12.5, 9.0, 11.25, 77.0]]})
        await page.until("document.querySelector('#bar').textContent.includes('11.25')")
        row = market.row(3, "ETHUSDT") | {"symbol": "ETHUSDT", "price": 4321.5}
        server.emit("watch", {"rows": [row]})
        await page.until("document.querySelector('#grid').textContent.includes('4,321.50')")
        one = market.signal(1) | {
            "id": "binance_spot/NEWUSDT/1m/scalp/long/1",
            "symbol": "NEWUSDT",
            "alert_id": "alert-new",
        }
        one["deliveries"] = []
        server.emit("signal", one)
        await page.until("document.querySelector('#signals tbody tr').textContent.includes('NEWUSDT')")
        server.emit("delivery", {"alert_id": "alert-new", "channel": "mail", "state": "dead", "ms": NOW_MS})
        await page.until("document.querySelector('#signals tbody tr').textContent.includes('✕ mail dead')")
        server.emit("health", {"status": "fail", "reasons": ["no connection stands"]})
        await page.until("document.querySelector('#shout').textContent.includes('no connection stands')")
        assert page.complaints == []


async def test_a_connection_that_says_nothing_is_made_again(tmp_path: Path) -> None:
    """The server says something every 15 seconds; a machine that slept has a connection that nobody holds any more."""
    async with StandIn(Market(5)).serving() as server, browsing(tmp_path / "profile") as page:
        await opened(page, server)
        before = server.streams
        await page.evaluate("(real => { Date.now = () => real() + 60000 })(Date.now)")
        async with asyncio.timeout(20):
            while server.streams == before:  # noqa: ASYNC110 - nothing else tells
                await asyncio.sleep(0.1)
        await page.until(LIVE)


@pytest.mark.slow
@pytest.mark.alone
async def test_a_day_does_not_grow_in_memory(tmp_path: Path) -> None:
    """Five thousand updates of all kinds leave the heap where the first thousand had it."""
    market = Market(400)
    rows = [market.row(number, symbol) for number, symbol in enumerate(market.symbols)]
    async with StandIn(market).serving() as server, browsing(tmp_path / "profile") as page:
        await opened(page, server)
        symbol = await page.evaluate("document.querySelector('#chart-symbol').textContent")
        heaps = []
        for number in range(6_000):
            open_ms = NOW_MS + (number % 1_440) * MINUTE_MS
            price = 100 + number % 17
            one = rows[number % len(rows)]
            bars = [
                [name, MINUTE_MS, open_ms, price, price + 1, price - 1, price, 5.0] for name in (symbol, one["symbol"])
            ]
            server.emit("bars", {"ms": open_ms, "bars": bars})
            if number % 20 == 0:
                server.emit("watch", {"rows": [one | {"price": price, "last_bar_ms": open_ms}]})
            if number % 25 == 0:
                server.emit("signal", market.signal(number % 40) | {"id": f"binance_spot/{number}", "alert_id": None})
            if number % 1_000 == 999:
                await asyncio.sleep(1.5)
                heaps.append(await heap(page))
            await asyncio.sleep(0.002)
        assert heaps[-1] < heaps[0] * 1.1 + 1_000_000, heaps
        assert await page.evaluate("document.querySelectorAll('*').length") < 6_000


async def heap(page: Page) -> float:
    """Bytes of the page's JavaScript after its garbage is gone."""
    await page.call("HeapProfiler.collectGarbage")
    found = await page.call("Runtime.getHeapUsage")
    used: float = found["usedSize"]
    return used


@pytest.mark.slow
async def test_no_flicker(tmp_path: Path) -> None:
    """At twenty updates a second only the cells that changed are written, and no row is taken out or put in."""
    market = Market(60)
    async with StandIn(market).serving() as server, browsing(tmp_path / "profile") as page:
        await opened(page, server)
        await page.evaluate(
            "window.seen = {rows: 0, texts: new Set()}; new MutationObserver(all => all.forEach(one => {"
            "  if (one.target.classList?.contains('rows')) seen.rows++;"
            "  const cell = one.target.closest?.('.cell'); if (cell) seen.texts.add(cell.className);"
            "})).observe(document.querySelector('#grid'), {childList: true, subtree: true}); 1"
        )
        for number in range(40):
            server.emit("bars", {"ms": NOW_MS, "bars": [["ETHUSDT", MINUTE_MS, NOW_MS, 1, 1, 1, 3000 + number, 1]]})
            await asyncio.sleep(0.05)
        await page.until("document.querySelector('#grid').textContent.includes('3,039.00')")
        assert await page.evaluate("seen.rows") == 0
        assert set(await page.evaluate("[...seen.texts]")) <= {"cell price", "cell age", "cell signal"}


@pytest.mark.slow
async def test_a_server_that_was_started_anew(tmp_path: Path) -> None:
    """The page says that the connection is lost, finds the server again by itself, and shows what it has now."""
    first = StandIn(Market(60))
    async with browsing(tmp_path / "profile") as page:
        async with first.serving():
            await opened(page, first)
        await page.until("document.querySelector('.pill').dataset.state === 'lost'")
        assert "No connection" in await page.evaluate("document.querySelector('#banner').textContent")
        await asyncio.sleep(1.5)
        again = StandIn(Market(30, started_ms=NOW_MS), first.port)
        async with again.serving():
            await page.until(f"{LIVE} && document.querySelector('#count').textContent === '30'", 30)
            assert await page.evaluate("document.querySelector('#banner').hidden")
            again.emit("watch", {"rows": [Market(30).row(1, "ETHUSDT") | {"price": 777.0}]})
            await page.until("document.querySelector('#grid').textContent.includes('777.00')")
            again.emit("reset", {})
            asked = len(again.asked)
            await page.until(f"{LIVE}")
            await asyncio.sleep(1)
            assert "watchlist" in again.asked[asked:]
