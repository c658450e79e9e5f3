"""The reports of backtests, ledgers and searches in a real browser: they ask for nothing, fit every window."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import axe_core_python
import msgspec
import pytest
from browser import browsing

from command_line import Command, store
from core_samples import walk
from delivery_samples import CLOSE_MS
from ledger_samples import fill_in
from search_samples import made
from tapewatch.study.search_report import page as page_of


@pytest.fixture(params=["backtest", "ledger", "search"])
def report(request: pytest.FixtureRequest, run: Command, tmp_path: Path) -> Path:
    """One with trades of several symbols, one of which would like to be a script."""
    make = {"backtest": of_backtest, "ledger": of_ledger, "search": of_search}[request.param]
    return make(run, tmp_path)


def of_ledger(run: Command, folder: Path) -> Path:
    """With days of months, trades on candles, alerts, what was told with them, and channels."""
    config, path, ledger = folder / "tapewatch.yaml", folder / "report.html", f"sqlite:///{folder}/tape.db"
    config.write_text(
        "universe: {include: [BTCUSDT]}\nstrategies: {scalp: {}}\npaper: {}\n"
        f"ledger: {{url: '{ledger}'}}\narchive: {{folder: {folder}/candles}}\n"
    )
    for symbol in ("BTCUSDT", "<img src=x onerror=alert(1)>"):
        fill_in(ledger, symbol)
        bars = walk(300, 1, start_ms=CLOSE_MS - 100 * 60_000)
        store(folder / "candles", [msgspec.structs.replace(bar, symbol=quote(symbol, safe="")) for bar in bars])
    code, _, err = run("report", "-c", config, "--out", path)
    assert (code, err) == (0, "")
    return path


def of_backtest(run: Command, tmp_path: Path) -> Path:
    """With hundreds of trades."""
    for number, symbol in enumerate(("AAAUSDT", "BBBUSDT", "<img src=x onerror=alert(1)>")):
        bars = walk(3 * 1_440, number + 1)
        store(tmp_path, [msgspec.structs.replace(bar, symbol=quote(symbol, safe="")) for bar in bars])
    path = tmp_path / "report.html"
    run.objects(
        "backtest", "--strategy", "scalp", "--data", tmp_path, "--set", "min_factors=3", "--account", "perpetual",
        "--report", path,
    )  # fmt: skip
    return path


def of_search(_: Command, tmp_path: Path) -> Path:
    """With drawings of everything that a search is judged by."""
    path = tmp_path / "report.html"
    path.write_text(searched(), "utf-8")
    return path


@cache
def searched() -> str:
    """One page for all tests, for it takes its time."""
    with TemporaryDirectory() as folder:
        return page_of(*made(Path(folder), symbol="<img src=x onerror=alert(1)>"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 820, 1_500])
async def test_it_loads_by_itself_and_fits(report: Path, tmp_path: Path, width: int, scheme: str) -> None:
    """One request, for itself; no message on the console; nothing wider than the window; its own style holds."""
    async with browsing(tmp_path / "profile") as page:
        await page.open(report.as_uri(), width, scheme=scheme)
        assert page.requests == [report.as_uri()]
        assert page.complaints == []
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        assert await page.evaluate("document.querySelectorAll('svg[role=img]').length") >= 7
        ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(20, 23, 26)" if scheme == "dark" else "rgb(255, 255, 255)")


async def test_its_texts_can_be_read(report: Path, tmp_path: Path) -> None:
    """No chart's text is below nine pixels on a phone, and what is said in a colour stands out from its ground."""
    sizes = """
    [...document.querySelectorAll('svg[role=img]')].flatMap(svg => [...svg.querySelectorAll('text')]
      .filter(text => getComputedStyle(text).display !== 'none')
      .map(text => parseFloat(getComputedStyle(text).fontSize) * svg.getBoundingClientRect().width /
        svg.viewBox.baseVal.width)).reduce((a, b) => Math.min(a, b))
    """
    contrast = """
    (() => {
      const light = colour => {
        const [r, g, b] = colour.match(/[0-9.]+/g).slice(0, 3).map(Number).map(part => part / 255)
          .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const ground = getComputedStyle(document.querySelector('.tiles > div')).backgroundColor;
      return [...document.querySelectorAll('.good, .bad, .faint, dt, a, summary')].map(one => {
        const both = [light(getComputedStyle(one).color), light(ground)].sort((a, b) => b - a);
        return (both[0] + 0.05) / (both[1] + 0.05);
      }).reduce((a, b) => Math.min(a, b));
    })()
    """
    async with browsing(tmp_path / "profile") as page:
        for scheme in ("light", "dark"):
            await page.open(report.as_uri(), 360, scheme=scheme)
            assert await page.evaluate(sizes) >= 9
            assert await page.evaluate(contrast) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_is_accessible(report: Path, tmp_path: Path, scheme: str) -> None:
    """axe-core finds nothing: contrasts, heads of tables, names of drawings and of what scrolls."""
    axe = (Path(axe_core_python.__file__).parent / "axe.min.js").read_text("utf-8")
    found = "axe.run().then(one => JSON.stringify(one.violations.map(of => [of.id, of.nodes[0].html])))"
    async with browsing(tmp_path / "profile") as page:
        await page.open(report.as_uri(), 360, scheme=scheme)
        await page.call("Page.setBypassCSP", enabled=True)  # the page itself lets no script run
        await page.open(report.as_uri(), 360, scheme=scheme)
        await page.evaluate(f"{axe};0")
        said = await page.call("Runtime.evaluate", expression=found, awaitPromise=True, returnByValue=True)
        assert said["result"]["value"] == "[]"
