"""The commands, each in a module that imports what it needs only when it runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from tapewatch import __version__

#: In the order of `--help`: each command, and the module that has a function of its name.
COMMANDS = {
    "demo": "demo",
    "run": "run",
    "init": "setup",
    "check": "setup",
    "simulate": "simulate",
    "download": "download",
    "signals": "signals",
    "backtest": "backtest",
    "optimize": "optimize",
    "compare": "compare",
    "walkforward": "walkforward",
    "replay": "replay",
    "why": "why",
    "trace": "trace",
    "mute": "mute",
    "maintenance": "maintenance",
    "universe": "universe",
    "status": "status",
    "positions": "positions",
    "report": "report",
    "bench": "bench",
}
#: And after them the groups of commands, each the `app` of the module of its name.
GROUPS = ("alerts", "archive", "config", "db", "export", "indicators", "model", "strategies")


def command_line(words: Sequence[str] = ()) -> typer.Typer:
    """All commands, or the one alone that `words` begin with: it need not wait for the others to be loaded."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    app.callback()(top)
    asked = words[0] if words else None
    alone = asked in COMMANDS or asked in GROUPS
    for name, module in COMMANDS.items():
        if not alone or name == asked:
            app.command()(getattr(import_module(f"tapewatch.cli.{module}"), name))
    for name in GROUPS:
        if not alone or name == asked:
            app.add_typer(import_module(f"tapewatch.cli.{name}").app, name=name)
    return app


def _version(*, wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"tapewatch {__version__}\n")
        raise typer.Exit


def top(
    version: Annotated[
        bool,
        typer.Option("--version", callback=lambda wanted: _version(wanted=wanted), is_eager=True, help="Print it."),
    ] = False,
) -> None:
    """Watches a crypto exchange's tape and sends each alert once, with its evidence.

    Example: tapewatch demo
    """
