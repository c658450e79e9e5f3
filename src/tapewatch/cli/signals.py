"""`tapewatch signals`: candidates on stored candles, or those a run has stored."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tapewatch.cli import options
from tapewatch.errors import SetupError


def signals(
    strategy: Annotated[str | None, typer.Option(help="A shipped strategy's name, or a YAML file with one.")] = None,
    data: Annotated[Path | None, typer.Option(help="Archive: <DIR>/<venue>/<SYMBOL>/<interval>.parquet.")] = None,
    venue: Annotated[str | None, typer.Option(help="Folder in the archive; needed when it has several.")] = None,
    symbols: Annotated[list[str] | None, typer.Option(help="Symbols, with commas or repeated; default all.")] = None,
    interval: Annotated[list[str] | None, typer.Option(help="Timeframe to evaluate, repeatable; default all.")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="First close: ISO (UTC) or ms.")] = None,
    to: Annotated[str | None, typer.Option(help="End of closes, excluded: ISO (UTC) or ms.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Parameter of the strategy, repeatable: name=number.")
    ] = None,
    history_start: Annotated[
        list[str] | None,
        typer.Option(help="Open of the timeframe's first bar (the others start as live), or INTERVAL=MS for each."),
    ] = None,
    stored: Annotated[bool, typer.Option("--stored", help="List the signals of a ledger instead.")] = False,
    config: Annotated[list[Path] | None, typer.Option("--config", "-c", help="With --stored: whose ledger.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per signal on stdout.")] = False,
) -> None:
    """Every bar on which a strategy's rule fires.

    Example: tapewatch signals --strategy scalp --data candles --symbols BTCUSDT --interval 1m --json
    """
    intervals = options.words(interval)
    times = options.moment_ms(from_, "--from"), options.moment_ms(to, "--to")
    if stored:
        if data is not None:
            raise SetupError("--stored lists a ledger's signals; it takes no --data")
        lines = _stored(config or [Path("tapewatch.yaml")], strategy, options.words(symbols), intervals, times)
    else:
        if strategy is None or data is None:
            raise SetupError("--strategy and --data say what to look for and where (or --stored with -c)")
        lines = _found(strategy, data, venue, symbols, intervals, times, set_, history_start)
    _print(lines, as_json=as_json)


def _found(
    strategy: str,
    data: Path,
    venue: str | None,
    symbols: list[str] | None,
    intervals: list[str],
    times: tuple[int | None, int | None],
    settings: list[str] | None,
    starts: list[str] | None,
) -> Iterable[Any]:
    from tapewatch import strategies
    from tapewatch.study.signals import Request, find

    loaded = strategies.load(strategy, options.parameters(settings))
    for name in intervals:
        if name not in loaded.timeframes:
            raise SetupError(
                f"--interval: {loaded.name} has no timeframe {name}; it has {', '.join(loaded.timeframes)}"
            )
    venue = options.venue_of(data, venue)
    chosen = options.symbols_of(data, venue, symbols)
    request = Request(data, venue, chosen, intervals, *times, options.history_starts(starts))
    return find(loaded, request, progress=_progress(len(chosen)))


def _progress(symbols: int) -> Any:
    """A function that shows one more symbol as done; nothing is shown when stderr is not a terminal."""
    if not sys.stderr.isatty() or symbols < 2:
        return lambda: None
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task("symbols", total=symbols)
    bar.start()

    def done() -> None:
        bar.advance(task)
        if bar.finished:
            bar.stop()

    return done


def _stored(
    config: list[Path],
    strategy: str | None,
    symbols: list[str],
    intervals: list[str],
    times: tuple[int | None, int | None],
) -> Iterable[Mapping[str, Any]]:
    import os

    from tapewatch.config import load
    from tapewatch.store import Ledger

    ledger = Ledger.open(load(config, os.environ).ledger.url, create=False)
    try:
        yield from ledger.stored_signals(
            symbols=symbols,
            strategies=[strategy] if strategy else [],
            timeframes=intervals,
            from_ms=times[0],
            to_ms=times[1],
        )
    finally:
        ledger.close()


def _print(lines: Iterable[Any], *, as_json: bool) -> None:
    count = 0
    for line in lines:
        count += 1
        if as_json:
            options.print_json(line)
        else:
            _print_text(line)
    if not as_json:
        sys.stdout.write(f"{count} signal{'s' * (count != 1)}\n")


def _print_text(line: Any) -> None:
    import msgspec

    signal = line if isinstance(line, Mapping) else msgspec.to_builtins(line)
    state = signal.get("state") or ("passed" if all(v["pass"] for v in signal["verdicts"]) else "blocked")
    blocked = ", ".join(verdict["check"] for verdict in signal["verdicts"] if not verdict["pass"])
    targets = " ".join(f"{target['price']:.10g}" for target in signal["targets"])
    sys.stdout.write(
        f"{options.iso(signal['close_ms'])}  {signal['symbol']:<12} {signal['timeframe']:>3} {signal['strategy']} "
        f"{signal['side']:<5} entry {signal['entry']:.10g} stop {signal['stop']:.10g} target {targets}  "
        f"{signal['confidence']['met']}/{signal['confidence']['asked']} strength {signal['strength']:g}  "
        f"{state}{f' ({blocked})' if blocked else ''}\n"
    )
