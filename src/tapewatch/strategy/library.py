"""Programs of one strategy under many parameter sets, in one graph: what they have in common is one node of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from tapewatch.model import INTERVALS_MS
from tapewatch.strategy.definition import Strategy
from tapewatch.strategy.expression import Reader
from tapewatch.strategy.graph import Graph, Kind, Node, raise_to, settling_of
from tapewatch.strategy.program import Program, common_of, reader_of, sides_of

T = TypeVar("T")

_WORD = re.compile(r"[A-Za-z_]\w*")


class Library:
    """Reads an expression once for all sets that give the parameters in it the same values.

    Its programs are those of `compile_program`, except that `graph` has the nodes of all of them and `named` is empty:
    what needs those cannot be asked, which is `steps`, `places` and `of_prices`.
    """

    def __init__(self) -> None:
        self._graph = _Graph()
        #: Of each node, as `settling_of` tells it.
        self._below: list[dict[int, int]] = []
        self._known: dict[tuple[object, ...], tuple[object, dict[int, int]]] = {}

    def __len__(self) -> int:
        """How many nodes there are."""
        return len(self._graph.nodes)

    def program(self, strategy: Strategy, timeframe: str) -> Program:
        """A set's program. Raises StrategyError at the first mistake."""
        frame_ms, reading = INTERVALS_MS[timeframe], _Reading(self, strategy)
        sides = sides_of(reading, strategy, frame_ms)
        common = reading.once(("common", frame_ms), lambda: common_of(self._graph, frame_ms))
        regimes = {name: reading.regime(name, frame_ms) for name in strategy.regimes}
        return Program(strategy, timeframe, self._graph, sides, common, regimes, {}, reading.settled_at)

    def known(self, key: tuple[object, ...], make: Callable[[], T]) -> tuple[T, dict[int, int]]:
        """What is made of nodes, now or before under the same key, and when all that came up in it is settled."""
        if key not in self._known:
            self._graph.asked.clear()
            made, needed = make(), dict[int, int]()
            for node in self._graph.nodes[len(self._below) :]:
                self._below.append(settling_of(node, self._below))
            for index in self._graph.asked:
                raise_to(needed, self._below[index])
            self._known[key] = made, needed
        return self._known[key]  # type: ignore[return-value]

    def reader(self, strategy: Strategy) -> Reader:
        """Reads what nobody has read yet."""
        return reader_of(strategy, self._graph)


class _Graph(Graph):
    """Notes the nodes that are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[int] = set()

    def node(self, op: str, args: tuple[Node, ...], value: object, frame_ms: int, kind: Kind = "number") -> Node:
        found = super().node(op, args, value, frame_ms, kind)
        self.asked.add(found.index)
        return found


class _Reading:
    """The expressions of one set.

    Attributes:
        settled_at: of all that it has read, as `settling` tells it.
    """

    def __init__(self, library: Library, strategy: Strategy) -> None:
        self._library, self._strategy = library, strategy
        self._reader = library.reader(strategy)
        self.settled_at: dict[int, int] = {}

    def read(self, text: str, frame_ms: int, kind: Kind, where: str) -> Node:
        params, by_regime = self._strategy.params, self._strategy.by_regime
        values = tuple(
            (name, params[name], tuple(by_regime.get(name, {}).items())) for name in _words(text) if name in params
        )
        return self.once((text, frame_ms, kind, values), lambda: self._reader.read(text, frame_ms, kind, where))

    def regime(self, name: str, frame_ms: int) -> Node:
        return self.once(("regime", name, frame_ms), lambda: self._reader.regime(name, frame_ms))

    def once(self, key: tuple[object, ...], make: Callable[[], T]) -> T:
        made, settled_at = self._library.known(key, make)
        raise_to(self.settled_at, settled_at)
        return made


@cache
def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_WORD.findall(text)))
