"""`tapewatch signals --outcomes`: each candidate with what became of it, and what that is worth."""

from __future__ import annotations

import heapq
import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tapewatch.cli import options
from tapewatch.cli.scoring import break_even, number, percent, plainly
from tapewatch.cli.setup import DEFAULT_PATHS
from tapewatch.errors import SetupError

if TYPE_CHECKING:
    from tapewatch.config import Config
    from tapewatch.record import Score
    from tapewatch.strategy import Strategy
    from tapewatch.study.outcomes import Known
    from tapewatch.study.signals import Request

    Search = tuple[Strategy, Request]


@dataclass(frozen=True)
class Backfill:
    """The ledger that is filled with what became of the candidates of its configuration's strategies."""

    config: Config

    @classmethod
    def of(cls, paths: list[Path] | None) -> Backfill:
        """By a configuration. Raises ConfigError."""
        from tapewatch.config import load

        return cls(load(paths or DEFAULT_PATHS, os.environ))

    @property
    def cost_bps(self) -> float:
        """What a round trip costs in its paper account, or by default."""
        from tapewatch.live.makeup import cost_bps_of

        return cost_bps_of(None if self.config.paper is None else self.config.paper.trading)

    def chosen(self, names: list[str]) -> list[Strategy]:
        """Its strategies, or those of them that are named. Raises SetupError."""
        from tapewatch import strategies

        own = strategies.configured(self.config.strategies)
        for name in names:
            if name not in self.config.strategies:
                has = ", ".join(self.config.strategies)
                raise SetupError(f"--strategy: the configuration has no strategy {name}; it has {has}")
        return [one for one in own if one.name in (names or self.config.strategies)]

    def venue_in(self, root: Path, venue: str | None) -> str:
        """Its venue, which the archive must be of. Raises SetupError."""
        wanted, found = self.config.exchange.venue, options.venue_of(root, venue)
        if found != wanted:
            raise SetupError(f"--venue: the ledger is of {wanted}, these candles are of {found}")
        return found

    def store(self, known: list[Known]) -> None:
        """Put it there, in the place of what earlier back-fills had of the same strategies, timeframes and symbols."""
        from tapewatch.store import Ledger
        from tapewatch.study.outcomes import blocked_by, ended

        told = [(list(ended(one)), one.drawn, blocked_by(one)) for one in known]
        with closing(Ledger.open(self.config.ledger.address)) as ledger:
            for one in told:
                ledger.outcomes.backfill(self.config.exchange.venue, *one)
        count = sum(len(outcomes) for outcomes, *_ in told)
        random = sum(baseline.all.n for one in known for baseline in one.baselines.values())
        sys.stderr.write(f"{options.counted(count, 'outcome')} and {random:,} random entries stored in the ledger\n")


def search(searches: list[Search], cost_bps: float, workers: int, done: Callable[[], None]) -> list[Known]:
    """The candidates of each strategy and what became of them."""
    from tapewatch.study.outcomes import outcomes_of
    from tapewatch.study.signals import find

    return [
        outcomes_of(
            strategy, request, find(strategy, request, progress=done, workers=workers), cost_bps, workers=workers
        )
        for strategy, request in searches
    ]


def lines_of(known: list[Known]) -> Iterator[dict[str, Any]]:
    """A line for each candidate, with `outcome`, those of all strategies in one order."""
    import msgspec

    from tapewatch.study.signals import order

    for signal, fate in heapq.merge(*(one.signals for one in known), key=lambda pair: order(pair[0])):
        yield {**msgspec.to_builtins(signal), "outcome": msgspec.to_builtins(fate)}


def said(fate: dict[str, Any] | None) -> str:
    """What became of a candidate, in a few words."""
    if fate is None:
        return "stop or target at its entry"
    bars = options.counted(fate["bars"], "bar")
    if fate["result"] == "open":
        return f"open after {bars}"
    ambiguous = ", ambiguous" if fate["ambiguous"] else ""
    brought = "" if fate["net_r"] is None else f", {fate['net_r']:+.2f} R after costs"
    return f"{fate['result']} after {bars}{brought}{ambiguous}"


def print_summary(known: list[Known]) -> None:
    """What all of them are worth, by strategy and timeframe."""
    from tapewatch.study.outcomes import scores_of

    for one in known:
        for score, ends in scores_of(one):
            _print_score(score, ends)


def _print_score(score: Score, ends: dict[str, int]) -> None:
    for line in textwrap.wrap(plainly(score), 78, break_on_hyphens=False):
        sys.stdout.write(f"{line}\n")
    if not score.n:
        return
    rows = {"ended": _ended(ends)} | _beside(score)
    rows |= {
        "before costs": f"{number(score.gross_r, '+z.3f')} R a signal",
        "after costs": f"{number(score.net_r)} R a signal" + _chance_brings(score),
        "break even": break_even(score),
    }
    sys.stdout.writelines(f"  {name:<13}{text}\n" for name, text in rows.items())


def _ended(ends: dict[str, int]) -> str:
    """`target 3, stop 2 (1 of them ambiguous)`."""
    ambiguous = f" ({ends['ambiguous']:,} of them ambiguous)" if ends["ambiguous"] else ""
    counts = {name: count for name, count in ends.items() if count and name != "ambiguous"}
    return ", ".join(f"{name} {count:,}{ambiguous if name == 'stop' else ''}" for name, count in counts.items())


def _beside(score: Score) -> dict[str, str]:
    """The newest where that is not all, and chance where it is known."""
    last, rows = score.last, dict[str, str]()
    if last.n < score.n:
        rows[f"last {last.n}"] = f"{percent(last.hits / last.n)} ({percent(last.low)} to {percent(last.high)})"
    if isnan(score.baseline):
        return rows | {"random": f"{score.baseline_n:,}, too few for a rate"}
    rows["random"] = f"{percent(score.baseline)} of {score.baseline_n:,} at the same hours of the day"
    lift, low, high = (number(value, "+z.1f") for value in (score.lift, score.lift_low, score.lift_high))
    return rows | {"lift": f"{lift} points ({low} to {high})"}


def _chance_brings(score: Score) -> str:
    return "" if isnan(score.baseline) else f", random entries {number(score.baseline_net_r)} R"
