"""`tapewatch positions`: what the paper account holds, held, and did not take."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapewatch.cli import options
from tapewatch.cli.portfolio import portfolio
from tapewatch.cli.setup import DEFAULT_PATHS, ConfigOption
from tapewatch.errors import SetupError

if TYPE_CHECKING:
    from rich.table import Table

#: Where nothing says how wide the screen is.
WIDTH = 200


def positions(
    config: ConfigOption = None,
    closed: Annotated[bool, typer.Option("--closed", help="Those that were closed.")] = False,
    skipped: Annotated[bool, typer.Option("--skipped", help="Signals that led to no position, and why.")] = False,
    symbols: Annotated[list[str] | None, typer.Option(help="Symbols, with commas or repeated; default all.")] = None,
    strategy: Annotated[list[str] | None, typer.Option(help="Strategies, with commas or repeated.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the newest so many.")] = None,
    account: Annotated[
        bool, typer.Option("--account", help="Only the account: the last days, drawdown, symbols and strategies.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON line per position, or the account's.")] = False,
) -> None:
    """List paper positions, open and pending ones by default, and the account.

    Example: tapewatch positions --closed --limit 20
    """
    if closed and skipped:
        raise SetupError("--closed and --skipped: one or the other")
    states = ("closed",) if closed else ("skipped",) if skipped else ("pending", "open")
    rows, found = _read(config, states, options.words(symbols), options.words(strategy), limit, whole=account)
    if json:
        for line in [found] if account and found is not None else [] if account else rows:
            options.print_json(line)
        return
    if not account and rows:
        _print(_skipped(rows) if skipped else _closed(rows) if closed else _open(rows))
    if not account and skipped:
        counts = Counter(row["reason"] for row in rows)
        sys.stdout.write("".join(f"{count:>6} {reason}\n" for reason, count in counts.most_common()))
    sys.stdout.write(f"{_account_line(found)}\n")
    if account and found is not None:
        _print_portfolio(found)


def _read(
    config: Any,
    states: Sequence[str],
    symbols: Sequence[str],
    strategies: Sequence[str],
    limit: int | None,
    *,
    whole: bool,
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Positions and the account of a configuration's ledger."""
    from tapewatch.config import load
    from tapewatch.store import Ledger

    loaded = load(config or DEFAULT_PATHS, os.environ)
    venue = loaded.exchange.venue
    ledger = Ledger.open(loaded.ledger.address, create=False)
    try:
        rows = ledger.paper.positions(venue, states=states, symbols=symbols, strategies=strategies, limit=limit)
        account = ledger.paper.standing(venue)
        held = ledger.paper.positions(venue, states=("open", "closed")) if whole else []
        days = ledger.paper.days(venue) if whole else []
    finally:
        ledger.close()
    if account is not None and whole:
        account |= portfolio(account, days, held)
    return rows, account


def _account_line(account: dict[str, Any] | None) -> str:
    if account is None:
        return "no paper account yet; a section `paper` in the configuration gives a run one"
    net = Decimal(account["equity"]) - Decimal(account["start_cash"])
    words = [
        f"equity {_money(account['equity'])} ({_signed(net)} since {options.iso(account['started_ms'])})",
        f"cash {_money(account['cash'])}",
        f"{account['open']} open",
        f"open risk {_money(account['open_risk'])}",
    ]
    if account["paused_until_ms"]:
        words.append(f"entries paused until {options.iso(account['paused_until_ms'])}: {account['paused_why']}")
    return f"account: {', '.join(words)}"


def _print_portfolio(found: dict[str, Any]) -> None:
    """The last days, how deep it fell, and what each symbol and strategy came to."""
    sys.stdout.write(
        f"drawdown: {found['drawdown_pct']:.2f}% below its highest, {found['max_drawdown_pct']:.2f}% at the deepest\n\n"
    )
    days = _table("period", "=net", "=closed", "=won")
    for name, one in found["periods"].items():
        days.add_row(name, _signed(Decimal(one["net"])), str(one["closed"]), str(one["won"]))
    _print(days)
    for name in ("symbol", "strategy"):
        table = _table(name, "=open", "=closed", "=won", "=net", "=mean R")
        for part, one in found[f"by_{name}"].items():
            counts = (str(one[key]) for key in ("open", "closed", "won"))
            table.add_row(part, *counts, _signed(Decimal(one["net"])), _in_r(one["r"]))
        if table.row_count:
            sys.stdout.write("\n")
            _print(table)


def _open(rows: Sequence[dict[str, Any]]) -> Table:
    table = _table("symbol", "side", "strategy", "since", "=held", "=entry", "=last", "=stop", "=targets", "=net", "=R")
    for row in rows:
        named = row["symbol"], row["side"], f"{row['strategy']} {row['timeframe']}"
        if row["state"] == "pending":
            table.add_row(*named, f"pending since {options.iso(row['decided_ms'])}")
            continue
        targets = ", ".join(leg["price"] for leg in row["targets"])
        net = Decimal(row["net"]) + Decimal(row["unrealised"])
        table.add_row(
            *named, options.iso(row["entry_ms"]), row["held"], row["entry"], row["mark"], row["stop"], targets,
            _signed(net), _in_r(row["r"]),
        )  # fmt: skip
    return table


def _closed(rows: Sequence[dict[str, Any]]) -> Table:
    table = _table(
        "symbol", "side", "strategy", "entered", "closed", "=quantity", "=entry", "=exit", "by", "=net", "=R"
    )
    for row in rows:
        exits = ", ".join(dict.fromkeys(fill["price"] for fill in row["fills"] if fill["number"]))
        late = " (late)" if any(fill["late"] for fill in row["fills"]) else ""
        table.add_row(
            row["symbol"], row["side"], f"{row['strategy']} {row['timeframe']}", options.iso(row["entry_ms"]),
            options.iso(row["closed_ms"]), row["quantity"], row["entry"], exits, f"{row['reason']}{late}",
            _signed(Decimal(row["net"])), _in_r(row["r"]),
        )  # fmt: skip
    return table


def _skipped(rows: Sequence[dict[str, Any]]) -> Table:
    table = _table("symbol", "side", "strategy", "decided", "why")
    for row in rows:
        named = row["symbol"], row["side"], f"{row['strategy']} {row['timeframe']}"
        table.add_row(*named, options.iso(row["decided_ms"]), row["reason"])
    return table


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.removeprefix("="), justify="right" if column[0] == "=" else "left", no_wrap=True)
    return table


def _print(table: Table) -> None:
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else WIDTH, markup=False, highlight=False)
    console.print(table)


def _money(text: str) -> str:
    return f"{Decimal(text):,.2f}"


def _signed(value: Decimal) -> str:
    return f"{value:+,.2f}"


def _in_r(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"
