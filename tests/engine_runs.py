"""An engine over a list of bars, and its state all at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tapewatch.engine import Engine
from tapewatch.engine.state import Saving
from tapewatch.model import INTERVALS_MS, Bar, BarClosed, Boundary, Event, Judged, Signal, StepFailed
from tapewatch.outcomes import OutcomeSettings
from tapewatch.strategy import Strategy


def candidates(venue: str, strategy: Strategy, bars: Iterable[Bar], base: str = "1m") -> list[Signal]:
    """Every candidate of a strategy on these base bars, interpreted, as if each bar came the moment it closed.

    Bars in order of time; several symbols may alternate. Verdicts are those of the gate with its default settings.
    """
    engine = Engine(venue, [strategy], base_ms=INTERVALS_MS[base], outcomes=OutcomeSettings())
    found = []
    for event in _with_boundaries(bars):
        for effect in engine.process(event):
            if isinstance(effect, Judged):
                found.append(effect.signal)
            elif isinstance(effect, StepFailed):
                raise RuntimeError(f"{effect.strategy} on {effect.bar}: {effect.error}")
    return found


def _with_boundaries(bars: Iterable[Bar]) -> Iterator[Event]:
    close_ms = 0
    for bar in bars:
        if bar.close_ms > close_ms:
            yield Boundary(close_ms)
            close_ms = bar.close_ms
        yield BarClosed(bar, bar.close_ms)
    yield Boundary(close_ms)


def save(engine: Engine) -> Iterator[bytes]:
    """The engine's state in pieces, the engine standing still."""
    saving = Saving(engine)
    while pieces := saving.take(1):
        yield from pieces
