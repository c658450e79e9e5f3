"""`tapewatch export features` and `outcomes`: candidates as tables, from stored candles or from a ledger."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapewatch.cli import options
from tapewatch.cli.asked import From, HistoryStart, MaybeData, Set, Symbols, To, Venue, Workers, gathered
from tapewatch.cli.setup import DEFAULT_PATHS
from tapewatch.errors import SetupError
from tapewatch.model import INTERVAL_NAMES

if TYPE_CHECKING:
    from tapewatch.model import Signal
    from tapewatch.strategy import Strategy
    from tapewatch.study.dataset import Dataset
    from tapewatch.study.labels import Label
    from tapewatch.study.signals import Request

Out = Annotated[
    Path | None, typer.Option(help="Write FILE.parquet or FILE.csv, and FILE.schema.json that says what is in it.")
]
JsonRows = Annotated[bool, typer.Option("--json", help="One JSON line per row, not CSV; with --out one on the file.")]


@dataclass(frozen=True)
class Stored:
    """The candidates that a run has stored, with what it knew of them."""

    strategy: Strategy
    ledger: str
    venue: str
    symbols: list[str]
    intervals: list[str]
    times: tuple[int | None, int | None]

    def candidates(self) -> Iterator[Signal]:
        """By close, with their surroundings."""
        return (signal for signal, _ in self.labelled())

    def labelled(self) -> Iterator[tuple[Signal, Label | None]]:
        """With what became of them, after what a round trip cost then. Raises StoreError."""
        from tapewatch.store import Ledger

        from_ms, to_ms = self.times
        with closing(Ledger.open(self.ledger, create=False)) as ledger:
            yield from ledger.scores.labelled(
                self.venue,
                self.strategy.name,
                symbols=self.symbols,
                timeframes=self.intervals,
                from_ms=from_ms,
                to_ms=to_ms,
            )

    def about(self) -> dict[str, Any]:
        """What a table of them was made of, empty lists for all there were."""
        told = _about(self.strategy, self.symbols, self.intervals, self.times)
        return {"source": "ledger", "venue": self.venue, **told}


@dataclass(frozen=True)
class Searched:
    """The candidates on stored candles."""

    strategy: Strategy
    request: Request
    workers: int

    @property
    def intervals(self) -> Sequence[str]:
        """Those asked for, empty for all of the strategy's."""
        return self.request.intervals

    def candidates(self) -> Iterator[Signal]:
        """By close, with what candles tell of their surroundings."""
        from tapewatch.study.features import surrounded

        return surrounded(self.strategy, self.request, self._found, workers=self.workers)

    def labelled(self, cost_bps: float) -> Iterator[tuple[Signal, Label | None]]:
        """With what became of them after costs."""
        from tapewatch.study.labels import labels_of
        from tapewatch.study.outcomes import outcomes_of

        known = outcomes_of(self.strategy, self.request, self._found, cost_bps, workers=self.workers, one_in=None)
        return labels_of(known)

    @cached_property
    def _found(self) -> list[Signal]:
        from tapewatch.study.signals import find

        with options.progress(len(self.request.symbols), "symbols") as done:
            return list(find(self.strategy, self.request, progress=done, workers=self.workers))

    def about(self) -> dict[str, Any]:
        """What a table of them was made of."""
        one = self.request
        times = one.from_ms, one.to_ms
        told = _about(self.strategy, one.symbols, one.intervals or self.strategy.timeframes, times)
        starts = {INTERVAL_NAMES.get(frame_ms, "timeframe"): start_ms for frame_ms, start_ms in one.starts.items()}
        return {"source": "candles", "venue": one.venue, **told, "history_start_ms": starts}


Source = Stored | Searched


def source_of(
    *,
    strategy: Annotated[
        str, typer.Option(help="A shipped strategy's name, or a YAML or Python file; with --stored a configured one.")
    ],
    data: MaybeData = None,
    venue: Venue = None,
    symbols: Symbols = None,
    interval: Annotated[list[str] | None, typer.Option(help="Timeframe, repeatable; default all.")] = None,
    from_: From = None,
    to: To = None,
    set_: Set = None,
    history_start: HistoryStart = None,
    workers: Workers = 1,
    stored: Annotated[bool, typer.Option("--stored", help="Of the signals of a ledger instead.")] = False,
    config: Annotated[list[Path] | None, typer.Option("--config", "-c", help="With --stored: whose ledger.")] = None,
) -> Source:
    """What these options mean. Raises SetupError."""
    intervals, times = options.words(interval), options.period_ms(from_, to)
    if stored:
        given = {"--data": data, "--venue": venue, "--set": set_, "--history-start": history_start}
        for name, value in given.items():
            if value:
                raise SetupError(f"--stored is of what a run has found and stored; {name} is of stored candles")
        return _stored(config, strategy, options.words(symbols), intervals, times)
    if data is None:
        raise SetupError("--data says where to look (or --stored with -c)")
    if config:
        raise SetupError("-c names a ledger for --stored")
    from tapewatch import strategies
    from tapewatch.study.signals import Request

    loaded = strategies.load(strategy, options.parameters(set_))
    _fitting(intervals, loaded)
    venue = options.venue_of(data, venue)
    watched = [symbol for symbol in options.symbols_of(data, venue, symbols) if loaded.watches(symbol)]
    starts = options.history_starts(history_start)
    return Searched(loaded, Request(data, venue, watched, intervals, *times, starts=starts), workers)


def _stored(
    paths: list[Path] | None, name: str, symbols: list[str], intervals: list[str], times: tuple[int | None, int | None]
) -> Stored:
    from tapewatch import strategies
    from tapewatch.config import load

    config = load(paths or DEFAULT_PATHS, os.environ)
    if name not in config.strategies:
        has = ", ".join(config.strategies)
        raise SetupError(f"--strategy: the configuration has no strategy {name}; it has {has}")
    (strategy,) = (one for one in strategies.configured(config.strategies) if one.name == name)
    _fitting(intervals, strategy)
    return Stored(strategy, config.ledger.address, config.exchange.venue, symbols, intervals, times)


def _fitting(intervals: list[str], strategy: Strategy) -> None:
    """Raises SetupError where an interval is not the strategy's."""
    for name in intervals:
        if name not in strategy.timeframes:
            has = ", ".join(strategy.timeframes)
            raise SetupError(f"--interval: no timeframe {name}; {strategy.name} has {has}")


@gathered(source=source_of)
def features(*, source: Source, out: Out = None, as_json: JsonRows = False) -> None:
    """Every candidate as a row of numbers that compare across symbols and times: what a model is trained on.

    Example: tapewatch export features --strategy scalp --data candles --out features.parquet
    """
    from tapewatch.features import FeatureSet
    from tapewatch.strategy import compile_program
    from tapewatch.study.features import features_dataset

    _check_out(out)
    known = FeatureSet.of(compile_program(source.strategy, source.strategy.timeframes[0]))
    _give(features_dataset(known, source.candidates(), source.about()), out, as_json=as_json)


@gathered(source=source_of)
def outcomes(
    *,
    source: Source,
    cost_bps: Annotated[
        float | None, typer.Option(min=0, max=1_000, help="What a round trip costs; default 20. Not with --stored.")
    ] = None,
    out: Out = None,
    as_json: JsonRows = False,
) -> None:
    """What became of every candidate, when that was known, and what it weighs where others overlap it.

    Example: tapewatch export outcomes --strategy scalp --data candles --out outcomes.parquet
    """
    from tapewatch.outcomes import DEFAULT_COST_BPS
    from tapewatch.study.labels import outcomes_dataset, stored_labels

    _check_out(out)
    if isinstance(source, Stored):
        if cost_bps is not None:
            raise SetupError("--cost-bps is of stored candles; a ledger has what its own costs left")
        labelled = stored_labels(source.labelled(), source.strategy.time_limit)
        table = outcomes_dataset(labelled, source.about())
    else:
        cost_bps = DEFAULT_COST_BPS if cost_bps is None else cost_bps
        table = outcomes_dataset(source.labelled(cost_bps), source.about() | {"cost_bps": cost_bps})
    _give(table, out, as_json=as_json)


def _about(
    strategy: Strategy, symbols: Sequence[str], intervals: Sequence[str], times: tuple[int | None, int | None]
) -> dict[str, Any]:
    told = {"strategy": strategy.name, "params": dict(strategy.params), "symbols": list(symbols)}
    return told | {"intervals": list(intervals), "from_ms": times[0], "to_ms": times[1]}


def _check_out(out: Path | None) -> None:
    if out is not None:
        from tapewatch.study.dataset import check_out

        check_out("--out", out)


def _give(table: Dataset, out: Path | None, *, as_json: bool) -> None:
    """Rows on stdout, or into a file."""
    if out is not None:
        schema = table.write("--out", out)
        rows, columns = len(table.frame), len(table.columns)
        if as_json:
            told = {"file": str(out), "schema": str(schema), "version": table.version}
            options.print_json(told | {"rows": rows, "columns": columns})
            return
        size = f"{options.counted(rows, 'row')} of {options.counted(columns, 'column')}"
        sys.stdout.write(f"{size} in {out}, described in {schema}\n")
        return
    if as_json:
        for row in table.frame.iter_rows(named=True):
            options.print_json(row)
        return
    sys.stdout.write(table.frame.write_csv())
