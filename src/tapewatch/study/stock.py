"""What the parameter sets of a sweep have in common: candles, the graph of their programs, and columns of it."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from tapewatch.archive.candles import Candles
from tapewatch.strategy import Program, SidePlan
from tapewatch.strategy.graph import Node
from tapewatch.strategy.library import Library
from tapewatch.study.candidates import Found, Hits, Search, passed
from tapewatch.study.shared import SharedColumns, Shelf, Shelves
from tapewatch.study.touches import Entries, stops_ms

#: Columns of factors' parts and of factors that are kept, and nodes from which on a new graph is begun, so that endless
#: sets do not fill the memory.
PART_BYTES, FACTOR_BYTES = 128_000_000, 256_000_000
MOST_NODES = 20_000


class Stock:
    """Of one sweep in one process; `held` has the smallest candles of each symbol."""

    def __init__(self, held: Mapping[str, Candles]) -> None:
        self.held = held
        self._candles: dict[str, tuple[dict[int, Candles], dict[str, Candles]]] = {}
        self._begin()

    def _begin(self) -> None:
        self.library, self._shelves = Library(), Shelves(Shelf(PART_BYTES), Shelf(FACTOR_BYTES))
        self._columns: dict[Hashable, SharedColumns] = {}

    def at_hand(self, symbol: str) -> tuple[dict[int, Candles], dict[str, Candles]]:
        """Of a symbol, as `Reading.each` takes and fills it."""
        return self._candles.setdefault(symbol, ({}, {}))

    def columns(self, frames: Mapping[int, Candles]) -> SharedColumns:
        """The columns over these candles of a symbol."""
        extents = ((ms, len(one), int(one.open_ms[0]) if len(one) else 0) for ms, one in frames.items())
        place = (next(iter(frames.values())).symbol, *extents)
        if place not in self._columns:
            self._columns[place] = SharedColumns(frames, self._shelves, place)
        return self._columns[place]

    def trim(self) -> None:
        """Begin anew where the graph has become large; for between two sets only."""
        if len(self.library) > MOST_NODES:
            self._begin()


@dataclass(frozen=True)
class SharedSearch(Search):
    """The search of one set.

    Attributes:
        stock: what it shares with the other sets.
    """

    stock: Stock

    @classmethod
    def of(cls, search: Search, stock: Stock) -> SharedSearch:
        """The same search with what they share."""
        return cls(**{one.name: getattr(search, one.name) for one in fields(search)}, stock=stock)

    @cached_property
    def programs(self) -> Mapping[str, Program]:
        """By timeframe, of the shared library."""
        return {timeframe: self.stock.library.program(self.strategy, timeframe) for timeframe in self.counted}

    def at_hand(self, symbol: str) -> tuple[dict[int, Candles], dict[str, Candles]]:
        """What has been read of a symbol for any set."""
        return self.stock.at_hand(symbol)

    def passed(self, found: Found) -> Found:
        """Those that the gate lets through; of a sweep there are many in the end."""
        return passed(found, self.strategy, compiled=True)

    def stops_of(self, candles: Candles, entries: Entries) -> Any:
        """As `touches.stops_ms`; of a sweep there are many in the end."""
        return stops_ms(candles, entries, compiled=True)

    def factors_of(self, plan: SidePlan) -> list[Node]:  # noqa: ARG002 - of no side
        """Nobody asks: they are no part of what a set comes to."""
        return []

    def hits(self, program: Program, frames: Mapping[int, Candles], read: Sequence[Node]) -> Iterator[Hits]:  # noqa: ARG002 - everything is known
        """Every bar on which a side fires."""
        yield self.stock.columns(frames).fired(program)
