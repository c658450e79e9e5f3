"""`tapewatch optimize`: a search of a strategy's parameters, and whether its best is to be believed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapewatch.cli import options
from tapewatch.cli.account import account_of, protections_of
from tapewatch.cli.asked import Set, gathered
from tapewatch.cli.searching import Searching, searching_of, written
from tapewatch.cli.where import Where, where_of
from tapewatch.errors import SetupError

if TYPE_CHECKING:
    from tapewatch.study.backtest import Plan
    from tapewatch.study.holdout import Holdout
    from tapewatch.study.optimized import Optimized
    from tapewatch.study.settings import Account
    from tapewatch.study.signals import Request
    from tapewatch.study.space import Space

    Protections = dict[str, Any]


@gathered(where=where_of, account=account_of, protections=protections_of, searching=searching_of)
def optimize(
    strategy: Annotated[str, typer.Option(help="A shipped strategy's name, or a YAML or Python file with one.")],
    *,
    where: Where,
    set_: Set = None,
    searching: Searching,
    account: Account,
    protections: Protections,
    holdout: Annotated[str, typer.Option(help="Of the period, the end that no search reads; 0% for none.")] = "20%",
    open_holdout: Annotated[
        bool, typer.Option("--open-holdout", help="Try the best there, which is written down.")
    ] = False,
    holdout_register: Annotated[
        Path | None, typer.Option(help="Where that is written down; default in ~/.local/state/tapewatch.")
    ] = None,
    folds: Annotated[int, typer.Option(min=0, max=50, help="Of the walk-forward; 0 for none.")] = 4,
    permutations: Annotated[
        int, typer.Option(min=20, max=100_000, help="Times that the best's entries are moved.")
    ] = 200,
    report: Annotated[Path | None, typer.Option(help="Write all of it, with charts, to one FILE.html.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Search a strategy's parameters, and say whether the best that is found would survive.

    Example: tapewatch optimize --strategy scalp --data candles --range fast=5..15 --trials 500 --workers 2
    """
    from tapewatch.study.document import check_files
    from tapewatch.study.holdout import Register
    from tapewatch.study.optimized import opened
    from tapewatch.study.search import draws

    check_files(None, report)
    loaded, mapping = written(strategy, set_)
    plan = where.plan(loaded, account, protections)
    held_out = _held_out(holdout, plan.request)
    if open_holdout and held_out is None:
        raise SetupError("--open-holdout: with --holdout 0% there is none")
    register = Register(holdout_register)
    if open_holdout:
        register.check()
    space = searching.space(loaded, mapping)
    with options.progress(draws(space, searching.asked) * (1 + folds), "optimize") as done:
        found = _searched(searching, mapping, plan, space, held_out, (folds, permutations), done)
        if open_holdout:
            found = opened(found, register, time.time_ns() // 1_000_000)
    _tell(found, report, as_json=as_json)


def _tell(found: Optimized, report: Path | None, *, as_json: bool) -> None:
    from tapewatch.study.search_report import write_report

    document = found.document()
    if as_json:
        options.print_json(document)
    else:
        sys.stdout.write("\n".join([found.sentence, *found.lines]) + "\n")
    if report is not None:
        write_report(report, found.sweep.plan, document, found.trials, found.walk)


def _held_out(share: str, request: Request) -> Holdout | None:
    from tapewatch.cli import amounts
    from tapewatch.study.holdout import Holdout

    if share.strip() in {"0", "0%"}:
        return None
    return Holdout.of(request, amounts.share(share, "--holdout", 0.9))


def _searched(
    searching: Searching,
    mapping: Mapping[str, Any],
    plan: Plan,
    space: Space,
    held_out: Holdout | None,
    doubts: tuple[int, int],
    progress: Callable[[], None],
) -> Optimized:
    """What a search finds that reads nothing of what is held out."""
    from tapewatch.study.optimized import Doubts, optimize

    if held_out is not None:
        plan = replace(plan, request=held_out.training)
    with searching.known(plan, space) as known, searching.sweep(mapping, plan) as sweep:
        found = optimize(sweep, space, searching.asked, Doubts(*doubts), progress, known)
    return replace(found, holdout=held_out)
