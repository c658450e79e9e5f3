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
from browser import browsing, chromium

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


@pytest.mark.slow
def test_the_pictures_can_be_taken_again(tmp_path: Path) -> None:
    """Each that the pages show, of a run that has just begun."""
    chromium()
    command = [sys.executable, str(ROOT / "docs" / "screenshots.py"), "--images", str(tmp_path), "--played", "3"]
    subprocess.run(command, check=True, timeout=240)
    taken = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(taken) == {path.name for path in (ROOT / "docs" / "images").iterdir()}
    assert all(content.startswith(b"\x89PNG") for name, content in taken.items() if name.endswith(".png"))
    assert b"@font-face" not in taken["status.svg"]
