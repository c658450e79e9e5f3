"""The report of a ledger: account, trades on candles, how alerts did, what was told and came, how they arrived."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from book_samples import DAY_MS, account
from command_line import Command, store
from core_samples import walk
from delivery_samples import CLOSE_MS, VENUE
from html_pages import Elements, asks_nobody
from ledger_samples import fill_in, record
from tapewatch.store import Ledger, Step
from tapewatch.study.ledger_report import Kept, render
from tapewatch.study.page import MOST_LISTED
from tapewatch.study.quality import delivery, told

MINUTE_MS, DAY = 60_000, 86_400_000
HOSTILE = "<script>alert(1)</script>\"'&A"


@pytest.fixture
def config(ledger_url: str, tmp_path: Path) -> Path:
    """A configuration whose ledger, in either kind of database, is empty."""
    path = tmp_path / "tapewatch.yaml"
    path.write_text(
        "universe: {include: [BTCUSDT]}\nstrategies: {scalp: {}}\npaper: {}\n"
        f"ledger: {{url: '{ledger_url}', folder: {tmp_path}}}\narchive: {{folder: {tmp_path}/candles}}\n"
    )
    Ledger.open(ledger_url).close()
    return path


def written(run: Command, config: Path, *options: object) -> str:
    """What the command writes."""
    path = config.parent / "report.html"
    code, lines, err = run("report", "-c", config, "--out", path, *options)
    assert (code, err, len(lines)) == (0, "", 1), err
    return path.read_text("utf-8")


def test_it_has_what_the_ledger_has(run: Command, config: Path, ledger_url: str) -> None:
    """Account, months, parts by strategy, symbol and hour, trades on recorded candles, outcomes, told, delivery."""
    fill_in(ledger_url)
    bars = [msgspec.structs.replace(bar, symbol="BTCUSDT") for bar in walk(300, 1, start_ms=CLOSE_MS - 100 * MINUTE_MS)]
    store(config.parent / "candles", bars, venue=VENUE)
    text = written(run, config)
    page = Elements(text)
    shown = set(page.texts)
    assert {"binance_spot: paper account and alerts", "By strategy", "By hour of the entry (UTC)", "By symbol"} <= shown
    assert {"trend", "scalp", "mail", "chat", "2025"} <= shown
    assert text.partition('id="trades"')[2].count("<tr><td>") == 8
    assert page.count("circle", **{"class": "entry"}) == 8 + 1  # each trade's, and what was told
    assert any(
        one.startswith("With 2 alerts whose end is known a hit rate was sent: 60.0% on average; 50.0% hit")
        for one in page.texts
    )
    assert {"250 ms", "100.0%", "2"} <= shown
    assert any(name == "td" and (of.get("class") or "").startswith("down") for name, of in page.found)
    asks_nobody(text)
    assert text == written(run, config)


def test_an_empty_ledger_is_said_in_every_part(run: Command, config: Path) -> None:
    """No account, no alert, nothing to draw; a ledger that is not there is refused."""
    text = written(run, config)
    for words in ("There is no paper account.", "No signal has ended yet.", "No message was raised.",
                  "No trade was closed.", "Nothing was traded.", "No alert whose end is known"):  # fmt: skip
        assert words in text, words
    asks_nobody(text)


def test_an_account_without_a_trade(run: Command, config: Path, ledger_url: str) -> None:
    """As a run leaves it in its first minute."""
    with closing(Ledger.open(ledger_url)) as ledger:
        ledger.commit_step(Step(VENUE, [account()]))
    text = written(run, config)
    assert "From 10,000.00 to 10,000.19" in text
    assert "nan" not in text.lower().replace("binance", "").replace("finance", "")


def test_a_period_has_its_days_and_trades(run: Command, config: Path, ledger_url: str) -> None:
    """Trades by their end, whole days of the account; alerts by when they were raised."""
    fill_in(ledger_url)
    begin = CLOSE_MS + 8 * MINUTE_MS
    text = written(run, config, "--from", begin)
    assert text.partition('id="trades"')[2].count("<tr><td>") == 5
    assert "No message was raised." in text
    text = written(run, config, "--from", DAY_MS - 10 * DAY, "--to", DAY_MS - 5 * DAY)
    assert "From 10,500.00 to 10,250.00" in text
    assert "No trade was closed." in text


def test_where_it_cannot_be_written_is_told_before(run: Command, config: Path) -> None:
    """Another ending, a folder that is not there, a period that ends before it begins."""
    assert "--out: a.htm must end in .html" in run.refused("report", "-c", config, "--out", "a.htm")
    assert "No such file" in run.refused("report", "-c", config, "--out", config.parent / "no" / "a.html")
    again = ("report", "-c", config, "--out", config.parent / "a.html", "--from", "2025-02-01", "--to", "2025-01-01")
    assert "--from" in run.refused(*again)
    assert not (config.parent / "a.html").exists()


def test_a_hostile_name_is_only_a_name(run: Command, config: Path, ledger_url: str) -> None:
    """In titles, tables and lists."""
    fill_in(ledger_url, HOSTILE)
    text = written(run, config)
    assert Elements(text).count("script") == 0
    assert HOSTILE in "".join(Elements(text).texts)


def kept(positions: list[dict[str, Any]]) -> Kept:
    """A ledger with these trades and nothing else."""
    state = {"at_ms": CLOSE_MS, "started_ms": DAY_MS, "start_cash": "10000", "equity": "9000"}
    return Kept(VENUE, [("Venue", VENUE)], state, [], positions, 0, {}, [], [], [])


def test_five_thousand_trades_stay_below_three_megabytes() -> None:
    """The oldest beyond are left out, with a note."""
    row = {
        "signal_id": "x", "symbol": "BTCUSDT", "strategy": "scalp", "side": "long", "timeframe": "1m", "reason": "stop",
        "entry": "67020.5", "quantity": "0.015", "mark": "67100", "stop": "66800", "targets": [], "ambiguous": False,
        "fees": "1", "funding": "0", "gross": "2.5", "net": "1.5", "r": 0.5, "mfe_r": 1.0, "mae_r": None,
    }  # fmt: skip
    rows = [
        row | {"trade_id": f"t{k}", "entry_ms": CLOSE_MS + k * MINUTE_MS, "closed_ms": CLOSE_MS + (k + 3) * MINUTE_MS,
               "fills": [{"number": 1, "ms": CLOSE_MS + (k + 3) * MINUTE_MS, "price": "67200", "quantity": "0.015",
                          "reason": "target"}]}
        for k in range(MOST_LISTED + 10)
    ]  # fmt: skip
    began = time.process_time()
    text = render(kept(rows), lambda _: None)
    assert time.process_time() - began < 10
    assert len(text.encode()) < 3_000_000
    assert text.partition('id="trades"')[2].count("<tr><td>") == MOST_LISTED
    assert f"The last {MOST_LISTED:,} of {len(rows):,}" in text
    assert "There are no candles of any trade." in text


def test_what_was_told_beside_what_came() -> None:
    """By tenths, with the interval; a rate of too few signals is none."""
    rows = [{"record": record(30, 50), "hit": k < 3, "net_r": 0.5 if k < 3 else -1.0} for k in range(5)]
    rows += [
        {"record": record(10, 100), "hit": False, "net_r": None},
        {"record": record(9, 10), "hit": True, "net_r": 1.0},
    ]
    found = told(rows)
    assert found["count"] == 6
    assert [row[:3] for row in found["rows"]] == [("10.0%", "1", "0.0%"), ("60.0%", "5", "60.0%")]
    assert found["text"].startswith("With 6 alerts whose end is known a hit rate was sent: 51.7% on average; 50.0% hit")
    assert "−0.25 R a signal after costs was told, −0.10 R came" in found["text"]  # noqa: RUF001
    first, second = found["dots"]
    assert first["x"] < second["x"]
    assert first["y"] > second["y"]
    assert second["low"] > second["y"] > second["high"]
    assert told([])["count"] == 0


def test_delivery_by_channel() -> None:
    """What arrived is a share of what was to arrive there; times as shares of messages."""
    states = ("sent", "late", "digested", "dead", "superseded", "queued")
    rows = [
        {"channel": "mail", "state": state, "created_ms": 0, "sent_ms": 100 * k if k < 3 else None}
        for k, state in enumerate(states)
    ]
    [row] = delivery(rows, {("mail", "sent"): 3, ("mail", "failed"): 2})
    assert row == {
        "channel": "mail", "messages": "6", "arrived": "75.0%", "interval": row["interval"], "dead": "1",
        "waiting": "1", "elsewhere": "1", "failed": "2 of 5", "half": "100 ms", "most": "200 ms", "worst": "200 ms",
    }  # fmt: skip
    assert delivery([], {}) == []
