"""The dashboard in a real browser: each view is opened, clicked and looked at, at three widths, light and dark."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlparse

import pytest
from browser import Page, browsing
from stand_in import StandIn
from stand_in_data import HOSTILE, NOW_MS, Market

AXE = Path(str(files("axe_core_python") / "axe.min.js"))
WIDTHS = {"phone": (360, 760), "tablet": (768, 1024), "wide": (1600, 900)}
LIVE = "document.querySelector('.pill').dataset.state === 'live'"
READY = f"{LIVE} && document.querySelector('#signals tbody tr') !== null"


@pytest.fixture
async def server() -> AsyncIterator[StandIn]:
    """Sixty symbols, one of which would like to be an element."""
    async with StandIn(Market(60)).serving() as serving:
        yield serving


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    """A page of a browser of its own."""
    async with browsing(tmp_path / "profile") as one:
        yield one


async def look(page: Page, path: Path) -> None:
    """A screenshot, which shows more than one colour."""
    taken = await page.call("Page.captureScreenshot", format="png")
    picture = base64.b64decode(taken["data"])
    await asyncio.to_thread(path.write_bytes, picture)
    assert len(picture) > 8_000


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", WIDTHS)
async def test_every_view_opens(server: StandIn, page: Page, tmp_path: Path, size: str, scheme: str) -> None:
    """Every view shows what it is for and fits, nobody else is asked, nothing is complained of, axe finds nothing."""
    width, height = WIDTHS[size]
    await page.open(server.url, width, height, scheme)
    await page.until(READY)
    assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(11, 14, 19)" if scheme == "dark" else "rgb(236, 239, 243)"
    )
    shown = {
        "watch": "document.querySelectorAll('.rows .row:not([hidden])').length > 8",
        "chart": "document.querySelectorAll('#canvas canvas').length > 3 && document.querySelector('#legend li')",
        "signals": "document.querySelectorAll('#signals tbody tr').length === 40",
        "alerts": "document.querySelectorAll('#alerts li .tag').length > 20",
        "account": "document.querySelectorAll('#account canvas').length > 3 && document.querySelector('.positions td')",
        "health": "document.querySelector('#health .verdict') !== null",
    }
    for number, (view, there) in enumerate(shown.items(), 1):
        await page.press(str(number))
        await page.until(f"Boolean({there})")
        await page.evaluate("document.activeElement.blur()")
        await asyncio.sleep(0.2)
        await look(page, tmp_path / f"{size}-{scheme}-{view}.png")
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        await accessible(page, view)
    await page.evaluate("document.querySelector('#tab-signals').click()")
    await page.evaluate("document.querySelector('#signals tbody tr:nth-child(2)').click()")
    await page.until("document.querySelectorAll('#drawer .checks li').length > 3")
    await look(page, tmp_path / f"{size}-{scheme}-signal.png")
    await accessible(page, "signal")
    await page.press("Escape")
    await page.press("?")
    await page.until("document.querySelector('#help').open")
    await accessible(page, "help")
    assert {urlparse(url).hostname for url in page.requests if not url.startswith("data:")} == {"127.0.0.1"}
    assert page.complaints == []


async def accessible(page: Page, view: str) -> None:
    """What axe-core calls serious or critical is not there."""
    if not await page.evaluate("Boolean(window.axe)"):
        await page.evaluate(await asyncio.to_thread(AXE.read_text))
    found = await page.evaluate(
        "axe.run(document, {resultTypes: ['violations']}).then(found => JSON.stringify(found.violations"
        ".filter(one => ['serious', 'critical'].includes(one.impact))"
        ".map(one => [one.id, one.nodes.slice(0, 3).map(node => node.html + node.failureSummary)])))"
    )
    assert json.loads(found) == [], view


async def test_it_is_small_and_fast(server: StandIn, page: Page) -> None:
    """All that is transferred for a first look is at most 300 kB, painted within 1.5 s."""
    await page.open(server.url, 1_600)
    await page.until(READY)
    own = "performance.getEntriesByType('resource').filter(one => one.name.includes('/static/'))"
    page_bytes = "performance.getEntriesByType('navigation')[0].transferSize"
    assert await page.evaluate(f"{own}.reduce((sum, one) => sum + one.transferSize, {page_bytes})") <= 300_000
    assert await page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime") < 1_500


async def test_a_symbol_is_text(server: StandIn, page: Page) -> None:
    """A symbol that is markup is shown as it is written, in the list, the chart's title and the drawer."""
    await page.open(server.url, 1_600)
    await page.until(READY)
    await page.evaluate("document.querySelector('#filter').value = '<img'")
    await page.evaluate("document.querySelector('#filter').dispatchEvent(new Event('input'))")
    await page.until("document.querySelector('#grid').getAttribute('aria-rowcount') === '2'")
    await page.evaluate("document.querySelector('.rows .row:not([hidden])').click()")
    await page.until(f"document.querySelector('#chart-symbol').textContent === {json.dumps(HOSTILE)}")
    assert await page.evaluate("document.querySelectorAll('img').length") == 0
    assert page.complaints == []


async def test_the_keys(server: StandIn, page: Page) -> None:
    """Filter, arrows and Enter open a chart; arrows and Enter in it say why; Escape goes back; the switches turn."""
    await page.open(server.url, 1_600)
    await page.until(READY)
    await page.press("/")
    await page.call("Input.insertText", text="eth")
    await page.until("document.querySelector('#grid').getAttribute('aria-rowcount') === '2'")
    await page.press("ArrowDown")
    await page.press("Enter")
    await page.until("document.querySelector('#chart-symbol').textContent === 'ETHUSDT'")
    await page.press("2")
    await page.press("ArrowLeft")
    await page.until("document.querySelector('#say').textContent.includes('close')")
    await page.press("Enter")
    await page.until("document.querySelector('#drawer-title').textContent.startsWith('Why')")
    await page.until("document.querySelectorAll('#drawer .checks li').length === 8")
    await page.press("Escape")
    assert await page.evaluate("document.activeElement.id") == "canvas"
    await page.press("t")
    assert await page.evaluate("document.documentElement.dataset.theme") == "light"
    await page.press("z")
    assert await page.evaluate("document.querySelector('#clock').textContent.endsWith('local')")
    assert page.complaints == []


async def test_a_click_in_the_chart(server: StandIn, page: Page) -> None:
    """A bar that is clicked says why; its close is asked for, not its open."""
    await page.open(server.url, 1_600)
    await page.until(READY)
    await page.until("document.querySelectorAll('#legend li').length === 3")
    await asyncio.sleep(0.3)
    box = await page.evaluate(
        "(({x, y, width, height}) => [x + width / 2, y + height / 3])"
        "(document.querySelector('#canvas').getBoundingClientRect())"
    )
    await page.click(*box)
    await page.until("document.querySelectorAll('#drawer .checks li').length === 8")
    asked = [query for path, query in server.queries if path == "why"]
    assert len(asked) == 1
    assert NOW_MS - 7_200_000 < int(asked[0]["ms"]) < NOW_MS
    assert int(asked[0]["ms"]) % 60_000 == 0
    assert asked[0]["strategy"] == "scalp"


async def test_older_candles_come_into_view(server: StandIn, page: Page) -> None:
    """Scrolled to the left end, the chart asks for what was before it, once for each page, and keeps its place."""
    await page.open(server.url, 1_600)
    await page.until(f"{READY} && document.querySelectorAll('#legend li').length === 3")
    wheel = {"type": "mouseWheel", "x": 900, "y": 300, "deltaX": -4_000, "deltaY": 0}
    for _ in range(12):
        await page.call("Input.dispatchMouseEvent", **wheel)
        await asyncio.sleep(0.1)
        before = [
            int(query["before_ms"]) for path, query in server.queries if path == "candles" and "before_ms" in query
        ]
        if before:
            break
    assert before[0] == NOW_MS - 500 * 60_000
    assert len(before) == len(set(before))
    assert page.complaints == []


async def test_an_alert_leads_to_its_signal(server: StandIn, page: Page) -> None:
    """Of an alert the signal that led to it is opened, with what a model gave it; Escape goes back to the alert."""
    await page.open(server.url, 1_600)
    await page.until(READY)
    await page.until("document.querySelector('#outbox').textContent === '1 queued, 1 dead'")
    await page.evaluate("document.querySelector('#alerts button').focus()")
    await page.press("Enter")
    await page.until("document.querySelectorAll('#drawer .checks li').length > 3")
    first = server.market.alerts()[0]
    assert await page.evaluate("document.querySelector('#drawer .id').textContent.split('/').at(-1)") == str(
        first["ms"]
    )
    facts = "[...document.querySelectorAll('#drawer dt')].find((one) => one.textContent === 'Model')"
    assert await page.evaluate(f"{facts}.nextSibling.textContent") == "63% to touch the target first"
    await page.press("Escape")
    assert await page.evaluate("document.activeElement.closest('#alerts') !== null")


async def test_nothing_yet(tmp_path: Path, page: Page) -> None:
    """A run that has just begun says what is to come in each place, and has no error."""
    async with StandIn(Market(0, empty=True)).serving() as server:
        await page.open(server.url, 1_600)
        await page.until("document.querySelector('.pill').dataset.state === 'live'")
        await page.evaluate("document.querySelector('#tab-account').click()")
        await page.until("document.querySelector('#account .empty:not([hidden])') !== null")
        texts = await page.evaluate(
            "[...document.querySelectorAll('.empty')].filter(one => one.offsetParent).map(one => one.innerText)"
        )
        assert any("No symbol is watched yet" in text for text in texts)
        assert any("No alert yet" in text for text in texts)
        assert any("No paper account" in text for text in texts)
        await look(page, tmp_path / "empty.png")
        assert page.complaints == []


async def test_what_the_server_refuses_is_said(server: StandIn, page: Page) -> None:
    """An error of one part is shown there, in the server's words; the others work."""
    server.market.failing = {"candles", "alerts"}
    await page.open(server.url, 1_600)
    await page.until("document.querySelector('#signals tbody tr') !== null")
    await page.until("document.querySelector('#chart-empty').textContent.startsWith('There is no')")
    await page.until("document.querySelector('#alerts .empty').textContent.startsWith('There is no')")


async def test_what_rounds_to_zero_has_no_sign(server: StandIn, page: Page) -> None:
    """Neither a minus of nothing nor a plus of it is shown."""
    await page.open(server.url, 800, 600, "light")
    await page.until(READY)
    told = await page.evaluate(
        "import('/static/format.js').then((of) => [of.fixed(-0), of.fixed(-0.001), of.fixed(-0.006), of.signed(0.001), "
        "of.signed(-0.001), of.signed(0.006), of.signed(-1.5, 1, '%')])"
    )
    assert told == ["0.00", "0.00", "\N{MINUS SIGN}0.01", "0.00", "0.00", "+0.01", "\N{MINUS SIGN}1.5%"]
