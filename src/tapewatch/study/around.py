"""What a run would have known of the market around a signal that was found in stored candles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from pathlib import Path

from tapewatch.archive.reader import intervals_of, series
from tapewatch.engine import Engine, MarketSettings, windows_of
from tapewatch.model import (
    INTERVAL_NAMES,
    INTERVALS_MS,
    MINUTE_MS,
    Bar,
    BarClosed,
    Boundary,
    History,
    Judged,
    Signal,
    Surroundings,
)
from tapewatch.outcomes import OutcomeSettings
from tapewatch.strategy import Strategy

#: A run that has been on for so long knows which symbols were alerted lately.
LIVE_MS = 30 * MINUTE_MS
_MARKET = MarketSettings(outlooks=True, correlation=True, movers=True)


def surroundings(strategy: Strategy, root: Path, signal: Signal, symbols: Iterable[str]) -> Surroundings | None:
    """Regimes and trend, correlation with BTC and correlated movers at a signal's bar.

    The engine of a run is fed what a run would have fetched, then half an hour of closed candles. None where it does
    not find the signal, since it knows less of the past than whoever has all candles.

    Args:
        strategy: that found it.
        root: the archive.
        signal: of which bar.
        symbols: what else was watched; those that the archive does not have at its interval are left out.
    """
    base = intervals_of(root, signal.venue, signal.symbol)[0]
    base_ms = INTERVALS_MS[base]
    names = [name for name in dict.fromkeys([signal.symbol, *symbols]) if _has(root, signal.venue, name, base)]
    engine = Engine(signal.venue, [strategy], base_ms=base_ms, market=_MARKET, outcomes=OutcomeSettings())
    windows = windows_of([strategy], _MARKET)
    begin_ms = signal.close_ms - LIVE_MS
    from_ms = begin_ms - windows.get(base_ms, 0) * base_ms
    from_ms -= from_ms % max(windows)
    before = {length: count for length, count in windows.items() if length > base_ms}
    larger = [bar for name in names for bar in _larger(root, signal.venue, name, before, from_ms)]
    for bar in sorted(larger, key=_order):
        engine.process(History(bar))
    for bar in merge(*(_base(root, signal, name, base, from_ms) for name in names), key=_order):
        if bar.close_ms <= begin_ms:
            engine.process(History(bar))
            continue
        for event in (Boundary(bar.close_ms - bar.interval_ms), BarClosed(bar, bar.close_ms)):
            for effect in engine.process(event):
                if isinstance(effect, Judged) and effect.signal.id == signal.id:
                    return effect.signal.context
    return None


def _order(bar: Bar) -> tuple[int, int, str]:
    return bar.close_ms, -bar.interval_ms, bar.symbol


def _has(root: Path, venue: str, symbol: str, base: str) -> bool:
    return base in intervals_of(root, venue, symbol)


def _larger(root: Path, venue: str, symbol: str, windows: dict[int, int], until_ms: int) -> Iterator[Bar]:
    for length, count in windows.items():
        candles = series(root, venue, symbol, INTERVAL_NAMES[length])
        yield from list(candles.slice(until_ms - count * length, until_ms - length + 1).bars())


def _base(root: Path, signal: Signal, symbol: str, base: str, from_ms: int) -> Sequence[Bar]:
    candles = series(root, signal.venue, symbol, base)
    return list(candles.slice(from_ms, signal.close_ms).bars())
