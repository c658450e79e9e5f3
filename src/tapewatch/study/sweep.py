"""Many parameter sets of one strategy, tried over the same candles with the same account."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from tapewatch import strategies
from tapewatch.errors import StrategyError
from tapewatch.strategies import from_mappings
from tapewatch.strategy import from_mapping, with_params
from tapewatch.study.backtest import Backtest, Plan, search_of
from tapewatch.study.candidates import Found
from tapewatch.study.ground import Ground
from tapewatch.study.metrics import figures
from tapewatch.study.shipment import Shipment
from tapewatch.study.signals import Request
from tapewatch.study.stock import SharedSearch, Stock
from tapewatch.study.workers import Crew

#: Parts of equal length into which the period is cut, for questions of what held in which.
BLOCKS = 16
#: Of a block: steps, the sum of their returns, and of their squares.
STEPS, SUM, SQUARES = 0, 1, 2
#: Sets for which a symbol's candles are gone through together.
TOGETHER = 32


@dataclass(frozen=True)
class Tried:
    """What one parameter set came to.

    Attributes:
        refused: why it makes no strategy, empty where it does; the rest is then empty.
        figures: the single numbers of `study.metrics`, by name.
        blocks: a row for each of `BLOCKS` parts of the period: `STEPS`, `SUM` and `SQUARES` of `Result.returns`.
    """

    refused: str
    figures: Mapping[str, float]
    blocks: npt.NDArray[np.float64]


class Sweep:
    """A strategy's mapping and a plan of which each parameter set is tried.

    What is read and worked out stays at hand for later calls. Pickled it is small: another process, or another machine,
    reads the same archive, or gets the files of its symbols along.

    Args:
        mapping: of the strategy, as `strategies.mapping_of` gives it.
        plan: where and with what; its strategy has the parameters that no set names.
        ship: whether the candles go along where it is pickled.
    """

    def __init__(self, mapping: Mapping[str, Any], plan: Plan, *, ship: bool = False) -> None:
        self._mapping = {key: value for key, value in mapping.items() if key != "search"}  # it is of its own parameters
        self.plan, self._ship = plan, ship
        self._crew = Crew()

    def __getstate__(self) -> dict[str, Any]:
        files, request = strategies.python_files(), self.plan.request
        shipment = Shipment.of(request.root, request.venue, request.symbols, files) if self._ship else None
        return {"mapping": self._mapping, "plan": self.plan, "files": files, "shipment": shipment}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        plan, files, shipment = state["plan"], state["files"], state["shipment"]
        if shipment is not None:
            root, files = shipment.unpacked()
            plan = replace(plan, request=replace(plan.request, root=root))
        strategies.load_python_files(files)
        self.__init__(state["mapping"], plan)  # type: ignore[misc]

    @property
    def step_ms(self) -> int:
        """The equal steps in which the returns of equity are counted: days, or less where there are few of them.

        Raises:
            SetupError: the archive does not hold what is needed.
        """
        return self._ground.step_ms

    def over(self, request: Request) -> Sweep:
        """The same strategy and account, tried elsewhere."""
        other = Sweep(self._mapping, replace(self.plan, request=request), ship=self._ship)
        other._crew = self._crew
        return other

    def plan_of(self, params: Mapping[str, float]) -> Plan:
        """The plan with a parameter set. Raises StrategyError where it makes no strategy."""
        name = self.plan.strategy.name
        return replace(self.plan, strategy=from_mappings({name: with_params(self._mapping, params.items(), name)})[0])

    def tried(self, sets: Iterable[Mapping[str, float]], workers: int = 1) -> Iterator[Tried]:
        """What each of the sets comes to, in their order, a few at a time as they are asked for.

        Args:
            sets: parameters by name; those that a set does not name are as in the plan.
            workers: processes that share the sets, this one among them; they stay for later calls. The result does not
                depend on it.

        Raises:
            SetupError: the archive does not hold what is needed.
        """
        if workers == 1:
            return self._tried(iter(sets))
        return self._crew.tried(self, sets, workers)

    @cached_property
    def _ground(self) -> Ground:
        return Ground.of(self.plan.request, self.plan.account)

    def _tried(self, sets: Iterator[Mapping[str, float]]) -> Iterator[Tried]:
        while together := list(islice(sets, TOGETHER)):
            yield from self._together(together)

    @cached_property
    def _stock(self) -> Stock:
        symbols, ground = self.plan.request.symbols, self._ground
        return Stock(dict(zip(symbols, ground.whole, strict=True)))

    def _together(self, sets: Sequence[Mapping[str, float]]) -> Iterator[Tried]:
        """Symbol by symbol what all of them find, then what comes of it."""
        self._stock.trim()
        searches = [self._search_of(params) for params in sets]
        parts: list[list[Found]] = [[] for _ in searches]
        for symbol in self.plan.request.symbols:
            for search, found in zip(searches, parts, strict=True):
                if not isinstance(search, str):
                    found.append(search(symbol))
        for search, found in zip(searches, parts, strict=True):
            if isinstance(search, str):
                yield Tried(search, {}, np.zeros((0, 3)))
                continue
            plan = replace(self.plan, strategy=search.strategy)
            result = Backtest.of(plan, self._ground, search, found).run()
            numbers = {name: float(value) for name, value in figures(result).items()}
            yield Tried("", numbers, blocks_of(result.returns))

    def _search_of(self, params: Mapping[str, float]) -> SharedSearch | str:
        """What looks for a set's candidates, or why there is none."""
        name = self.plan.strategy.name
        try:
            strategy = from_mapping(name, with_params(self._mapping, params.items(), name))
            plain = search_of(replace(self.plan, strategy=strategy), "columns", self._stock.held)
            search = SharedSearch.of(plain, self._stock)
            assert search.programs  # made now: what is wrong with one timeframe's is wrong with all of them
        except StrategyError as error:
            return str(error)
        return search


def blocks_of(returns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """`STEPS`, `SUM` and `SQUARES` of `BLOCKS` parts of returns."""
    rows, sizes = _parts(len(returns))
    parts = np.append(returns, 0.0)[rows]
    return np.column_stack((sizes, parts.sum(axis=1), (parts**2).sum(axis=1)))


@cache
def _parts(count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """For each block the numbers of its steps, filled up with the number after the last, and how many there are."""
    edges = np.array([0, *(len(part) for part in np.array_split(np.arange(count), BLOCKS))]).cumsum()
    rows = edges[:-1, None] + np.arange(np.diff(edges).max(initial=0))
    return np.where(rows < edges[1:, None], rows, count), np.diff(edges)
