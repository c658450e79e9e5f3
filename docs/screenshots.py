"""The pictures of the documentation, taken of a run on the simulator in the box.

    .venv/bin/python docs/screenshots.py    # three minutes, into docs/images/; needs Chromium

A synthetic market is played at a multiple of life's speed; what is seen is what a page and a terminal show of that run.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import io
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "web"))

from browser import Page, browsing  # noqa: E402  the tests' own way to a browser

SYMBOLS = "BTCUSDT,ETHUSDT,SOLUSDT,BNBUSDT,XRPUSDT,ADAUSDT,DOGEUSDT,LINKUSDT,AVAXUSDT,LTCUSDT,DOTUSDT,TRXUSDT"
CONFIGURATION = """
exchange: {{rest_url: "http://127.0.0.1:{market}", ws_url: "ws://127.0.0.1:{market}"}}
universe: {{include: [{symbols}]}}
strategies: {{scalp: {{}}, trend: {{}}}}
paper: {{account: perpetual}}
channels: {{desk: {{type: file, path: alerts.jsonl}}}}
alerts: {{routes: [{{channels: [desk]}}]}}
web: {{port: {web}}}
logging: {{level: error}}
"""
#: Simulated seconds a second. The market begins so long ago that its clock and this machine's agree when it is shown.
SPEED = 240
#: What somebody has chosen on the page.
CHOSEN = {"symbol": "BTCUSDT", "strategy": "scalp", "interval": "5m", "sort": "change", "order": "desc"}
#: Name, width, height and colours of the pictures of the page.
VIEWS = [
    ("dashboard", 1440, 900, "light"),
    ("dashboard-dark", 1440, 900, "dark"),
    ("dashboard-phone", 390, 844, "dark"),
]
FONT = re.compile(r"@font-face \{.*?\}", re.DOTALL)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


@contextlib.contextmanager
def started(folder: Path, *arguments: str) -> Iterator[None]:
    """A command of tapewatch in the background, stopped at the end."""
    command = [sys.executable, "-m", "tapewatch", *arguments]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@contextlib.contextmanager
def market(folder: Path, played_s: int) -> Iterator[str]:
    """A run that is ready, and has been for so long: the address of its page."""
    port, web = free_port(), free_port()
    text = CONFIGURATION.format(market=port, web=web, symbols=SYMBOLS)
    (folder / "tapewatch.yaml").write_text(text, "utf-8")
    begin = datetime.fromtimestamp(time.time() - played_s * SPEED, UTC).strftime("%Y-%m-%dT%H:%M")
    played = ("--synthetic", "7", "--symbols", SYMBOLS, "--speed", str(SPEED), "--start", begin)
    with started(folder, "simulate", *played, "--port", str(port)):
        time.sleep(3)
        with started(folder, "run"):
            wait_for(f"http://127.0.0.1:{web}/readyz")
            time.sleep(played_s)
            yield f"http://127.0.0.1:{web}"


def wait_for(address: str) -> None:
    """Until it is answered with 200, a minute at most."""
    for _ in range(120):
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(address, timeout=5).close()
            return
        time.sleep(0.5)
    raise SystemExit(f"{address} is not ready")


async def take(page: Page, address: str, file: Path, width: int, height: int, scheme: str) -> None:
    """One picture, after what is drawn has come to rest."""
    await page.open(address, width, height, scheme)
    await asyncio.sleep(4)
    taken = await page.call("Page.captureScreenshot", format="png")
    await asyncio.to_thread(file.write_bytes, base64.b64decode(taken["data"]))


async def take_pages(address: str, report: Path, images: Path) -> None:
    """The dashboard in each view, and the report."""
    async with browsing(report.parent / "profile") as page:
        await page.open(address)
        for key, value in CHOSEN.items():
            await page.evaluate(f"localStorage.setItem('tapewatch.{key}', '{value}')")
        for name, width, height, scheme in VIEWS:
            await take(page, address, images / f"{name}.png", width, height, scheme)
        await take(page, report.as_uri(), images / "report.png", 1200, 900, "light")


def terminal(folder: Path, file: Path, *arguments: str) -> None:
    """What a command prints, as a drawing that names no font of another host."""
    environment = os.environ | {"FORCE_COLOR": "1", "COLUMNS": "110"}
    command = [sys.executable, "-m", "tapewatch", *arguments]
    said = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout
    console = Console(record=True, width=110, file=io.StringIO())
    console.print(Text.from_ansi(said))
    drawing = console.export_svg(title=f"tapewatch {' '.join(arguments)}")
    file.write_text(FONT.sub("", drawing), "utf-8")


def main() -> None:
    """All pictures."""
    options = argparse.ArgumentParser(description="Take the pictures of the documentation.")
    options.add_argument("--images", type=Path, default=ROOT / "docs" / "images", help="where they go")
    options.add_argument("--played", type=int, default=150, help="seconds that are played before")
    asked = options.parse_args()
    asked.images.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, market(Path(name), asked.played) as address:
        folder = Path(name)
        terminal(folder, asked.images / "status.svg", "status")
        report = folder / "report.html"
        command = [sys.executable, "-m", "tapewatch", "report", "--out", str(report)]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        asyncio.run(take_pages(address, report, asked.images))


if __name__ == "__main__":
    main()
