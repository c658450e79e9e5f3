"""A strategy over stored candles, and what it comes to as Polars frames: for notebooks and scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path

import polars as pl

from tapewatch.archive.reader import inventory, missing
from tapewatch.draw import RESEARCH_ONE_IN
from tapewatch.errors import SetupError
from tapewatch.features import FeatureSet
from tapewatch.model import Signal
from tapewatch.outcomes import DEFAULT_COST_BPS
from tapewatch.strategies import from_mappings, mapping_of
from tapewatch.strategy import Strategy, compile_program, with_params
from tapewatch.strategy.build import Built
from tapewatch.study.backtest import Backtest, Plan
from tapewatch.study.compare import Comparison, compare
from tapewatch.study.features import features_dataset, surrounded
from tapewatch.study.folds import WalkForward
from tapewatch.study.frames import each, moment_ms, venue_of
from tapewatch.study.judgement import JudgedBy, judge
from tapewatch.study.labels import labels_of, outcomes_dataset
from tapewatch.study.membership import within
from tapewatch.study.outcomes import Known, outcomes_of, scores_of
from tapewatch.study.results import Searched, Traded, checked
from tapewatch.study.search import Asked, search
from tapewatch.study.settings import Account
from tapewatch.study.signals import Request, find
from tapewatch.study.space import Space, space_of
from tapewatch.study.sweep import Sweep
from tapewatch.study.tables import scores_frame, signals_frame
from tapewatch.study.trials import Trials
from tapewatch.study.walkforward import walk_forward


class Research:
    """A strategy and the candles that it is tried on.

    Args:
        strategy: a shipped strategy's name, a YAML or Python file with one, or what `tapewatch.strategy.build.strategy`
            has built.
        root: the archive, `<root>/<venue>/<SYMBOL>/<interval>.parquet`.
        venue: needed where the archive has several.
        symbols: default all of the archive that the strategy watches.
        intervals: timeframes of the strategy, default all.
        params: the strategy's parameters that are to be others.
        from_: the first close, an ISO time (UTC where it names no zone), a datetime or milliseconds; default the first.
        to: the end of closes, excluded; default the last.
        workers: processes that share the symbols.

    Raises:
        SetupError: the archive or the strategy has no such thing; StrategyError: the strategy is wrong.
    """

    def __init__(
        self,
        strategy: str | Path | Built,
        root: str | Path,
        *,
        venue: str | None = None,
        symbols: str | Sequence[str] | None = None,
        intervals: str | Sequence[str] = (),
        params: Mapping[str, float] | None = None,
        from_: str | datetime | int | None = None,
        to: str | datetime | int | None = None,
        workers: int = 1,
    ) -> None:
        name, mapping = (strategy.name, strategy.mapping) if isinstance(strategy, Built) else mapping_of(str(strategy))
        self.mapping = with_params(mapping, (params or {}).items(), name)
        self.strategy = from_mappings({name: self.mapping})[0]
        named = None if symbols is None else each(symbols)
        times = moment_ms(from_, "from_"), moment_ms(to, "to")
        self.request = _request(self.strategy, Path(root), venue, named, each(intervals), times)
        self._workers = workers

    def signals(self) -> pl.DataFrame:
        """Every bar on which the strategy's rule fires, by close: a row each, called as in `tapewatch signals --json`,
        but for `signal_id`, by which it is joined with other tables.

        Times are whole milliseconds UTC. `targets` has each target's price and share, `met` and `asked` say how many
        factors there were, `passed` and `blocked_by` what the gate said, as far as it can be known offline. `factors`
        and `indicators`, and `regime` where the strategy filters by some, are structs with a field of each name, to be
        unnested; what was not known is null.
        """
        return signals_frame(self._found, self.strategy)

    def outcomes(self, cost_bps: float = DEFAULT_COST_BPS) -> pl.DataFrame:
        """What became of each signal: a row each, in the order of `signals`, as `tapewatch export outcomes` has it.

        Args:
            cost_bps: what a round trip costs, of the entry, for `net_r`.
        """
        known = self._known(cost_bps, one_in=None)
        return outcomes_dataset(labels_of(known), {}).frame

    def features(self) -> pl.DataFrame:
        """What was known of each signal when its bar closed: a row each, as `tapewatch export features` has it."""
        known = FeatureSet.of(compile_program(self.strategy, self.strategy.timeframes[0]))
        signals = surrounded(self.strategy, self.request, self._found, workers=self._workers)
        return features_dataset(known, signals, {}).frame

    def scores(self, cost_bps: float = DEFAULT_COST_BPS) -> pl.DataFrame:
        """How often the target was touched first, beside random entries at the same hours: a row per timeframe.

        The columns are the fields of a score. All signals count, those that the gate blocks too.
        """
        return scores_frame([score for score, _ in scores_of(self._known(cost_bps))])

    def backtest(self, account: Account | None = None, *, gate: bool = True) -> Traded:
        """The signals traded on paper, with fees and slippage.

        Args:
            account: what is traded with; default `Account()`, 10,000 on spot.
            gate: whether only what the gate lets through is traded.

        Raises:
            SetupError: no account can be like that.
        """
        return Traded(Backtest(self._plan(account, gate=gate), workers=self._workers))

    def optimize(
        self,
        asked: Asked | None = None,
        *,
        ranges: Mapping[str, str] | None = None,
        account: Account | None = None,
        gate: bool = True,
        permutations: int = 200,
    ) -> Searched:
        """Look for better parameters, and judge the best as `tapewatch optimize` does.

        What comes after `to` of this research is not read, so it can be held out: try the best there once.

        Args:
            asked: how it is made; default `Asked()`, 200 sets by TPE for the Sharpe ratio.
            ranges: parameter -> range, as `5..15` or `20,25,30`; in place of those that the strategy says itself.
            account: as of `backtest`.
            gate: as of `backtest`.
            permutations: how often entries are moved to other times.

        Raises:
            SetupError: there is nothing to search, or no figure of the objective's name.
        """
        asked = asked or Asked()
        space, sweep = self._space(ranges), self._sweep(account, gate=gate)
        trials = search(sweep, space, asked)
        return Searched(trials, judge(sweep, trials, JudgedBy(space.neighbours, permutations, seed=asked.seed)))

    def walk_forward(
        self,
        asked: Asked | None = None,
        *,
        ranges: Mapping[str, str] | None = None,
        account: Account | None = None,
        gate: bool = True,
        folds: int = 4,
        anchored: bool = False,
    ) -> WalkForward:
        """The same search on the past of each fold alone, its choice traded on what came next.

        Args:
            asked: as of `optimize`.
            ranges: as of `optimize`.
            account: as of `backtest`.
            gate: as of `backtest`.
            folds: how many.
            anchored: whether every training begins with the first candle.

        Raises:
            SetupError: as of `optimize`, or the period is too short.
        """
        how, space = asked or Asked(), self._space(ranges)

        def searched(of_fold: Sweep) -> Trials:
            return search(of_fold, space, how)

        return walk_forward(
            self._sweep(account, gate=gate).over, self.request, searched, folds, anchored=anchored, seed=how.seed
        )

    def compare(
        self, other: Research, *, account: Account | None = None, gate: bool = True, draws: int = 2_000, seed: int = 0
    ) -> Comparison:
        """Whether this strategy is better than another on the same candles, or it cannot be told.

        Args:
            other: the same but for its strategy and its parameters.
            account: as of `backtest`.
            gate: as of `backtest`.
            draws: of the steps, for intervals.
            seed: of the draws.

        Raises:
            SetupError: the two are tried on different candles.
        """
        mine, others = self.request, other.request
        if (mine.root, mine.venue, mine.from_ms, mine.to_ms) != (
            others.root,
            others.venue,
            others.from_ms,
            others.to_ms,
        ):
            raise SetupError("other: is tried on other candles or in another time")
        plans = self._plan(account, gate=gate), other._plan(account, gate=gate)
        return compare(plans, draws, seed, workers=self._workers)

    def _plan(self, account: Account | None, *, gate: bool) -> Plan:
        return Plan(self.strategy, self.request, checked(account or Account()), gate=gate)

    def _sweep(self, account: Account | None, *, gate: bool) -> Sweep:
        """Of which no candle after the period is read."""
        plan = self._plan(account, gate=gate)
        return Sweep(self.mapping, replace(plan, request=replace(plan.request, until_ms=self.request.to_ms)))

    def _space(self, ranges: Mapping[str, str] | None) -> Space:
        return space_of(self.strategy.name, self.mapping, self.strategy.params, ranges or {})

    @cached_property
    def _found(self) -> list[Signal]:
        return list(find(self.strategy, self.request, workers=self._workers))

    def _known(self, cost_bps: float, one_in: int | None = RESEARCH_ONE_IN) -> Known:
        return outcomes_of(self.strategy, self.request, self._found, cost_bps, workers=self._workers, one_in=one_in)


def _request(
    strategy: Strategy,
    root: Path,
    venue: str | None,
    symbols: Sequence[str] | None,
    intervals: Sequence[str],
    times: tuple[int | None, int | None],
) -> Request:
    """All symbols that are asked for and watched; who was not named need not have been there."""
    for interval in intervals:
        if interval not in strategy.timeframes:
            has = ", ".join(strategy.timeframes)
            raise SetupError(f"intervals: no timeframe {interval}; {strategy.name} has {has}")
    venue = venue_of(root, venue)
    held = sorted({stored.symbol for stored in inventory(root) if stored.venue == venue})
    if not held:
        raise missing(root, venue, "", "")
    watched = [symbol for symbol in (held if symbols is None else symbols) if strategy.watches(symbol)]
    if symbols is None:
        watched = within(root, venue, watched, *times) or watched[:1]
    if not watched:
        raise SetupError(f"symbols: {strategy.name} watches none of them")
    return Request(root, venue, watched, intervals, *times)
