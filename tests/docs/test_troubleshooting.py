"""Every message that stops a command or a run has its cause and its remedy, and no row is of a message that is gone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_pages import DOCS, SOURCE, code, rows

from tapewatch.store import postgres, sqlite

PAGE = DOCS / "troubleshooting.md"
ROWS = [code(row[0]) for row in rows(PAGE, "Message")]
#: What a command's options are about names them; a strategy's mistakes point at their place.
PLACES = ["archive", "channels", "config", "download", "feeds", "live", "store", "telemetry", "web", "network.py"]
KINDS = {"SetupError", "ConfigError", "NoLedgerError", "StoreError", "LedgerLostError", "EdgeError"}


def texts(node: ast.expr) -> Iterator[str]:
    """The texts that an expression can be, with `…` for what differs."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=values):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in values)
        case ast.IfExp(body=one, orelse=other):
            yield from texts(one)
            yield from texts(other)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            yield from (a + b for a in list(texts(left)) or ["…"] for b in list(texts(right)) or ["…"])
        case ast.List(elts=elements):
            for element in elements:
                yield from texts(element)


def messages() -> set[str]:
    """Those of the errors that users see; one without words of its own repeats another's."""
    files: list[Path] = [SOURCE / "cli" / "status.py"]
    for place in PLACES:
        files += [SOURCE / place] if place.endswith(".py") else sorted((SOURCE / place).rglob("*.py"))
    found = {*sqlite._ADVICE.values(), *(words for _, words in postgres._ADVICE)}
    for path in files:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Raise(exc=ast.Call(func=ast.Name(id=kind), args=[first, *_])) if kind in KINDS:
                    found.update(texts(first))
    plain = {text.replace("`", "") for text in found}
    return {text for text in plain if letters(text) > 7 and not text.startswith("--")}


def letters(text: str) -> int:
    """How many it has."""
    return len(re.sub(r"[^A-Za-z]", "", text))


def fits(row: str, text: str) -> bool:
    """Whether the row's words are in the text, in their order."""
    return re.search(".*".join(map(re.escape, row.split("…"))), text, re.DOTALL) is not None


@pytest.mark.parametrize("text", sorted(messages()))
def test_a_message_has_a_remedy(text: str) -> None:
    """By a row with words of it."""
    assert any(fits(row, text) for row in ROWS if letters(row) > 3), text


def test_no_row_is_of_a_message_that_is_gone() -> None:
    """Each is somewhere in the code."""
    known = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.expr):
                known.update(text.replace("`", "") for text in texts(node))
    assert [row for row in ROWS if not any(fits(row, text) for text in known)] == []
    assert len(ROWS) == len(set(ROWS))


def test_every_row_has_a_cause_and_a_remedy() -> None:
    """In three cells."""
    for row in rows(PAGE, "Message"):
        assert len(row) == 3
        assert all(row), row
