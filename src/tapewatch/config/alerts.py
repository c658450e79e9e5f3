"""The section of alerts: where they go, and what the operator is told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from tapewatch.config.section import Section
from tapewatch.config.values import Amount, ChartUrl, DurationMs, ShareOrCount, TimeZone, Whole

#: What an alert of a route can be about, `tapewatch.store.records.Kind` without what has channels of its own.
RoutedKind = Literal["signal", "entry", "partial", "exit", "summary", "paused", "resumed", "follow_up"]


class Route(Section):
    """Alerts of these kinds, strategies and symbols (all, where not given) go to these channels.

    `severity`: only what is at least so severe. `min_strength` and `min_confidence` (how many of the factors asked
    were met, or what share of them): only signals that have it; what is told of positions has neither and passes.
    """

    channels: Annotated[list[str], Field(min_length=1)]
    strategies: Annotated[list[str], Field(min_length=1)] | None = None
    symbols: Annotated[list[str], Field(min_length=1)] | None = None
    kinds: Annotated[list[RoutedKind], Field(min_length=1)] | None = None
    severity: Literal["low", "normal", "high"] = "low"
    min_strength: Annotated[Amount, Field(ge=0, le=10)] = 0.0
    min_confidence: ShareOrCount | None = None


class Around(Section):
    """What an alert says of the market around it; what is off is neither asked for nor kept.

    `slippage`: of how many quote units, 0 for none.
    """

    spread: bool = True
    depth: bool = True
    slippage: Annotated[Amount, Field(ge=0, le=1e12)] = 1_000.0
    volume: bool = True
    funding: bool = True
    regime: bool = True
    correlation: bool = True
    movers: bool = True

    @property
    def asks(self) -> bool:
        """Whether anything of it is not known from candles."""
        return self.spread or self.depth or self.slippage > 0 or self.volume or self.funding


class Operator(Section):
    """Alerts about tapewatch itself: the same trouble at most once in `every`, `per_hour` in all.

    Such a trouble are: more than `data_errors_per_hour` refused candles in an hour; less than `free_bytes` free on a
    disk; more than `memory_bytes` resident; a clock further off the exchange's than `clock_offset`; no bar of any
    symbol for `stale_after`, though the exchange is reached.
    `recovery`: whether it is told that a run goes on after one that was killed.
    """

    channels: list[str] = []
    every: DurationMs = 300_000
    per_hour: Annotated[Whole, Field(ge=1, le=1_000)] = 20
    data_errors_per_hour: Annotated[Whole, Field(ge=0, le=1_000_000)] = 10
    free_bytes: Annotated[Whole, Field(ge=0)] = 500_000_000
    memory_bytes: Annotated[Whole, Field(ge=1_000_000)] | None = None
    clock_offset: DurationMs = 2_000
    stale_after: Annotated[DurationMs, Field(ge=120_000)] = 300_000
    recovery: bool = True


class Alerts(Section):
    """Where alerts go; after `expiry` an undelivered one is delivered as late; `time_zone` is for local times.

    `follow_up`: whether it is told that an alert's stop or first target was touched, or its time is over. `templates`:
    a folder of the user's own; `chart_url`: where links lead; `record`: whether an alert says what became of those like
    it.
    """

    routes: list[Route] = []
    time_zone: TimeZone = "UTC"
    expiry: DurationMs = 3_600_000
    follow_up: bool = False
    context: Around = Around()
    templates: Path | None = None
    chart_url: ChartUrl = "auto"
    record: bool = True
    operator: Operator = Operator()
