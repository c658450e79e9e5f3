"""`tapewatch export`: what the ledger holds, for other programs."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from tapewatch.cli import options
from tapewatch.cli.setup import DEFAULT_PATHS, ConfigOption

app = typer.Typer(
    help="What the ledger holds, for other programs.\n\nExample: tapewatch export figures", no_args_is_help=True
)


@app.callback()
def _group() -> None:
    """One command would take the group's place."""


@app.command()
def figures(
    config: ConfigOption = None,
    from_: Annotated[str | None, typer.Option("--from", help="First sample: ISO (UTC) or ms.")] = None,
    to: Annotated[str | None, typer.Option(help="End of samples, excluded.")] = None,
    names: Annotated[
        list[str] | None, typer.Option(help="Only figures that begin so, with commas or repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per sample, not CSV.")] = False,
) -> None:
    """Print what runs counted and measured, minute by minute, as CSV: a line per figure and sample.

    Example: tapewatch export figures --from 2025-05-20 --names process_,tapewatch_bar_close
    """
    from tapewatch.config import load
    from tapewatch.store import Ledger

    period = options.period_ms(from_, to)
    begins = tuple(options.words(names))
    ledger = Ledger.open(load(config or DEFAULT_PATHS, os.environ).ledger.address, create=False)
    try:
        samples = (_chosen(sample, begins) for sample in ledger.figures.between(*period))
        if as_json:
            for sample in samples:
                options.print_json(sample)
        else:
            _print_csv(samples)
    finally:
        ledger.close()


def _chosen(sample: dict[str, Any], begins: tuple[str, ...]) -> dict[str, Any]:
    kept = {name: value for name, value in sample["figures"].items() if not begins or name.startswith(begins)}
    return sample | {"figures": kept}


def _print_csv(samples: Iterable[Mapping[str, Any]]) -> None:
    """A head, then a line for each figure."""
    sys.stdout.write("time,run_started,figure,value\n")
    for sample in samples:
        text = io.StringIO()
        times = _iso(sample["at_ms"]), _iso(sample["started_ms"])
        csv.writer(text, lineterminator="\n").writerows((*times, *each) for each in sample["figures"].items())
        sys.stdout.write(text.getvalue())


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
