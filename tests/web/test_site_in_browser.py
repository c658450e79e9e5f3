"""The documentation's site, as a browser sees it."""

from __future__ import annotations

import asyncio
import functools
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import browsing

ROOT = Path(__file__).resolve().parents[2]


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Says nothing of what it is asked."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Where the site is served."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, check=True, timeout=120)
    handler = functools.partial(Quiet, directory=str(tmp_path / "site"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.slow
async def test_the_site_asks_nobody_else(address: str, tmp_path: Path) -> None:
    """A page, a reference and the search of the words in it: every request goes to where the page is from."""
    async with browsing(tmp_path / "profile") as page:
        for name in ("index", "strategies"):
            await page.open(f"{address}/{name}.html")
            assert page.requests
            assert [one for one in page.requests if not one.startswith((address, "data:", "blob:"))] == []
            assert page.complaints == []
        assert await page.evaluate("document.querySelector('article h1').textContent") == "The strategy language¶"
        await page.open(f"{address}/index.html?q=cooldown")
        found = 0
        for _ in range(200):
            found = found or await page.evaluate("document.querySelectorAll('.md-search-result__link').length")
            await asyncio.sleep(0 if found else 0.05)
        assert found
        assert [one for one in page.requests if not one.startswith((address, "data:", "blob:"))] == []
