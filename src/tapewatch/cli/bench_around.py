"""What it costs to know the market around signals: per bar, and where candidates of a whole market close together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any

from tapewatch.cli.figures import Figure
from tapewatch.engine import Engine, MarketSettings
from tapewatch.engine.settings import CANDLES
from tapewatch.model import MINUTE_MS, Bar, BarClosed, Boundary, Context, FetchContext, History
from tapewatch.strategy import from_mapping

#: As `run` has it with a channel that shows pictures.
AROUND = MarketSettings(outlooks=True, correlation=True, movers=True, asks=True, candles=CANDLES)
SYMBOLS = 2_000
#: After so many bars everything is settled and all returns are there.
HISTORY = 1_000
#: One that fires on every bar.
_OFTEN: dict[str, Any] = {
    "timeframes": ["1m"], "higher": {"1m": "5m"}, "long": {"up": "close > 0"}, "duplicate": {"window": "0m"},
    "stop": "atr(14)", "targets": [{"at": "atr(14)", "share": "100%"}],
}  # fmt: skip


def measure(
    bars: Sequence[Bar], make: Callable[[MarketSettings | None], Engine], runs: int, *, smoke: bool
) -> Iterator[Figure]:
    """Figures beside an engine that knows nothing of it; `make` gives one with these settings for the bars."""
    kinds = (None, AROUND)
    times: list[list[float]] = [[_per_bar_us(bars, make(each)) for each in kinds] for _ in range(runs)]
    plain, around = (median(of_kind) for of_kind in zip(*times, strict=True))
    yield Figure("engine, with context", around, "us/bar", len(bars), runs, "engine", around / plain)
    symbols, minutes = (50, 1) if smoke else (SYMBOLS, 5)
    name = f"boundary, {symbols:,} candidates"
    without, known = (_boundary_us(bars, each, symbols, minutes) for each in kinds)
    yield Figure(name, without, "us/candidate", symbols, minutes)
    yield Figure(f"{name}, with context", known, "us/candidate", symbols, minutes, name, known / without)


def _per_bar_us(bars: Sequence[Bar], engine: Engine) -> float:
    started = time.perf_counter()
    for bar in bars:
        engine.process(BarClosed(bar, bar.close_ms))
    return (time.perf_counter() - started) / len(bars) * 1e6


def _boundary_us(bars: Sequence[Bar], market: MarketSettings | None, symbols: int, minutes: int) -> float:
    """From the first bar of a close to the last alert, answers at once, of all symbols; each moves as the others do."""
    engine = Engine("bench", [from_mapping("often", _OFTEN)], market=market)
    for bar in bars[:HISTORY]:
        engine.process(History(bar))
    saved, names = engine.saved_series(bars[0].symbol), [f"S{number}USDT" for number in range(symbols)]
    for name in names:
        engine.restore_series(name, saved)
    times = []
    for bar in bars[HISTORY : HISTORY + minutes]:
        closing = [_of(name, bar) for name in names]
        started = time.perf_counter()
        asked = [effect for one in closing for effect in engine.process(one) if isinstance(effect, FetchContext)]
        for effect in asked:
            engine.process(Context(effect.symbol, effect.close_ms, 1.0, 1.0, 1e5, 1e5, 1.0, 1.0, 1e3, 1e6))
        engine.process(Boundary(bar.open_ms + MINUTE_MS))
        times.append(time.perf_counter() - started)
    return median(times) / symbols * 1e6


def _of(symbol: str, bar: Bar) -> BarClosed:
    values = (bar.open, bar.high, bar.low, bar.close, bar.volume)
    return BarClosed(Bar(symbol, bar.interval_ms, bar.open_ms, *values), bar.close_ms)
