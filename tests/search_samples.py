"""A small search over a random walk, judged and walked forward, for tests of what is said of one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from command_line import store
from core_samples import walk
from tapewatch import __version__, strategies
from tapewatch.study.backtest import Plan
from tapewatch.study.folds import WalkForward
from tapewatch.study.judgement import JudgedBy, judge
from tapewatch.study.search import Asked, search
from tapewatch.study.settings import Account
from tapewatch.study.signals import Request
from tapewatch.study.space import space_of
from tapewatch.study.sweep import Sweep
from tapewatch.study.trials import Trials
from tapewatch.study.walkforward import walk_forward

Made = tuple[Plan, dict[str, Any], Trials, WalkForward]
RULE = """
tried:
  timeframes: [1m]
  params: {at: 7, every: 30, stop: 0.004}
  search: {at: 0..25, every: [26, 28, 30], stop: 0.003..0.005}
  long:
    when: minute % every == at
  stop: stop * close
  targets: [{at: 0.003 * close, share: 100%}]
  time_limit: 20
"""


def made(folder: Path, name: str = "tried", symbol: str = "AAAUSDT") -> Made:
    """Its plan; what `--json` prints of it, as far as a report reads it; the trials; the folds."""
    for number, one in enumerate((symbol, "BBBUSDT"), 1):
        store(folder, [msgspec.structs.replace(bar, symbol=quote(one, safe="")) for bar in walk(3 * 1_440, number)])
    path = folder / "rule.yaml"
    path.write_text(RULE)
    (_, mapping), strategy = strategies.mapping_of(str(path)), strategies.load(str(path), [])
    account = Account(kind="perpetual", taker_bps=1, maker_bps=0, slippage_bps=0)
    sweep = Sweep(mapping, Plan(strategy, Request(folder, "binance_spot", [symbol, "BBBUSDT"]), account, gate=False))
    space = space_of(strategy.name, mapping, strategy.params, {})
    asked = Asked(trials=12, sampler="random", min_trades=10)
    trials = search(sweep, space, asked)
    judged = judge(sweep, trials, JudgedBy(space.neighbours, permutations=20, bootstraps=100))
    folds = walk_forward(sweep.over, sweep.plan.request, lambda part: search(part, space, replace(asked, trials=4)), 2)
    best = {"params": trials.set_of(trials.best), "objective": float(trials.objective[trials.best]), "figures": {}}
    found = {
        "strategy": name,
        "survives": judged.survives,
        "sentence": judged.sentence,
        "objective": "sharpe",
        "best": best,
        "honesty": judged.document(),
        "walk_forward": folds.document(),
        "holdout": {"from_ms": 1_700_000_000_000, "to_ms": 1_700_100_000_000, "opened": None},
        "hashes": {"data": "d" * 32, "config": "c" * 32, "version": __version__},
    }
    return sweep.plan, found, trials, folds
