"""What a search tries: for each of some parameters of a strategy, a range of values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from tapewatch.errors import SetupError
from tapewatch.strategy.expression import did_you_mean
from tapewatch.strategy.ranges import Range, range_of


@dataclass(frozen=True)
class Space:
    """Parameters and their ranges, in the order in which they were named."""

    ranges: Mapping[str, Range]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parameters."""
        return tuple(self.ranges)

    @property
    def size(self) -> float:
        """How many sets there are; infinite where a range has no steps."""
        return math.prod(len(one.values) or math.inf for one in self.ranges.values())

    def every(self) -> Iterator[dict[str, float]]:
        """Every set, the last parameter's values changing first; all ranges have steps."""
        for values in product(*(one.values for one in self.ranges.values())):
            yield dict(zip(self.names, values, strict=True))

    def neighbours(self, params: Mapping[str, float]) -> list[dict[str, float]]:
        """The sets that are one step away from this one, each in one parameter; see `Range.near`."""
        return [{**params, name: value} for name, one in self.ranges.items() for value in one.near(params[name])]


def space_of(name: str, mapping: Mapping[str, Any], params: Mapping[str, float], asked: Mapping[str, str]) -> Space:
    """What is searched of a strategy: what is asked for, else what its own `search` says.

    Args:
        name: of the strategy.
        mapping: the strategy as it was written.
        params: its parameters with their defaults.
        asked: parameter -> range as `--range` has it; commas make a list.

    Raises:
        SetupError: a range is none, its parameter is none, or there is nothing to search.
    """
    if not asked:
        own = mapping.get("search") or {}
        if not own:
            raise SetupError(
                f"--range: {name} says nothing of what to search; name a parameter and its range: fast=5..15"
            )
        return Space({key: range_of(value, params[key]) for key, value in own.items()})
    ranges = {}
    for key, text in asked.items():
        if key not in params:
            has = did_you_mean(key, params) or f"; {name} has {', '.join(params) or 'none'}"
            raise SetupError(f"--range: no parameter {key!r}{has}")
        try:
            ranges[key] = range_of(_listed(text), params[key])
        except ValueError as error:
            raise SetupError(f"--range: {key}={text}: {error}") from None
    return Space(ranges)


def _listed(text: str) -> str | list[float]:
    """`20,25,30` as a list. Raises ValueError."""
    try:
        return [float(text)] if ".." not in text and "," not in text else [float(one) for one in text.split(",")]
    except ValueError:
        return text
