"""Programs of many parameter sets in one graph, over columns that they share: each as if it were alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_evaluators import PARAMS, frames_of, random_bars, random_strategies

from core_samples import packed
from tapewatch.errors import StrategyError
from tapewatch.model import Bar
from tapewatch.strategy import Program, Strategy, compile_program
from tapewatch.strategy.library import Library
from tapewatch.study.candidates import Hits, fired
from tapewatch.study.shared import SharedColumns, Shelf, Shelves

limits = settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def program_or_reason(compiled: Callable[[Strategy, str], Program], strategy: Strategy) -> Program | str:
    """Of its first timeframe."""
    try:
        return compiled(strategy, strategy.timeframes[0])
    except StrategyError as error:
        return str(error)


def told(program: Program, hits: Sequence[Hits]) -> list[Any]:
    """The rows on which sides fire, which do, and the bits of all that they read there."""
    nodes = [node for plan in program.sides for node in (*(of for _, _, of in plan.factors), *plan.distances)]
    return [
        (one.rows.tolist(), [side.tolist() for side in one.sides], [packed(one.of(node)) for node in nodes])
        for one in hits
        if len(one.rows)
    ]


@limits
@given(random_strategies(), random_bars(), st.lists(st.sampled_from((1.0, 2.0, 2.5, 7.0)), min_size=3, max_size=6))
def test_each_set_finds_what_it_finds_alone(strategy: Strategy, bars: list[Bar], values: Sequence[float]) -> None:
    """Rows, sides and values to the bit, when it is settled, and what is refused; on shelves with hardly any room."""
    library, shelves = Library(), Shelves(Shelf(2_000), Shelf(500))
    columns: dict[Any, SharedColumns] = {}
    for k, value in enumerate(values):
        one = replace(strategy, params={**strategy.params, list(PARAMS)[k % len(PARAMS)]: value})
        expected, program = (program_or_reason(made, one) for made in (compile_program, library.program))
        if isinstance(expected, str) or isinstance(program, str):
            assert program == expected
            continue
        assert (program.settled_at, program.frames) == (expected.settled_at, expected.frames)
        frames = frames_of(expected, bars)
        shared = columns.setdefault(program.frames, SharedColumns(frames, shelves, program.frames))
        nodes = [node for plan in expected.sides for _, _, node in plan.factors]
        assert told(program, [shared.fired(program)]) == told(expected, [*fired(expected, frames, nodes, "columns")])
