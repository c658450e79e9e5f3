"""`tapewatch export`: what the ledger holds, and candidates as tables, for other programs."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapewatch.cli import dataset, options
from tapewatch.cli.setup import DEFAULT_PATHS, ConfigOption

if TYPE_CHECKING:
    from tapewatch.store import Ledger

app = typer.Typer(
    help="What the ledger holds, and candidates as tables, for other programs.\n\nExample: tapewatch export figures",
    no_args_is_help=True,
)
app.command()(dataset.features)
app.command()(dataset.outcomes)


FromOption = Annotated[str | None, typer.Option("--from", help="From this time: ISO (UTC) or ms.")]
ToOption = Annotated[str | None, typer.Option("--to", help="Up to this time, excluded.")]
SymbolsOption = Annotated[list[str] | None, typer.Option(help="Only these symbols, with commas or repeated.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON line per row, not CSV.")]


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
    period = options.period_ms(from_, to)
    begins = tuple(options.words(names))
    with _opened(config) as ledger:
        samples = (_chosen(sample, begins) for sample in ledger.figures.between(*period))
        if as_json:
            for sample in samples:
                options.print_json(sample)
        else:
            _print_csv(samples)


@app.command()
def snapshots(
    config: ConfigOption = None,
    from_: FromOption = None,
    to: ToOption = None,
    symbols: SymbolsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print what markets were like at each signal and every quarter of an hour, as CSV.

    Example: tapewatch export snapshots --from 2025-05-20 --symbols BTCUSDT,ETHUSDT
    """
    period, chosen = options.period_ms(from_, to), options.words(symbols)
    with _opened(config) as ledger:
        _print_rows(ledger.market.snapshots(*period, chosen), _columns("market_snapshots"), "at_ms", as_json=as_json)


@app.command()
def candles(
    config: ConfigOption = None,
    from_: FromOption = None,
    to: ToOption = None,
    symbols: SymbolsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the candle of every candidate with the indicators of its strategies, as CSV; these are a JSON cell there.

    Example: tapewatch export candles --from 2025-05-20 --json
    """
    period, chosen = options.period_ms(from_, to), options.words(symbols)
    with _opened(config) as ledger:
        _print_rows(ledger.market.candles(*period, chosen), _columns("market_data"), "open_ms", as_json=as_json)


@app.command()
def metrics(
    config: ConfigOption = None,
    from_: FromOption = None,
    to: ToOption = None,
    strategies: Annotated[
        list[str] | None, typer.Option("--strategy", help="Only these strategies, with commas or repeated.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print what each day's signals came to, by strategy, side and timeframe, as CSV; a run counts once a day.

    Example: tapewatch export metrics --from 2025-05-01
    """
    period, chosen = options.period_ms(from_, to), options.words(strategies)
    with _opened(config) as ledger:
        _print_rows(ledger.metrics.between(*period, chosen), _columns("daily_metrics"), "day_ms", as_json=as_json)


@contextmanager
def _opened(config: list[Path] | None) -> Iterator[Ledger]:
    from tapewatch.config import load
    from tapewatch.store import Ledger

    ledger = Ledger.open(load(config or DEFAULT_PATHS, os.environ).ledger.address, create=False)
    try:
        yield ledger
    finally:
        ledger.close()


def _columns(table: str) -> list[str]:
    from tapewatch.store.dates import own_columns
    from tapewatch.store.schema import metadata

    return [column.name for column in own_columns(metadata.tables[table])]


def _print_rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], time: str, *, as_json: bool) -> None:
    """Rows as they are, or a head and lines; `time` is the column that these begin with, as ISO."""
    if as_json:
        for row in rows:
            options.print_json(row)
        return
    rest = [name for name in columns if name != time]
    sys.stdout.write(f"time,{','.join(rest)}\n")
    for row in rows:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow([_iso(row[time]), *(_cell(row[name]) for name in rest)])
        sys.stdout.write(text.getvalue())


def _cell(value: Any) -> Any:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False) if isinstance(value, dict) else value


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
