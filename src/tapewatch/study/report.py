"""A backtest as a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tapewatch.study.backtest import Backtest, Plan, Result
from tapewatch.study.document import write_whole
from tapewatch.study.drawing import drawdown_chart, drawn_trades, equity_chart, first_ms_of
from tapewatch.study.page import figures_of, months_of, render_page, tables_of
from tapewatch.study.words import count, moment, money, percent, ratio, span

_PARTS = (
    ("equity", "Equity"), ("months", "Months"), ("bounds", "Costs and bounds"), ("groups", "Where it came from"),
    ("drawn", "Trades on candles"), ("trades", "Trades"), ("asked", "What was asked"),
)  # fmt: skip


_FOOT = (
    "Paper trades over stored candles; no order was sent anywhere. The same candles, strategy and options give this "
    "file again, byte by byte. Every formula is in docs/backtest.md."
)


def write_report(path: Path, backtest: Backtest, found: Mapping[str, Any], result: Result) -> None:
    """Write the report of a backtest; `found` is its document.

    Raises:
        TapewatchError: the file cannot be written.
    """
    write_whole("--report", path, render(backtest, found, result).encode())


def render(backtest: Backtest, found: Mapping[str, Any], result: Result) -> str:
    """The report's HTML."""
    metrics = found["metrics"]
    return render_page(
        result.trades,
        "--trades FILE writes all",
        parts=_PARTS,
        version=found["hashes"]["version"],
        title=f"{found['strategy']}: backtest",
        subtitle=_subtitle(backtest, found),
        tiles=_tiles(found),
        equity=equity_chart(backtest, found, result),
        drawdown=drawdown_chart([first_ms_of(backtest), *result.days_ms], result.equity),
        months=months_of(result),
        costs=_costs(found),
        costs_title="Costs and bounds",
        figures=figures_of(metrics),
        tables=tables_of(metrics["by"]),
        skipped=[(why, f"{n:,}") for why, n in metrics["skipped"].items()],
        pauses=_pauses(found["pauses"]),
        drawn=drawn_trades(backtest, result.trades),
        asked=_asked(backtest, found),
        foot=_FOOT,
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


def _pauses(pauses: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    return [(f"{moment(one['since_ms'])} to {moment(one['until_ms'])}", one["why"].replace("_", " ")) for one in pauses]


def _asked(backtest: Backtest, found: Mapping[str, Any]) -> list[tuple[str, str]]:
    hashes = found["hashes"]
    return [
        ("Strategy", found["strategy"]),
        ("Parameters", ", ".join(f"{name} {value:g}" for name, value in found["params"].items()) or "none"),
        *asked_of(backtest.plan),
        ("Watched", _universe(found["universe"])),
        ("Candles", f"hash {hashes['data']}"),
        ("Configuration", f"hash {hashes['config']}"),
        ("Version", f"tapewatch {hashes['version']}"),
    ]


def asked_of(plan: Plan) -> list[tuple[str, str]]:
    """Where a strategy is tried and with what, as names and words."""
    account = msgspec.to_builtins(plan.account)
    return [
        ("Venue", plan.request.venue),
        ("Symbols", ", ".join(plan.request.symbols)),
        ("Timeframes", ", ".join(plan.request.intervals or plan.strategy.timeframes)),
        ("Gate", _gate(plan)),
        ("Account", ", ".join(_setting(name, value) for name, value in account.items())),
    ]


def _gate(plan: Plan) -> str:
    if not plan.gate:
        return "off: every candidate is traded"
    scoring = plan.request.scoring
    return "on" if scoring is None else f"on, with a model that asks for a score of {scoring.at_least:.1%}"


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
