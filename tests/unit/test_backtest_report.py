"""The report of a backtest: it has what the document has, asks no host for anything, and holds any number of trades."""

from __future__ import annotations

import re
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from command_line import Command, store
from core_samples import walk
from html_pages import Elements, asks_nobody
from limits import limited
from tapewatch import strategies
from tapewatch.study.backtest import Account, Backtest, Plan, Result
from tapewatch.study.document import document
from tapewatch.study.drawing import drawn_trades, held_equity
from tapewatch.study.page import MOST_LISTED, months_of
from tapewatch.study.report import render
from tapewatch.study.signals import Request

RULE = """
tried:
  timeframes: [1m]
  long:
    when: CONDITION
  stop: 0.01 * close
  targets: [{at: 0.001 * close, share: 60%}, {at: 0.02 * close, share: 40%}]
  time_limit: 1
"""
HOSTILE = "<script>alert(1)</script>\"'&A"
Made = tuple[Backtest, dict[str, Any], Result]
Make = Callable[..., Made]


@pytest.fixture
def made(tmp_path: Path) -> Make:
    """A backtest over a random walk of so many minutes of a rule that enters on a condition."""

    def make(condition: str, minutes: int = 1_440, symbols: tuple[str, ...] = ("AAAUSDT",), gate: bool = False) -> Made:
        from tapewatch.archive.writer import series_folder

        for number, symbol in enumerate(symbols):
            folder = series_folder(tmp_path, "binance_spot", symbol, "1m").parent
            bars = [msgspec.structs.replace(bar, symbol=folder.name) for bar in walk(minutes, number + 1)]
            store(tmp_path, bars)
        (tmp_path / "rule.yaml").write_text(RULE.replace("CONDITION", condition))
        rule = strategies.load(str(tmp_path / "rule.yaml"), [])
        request = Request(tmp_path, "binance_spot", symbols)
        backtest = Backtest(
            Plan(rule, request, Account(kind="perpetual", taker_bps=1, maker_bps=1, slippage_bps=1), gate=gate)
        )
        return backtest, *document(backtest)

    return make


def test_it_has_the_figures_of_the_document(made: Make) -> None:
    """Each number of the metrics, the trades' rows, and what was asked."""
    backtest, found, result = made("minute % 7 == 3", symbols=("AAAUSDT", "BBBUSDT"))
    text = render(backtest, found, result)
    page = Elements(text)
    shown = set(page.texts)
    assert found["trades"] > 100
    for name, value in found["metrics"].items():
        if isinstance(value, float) and value == value:
            assert f"{value:,.4f}".replace("-", "−") in shown, name  # noqa: RUF001
    assert f"{found['metrics']['net_pct']:+.2f}%".replace("-", "−") in shown  # noqa: RUF001
    assert f"{found['buy_and_hold']['net_pct']:+.2f}%".replace("-", "−") in shown  # noqa: RUF001
    for words in (*(f"hash {found['hashes'][name]}" for name in ("data", "config")), *backtest.plan.request.symbols):
        assert any(words in one for one in shown), words
    for why, count in found["metrics"]["skipped"].items():
        assert {why, f"{count:,}"} <= shown
    assert page.count("h2") == 7
    tables = text.partition('id="trades"')[2]
    assert tables.count("<tr><td>") == len(result.trades)
    net = [float(one.replace("−", "-").replace(",", "")) for one in re.findall(  # noqa: RUF001
        r'<td><span(?: class="\w+")?>([^<]*)</span></td>', tables)]  # fmt: skip
    assert net == pytest.approx([trade.net for trade in result.trades], abs=0.00501)


def test_it_asks_nobody_for_anything_and_runs_nothing(made: Make) -> None:
    """No address, no script, no style but its own, which its policy names."""
    asks_nobody(render(*made("minute % 7 == 3")))


def test_every_part_of_its_contents_is_there_and_said_in_words(made: Make) -> None:
    """Links lead to parts, charts have titles and descriptions, tables have heads."""
    page = Elements(render(*made("minute % 7 == 3")))
    names = [of["id"] for _, of in page.found if "id" in of]
    assert len(names) == len(set(names))
    assert {of["href"] for tag, of in page.found if tag == "a"} == {f"#{name}" for name in names if name in (
        "equity", "months", "bounds", "groups", "drawn", "trades", "asked")}  # fmt: skip
    drawings = [of for tag, of in page.found if tag == "svg" and of.get("aria-hidden") != "true"]
    assert len(drawings) > 10
    for of in drawings:
        assert of["role"] == "img"
        assert of.get("aria-label") or all(name in names for name in (of["aria-labelledby"] or "").split())
    assert page.count("table") == page.count("thead")
    assert page.count("th", scope="col") > 20


@pytest.mark.parametrize(("condition", "expected"), [("close < 0", 0), ("hour == 3 and minute == 7", 1)])
def test_few_trades_are_no_trouble(made: Make, condition: str, expected: int) -> None:
    """None, and a single one, which is drawn once."""
    backtest, found, result = made(condition)
    text = render(backtest, found, result)
    assert len(result.trades) == expected
    assert ("No trade was closed." in text) == (expected == 0)
    assert Elements(text).count("circle", **{"class": "entry"}) == expected
    assert not re.search(r"\b(nan|inf|None)\b", text)


def test_five_thousand_trades_stay_below_three_megabytes(made: Make) -> None:
    """All listed, folded; one more, and the oldest is left out with a note. It takes seconds at most."""
    backtest, found, result = made("close > 0", 2 * MOST_LISTED + 100)
    assert len(result.trades) > MOST_LISTED
    began = time.process_time()
    text = render(backtest, found, result)
    assert time.process_time() - began < 10
    assert len(text.encode()) < 3_000_000
    assert text.partition('id="trades"')[2].count("<tr><td>") == MOST_LISTED
    assert f"The last {MOST_LISTED:,} of {len(result.trades):,}" in text
    assert "<details>" in text


def test_a_hostile_name_is_only_a_name(made: Make) -> None:
    """In titles, tables, labels and drawings."""
    backtest, found, result = made("minute % 7 == 3", symbols=(HOSTILE,))
    assert result.trades[0].symbol == HOSTILE
    text = render(backtest, found, result)
    page = Elements(text)
    assert page.count("script") == 0
    assert HOSTILE in "".join(page.texts)
    assert any(HOSTILE in (of.get("aria-label") or "") for _, of in page.found)


def test_the_same_gives_the_same_bytes(made: Make) -> None:
    """No clock and no chance in it."""
    assert render(*made("minute % 7 == 3")) == render(*made("minute % 7 == 3"))


def test_levels_are_those_the_trade_was_entered_with(made: Make) -> None:
    """The stop a hundredth below the signal's close, the targets above; on the drawing from the entry on."""
    backtest, _, result = made("minute % 7 == 3")
    closes = dict(zip(backtest.candles[0].open_ms.tolist(), backtest.candles[0].close.tolist(), strict=True))
    for trade in result.trades[:20]:
        close = closes[trade.entry_ms - 60_000]
        assert backtest.levels_of(trade) == pytest.approx((close * 0.99, close * 1.001, close * 1.02), abs=2e-8)
    groups = dict(drawn_trades(backtest, result.trades))
    assert [len(groups[name]) for name in ("Best", "Worst")] == [6, 6]
    assert 0 < len(groups["Last"]) <= 6
    best = max(result.trades, key=lambda trade: trade.net)
    assert f"{best.r:+.2f} R" in groups["Best"][0].title
    dots = groups["Best"][0].card.dots
    assert [dot.kind for dot in dots] == ["entry", *["won" if one.price > best.entry_price else "lost"
                                                     for one in best.exits]]  # fmt: skip


def test_what_is_held_ends_where_buy_and_hold_does(made: Make) -> None:
    """Whose symbols begin at different times, each with its part of the cash."""
    backtest, found, result = made("minute % 7 == 3", 3_000, symbols=("AAAUSDT", "BBBUSDT"))
    held = held_equity(backtest, result)
    assert (held[-1] / result.cash - 1) * 100 == pytest.approx(found["buy_and_hold"]["net_pct"], rel=1e-12)
    first = backtest.candles[0]
    at = first.close[first.open_ms + 60_000 <= result.days_ms[0]][-1] / first.open[0]
    other = backtest.candles[1]
    beside = other.close[other.open_ms + 60_000 <= result.days_ms[0]][-1] / other.open[0]
    assert held[0] == pytest.approx(result.cash / 2 * (at + beside) / 1.0002, rel=1e-12)


def test_months_compound_to_their_year() -> None:
    """December's 10% after November's 10%; January begins anew."""
    days = {"2024-11-30": 110.0, "2024-12-15": 100.0, "2024-12-31": 121.0, "2025-01-01": 60.5}
    from datetime import UTC, datetime

    ends = [int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000 + 86_400_000 for day in days]
    result = Result([], 0, {}, ends, [100.0, *days.values()], 4, 100.0, 0.0, 0.0, 0.0, 0.0)
    years = months_of(result)
    assert [year["name"] for year in years] == [2024, 2025]
    assert [cell["text"] for cell in years[0]["cells"] if cell] == ["+10.00", "+10.00"]
    assert years[0]["whole"]["text"] == "+21.00"
    assert [cell["shade"] for year in years for cell in year["cells"] if cell] == [1, 1, -4]
    assert [cell and cell["text"] for cell in years[1]["cells"]] == ["−50.00", *[None] * 11]  # noqa: RUF001


def test_the_command_writes_it(run: Command, made: Make, tmp_path: Path) -> None:
    """And says nothing else of it."""
    made("minute % 7 == 3")
    asked = ("backtest", "--strategy", tmp_path / "rule.yaml", "--data", tmp_path, "--no-gate")
    (found,) = run.objects(*asked, "--report", tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"hash {found['hashes']['config']}" in text
    assert text.startswith("<!DOCTYPE html>")


def test_where_nothing_can_be_written_is_told_before_the_work(run: Command, made: Make, tmp_path: Path) -> None:
    """Of both files; a file that is there stays as it was."""
    made("minute % 7 == 3")
    asked = ("backtest", "--strategy", tmp_path / "rule.yaml", "--data", tmp_path)
    assert "--report: report.htm must end in .html" in run.refused(*asked, "--report", "report.htm")
    for option, name in (("--report", "report.html"), ("--trades", "trades.csv")):
        assert f"{option}: {tmp_path / 'no' / name}: No such file" in run.refused(
            *asked, option, tmp_path / "no" / name
        )
        (tmp_path / "kept").mkdir(exist_ok=True)
        (tmp_path / "kept" / name).write_text("before")
        assert "no venue" not in run.refused(*asked, "--venue", "nowhere", option, tmp_path / "kept" / name)
        assert (tmp_path / "kept" / name).read_text() == "before"
        run.refused(*asked, "--venue", "nowhere", option, tmp_path / name)
        assert not (tmp_path / name).exists()


def test_a_full_disk_is_told_after_the_figures(run: Command, made: Make, tmp_path: Path) -> None:
    """Exit 1; what was found is printed, and a file that was there stays."""
    made("minute % 7 == 3")
    asked = ("backtest", "--strategy", tmp_path / "rule.yaml", "--data", tmp_path, "--no-gate")
    files = [("--report", "a.html"), ("--trades", "a.csv"), ("--trades", "a.parquet"), ("--trades", "a.jsonl")]
    for option, name in files:
        (tmp_path / name).write_text("before")
        with limited(resource.RLIMIT_FSIZE, 2_000):
            code, lines, err = run(*asked, option, tmp_path / name)
        assert (code, err) == (1, f"tapewatch: {option}: {tmp_path / name}: File too large\n")
        assert lines[0].startswith("tried: ")
        assert (tmp_path / name).read_text() == "before"
        assert not list(tmp_path.glob(".a.*"))
