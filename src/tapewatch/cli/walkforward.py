"""`tapewatch walkforward`: a search repeated as time goes by, and what its choices brought on what came next."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapewatch import __version__
from tapewatch.cli import options
from tapewatch.cli.account import account_of, protections_of
from tapewatch.cli.asked import Set, gathered
from tapewatch.cli.searching import Searching, searching_of, written
from tapewatch.cli.where import Where, where_of

if TYPE_CHECKING:
    from tapewatch.study.backtest import Plan
    from tapewatch.study.folds import WalkForward
    from tapewatch.study.settings import Account
    from tapewatch.study.space import Space
    from tapewatch.study.sweep import Sweep
    from tapewatch.study.trials import Trials

    Protections = dict[str, Any]


@dataclass(frozen=True)
class Folding:
    """How a period is cut into folds, as `walk_forward` takes it."""

    folds: int
    anchored: bool
    embargo_ms: int | None
    bootstraps: int


def folding_of(
    *,
    folds: Annotated[int, typer.Option(min=1, max=50, help="Tests, in the second half of the period.")] = 4,
    anchored: Annotated[bool, typer.Option("--anchored", help="Train from the beginning on in every fold.")] = False,
    embargo: Annotated[
        str | None, typer.Option(help="Left out before each test besides the last outcome; default as long as that.")
    ] = None,
    bootstraps: Annotated[int, typer.Option(min=100, max=100_000, help="Draws for the interval.")] = 1_000,
) -> Folding:
    """What these options mean. Raises SetupError."""
    from tapewatch.cli import amounts

    embargo_ms = None if embargo is None else amounts.duration_ms(embargo, "--embargo")
    return Folding(folds, anchored, embargo_ms, bootstraps)


@gathered(where=where_of, account=account_of, protections=protections_of, searching=searching_of, folding=folding_of)
def walkforward(
    strategy: Annotated[str, typer.Option(help="A shipped strategy's name, or a YAML or Python file with one.")],
    *,
    where: Where,
    set_: Set = None,
    searching: Searching,
    account: Account,
    protections: Protections,
    folding: Folding,
    trades: Annotated[Path | None, typer.Option(help="Write the tests' trades: FILE.csv, .parquet or .jsonl.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write all of it, with charts, to one FILE.html.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Search again and again as time goes by, and trade each choice on what came next.

    Example: tapewatch walkforward --strategy scalp --data candles --range fast=5..15 --folds 6
    """
    from tapewatch.study.document import check_files, write_trades
    from tapewatch.study.search_report import write_report

    check_files(trades, report)
    loaded, mapping = written(strategy, set_)
    plan = where.plan(loaded, account, protections)
    walk = _walked(searching, searching.space(loaded, mapping), mapping, plan, folding)
    found = _document(searching, plan, walk)
    if as_json:
        options.print_json(found)
    else:
        sys.stdout.write("\n".join([walk.sentence, *walk.lines]) + "\n")
    if trades is not None:
        write_trades(trades, walk.tested.trades)
    if report is not None:
        write_report(report, plan, found, None, walk)


def _walked(
    searching: Searching, space: Space, mapping: Mapping[str, Any], plan: Plan, folding: Folding
) -> WalkForward:
    from tapewatch.study.search import draws, search
    from tapewatch.study.walkforward import walk_forward

    asked = searching.asked
    with (
        searching.known(plan, space) as known,
        searching.sweep(mapping, plan) as sweep,
        options.progress(draws(space, asked) * folding.folds, "walkforward") as done,
    ):

        def searched(part: Sweep) -> Trials:
            return search(part, space, asked, done, known(part.plan.request))

        return walk_forward(
            sweep.over,
            plan.request,
            searched,
            folding.folds,
            anchored=folding.anchored,
            embargo_ms=folding.embargo_ms,
            bootstraps=folding.bootstraps,
            seed=asked.seed,
        )


def _document(searching: Searching, plan: Plan, walk: WalkForward) -> dict[str, Any]:
    from tapewatch.study.document import config_hash, data_hash
    from tapewatch.study.ground import Ground

    asked, ground = searching.asked, Ground.of(plan.request, plan.account)
    return {
        "strategy": plan.strategy.name,
        "objective": asked.objective,
        "sampler": asked.sampler,
        "seed": asked.seed,
        "drawn": asked.trials,
        **walk.document(),
        "hashes": {"data": data_hash(ground), "config": config_hash(plan), "version": __version__},
    }
