"""The pages of the documentation, read as far as their tests need: headings, tables, fenced blocks, links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SOURCE = ROOT / "src" / "tapewatch"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]

_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block: its info string in two parts, the line it begins on, and its text."""

    language: str
    mark: str
    line: int
    text: str


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page."""
    found: list[Block] = []
    opened: tuple[int, str] | None = None
    body: list[str] = []
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if not line.startswith("```"):
            body.append(line)
        elif opened is None:
            opened, body = (number, line[3:].strip()), []
        else:
            language, _, mark = opened[1].partition(" ")
            found.append(Block(language, mark.strip(), opened[0], "\n".join(body) + "\n"))
            opened = None
    assert opened is None, f"{page.name}: the block of line {opened} has no end"
    return found


def prose(page: Path) -> list[str]:
    """The lines of a page outside its fenced blocks."""
    lines: list[str] = []
    inside = False
    for line in page.read_text("utf-8").splitlines():
        if line.startswith("```"):
            inside = not inside
        elif not inside:
            lines.append(line)
    return lines


def headings(page: Path) -> list[str]:
    """The headings of a page, without their marks."""
    return [line.lstrip("#").strip() for line in prose(page) if line.startswith("#")]


def anchors(page: Path) -> set[str]:
    """What links to a heading of the page may end in."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings(page)}


def links(page: Path) -> list[str]:
    """The targets of the page's links."""
    return [target for line in prose(page) for target in _LINK.findall(line)]


def rows(page: Path, first: str, heading: str | None = None) -> list[list[str]]:
    """The rows of every table whose first column is called `first`, of the whole page or below one heading."""
    found: list[list[str]] = []
    within, wanted = heading is None, False
    for line in prose(page):
        if line.startswith("#") and heading is not None:
            within = line.lstrip("#").strip() == heading
        if not line.startswith("|"):
            wanted = False
            continue
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        if not wanted:
            wanted = within and cells[0] == first
        elif not set(cells[0]) <= set("-: "):
            found.append(cells)
    return found


def named(page: Path, first: str, heading: str | None = None) -> list[str]:
    """Everything written as code in the first column of those tables."""
    return [name for row in rows(page, first, heading) for name in _CODE.findall(row[0])]


def code(cell: str) -> str:
    """A table's cell without the marks of code."""
    return cell.replace("`", "")
