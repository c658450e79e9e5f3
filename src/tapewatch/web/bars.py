"""Larger bars for open pages, built from the base bars that come while one is open."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from tapewatch.bars import BarBuilder
from tapewatch.model import Bar


class Folding:
    """Builds each larger interval of each symbol, from the first of its bars that is seen as a whole."""

    def __init__(self) -> None:
        self._builders: dict[tuple[str, int], BarBuilder] = {}

    def take(self, base: Bar, intervals_ms: Collection[int]) -> Iterator[Bar]:
        """The bars that are known with this one, itself the first."""
        yield base
        for interval_ms in intervals_ms:
            if interval_ms <= base.interval_ms:
                continue
            key = base.symbol, interval_ms
            if key not in self._builders:
                self._builders[key] = BarBuilder(interval_ms, -(-base.open_ms // interval_ms) * interval_ms)
            yield from self._builders[key].add(base)
