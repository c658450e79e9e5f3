"""`tapewatch archive`: what is stored, whether it is sound, and candles from files of other programs."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tapewatch.cli import options
from tapewatch.errors import DataError, SetupError

if TYPE_CHECKING:
    from tapewatch.archive.intake import Hint

app = typer.Typer(
    no_args_is_help=True, help="Stored candles: list, verify, import.\n\nExample: tapewatch archive ls --data candles"
)

_DATA = typer.Option(help="The archive's folder.")
_JSON = typer.Option("--json", help="JSON lines on stdout.")


@app.command("ls")
def list_series(
    data: Annotated[Path, _DATA],
    venue: Annotated[str | None, typer.Option(help="Only this venue.")] = None,
    symbols: Annotated[list[str] | None, typer.Option(help="Only these, with commas or repeated.")] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Every stored series: its span, how many candles, how many are missing between them.

    Example: tapewatch archive ls --data candles --json
    """
    from tapewatch.archive.listing import listing

    wanted = set(options.words(symbols))
    count = 0
    for line in listing(data):
        if (venue is not None and line.venue != venue) or (wanted and line.symbol not in wanted):
            continue
        count += 1
        if as_json:
            options.print_json(line)
            continue
        span = f"{options.iso(line.first_ms)} to {options.iso(line.last_ms)}"
        holes = f"  {line.missing:,} missing in {options.counted(line.gaps, 'gap')}" if line.gaps else ""
        sys.stdout.write(
            f"{line.venue:<13} {line.symbol:<14} {line.interval:>7}  {span}  {line.rows:>10,} rows{holes}\n"
        )
    if not as_json:
        sys.stdout.write(f"{count} series\n")


@app.command()
def check(
    data: Annotated[Path, _DATA],
    venue: Annotated[str | None, typer.Option(help="Only this venue.")] = None,
    symbols: Annotated[list[str] | None, typer.Option(help="Only these, with commas or repeated.")] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Look for gaps, duplicates, wrong order, impossible candles, damaged files and intervals that contradict others.

    Exit code 1 when anything is found.

    Example: tapewatch archive check --data candles
    """
    from itertools import chain

    from tapewatch.archive import check as checks

    series, rates = checks.chosen(data, venue, options.words(symbols))
    found = 0
    lines = chain(*(checks.check(data, one) for one in series), *(checks.check_funding(data, *pair) for pair in rates))
    for line in lines:
        found += 1
        if as_json:
            options.print_json(line)
        else:
            place = f"{line.venue} {line.symbol} {line.interval}"
            said = checks.FINDINGS[line.finding]
            sys.stdout.write(f"{place}: {line.finding}: {line.count:,} {said} ({line.text})\n")
    count = len(series) + len(rates)
    if as_json:
        options.print_json({"series": count, "findings": found})
    else:
        sys.stdout.write(f"{count} series, {found or 'no'} finding{'s' * (found != 1)}\n")
    if found:
        raise typer.Exit(1)


@app.command("import")
def import_files(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="CSV, zip, gz, Feather, Parquet or JSON.")],
    data: Annotated[Path, typer.Option(help="Archive to fill; made when it is not there.")],
    venue: Annotated[str | None, typer.Option(help="Default: as the name says, else binance_spot.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Default: as the file's name says.")] = None,
    interval: Annotated[
        str | None, typer.Option(help="Default: as the name says, or as far as rows are apart.")
    ] = None,
    prefer: Annotated[
        Literal["stored", "new"], typer.Option(help="Which candle is kept where a stored one has other values.")
    ] = "stored",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per file.")] = False,
) -> None:
    """Candles from files of other programs, merged with what is stored; exit code 1 when a file could not be read.

    Example: tapewatch archive import BTCUSDT-1m-2024-05.zip BTC_USDT-1m.feather --data candles
    """
    from tapewatch.archive.intake import Hint

    failed = False
    for path in files:
        try:
            line = _import(data, path, Hint(venue, symbol, interval), prefer)
        except DataError as error:
            failed = True
            line = {"file": str(path), "error": str(error)}
            sys.stderr.write(f"tapewatch: {error}\n")
        if as_json:
            options.print_json(line)
        elif "error" not in line:
            _tell(line)
    if failed:
        raise typer.Exit(1)


def _import(data: Path, path: Path, asked: Hint, prefer: Literal["stored", "new"]) -> dict[str, Any]:
    from tapewatch.archive import intake, writer
    from tapewatch.archive.intervals import interval_of
    from tapewatch.archive.manifest import LOCAL, Import, Manifest, Series

    named = intake.hint_of(path)
    venue, symbol = asked.venue or named.venue or "binance_spot", asked.symbol or named.symbol
    frame = intake.read_file(path)
    apart = intake.spacing(frame)
    chosen = asked.interval or named.interval or apart
    if symbol is None:
        raise SetupError(f"{path}: the name does not say of what the candles are; --symbol does")
    if chosen is None:
        raise SetupError(f"{path}: neither the name nor the times say how long a candle is; --interval does")
    length = interval_of(chosen)
    if asked.interval is None and apart is not None and interval_of(apart).length_ms > length.length_ms:
        raise SetupError(f"{path} is named {chosen}, but its rows are {apart} apart; --interval says what they are")
    report = writer.merge(data, venue, symbol, length.name, frame, prefer=prefer)
    merged = report.added + report.same + report.filled + report.conflicts
    if not merged:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(report.refused.items()))
        raise DataError(f"{path}: none of its {len(frame)} rows is a candle" + (f" ({reasons})" if reasons else ""))
    opens = frame["open_time"].drop_nulls()
    first, last = opens.min(), opens.max()
    assert isinstance(first, int)
    assert isinstance(last, int)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    kept = Import(LOCAL + path.name, sha256, first, length.close_ms(last), merged)
    Manifest(data).imported(Series(venue, symbol, length.name), kept)
    line = {"file": str(path), "venue": venue, "symbol": symbol, "interval": length.name, "rows": len(frame)}
    line |= {name: getattr(report, name) for name in ("added", "same", "filled", "conflicts", "first_conflict_ms")}
    return line | {"refused": report.refused}


def _tell(line: dict[str, Any]) -> None:
    counts = ", ".join(f"{line[name]:,} {name}" for name in ("added", "same", "filled", "conflicts") if line[name])
    series = f"{line['venue']} {line['symbol']} {line['interval']}"
    sys.stdout.write(f"{line['file']}: {series}, {options.counted(line['rows'], 'row')}: {counts or 'nothing'}\n")
    if line["conflicts"]:
        sys.stdout.write(f"    the first conflict is at {options.iso(line['first_conflict_ms'])}\n")
    for reason, count in sorted(line["refused"].items()):
        sys.stdout.write(f"    {count:,} refused: {reason}\n")
