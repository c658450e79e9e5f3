"""A backtest as one HTML file that asks no host for anything and runs no script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tapewatch.study import charts
from tapewatch.study.backtest import Backtest, Result
from tapewatch.study.document import write_whole
from tapewatch.study.drawing import drawdown_chart, drawn_trades, equity_chart
from tapewatch.study.trades import Trade
from tapewatch.study.words import count, moment, money, percent, price, ratio, span, utc

if TYPE_CHECKING:
    from jinja2 import Environment

#: Trades listed in the file, at most: with them it stays under three megabytes.
MOST_LISTED = 5_000
#: Up to so many the list is unfolded.
OPEN_UP_TO = 100
#: Rows of a table of parts, at most; those that won and lost most.
MOST_PARTS = 60
_FOLDER = Path(__file__).parent / "templates"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_PARTS = (
    ("equity", "Equity"), ("months", "Months"), ("bounds", "Costs and bounds"), ("groups", "Where it came from"),
    ("drawn", "Trades on candles"), ("trades", "Trades"), ("asked", "What was asked"),
)  # fmt: skip
_TABLES = (
    ("side", "By side", "Side"), ("exit_reason", "By reason of the exit", "Reason"),
    ("month", "By month of the entry", "Month"), ("hour", "By hour of the entry (UTC)", "Hour"),
    ("symbol", "By symbol", "Symbol"),
)  # fmt: skip


def write_report(path: Path, backtest: Backtest, found: Mapping[str, Any], result: Result) -> None:
    """Write the report of a backtest; `found` is its document.

    Raises:
        TapewatchError: the file cannot be written.
    """
    write_whole("--report", path, render(backtest, found, result).encode())


def render(backtest: Backtest, found: Mapping[str, Any], result: Result) -> str:
    """The report's HTML."""
    from markupsafe import Markup

    style = (_FOLDER / "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    listed = _listed(result.trades)
    return _environment().get_template("report.html").render(
        wide=charts.WIDTH,
        high=charts.HEIGHT,
        card_wide=charts.CARD_WIDTH,
        card_high=charts.CARD_HEIGHT,
        style=Markup(style),  # noqa: S704  (our own file)
        style_hash=f"sha256-{digest}",
        parts=_PARTS,
        version=found["hashes"]["version"],
        title=f"{found['strategy']}: backtest",
        subtitle=_subtitle(backtest, found),
        tiles=_tiles(found),
        equity=equity_chart(backtest, found, result),
        drawdown=drawdown_chart(backtest, result),
        month_names=_MONTHS,
        months=months_of(result),
        costs=_costs(found),
        figures=_figures(found["metrics"]),
        tables=_tables(found["metrics"]["by"]),
        skipped=[(why, f"{n:,}") for why, n in found["metrics"]["skipped"].items()],
        pauses=_pauses(found["pauses"]),
        drawn=drawn_trades(backtest, result.trades),
        trades=[_row(trade) for trade in listed],
        trades_note=_trades_note(len(listed), len(result.trades)),
        open_up_to=OPEN_UP_TO,
        asked=_asked(backtest, found),
    )  # fmt: skip


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


def _subtitle(backtest: Backtest, found: Mapping[str, Any]) -> list[str]:
    request, first_ms = backtest.plan.request, min(int(one.open_ms[0]) for one in backtest.candles)
    more = [f"{len(request.symbols) - 6} more"] if len(request.symbols) > 6 else []
    return [
        *request.symbols[:6],
        *more,
        request.venue,
        " ".join(request.intervals or backtest.plan.strategy.timeframes),
        f"{moment(first_ms)} to {moment(backtest.days_ms[-1])} UTC",
        count(found["bars"], "candle"),
        f"{found['account']['kind']} account",
    ]


def _tiles(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    figures, held = found["metrics"], found["buy_and_hold"]["net_pct"]
    days = count(figures["max_drawdown_days"], "day")
    won = f"{percent(figures['win_rate_low_pct'], 0)} to {percent(figures['win_rate_high_pct'], 0)}"

    def tile(name: str, text: str, value: float = 0.0, more: str = "") -> dict[str, Any]:
        return {"name": name, "text": text, "value": value, "more": more}

    return [
        tile("Net", percent(figures["net_pct"], 2, sign=True), figures["net_pct"], money(figures["final_equity"])),
        tile("Buy and hold", percent(held, 2, sign=True), held, "in equal parts"),
        tile("Trades", f"{found['trades']:,}", more=f"{figures['still_open']} still open"),
        tile("Won", percent(figures["win_rate_pct"], 1), more=f"{won} (95%)" if found["trades"] else ""),
        tile("Expectancy", ratio(figures["expectancy_r"], 3, " R"), more=money(figures["expectancy_quote"])),
        tile("Profit factor", ratio(figures["profit_factor"]), more=f"SQN {ratio(figures['sqn'])}"),
        tile("Deepest fall", percent(figures["max_drawdown_pct"], 2), more=f"{days} long"),
        tile("Sharpe", ratio(figures["sharpe"]), more=f"Sortino {ratio(figures['sortino'])}"),
    ]


def _costs(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    account, figures, bounds = found["account"], found["metrics"], found["bounds"]
    low, high = (percent(bounds[name]["net_pct"], 2, sign=True) for name in ("pessimistic", "optimistic"))
    return [
        ("Fees", f"{money(figures['fees'])}: {account['taker_bps']:g} bps, targets {account['maker_bps']:g} bps"),
        ("Slippage", f"{account['slippage_bps']:g} bps of every fill but a target's{_impact(account)}"),
        ("Funding", money(figures["funding"])),
        ("Bounds", f"{low} to {high}: {count(figures['ambiguous'], 'trade')} met stop and target in one candle, where "
         "the stop is assumed; the other bound assumes the target"),
    ]  # fmt: skip


def _impact(account: Mapping[str, Any]) -> str:
    return f", and an impact of {account['impact_bps']:g} bps" if account["impact_bps"] else ""


def _figures(figures: Mapping[str, Any]) -> list[list[tuple[str, str]]]:
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
    years, before = [], result.equity[0]
    for year in sorted({year for year, _ in ends}):
        final = [equity for (of_year, _), equity in ends.items() if of_year == year][-1]
        cells = [of_month.get((year, month)) for month in range(1, 13)]
        years.append({"name": year, "cells": cells, "whole": _change(before, final)})
        before = final
    return years


def _change(before: float, after: float) -> dict[str, Any]:
    value = (after / before - 1) * 100 if before > 0 else float("nan")
    return {"value": value, "text": ratio(value, 2, sign=True)}


def _tables(by: Mapping[str, Any]) -> list[dict[str, Any]]:
    tables = []
    for key, title, head in _TABLES:
        rows = list(by[key].items())
        note = ""
        if len(rows) > MOST_PARTS:
            note = f"the {MOST_PARTS} of {len(rows)} that won or lost most"
            rows = sorted(rows, key=lambda row: -abs(row[1]["net"]))[:MOST_PARTS]
        if key == "symbol":
            rows.sort(key=lambda row: -row[1]["net"])
        tables.append({"title": title, "head": head, "note": note, "rows": [_part(*row) for row in rows]})
    factors = [
        (f"{name} {met.replace('_', ' ')}", of) for name, parts in by["factor"].items() for met, of in parts.items()
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


def _pauses(pauses: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    return [(f"{moment(one['since_ms'])} to {moment(one['until_ms'])}", one["why"].replace("_", " ")) for one in pauses]


def _listed(trades: Sequence[Trade]) -> list[Trade]:
    return list(trades[-MOST_LISTED:])


def _trades_note(listed: int, all_of_them: int) -> str:
    if listed == all_of_them:
        return "In the order of their entries."
    return f"The last {listed:,} of {all_of_them:,}, in the order of their entries; --trades FILE writes all."


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


def _asked(backtest: Backtest, found: Mapping[str, Any]) -> list[tuple[str, str]]:
    plan, hashes = backtest.plan, found["hashes"]
    account = ", ".join(_setting(name, value) for name, value in found["account"].items())
    return [
        ("Strategy", found["strategy"]),
        ("Parameters", ", ".join(f"{name} {value:g}" for name, value in found["params"].items()) or "none"),
        ("Venue", plan.request.venue),
        ("Symbols", ", ".join(plan.request.symbols)),
        ("Watched", _universe(found["universe"])),
        ("Timeframes", ", ".join(plan.request.intervals or plan.strategy.timeframes)),
        ("Gate", "on" if plan.gate else "off: every candidate is traded"),
        ("Account", account),
        ("Candles", f"hash {hashes['data']}"),
        ("Configuration", f"hash {hashes['config']}"),
        ("Version", f"tapewatch {hashes['version']}"),
    ]


def _universe(universe: Mapping[str, Any]) -> str:
    rules = []
    if universe["min_volume_24h"] is not None:
        rules.append(f"who traded at least {universe['min_volume_24h']:,.0f} on the day before")
    if universe["max_symbols"] is not None:
        rules.append(f"the {universe['max_symbols']} most traded on the day before")
    gone = [name for name, of in universe["symbols"].items() if of["gone"]]
    left = f"; gone before the end: {', '.join(gone)}" if gone else ""
    return (" of ".join(reversed(rules)) or "all, as long as they have candles") + left


def _setting(name: str, value: Any) -> str:
    if name.endswith("_ms"):
        return f"{name.removesuffix('_ms')} {span(value)}"
    return f"{name} {_said(value)}"


def _said(value: object) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
