"""The commands, each in a module that imports what it needs only when it runs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tapewatch import __version__
from tapewatch.cli import alerts, archive, config, db, export, indicators, strategies
from tapewatch.cli.backtest import backtest
from tapewatch.cli.bench import bench
from tapewatch.cli.demo import demo
from tapewatch.cli.download import download
from tapewatch.cli.maintenance import maintenance
from tapewatch.cli.mute import mute
from tapewatch.cli.positions import positions
from tapewatch.cli.replay import replay
from tapewatch.cli.run import run
from tapewatch.cli.setup import check, init
from tapewatch.cli.signals import signals
from tapewatch.cli.simulate import simulate
from tapewatch.cli.status import status
from tapewatch.cli.trace import trace
from tapewatch.cli.universe import universe
from tapewatch.cli.why import why

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(*, wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"tapewatch {__version__}\n")
        raise typer.Exit


@app.callback()
def top(
    version: Annotated[
        bool,
        typer.Option("--version", callback=lambda wanted: _version(wanted=wanted), is_eager=True, help="Print it."),
    ] = False,
) -> None:
    """Watches a crypto exchange's tape and sends each alert once, with its evidence.

    Example: tapewatch demo
    """


app.command()(demo)
app.command()(run)
app.command()(init)
app.command()(check)
app.command()(simulate)
app.command()(download)
app.command()(signals)
app.command()(backtest)
app.command()(replay)
app.command()(why)
app.command()(trace)
app.command()(mute)
app.command()(maintenance)
app.command()(universe)
app.command()(status)
app.command()(positions)
app.command()(bench)
app.add_typer(alerts.app, name="alerts")
app.add_typer(archive.app, name="archive")
app.add_typer(config.app, name="config")
app.add_typer(db.app, name="db")
app.add_typer(export.app, name="export")
app.add_typer(indicators.app, name="indicators")
app.add_typer(strategies.app, name="strategies")
