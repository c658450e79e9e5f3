"""Indicators: one scalar update function each, used by every evaluator. `REGISTRY` has them by name."""

from tapewatch.indicators import averages, deviation, direction, elementary, levels, memory, ranges, sessions, windows
from tapewatch.indicators.definition import MAX_LENGTH, NEVER, REGISTRY, Indicator, Ring, indicator

__all__ = [
    "MAX_LENGTH", "NEVER", "REGISTRY", "Indicator", "Ring", "averages", "deviation", "direction", "elementary",
    "indicator", "levels", "memory", "ranges", "sessions", "windows",
]  # fmt: skip
