"""`tapewatch compare`: two strategies or parameter sets over the same candles, and whether one is better."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapewatch.cli import options
from tapewatch.cli.account import account_of, protections_of
from tapewatch.cli.asked import Workers, gathered
from tapewatch.cli.where import Where, where_of

if TYPE_CHECKING:
    from tapewatch.study.compare import Comparison, Difference, Side
    from tapewatch.study.settings import Account

    Protections = dict[str, Any]

_FIGURES = {
    "net_pct": ("net", "+.2f", "%"),
    "expectancy_r": ("expectancy", "+.3f", " R"),
    "step_sharpe": ("Sharpe", "+.2f", ""),
}


@gathered(where=where_of, account=account_of, protections=protections_of)
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A shipped strategy's name, or a file with one.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The other; the same again with other parameters will do.")],
    *,
    where: Where,
    set_a: Annotated[list[str] | None, typer.Option(help="Parameter of A, repeatable: name=number.")] = None,
    set_b: Annotated[list[str] | None, typer.Option(help="Parameter of B, repeatable: name=number.")] = None,
    account: Account,
    protections: Protections,
    bootstraps: Annotated[int, typer.Option(min=100, max=100_000, help="Draws for intervals and p.")] = 2_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws; the same gives the same again.")] = 0,
    workers: Workers = 1,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Trade two strategies over the same candles, and say whether one is better or it cannot be told.

    Example: tapewatch compare scalp scalp --set-b fast=12 --data candles --account perpetual
    """
    from tapewatch import strategies
    from tapewatch.study.compare import compare as compared

    first = where.plan(strategies.load(a, options.parameters(set_a, "--set-a")), account, protections)
    second = where.plan(strategies.load(b, options.parameters(set_b, "--set-b")), account, protections)
    with options.progress(len(first.request.symbols) + len(second.request.symbols), "compare") as done:
        found = compared((first, second), bootstraps, seed, done, workers)
    if as_json:
        options.print_json(found.document())
    else:
        _print_text(found)


def _print_text(found: Comparison) -> None:
    a_ahead, b_ahead, days = found.days
    together, falls = found.together, [side.metrics["max_drawdown_pct"] for side in (found.a, found.b)]
    lines = [
        found.sentence,
        f"  A          {_named(found.a)}",
        f"  B          {_named(found.b)}",
        f"  {'':<10} {'A':>12} {'B':>12} {'A over B':>12}  95% and p",
        *(_row(*_FIGURES[name], one) for name, one in found.differences.items()),
        f"  {'trades':<10} {len(found.a.trades):>12,} {len(found.b.trades):>12,}",
        f"  {'drawdown':<10} {falls[0]:>11.2f}% {falls[1]:>11.2f}%",
        f"  {'days':<10} A brought more on {a_ahead} of {days} with entries, B on {b_ahead}",
    ]
    if together.trades:
        lines.append(
            f"  {'in both':<10} {options.counted(together.trades, 'trade')}: {together.a_r:+.3f} R as A's, "
            f"{together.b_r:+.3f} R as B's; {together.only_a:,} of A alone, {together.only_b:,} of B alone"
        )
    if len(found.symbols) > 1:
        ahead = sum(net_a > net_b for _, net_a, _, net_b in found.symbols.values())
        lines.append(f"  {'symbols':<10} A brought more in {ahead} of {len(found.symbols)}; net of each")
        lines += [
            f"  {name:<10} {a:+12,.2f} {b:+12,.2f} {a - b:+12,.2f}" for name, (_, a, _, b) in found.symbols.items()
        ]
    sys.stdout.write("\n".join(lines) + "\n")


def _row(title: str, form: str, unit: str, one: Difference) -> str:
    of_a, of_b, (over, low, high), p = one
    a, b, between, lowest, highest = (_said(value, form, unit) for value in (of_a, of_b, over, low, high))
    return f"  {title:<10} {a:>12} {b:>12} {between:>12}  {lowest} to {highest}, p {_said(p, '.3f')}"


def _named(side: Side) -> str:
    strategy = side.plan.strategy
    return f"{strategy.name}: {', '.join(f'{name} {value:g}' for name, value in strategy.params.items()) or 'as it is'}"


def _said(value: float, form: str, unit: str = "") -> str:
    return "-" if math.isnan(value) else f"{value:{form}}{unit}"
