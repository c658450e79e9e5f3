"""The dashboard as a run serves it: the page and the run's own API understand each other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from browser import browsing

from run_harness import Process, configure, easy, eventually, free_port, lines_of, query


@pytest.mark.slow
async def test_the_page_of_a_run(tmp_path: Path) -> None:
    """Symbols, candles that go on, a signal with its factors, why, the account and health, all without a complaint."""
    options = ("--port", "0", "--json", "--synthetic", "3", "--symbols", "BTCUSDT,ETHUSDT", "--at-end", "hold")
    exchange = Process(tmp_path, "exchange", "simulate", *options, "--speed", "120")
    run = None
    try:
        await asyncio.to_thread(eventually, lambda: lines_of(exchange.out) or exchange.code is not None)
        host = lines_of(exchange.out)[0]["rest_url"].removeprefix("http://")
        port = free_port()
        web = {"port": port}
        config = configure(
            tmp_path, host, ["BTCUSDT", "ETHUSDT"], strategies=easy(), web=web, paper={"account": "spot"}
        )
        run = Process(tmp_path, "run", "run", "-c", str(config))
        stored = "SELECT 1 FROM signals"
        await asyncio.to_thread(eventually, lambda: query(tmp_path, stored) or run.code is not None)
        async with browsing(tmp_path / "profile") as page:
            await page.open(f"http://127.0.0.1:{port}/", 1_600)
            await page.until("document.querySelectorAll('.rows .row:not([hidden])').length === 2", 30)
            await page.until("document.querySelector('#bar').textContent.includes('O ')", 30)
            last = await page.evaluate("document.querySelector('#bar').textContent")
            await page.until(f"document.querySelector('#bar').textContent !== {last!r}", 30)
            await page.evaluate("document.querySelector('#signals tbody tr').click()")
            await page.until("document.querySelector('#drawer .checks li') !== null")
            await page.press("Escape")
            await page.press("2")
            await page.press("ArrowLeft")
            await page.press("ArrowLeft")
            await page.press("Enter")
            await page.until("document.querySelector('#drawer .checks li') !== null")
            await page.press("Escape")
            await page.press("5")
            await page.until("document.querySelector('#account .tiles dd') !== null")
            await page.press("6")
            await page.until("document.querySelector('#health .verdict') !== null")
            assert page.complaints == []
    finally:
        exchange.kill()
        if run is not None:
            run.kill()
