"""The section `gate`: which signals become alerts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from tapewatch.config.section import Section
from tapewatch.config.values import Amount, DurationMs, Percent, Whole


class GateHistory(Section):
    """How many passed signals the duplicate rule remembers, and for how long."""

    size: Annotated[Whole, Field(ge=1, le=100_000)] = 50
    expire: DurationMs = 1_800_000


class Correlated(Section):
    """One alert for symbols whose returns have a correlation of `min` or more, either way, until `window` is over."""

    min: Annotated[Amount, Field(ge=0.1, le=1)] = 0.8
    window: DurationMs = 900_000


class Score(Section):
    """A scoring model, of the strategy that it was trained on: signals pass whose score is `at_least` so much.

    Without `at_least` it is the threshold that the model was given in training.
    """

    model: Path
    at_least: Annotated[Percent, Field(le=1)] | None = None


class Gate(Section):
    """`late_after`: data older than this marks a signal late; `expiry`: older than this blocks it.

    `liquidity`: whether symbols below `universe.min_volume_1h` are blocked. `max_spread`: the widest spread, as a share
    of the price; without it the spread blocks nothing. Without `correlated` each symbol alerts for itself. `score`:
    models that say how likely signals are to touch their target first.
    """

    late_after: DurationMs = 10_000
    expiry: DurationMs = 900_000
    liquidity: bool = True
    max_spread: Annotated[Percent, Field(gt=0, le=1)] | None = None
    correlated: Correlated | None = None
    score: list[Score] = []
    history: GateHistory = GateHistory()
