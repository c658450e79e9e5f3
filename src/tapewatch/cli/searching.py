"""The options that say how parameters are searched, the same for every command that searches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tapewatch.cli import options
from tapewatch.cli.asked import Workers
from tapewatch.errors import SetupError

if TYPE_CHECKING:
    from tapewatch.strategy import Strategy
    from tapewatch.study.backtest import Plan
    from tapewatch.study.optimized import Known
    from tapewatch.study.search import Asked
    from tapewatch.study.space import Space
    from tapewatch.study.sweep import Sweep


@dataclass(frozen=True)
class Searching:
    """A search of parameters, and who does it.

    Attributes:
        asked: how it is made.
        ranges: parameter -> range, as it was written.
        dask: address of a scheduler whose workers try sets; None for this machine.
        ship: whether those get the candles sent.
        study: the file from which it goes on.
    """

    asked: Asked
    ranges: Mapping[str, str]
    dask: str | None
    ship: bool
    study: Path | None

    def space(self, strategy: Strategy, mapping: Mapping[str, Any]) -> Space:
        """What is searched of a strategy. Raises SetupError."""
        from tapewatch.study.search import check
        from tapewatch.study.space import space_of

        space = space_of(strategy.name, mapping, strategy.params, self.ranges)
        check(space, self.asked)
        return space

    @contextmanager
    def sweep(self, mapping: Mapping[str, Any], plan: Plan) -> Iterator[Sweep]:
        """What tries the sets of a strategy. Raises SetupError."""
        from tapewatch.study.sweep import Sweep

        if self.dask is None:
            yield Sweep(mapping, plan)
            return
        from tapewatch.study.cluster import cluster

        with cluster(self.dask) as made:
            yield made(mapping, plan, ship=self.ship)

    @contextmanager
    def known(self, plan: Plan, space: Space) -> Iterator[Known]:
        """What came of sets over a request; with a study file it is kept there. Raises SetupError."""
        if self.study is None:
            yield lambda _: {}
            return
        from tapewatch.study.searched import StudyFile, header_of

        file = StudyFile(self.study, header_of(plan, space, self.asked))
        try:
            yield file.known
        finally:
            file.close()


def searching_of(
    *,
    range_: Annotated[
        list[str] | None,
        typer.Option("--range", help="What to search, repeatable: name=5..15, name=1..3/0.25 or name=20,25,30."),
    ] = None,
    sampler: Annotated[
        Literal["tpe", "random", "grid"], typer.Option(help="How sets are drawn: learning, at random, or every one.")
    ] = "tpe",
    trials: Annotated[int, typer.Option(min=1, max=1_000_000, help="Sets to draw.")] = 200,
    objective: Annotated[
        str, typer.Option(help="The figure to make large; -NAME makes it small, as drawdown is of itself.")
    ] = "sharpe",
    min_trades: Annotated[int, typer.Option(min=1, help="With fewer trades a set is no candidate.")] = 30,
    prune: Annotated[
        bool, typer.Option("--prune", help="Give up the half that is worse in the first quarter of the period.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of all draws; the same gives the same again.")] = 0,
    study: Annotated[Path | None, typer.Option(help="Keep what came of each set in a FILE, and go on from it.")] = None,
    workers: Workers = 1,
    dask: Annotated[str | None, typer.Option(help="Let the workers of this scheduler try the sets.")] = None,
    ship: Annotated[bool, typer.Option("--ship", help="Send them the candles; else they read --data.")] = False,
) -> Searching:
    """What these options mean. Raises SetupError."""
    from tapewatch.study.search import Asked

    ranges = {}
    for one in range_ or ():
        name, separator, text = one.partition("=")
        if not separator:
            raise SetupError(f"--range: {one!r} is not parameter=range")
        ranges[name.strip()] = text.strip()
    if ship and dask is None:
        raise SetupError("--ship: says what --dask sends; there is no --dask")
    if workers > 1 and dask is not None:
        raise SetupError("--workers: with --dask the scheduler's workers try the sets")
    asked = Asked(objective, trials, sampler, seed, min_trades, prune, workers)
    return Searching(asked, ranges, dask, ship, study)


def written(strategy: str, settings: list[str] | None) -> tuple[Strategy, dict[str, Any]]:
    """A strategy, and its mapping, with the parameters of `--set`. Raises SetupError."""
    from tapewatch import strategies
    from tapewatch.strategy import with_params

    name, mapping = strategies.mapping_of(strategy)
    whole = with_params(mapping, options.parameters(settings), name)
    return strategies.from_mappings({name: whole})[0], whole
