"""Indicators: one scalar update function each, used by every evaluator. `REGISTRY` has them by name."""

from tapewatch.indicators import averages, ranges, sessions
from tapewatch.indicators.definition import MAX_LENGTH, NEVER, REGISTRY, Indicator, Ring, indicator

__all__ = ["MAX_LENGTH", "NEVER", "REGISTRY", "Indicator", "Ring", "averages", "indicator", "ranges", "sessions"]
