"""`tapewatch indicators`: the functions of the strategy language, and one of them in full."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tapewatch.cli import options

app = typer.Typer()


@app.callback(invoke_without_command=True)
def catalogue(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="One JSON line per function.")] = False
) -> None:
    """The functions of the strategy language.

    Example: tapewatch indicators
    """
    if context.invoked_subcommand is not None:
        return
    from tapewatch.strategy import catalogue as functions

    described = [functions.describe(name) for name in functions.names()]
    if as_json:
        for one in described:
            options.print_json({"name": one.name, "signature": one.signature, "summary": one.summary})
        return
    width = max(len(one.signature) for one in described)
    for one in described:
        sys.stdout.write(f"{one.signature:<{width}}  {one.summary}\n")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A function's name, as ema.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show one function: its formula, parameters, members, seed, first value, settling, source and an example.

    Example: tapewatch indicators show macd
    """
    from tapewatch.strategy.catalogue import describe

    one = describe(name)
    if as_json:
        options.print_json(one)
        return
    write = sys.stdout.write
    write(f"{one.signature}\n{one.summary}\n\nformula: {one.formula}\n")
    for parameter, meaning in one.parameters.items():
        write(f"parameter {parameter}: {meaning}\n")
    for member, unit in one.units.items():
        label = "value" if member == "value" else f"member .{member}"
        write(f"{label}: {'in units of the price' if unit == 'price' else f'a {unit}'}\n")
    write(f"seed: {one.seed}\nsource: {one.source}\nexample: {one.example}\n")
    write(f"first value of the example: on bar {one.first_valid}, counted from 0\n")
    settled = f"after {one.settling} bars of 1m" if one.settling is not None else "never: how it began keeps mattering"
    write(f"the example is settled: {settled}\n")
