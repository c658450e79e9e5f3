"""What every report is made of: one HTML file that asks no host for anything and runs no script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tapewatch.record import ENOUGH
from tapewatch.study import charts
from tapewatch.study.backtest import Result
from tapewatch.study.quality import SIZE, marks
from tapewatch.study.trades import Trade
from tapewatch.study.words import moment, money, percent, price, ratio, span, utc

if TYPE_CHECKING:
    from jinja2 import Environment

#: Trades listed in the file, at most: with them it stays under three megabytes.
MOST_LISTED = 5_000
#: Up to so many the list is unfolded.
OPEN_UP_TO = 100
#: Rows of a table of parts, at most; those that won and lost most.
MOST_PARTS = 60
#: Shades of the heat map, on either side of nothing.
SHADES = 4
_FOLDER = Path(__file__).parent / "templates"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TABLES = (
    ("side", "By side", "Side"), ("exit_reason", "By reason of the exit", "Reason"),
    ("month", "By month of the entry", "Month"), ("hour", "By hour of the entry (UTC)", "Hour"),
    ("strategy", "By strategy", "Strategy"), ("symbol", "By symbol", "Symbol"),
)  # fmt: skip
#: What only some reports have.
_ABSENT = ("equity", "drawdown", "costs", "quality", "told", "delivery")


def render_page(trades: Sequence[Trade], more: str, **context: Any) -> str:
    """The HTML of a report with these trades; `more` says where those are that are not listed."""
    listed = list(trades[-MOST_LISTED:])
    shared: dict[str, Any] = dict.fromkeys(_ABSENT) | {
        "card_wide": charts.CARD_WIDTH,
        "card_high": charts.CARD_HEIGHT,
        "month_names": _MONTHS,
        "trades": [_row(trade) for trade in listed],
        "trades_note": _trades_note(len(listed), len(trades), more),
        "open_up_to": OPEN_UP_TO,
        "undrawn": "There are no candles of any trade." if trades else "No trade was closed.",
        "told_size": SIZE,
        "told_marks": marks(),
        "enough": ENOUGH,
    }
    return render("report.html", **shared | context)


def render(template: str, **context: Any) -> str:
    """The HTML of a template that extends `page.html`, with the style of all reports."""
    from markupsafe import Markup

    style = (_FOLDER / "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    shared: dict[str, Any] = {
        "wide": charts.WIDTH,
        "high": charts.HEIGHT,
        "style": Markup(style),  # noqa: S704  (our own file)
        "style_hash": f"sha256-{digest}",
    }
    return _environment().get_template(template).render(shared | context)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def figures_of(figures: Mapping[str, Any]) -> list[list[tuple[str, str]]]:
    """Every figure that is a number, in two columns."""
    rows = [(name, ratio(value, 4)) for name, value in figures.items() if isinstance(value, (int, float))]
    half = -(-len(rows) // 2)
    return [rows[:half], rows[half:]]


def months_of(result: Result) -> list[dict[str, Any]]:
    """The change of the equity in each month of each year, with the year's."""
    ends: dict[tuple[int, int], float] = {}
    for ms, equity in zip(result.days_ms, result.equity[1:], strict=True):
        last = utc(ms - 1)
        ends[last.year, last.month] = equity
    before, of_month = result.equity[0], {}
    for key, equity in ends.items():
        of_month[key] = _change(before, equity)
        before = equity
    years: list[dict[str, Any]] = []
    before = result.equity[0]
    for year in sorted({year for year, _ in ends}):
        final = [equity for (of_year, _), equity in ends.items() if of_year == year][-1]
        cells = [of_month.get((year, month)) for month in range(1, 13)]
        years.append({"name": year, "cells": cells, "whole": _change(before, final)})
        before = final
    _shade([cell for year in years for cell in year["cells"] if cell])
    return years


def _shade(cells: Sequence[dict[str, Any]]) -> None:
    """Give each how strong its colour is, from minus to plus `SHADES`: in parts of the largest change."""
    largest = max((abs(cell["value"]) for cell in cells if cell["value"] == cell["value"]), default=0.0)
    for cell in cells:
        known = largest > 0 and cell["value"] == cell["value"]
        cell["shade"] = round(cell["value"] / largest * SHADES) if known else 0


def _change(before: float, after: float) -> dict[str, Any]:
    value = (after / before - 1) * 100 if before > 0 else float("nan")
    return {"value": value, "text": ratio(value, 2, sign=True)}


def tables_of(by: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tables of the parts of `metrics`, those that have rows."""
    tables = []
    for key, title, head in _TABLES:
        rows = list(by.get(key, {}).items())
        note = ""
        if len(rows) > MOST_PARTS:
            note = f"the {MOST_PARTS} of {len(rows)} that won or lost most"
            rows = sorted(rows, key=lambda row: -abs(row[1]["net"]))[:MOST_PARTS]
        if key == "symbol":
            rows.sort(key=lambda row: -row[1]["net"])
        tables.append({"title": title, "head": head, "note": note, "rows": [_part(*row) for row in rows]})
    factors = [
        (f"{name} {met.replace('_', ' ')}", of)
        for name, parts in by.get("factor", {}).items()
        for met, of in parts.items()
    ]
    rows = [_part(*row) for row in factors]
    tables.insert(2, {"title": "By factor at the signal", "head": "Factor", "note": "", "rows": rows})
    return [table for table in tables if table["rows"]]


def _part(name: str, of: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "trades": f"{of['trades']:,}",
        "won": percent(of["win_rate_pct"], 1),
        "net": money(of["net"], sign=True),
        "net_value": of["net"],
        "factor": ratio(of["profit_factor"]),
        "expectancy": ratio(of["expectancy_r"], 3, " R", sign=True),
    }


def _trades_note(listed: int, all_of_them: int, more: str) -> str:
    if listed == all_of_them:
        return "In the order of their entries."
    return f"The last {listed:,} of {all_of_them:,}, in the order of their entries; {more}."


def _row(trade: Trade) -> dict[str, Any]:
    reasons = dict.fromkeys(one.reason.replace("_", " ") for one in trade.exits)
    return {
        "at": moment(trade.entry_ms),
        "symbol": trade.symbol,
        "side": trade.side,
        "entry": price(trade.entry_price),
        "exit": price(sum(one.price * one.share for one in trade.exits) / 100),
        "why": ", ".join(reasons) + (" (ambiguous)" if trade.ambiguous else ""),
        "held": span(trade.exits[-1].ms - trade.entry_ms),
        "net": money(trade.net, sign=True),
        "value": trade.net,
        "r": ratio(trade.r, sign=True),
        "best": ratio(trade.mfe_r, sign=True),
        "worst": ratio(trade.mae_r, sign=True),
    }
