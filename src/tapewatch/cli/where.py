"""The options that say where a strategy is tried and by which rules, the same for every command that tries one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapewatch.cli import options
from tapewatch.cli.asked import Data, From, HistoryStart, Symbols, To, Venue
from tapewatch.errors import SetupError

if TYPE_CHECKING:
    from tapewatch.engine.scorers import Scoring
    from tapewatch.paper.instruments import Instrument
    from tapewatch.strategy import Strategy
    from tapewatch.study.backtest import Plan
    from tapewatch.study.settings import Account
    from tapewatch.universe import Rules


@dataclass(frozen=True)
class Where:
    """Candles, symbols, a period, and what may be traded in it.

    Attributes:
        data, venue: the archive.
        named: the symbols that were asked for, empty for all that were there.
        intervals: timeframes to trade, empty for all of a strategy's.
        times: the first close and the end of closes, as `options.period_ms`.
        starts: as `signals.Request`.
        instruments: ticks, steps and least notionals, by symbol.
        gate: whether only what the gate lets through is traded.
        rules: by which symbols are watched day by day.
    """

    data: Path
    venue: str
    named: Sequence[str]
    intervals: Sequence[str]
    times: tuple[int | None, int | None]
    starts: Mapping[int, int]
    instruments: Mapping[str, Instrument]
    gate: bool
    rules: Rules | None

    def plan(self, strategy: Strategy, account: Account, protections: Mapping[str, Any]) -> Plan:
        """The strategy tried here, on all symbols that it watches. Raises SetupError."""
        from tapewatch.study.backtest import Plan
        from tapewatch.study.membership import within
        from tapewatch.study.signals import Request

        for interval in self.intervals:
            if interval not in strategy.timeframes:
                has = ", ".join(strategy.timeframes)
                raise SetupError(f"--interval: no timeframe {interval}; {strategy.name} has {has}")
        symbols = options.symbols_of(self.data, self.venue, self.named)
        watched = [symbol for symbol in symbols if strategy.watches(symbol)]
        if not self.named:  # who was not named need not have been there
            watched = within(self.data, self.venue, watched, *self.times) or watched[:1]
        if not watched:
            raise SetupError(f"--symbols: {strategy.name} watches none of them")
        request = Request(self.data, self.venue, watched, self.intervals, *self.times, starts=self.starts)
        account = replace(account, **protections)
        return Plan(strategy, request, account, self.instruments, self.gate, self.rules)


def where_of(
    *,
    data: Data,
    venue: Venue = None,
    symbols: Symbols = None,
    min_volume_24h: Annotated[
        float | None, typer.Option(min=0.0, help="Quote units traded on the day before, to be watched on a day.")
    ] = None,
    max_symbols: Annotated[
        int | None, typer.Option(min=1, help="Watch the so many most traded on the day before.")
    ] = None,
    interval: Annotated[list[str] | None, typer.Option(help="Timeframe to trade, repeatable; default all.")] = None,
    from_: From = None,
    to: To = None,
    history_start: HistoryStart = None,
    instruments: Annotated[
        Path | None, typer.Option(help="An exchangeInfo answer, for ticks, steps and least notionals.")
    ] = None,
    no_gate: Annotated[bool, typer.Option("--no-gate", help="Trade what the gate blocks, too.")] = False,
) -> Where:
    """What these options mean. Raises SetupError."""
    from tapewatch.study.instruments import read
    from tapewatch.study.membership import rules_of

    return Where(
        data=data,
        venue=options.venue_of(data, venue),
        named=options.words(symbols),
        intervals=options.words(interval),
        times=options.period_ms(from_, to),
        starts=options.history_starts(history_start),
        instruments=read(instruments) if instruments is not None else {},
        gate=not no_gate,
        rules=rules_of(min_volume_24h, max_symbols),
    )


def scoring_of(model: Path, names: Collection[str]) -> Scoring:
    """The model in a file that `--model` names, of one of these strategies. Raises SetupError."""
    from tapewatch.live.scorings import read_scoring

    scoring = read_scoring(model, where="--model")
    whose = scoring.model.document.strategy
    if whose not in names:
        raise SetupError(f"{scoring.where}: it is a model of {whose}, which --strategy does not name")
    return scoring
