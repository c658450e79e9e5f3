"""`report` while a run is on: its trades are drawn on candles that are in the journal only."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_run_paper_parity import OFTEN, PAPER, SYMBOLS

from html_pages import Elements, asks_nobody
from run_harness import UNASKED, archive, command, configure, eventually, query, running, simulated


@pytest.mark.slow
def test_a_run_that_is_on(tmp_path: Path) -> None:
    """Its ledger is read while it writes."""
    root, start_ms = archive(tmp_path, SYMBOLS, hours=3)
    options = ("--data", str(root), "--start", str(start_ms), "--at-end", "hold", "--speed", "600")
    with simulated(tmp_path, *options) as exchange:
        configure(tmp_path, exchange, SYMBOLS, strategies={"often": OFTEN}, paper=PAPER, alerts=UNASKED)
        with running(tmp_path, doomed=True) as run:
            eventually(lambda: len(query(tmp_path, "SELECT 1 FROM trades WHERE state = 'closed'")) > 5)
            asked = ("report", "-c", str(tmp_path / "tapewatch.yaml"), "--out", str(tmp_path / "report.html"))
            done = command(*asked)
            assert (done.returncode, done.stderr) == (0, "")
            assert run.code is None, run.log
    text = (tmp_path / "report.html").read_text("utf-8")
    page = Elements(text)
    assert text.partition('id="trades"')[2].count("<tr><td>") > 5
    assert page.count("circle", **{"class": "entry"}) > 5
    assert any(one.startswith("often 1m: target first ") for one in page.texts)
    asks_nobody(text)
