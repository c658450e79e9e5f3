"""The page of what the strategies that ship come to, measured on recorded candles with costs.

    .venv/bin/python docs/shipped.py --data FOLDER    # six minutes of one core, into docs/shipped.md

FOLDER has the sets, each an archive: `<set>/<venue>/<SYMBOL>/<interval>.parquet`.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from shipped_page import MANY, cost_bps, page
from tapewatch import strategies
from tapewatch.archive.reader import intervals_of, inventory, span
from tapewatch.model import INTERVAL_NAMES, INTERVALS_MS
from tapewatch.record import Score
from tapewatch.strategy import Strategy, compile_program
from tapewatch.study.backtest import Backtest, Plan
from tapewatch.study.bootstrap import Interval, bootstrap
from tapewatch.study.document import buy_and_hold
from tapewatch.study.holdout import Holdout, Opening, Register, said
from tapewatch.study.judgement import Judged, JudgedBy, judge
from tapewatch.study.membership import within
from tapewatch.study.metrics import metrics
from tapewatch.study.outcomes import outcomes_of, scores_of
from tapewatch.study.search import Asked, search
from tapewatch.study.settings import Account
from tapewatch.study.signals import Request, find
from tapewatch.study.space import space_of
from tapewatch.study.sweep import Sweep
from tapewatch.study.trades import columns_of

PAGE = Path(__file__).with_name("shipped.md")
#: Sets whose candles another has, too.
COPIES = ("resample-ref",)


class Study(NamedTuple):
    """How it is done.

    Attributes:
        held_out: the last part of each set, which no search reads.
        draws: of trades, for intervals.
        trials, permutations: parameter sets of a search, none for no searches, and how often entries are moved.
    """

    spot: Account = Account(kind="spot", taker_bps=10.0, maker_bps=10.0, slippage_bps=2.0)
    perpetual: Account = Account(kind="perpetual", taker_bps=5.0, maker_bps=2.0, slippage_bps=2.0)
    held_out: float = 0.3
    draws: int = 1_000
    trials: int = 60
    permutations: int = 100


@dataclass(frozen=True)
class Market:
    """A set of candles: an archive and a venue in it.

    Attributes:
        name: of the set.
        base_ms: how long its smallest candles are.
        times: from when to when it has those.
        account: what is traded with there.
    """

    name: str
    root: Path
    venue: str
    symbols: Sequence[str]
    base_ms: int
    times: tuple[int, int]
    account: Account

    def holdout(self, study: Study, intervals: Sequence[str] = ()) -> Holdout:
        """Its time in two."""
        return Holdout.of(Request(self.root, self.venue, self.symbols, intervals, *self.times), study.held_out)

    def timeframes(self, strategy: Strategy) -> list[str]:
        """Those of a strategy of which all that they read can be made of the candles."""
        programs = {name: compile_program(strategy, name) for name in strategy.timeframes}
        return [name for name, one in programs.items() if all(frame % self.base_ms == 0 for frame in one.frames)]


class Part(NamedTuple):
    """What a strategy came to in a part of a set's time.

    Attributes:
        scores: by timeframe.
        figures: of the backtest.
        gross_r, expectancy_r: R a trade before and after costs.
        held_pct: what buying and holding brought.
    """

    scores: dict[str, Score]
    figures: dict[str, Any]
    gross_r: float
    expectancy_r: Interval
    held_pct: float


class Searched(NamedTuple):
    """The best set of a search before the hold-out, how it is judged there, and its R a trade in the hold-out."""

    params: dict[str, float]
    judged: Judged
    expectancy_r: Interval
    trades: int


class Row(NamedTuple):
    """A strategy on a set, before the hold-out and in it; `opened` says whether anybody had looked at that before."""

    strategy: str
    market: Market
    holdout: Holdout
    opened: str
    before: Part
    after: Part
    searched: Searched | None


def markets(data: Path, study: Study) -> Iterator[Market]:
    """Those of a folder, by name."""
    for root in sorted(path for path in data.iterdir() if path.is_dir() and path.name not in COPIES):
        held = inventory(root)
        for venue in sorted({stored.venue for stored in held}):
            symbols = sorted({stored.symbol for stored in held if stored.venue == venue})
            base_ms = max(INTERVALS_MS[intervals_of(root, venue, symbol)[0]] for symbol in symbols)
            spans = [span(root, venue, symbol, INTERVAL_NAMES[base_ms]) for symbol in symbols]
            times = min(first_ms for first_ms, _ in spans), max(end_ms for _, end_ms in spans)
            account = study.spot if venue.endswith("_spot") else study.perpetual
            yield Market(root.name, root, venue, symbols, base_ms, times, account)


def rows_of(market: Market, study: Study, register: Register) -> Iterator[Row]:
    """Every strategy on a set that has the candles for it. All searches are over before anybody looks at the rest."""
    loaded = {name: strategies.load(name) for name in strategies.shipped()}
    tried = {name: one for name, one in loaded.items() if market.timeframes(one)}
    found = {name: searched_before(one, market, study) if study.trials else None for name, one in tried.items()}
    opened = said(register.open(opening_of(market, market.holdout(study), list(tried))))
    for name, strategy in tried.items():
        holdout, searched = market.holdout(study, market.timeframes(strategy)), found[name]
        before, after = (part_of(strategy, market, there(one), study) for one in (holdout.training, holdout.unseen))
        if searched is not None:
            best = part_of(strategies.load(name, searched.params.items()), market, there(holdout.unseen), study)
            searched = searched._replace(expectancy_r=best.expectancy_r, trades=best.figures["trades"])
        yield Row(name, market, holdout, opened, before, after, searched)


def opening_of(market: Market, holdout: Holdout, names: Sequence[str]) -> Opening:
    """What the register is told."""
    now_ms = time.time_ns() // 1_000_000
    return Opening(now_ms, market.venue, tuple(market.symbols), holdout.from_ms, holdout.to_ms, ", ".join(names), {})


def there(request: Request) -> Request:
    """Of the symbols that have candles in its period."""
    symbols = within(request.root, request.venue, request.symbols, request.from_ms, request.to_ms)
    return replace(request, symbols=symbols)


def part_of(strategy: Strategy, market: Market, request: Request, study: Study) -> Part:
    """What it came to in a part of the time."""
    known = outcomes_of(strategy, request, find(strategy, request), cost_bps(market.account))
    backtest = Backtest(Plan(strategy, request, market.account))
    result = backtest.run()
    trades = columns_of(result.trades)
    gross_r = float((trades.gross * trades.r / trades.net).mean()) if len(trades) else math.nan
    held = buy_and_hold(backtest.ground.candles, market.account.taker_bps + market.account.slippage_bps)
    interval = bootstrap(trades, study.draws, 0).expectancy_r
    scores = {score.timeframe: score for score, _ in scores_of(known)}
    return Part(scores, metrics(result), gross_r, interval, held["net_pct"])


def searched_before(strategy: Strategy, market: Market, study: Study) -> Searched | None:
    """The best of so many sets drawn at random, on candles before the hold-out; None where none has the trades."""
    name, mapping = strategies.mapping_of(strategy.name)
    request = there(market.holdout(study, market.timeframes(strategy)).training)
    sweep = Sweep(mapping, Plan(strategy, request, market.account))
    space = space_of(name, mapping, strategy.params, {})
    tried = search(sweep, space, Asked("expectancy_r", study.trials, "random", min_trades=MANY))
    if tried.best < 0:
        return None
    judged = judge(sweep, tried, JudgedBy(space.neighbours, study.permutations, study.draws))
    return Searched(tried.set_of(tried.best), judged, Interval(math.nan, math.nan, math.nan), 0)


def main(arguments: Sequence[str]) -> None:
    """Measure everything and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="A folder with an archive in each of its folders.")
    parser.add_argument("--trials", type=int, default=Study().trials, help="Parameter sets of a search; 0 for none.")
    parser.add_argument("--register", type=Path, help="Who has looked at hold-outs; default as `optimize` has it.")
    parser.add_argument("--out", type=Path, default=PAGE, help="The page.")
    asked = parser.parse_args(arguments)
    study, register, rows = Study(trials=asked.trials), Register(asked.register), list[Row]()
    for market in markets(asked.data, study):
        for row in rows_of(market, study, register):
            print(f"{row.strategy} on {market.name}: {row.after.figures['trades']} trades in the hold-out", flush=True)
            rows.append(row)
    asked.out.write_text(page(sorted(rows, key=lambda row: row.strategy), study), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
