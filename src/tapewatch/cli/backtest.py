"""`tapewatch backtest`: a strategy's signals traded on paper over stored candles."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tapewatch.cli import options
from tapewatch.errors import SetupError

if TYPE_CHECKING:
    from tapewatch.study.settings import Account


PAUSED_BY = {"daily_loss": "loss of a day", "max_drawdown": "drawdown", "losses": "losses in a row"}


def backtest(
    strategy: Annotated[str, typer.Option(help="A shipped strategy's name, or a YAML or Python file with one.")],
    data: Annotated[Path, typer.Option(help="Archive: <DIR>/<venue>/<SYMBOL>/<interval>.parquet.")],
    venue: Annotated[str | None, typer.Option(help="Folder in the archive; needed when it has several.")] = None,
    symbols: Annotated[list[str] | None, typer.Option(help="Symbols, with commas or repeated; default all.")] = None,
    min_volume_24h: Annotated[
        float | None, typer.Option(min=0.0, help="Quote units traded on the day before, to be watched on a day.")
    ] = None,
    max_symbols: Annotated[
        int | None, typer.Option(min=1, help="Watch the so many most traded on the day before.")
    ] = None,
    interval: Annotated[list[str] | None, typer.Option(help="Timeframe to trade, repeatable; default all.")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="First close: ISO (UTC) or ms.")] = None,
    to: Annotated[str | None, typer.Option(help="End of closes, excluded: ISO (UTC) or ms.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Parameter of the strategy, repeatable: name=number.")
    ] = None,
    history_start: Annotated[
        list[str] | None,
        typer.Option(help="Open of the timeframe's first bar (the others start as live), or INTERVAL=MS for each."),
    ] = None,
    account: Annotated[
        Literal["spot", "perpetual"], typer.Option(help="Spot sells nothing short and borrows nothing.")
    ] = "spot",
    cash: Annotated[float, typer.Option(min=1e-6, help="At the start, in quote units.")] = 10_000.0,
    risk: Annotated[str, typer.Option(help="Share of equity the way from fill to stop may cost.")] = "1%",
    size: Annotated[
        float | None, typer.Option(min=1e-6, help="Quote units in each position, instead of --risk.")
    ] = None,
    cap_symbol: Annotated[str, typer.Option(help="Most in one symbol, of equity times leverage.")] = "25%",
    cap_side: Annotated[str, typer.Option(help="Most long, and most short.")] = "100%",
    cap_total: Annotated[str, typer.Option(help="Most in all positions.")] = "100%",
    leverage: Annotated[float, typer.Option(min=1.0, max=125.0, help="Of a perpetual account.")] = 1.0,
    taker_bps: Annotated[float, typer.Option(min=0.0, max=1_000.0, help="Fee of entries and stops.")] = 10.0,
    maker_bps: Annotated[float, typer.Option(min=0.0, max=1_000.0, help="Fee of targets.")] = 10.0,
    slippage_bps: Annotated[float, typer.Option(min=0.0, max=1_000.0, help="Of every fill but a target's.")] = 2.0,
    impact_bps: Annotated[
        float, typer.Option(min=0.0, max=10_000.0, help="Of an order as large as its candle's turnover, besides.")
    ] = 0.0,
    levels: Annotated[
        Literal["signal", "fill"], typer.Option(help="What stop and targets are measured from.")
    ] = "signal",
    on_opposite: Annotated[
        Literal["ignore", "close", "reverse"], typer.Option(help="What an opposite signal does to a position.")
    ] = "ignore",
    daily_loss: Annotated[str | None, typer.Option(help="Lost in a UTC day, pauses entries until the next.")] = None,
    max_drawdown: Annotated[
        str | None, typer.Option(help="Lost from the peak, pauses entries for its time (7d): 15% or 15%:7d.")
    ] = None,
    losses: Annotated[
        str | None, typer.Option(help="So many in a row pause entries for their time (12h): 5 or 5:12h.")
    ] = None,
    after_stop: Annotated[
        str | None, typer.Option(help="For which a symbol that was stopped is not entered, as 30m.")
    ] = None,
    instruments: Annotated[
        Path | None, typer.Option(help="An exchangeInfo answer, for ticks, steps and least notionals.")
    ] = None,
    no_gate: Annotated[bool, typer.Option("--no-gate", help="Trade what the gate blocks, too.")] = False,
    trades: Annotated[Path | None, typer.Option(help="Write every trade: FILE.csv, .parquet or .jsonl.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write all of it, with charts, to one FILE.html.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes that share the symbols.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Trade a strategy's signals on paper, with fees and slippage.

    Example: tapewatch backtest --strategy scalp --data candles --symbols BTCUSDT --account perpetual
    """
    if account == "spot" and leverage != 1.0:
        raise SetupError("--leverage: a spot account borrows nothing; --account perpetual does")
    from tapewatch.cli import amounts
    from tapewatch.study.settings import Account

    chosen = Account(
        kind=account,
        cash=cash,
        risk=amounts.share(risk, "--risk"),
        size_quote=size,
        cap_symbol=amounts.share(cap_symbol, "--cap-symbol"),
        cap_side=amounts.share(cap_side, "--cap-side"),
        cap_total=amounts.share(cap_total, "--cap-total"),
        leverage=leverage,
        taker_bps=taker_bps,
        maker_bps=maker_bps,
        slippage_bps=slippage_bps,
        impact_bps=impact_bps,
        levels=levels,
        on_opposite=on_opposite,
        **_protections(daily_loss, max_drawdown, losses, after_stop),
    )
    times = options.period_ms(from_, to)
    _run(
        chosen,
        strategy,
        options.parameters(set_),
        data,
        options.venue_of(data, venue),
        options.words(symbols),
        options.words(interval),
        times,
        options.history_starts(history_start),
        instruments,
        trades,
        report,
        (min_volume_24h, max_symbols),
        gate=not no_gate,
        workers=workers,
        as_json=as_json,
    )


def _protections(
    daily_loss: str | None, max_drawdown: str | None, losses: str | None, after_stop: str | None
) -> dict[str, Any]:
    from tapewatch.cli import amounts
    from tapewatch.study.settings import Account

    found: dict[str, Any] = {}
    if daily_loss is not None:
        found["daily_loss"] = amounts.share(daily_loss, "--daily-loss", 1.0)
    if max_drawdown is not None:
        drawdown = amounts.share_and_pause(max_drawdown, "--max-drawdown", Account.drawdown_pause_ms)
        found["max_drawdown"], found["drawdown_pause_ms"] = drawdown
    if losses is not None:
        found["losses"], found["losses_pause_ms"] = amounts.count_and_pause(losses, "--losses", Account.losses_pause_ms)
    if after_stop is not None:
        found["after_stop_ms"] = amounts.duration_ms(after_stop, "--after-stop")
    return found


def _run(
    account: Account,
    name: str,
    parameters: list[tuple[str, float]],
    data: Path,
    venue: str,
    symbols: list[str],
    intervals: list[str],
    times: tuple[int | None, int | None],
    starts: dict[int, int],
    instruments: Path | None,
    trades: Path | None,
    report: Path | None,
    rules: tuple[float | None, int | None],
    *,
    gate: bool,
    workers: int,
    as_json: bool,
) -> None:
    from tapewatch import strategies
    from tapewatch.study.backtest import Backtest, Plan
    from tapewatch.study.document import READINGS, check_files, document, write_trades
    from tapewatch.study.instruments import read
    from tapewatch.study.membership import rules_of, within
    from tapewatch.study.signals import Request

    check_files(trades, report)
    loaded = strategies.load(name, parameters)
    for interval in intervals:
        if interval not in loaded.timeframes:
            has = ", ".join(loaded.timeframes)
            raise SetupError(f"--interval: no timeframe {interval}; {loaded.name} has {has}")
    watched = [symbol for symbol in options.symbols_of(data, venue, symbols) if loaded.watches(symbol)]
    if not symbols:  # who was not named need not have been there
        watched = within(data, venue, watched, *times) or watched[:1]
    if not watched:
        raise SetupError(f"--symbols: {loaded.name} watches none of them")
    known = read(instruments) if instruments is not None else {}
    request = Request(data, venue, watched, intervals, *times, starts=starts)
    plan = Plan(loaded, request, account, known, gate, rules_of(*rules))
    with options.progress(len(watched) + len(READINGS), "backtest") as done:
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

    impact = f" and impact {account['impact_bps']:g} bps" if account["impact_bps"] else ""
    lines = [
        f"{found['strategy']}: {options.counted(found['trades'], 'trade')} over "
        f"{options.counted(found['bars'], 'bar')}, {figures['still_open']} open",
        f"  net        {figures['net_pct']:+.2f}% ({figures['final_equity']:,.2f} of {account['cash']:,.2f}); "
        f"buy and hold {found['buy_and_hold']['net_pct']:+.2f}%",
        f"  costs      fees {figures['fees']:,.2f} ({account['taker_bps']:g} and {account['maker_bps']:g} bps), "
        f"slippage {account['slippage_bps']:g} bps{impact}, funding {figures['funding']:,.2f}",
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
    lines += [f"  not taken  {count}: {why}" for why, count in figures["skipped"].items()]
    if len(figures["by"]["symbol"]) > 1:
        lines += [
            f"  {name:<12} {options.counted(of['trades'], 'trade'):>13} {of['net']:+12,.2f} {of['expectancy_r']:+.3f} R"
            for name, of in figures["by"]["symbol"].items()
        ]
    sys.stdout.write("\n".join(lines) + "\n")
