"""`tapewatch backtest`: a strategy's signals traded on paper over stored candles."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapewatch.cli import options
from tapewatch.cli.account import account_of, protections_of
from tapewatch.cli.asked import Set, Workers, gathered
from tapewatch.cli.where import Where, scoring_of, where_of
from tapewatch.errors import SetupError

if TYPE_CHECKING:
    from tapewatch.study.backtest import Plan
    from tapewatch.study.settings import Account

    Protections = dict[str, Any]


PAUSED_BY = {"daily_loss": "loss of a day", "max_drawdown": "drawdown", "losses": "losses in a row"}


@gathered(where=where_of, account=account_of, protections=protections_of)
def backtest(
    strategy: Annotated[str, typer.Option(help="A shipped strategy's name, or a YAML or Python file with one.")],
    *,
    where: Where,
    set_: Set = None,
    account: Account,
    protections: Protections,
    model: Annotated[
        Path | None, typer.Option(help="A scoring model whose threshold blocks signals, as it does live.")
    ] = None,
    trades: Annotated[Path | None, typer.Option(help="Write every trade: FILE.csv, .parquet or .jsonl.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write all of it, with charts, to one FILE.html.")] = None,
    workers: Workers = 1,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Trade a strategy's signals on paper, with fees and slippage.

    Example: tapewatch backtest --strategy scalp --data candles --symbols BTCUSDT --account perpetual
    """
    from tapewatch import strategies
    from tapewatch.study.document import check_files

    parameters = options.parameters(set_)
    check_files(trades, report)
    loaded = strategies.load(strategy, parameters)
    plan = where.plan(loaded, account, protections)
    plan = plan if model is None else _scored(plan, model)
    _run(plan, workers, trades, report, as_json=as_json)


def _scored(plan: Plan, model: Path) -> Plan:
    """The same with a model at its gate. Raises SetupError."""
    from dataclasses import replace

    if not plan.gate:
        raise SetupError("--model is asked by the gate, which --no-gate leaves out")
    return replace(plan, request=replace(plan.request, scoring=scoring_of(model, [plan.strategy.name])))


def _run(plan: Plan, workers: int, trades: Path | None, report: Path | None, *, as_json: bool) -> None:
    from tapewatch.study.backtest import Backtest
    from tapewatch.study.document import READINGS, document, write_trades

    with options.progress(len(plan.request.symbols) + len(READINGS), "backtest") as done:
        tried = Backtest(plan, done, workers)
        found, result = document(tried, done)
    if as_json:
        options.print_json(found)
    else:
        _print_text(found)
    if trades is not None:
        write_trades(trades, result.trades)
    if report is not None:
        from tapewatch.study.report import write_report

        write_report(report, tried, found, result)


def _print_text(found: Mapping[str, Any]) -> None:
    figures, account, bounds = found["metrics"], found["account"], found["bounds"]

    def said(name: str, form: str) -> str:
        return "-" if figures[name] != figures[name] else format(figures[name], form)

    model = found["model"]
    impact = f" and impact {account['impact_bps']:g} bps" if account["impact_bps"] else ""
    perpetual, of_symbols = account["kind"] == "perpetual", found["universe"]["symbols"].values()
    unpaid = perpetual and not any(of["funding_payments"] for of in of_symbols)
    funding = "no funding rates in the archive" if unpaid else f"funding {figures['funding']:,.2f}"
    lines = [
        f"{found['strategy']}: {options.counted(found['trades'], 'trade')} over "
        f"{options.counted(found['bars'], 'bar')}, {figures['still_open']} open",
        f"  net        {figures['net_pct']:+.2f}% ({figures['final_equity']:,.2f} of {account['cash']:,.2f}); "
        f"buy and hold {found['buy_and_hold']['net_pct']:+.2f}%",
        f"  costs      fees {figures['fees']:,.2f} ({account['taker_bps']:g} and {account['maker_bps']:g} bps), "
        f"slippage {account['slippage_bps']:g} bps{impact}, {funding}",
    ]
    if found["trades"]:
        lines += [
            f"  won        {said('win_rate_pct', '.1f')}% ({said('win_rate_low_pct', '.0f')}-"
            f"{said('win_rate_high_pct', '.0f')}%), expectancy {said('expectancy_r', '+.3f')} R, "
            f"profit factor {said('profit_factor', '.2f')}, SQN {said('sqn', '.2f')}",
            f"  daily      Sharpe {said('sharpe', '.2f')}, Sortino {said('sortino', '.2f')}, CAGR "
            f"{said('cagr_pct', '.1f')}%, drawdown {said('max_drawdown_pct', '.2f')}% for "
            f"{options.counted(figures['max_drawdown_days'], 'day')}, in the market {said('exposure_pct', '.1f')}%",
        ]
    if figures["ambiguous"]:
        low, high = bounds["pessimistic"]["net_pct"], bounds["optimistic"]["net_pct"]
        ambiguous = options.counted(figures["ambiguous"], "trade")
        lines.append(f"  bounds     {low:+.2f}% to {high:+.2f}%: {ambiguous} met stop and target in a bar")
    for why in dict.fromkeys(pause["why"] for pause in found["pauses"]):
        count = sum(pause["why"] == why for pause in found["pauses"])
        lines.append(f"  paused     {options.counted(count, 'time')}: {PAUSED_BY[why]}")
    if model is not None:
        lines.append(f"  model      a score of at least {model['at_least']:.1%} is asked of every signal")
    lines += [f"  not taken  {count}: {why}" for why, count in figures["skipped"].items()]
    if len(figures["by"]["symbol"]) > 1:
        lines += [
            f"  {name:<12} {options.counted(of['trades'], 'trade'):>13} {of['net']:+12,.2f} {of['expectancy_r']:+.3f} R"
            for name, of in figures["by"]["symbol"].items()
        ]
    sys.stdout.write("\n".join(lines) + "\n")
