"""The study of the shipped strategies is made by its command, here of small candles."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from markdown_pages import DOCS, headings, rows

from command_line import store
from core_samples import walk
from tapewatch import strategies

SCRIPT = DOCS / "shipped.py"


@pytest.mark.slow
def test_the_page_is_made_by_one_command(tmp_path: Path) -> None:
    """Of every set in a folder, but of copies: a row for each strategy that its candles make, searches too."""
    for name, venue in (("calm", "binance_spot"), ("resample-ref", "binance_spot"), ("wild", "bybit_linear")):
        store(tmp_path / "sets" / name, walk(2 * 1440, 3), venue=venue)
    page, register = tmp_path / "page.md", tmp_path / "register.jsonl"
    command = [sys.executable, SCRIPT, "--data", tmp_path / "sets", "--trials", "2", "--out", page]
    done = subprocess.run([*command, "--register", register], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(register.read_text().splitlines()) == 2
    sets = rows(page, "Set", "The candles")
    assert [(row[0], row[7]) for row in sets] == [(name, "opened for the first time") for name in ("calm", "wild")]
    for name in strategies.shipped():
        accounts = {row[0]: row[1] for row in rows(page, "Set", name) if len(row) == 10}
        assert accounts == {"calm": "spot", "wild": "perpetual"}
    assert "nan" not in page.read_text().replace("binance", "")


def test_the_page_has_every_strategy_that_ships() -> None:
    """And says in short how they do."""
    page = DOCS / "shipped.md"
    assert headings(page)[1] == "In short"
    assert set(strategies.shipped()) <= set(headings(page))
