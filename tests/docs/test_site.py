"""The pages become a site: nothing in it is missing, and nothing in it is loaded from another host."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from markdown_pages import DOCS, ROOT

from tapewatch import study
from tapewatch.strategy import build

SOURCES = ["mkdocs.yml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"]
#: What a page loads by itself: scripts, pictures, style sheets, icons, and what those name.
LOADED = re.compile(r"""<(?:script|img|iframe|source)[^>]*\ssrc="?([^\s">]+)|<link[^>]*\shref="?([^\s">]+)""")
IN_STYLE = re.compile(r"""(?:url\(|@import\s+)["']?(https?:[^"')]+|//[^"')]+)""")


def made(root: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """MkDocs over a copy of the sources."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(target)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` makes it."""
    target = tmp_path_factory.mktemp("site")
    done = made(ROOT, target)
    assert done.returncode == 0, done.stderr
    return target


def test_every_page_is_in_the_site(site: Path) -> None:
    """Those of `docs/`, the README as the first, and the one made from the code with all that can be imported."""
    pages = {path.name for path in site.glob("*.html")}
    assert {"index.html", "CONTRIBUTING.html", "CHANGELOG.html", "python.html"} <= pages
    assert {f"{page.stem}.html" for page in DOCS.glob("*.md")} <= pages
    python = (site / "python.html").read_text("utf-8")
    for name in (*study.__all__, *build.__all__):
        assert f'<h3 id="{name.lower()}">' in python
    for name in vars(study.Research):
        assert name.startswith("_") or f'<h4 id="research{name}">' in python


def test_no_mark_of_a_test_is_shown(site: Path) -> None:
    """A block is a block, whatever the tests know about it."""
    for path in site.glob("*.html"):
        text = path.read_text("utf-8")
        assert "```" not in re.sub(r"<code>.*?</code>", "", text, flags=re.DOTALL), path.name
        assert [cell for cell in re.findall(r"<td>.*?</td>", text) if "\\|" in cell] == [], path.name


def test_every_picture_is_shown(site: Path) -> None:
    """Those that the script takes, each on some page; that they are there is MkDocs' to say."""
    shown = {
        name for path in site.glob("*.html") for name in re.findall(r'src="images/([^"]+)"', path.read_text("utf-8"))
    }
    assert shown == {path.name for path in (DOCS / "images").iterdir()}


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    """Scripts, styles, fonts and pictures are files of the site."""
    for path in site.rglob("*.html"):
        for found in LOADED.findall(path.read_text("utf-8")):
            target = found[0] or found[1]
            assert not re.match(r"[a-z]+:|//", target) or target.startswith("data:"), f"{path.name}: {target}"
    for path in site.rglob("*.css"):
        assert IN_STYLE.findall(path.read_text("utf-8")) == [], path.name


@pytest.mark.parametrize("flaw", ["[a](nowhere.md)", "[a](alerts.md#nowhere)"])
def test_a_link_that_leads_nowhere_makes_no_site(flaw: str, tmp_path: Path) -> None:
    """To a page, and to a heading."""
    shutil.copytree(DOCS, tmp_path / "docs")
    for name in SOURCES:
        shutil.copy(ROOT / name, tmp_path)
    with (tmp_path / "docs" / "data.md").open("a") as page:
        page.write(f"\n{flaw}\n")
    done = made(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    assert "nowhere" in done.stderr
