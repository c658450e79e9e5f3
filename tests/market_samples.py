"""Markets of several symbols that move together or do not, and an engine that has seen them."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from core_samples import bar, strategy
from tapewatch.engine import Engine, MarketSettings
from tapewatch.gate import GateSettings
from tapewatch.model import Alert, Bar, BarClosed, Boundary, Effect, Event, History, Judged, Signal
from tapewatch.strategy import Strategy

#: Minutes of history after which everything is settled and all returns are there.
HISTORY = 1_000
#: Symbol -> how its returns follow from two that have nothing to do with each other.
MIXES: Mapping[str, tuple[float, float]] = {
    "BTCUSDT": (1.0, 0.0),
    "ETHUSDT": (1.0, 0.2),
    "SOLUSDT": (1.0, 0.4),
    "XRPUSDT": (-1.0, 0.1),
    "DOGEUSDT": (0.0, 1.0),
}


def market(minutes: int, mixes: Mapping[str, tuple[float, float]] = MIXES, seed: int = 5) -> list[list[Bar]]:
    """By minute the bars of all symbols, the history first; the first symbol is traded most."""
    draw = random.Random(seed).gauss
    prices = dict.fromkeys(mixes, 100.0)
    rows = []
    for minute in range(-HISTORY, minutes):
        common, own = draw(0, 0.001), draw(0, 0.001)
        row = []
        for place, (symbol, (share, other)) in enumerate(mixes.items()):
            prices[symbol] *= math.exp(share * common + other * own)
            close = round(prices[symbol], 6)
            row.append(bar(minute, close, symbol=symbol, quote_volume=1_000.0 * (len(mixes) - place)))
        rows.append(row)
    return rows


def firing(name: str = "probe", **changes: Any) -> Strategy:
    """A strategy that fires long on every bar."""
    return strategy(name, **{"long": {"up": "close > 0"}, "duplicate": {"window": "0m"}} | changes)


def warmed(
    market_settings: MarketSettings,
    rows: Sequence[Sequence[Bar]],
    chosen: Iterable[Strategy] | None = None,
    **gate: Any,
) -> Engine:
    """An engine with the history of these rows."""
    engine = Engine("venue", chosen or [firing()], GateSettings(**gate), market=market_settings)
    for row in rows[:HISTORY]:
        for one in row:
            engine.process(History(one))
    return engine


def closing(row: Sequence[Bar], late_ms: int = 0) -> list[Event]:
    """The bars of a minute and their boundary."""
    return [*(BarClosed(one, one.close_ms + late_ms) for one in row), Boundary(row[0].close_ms)]


def said(engine: Engine, events: Iterable[Event]) -> list[Effect]:
    """All effects of the events."""
    return [effect for event in events for effect in engine.process(event)]


def signals(effects: Iterable[Effect], state: str | None = None) -> dict[str, Signal]:
    """Symbol -> its candidate; of one state where that is given."""
    judged = (effect for effect in effects if isinstance(effect, Judged) and state in {None, effect.state})
    return {effect.signal.symbol: effect.signal for effect in judged}


def alerts(effects: Iterable[Effect]) -> list[Alert]:
    """The alerts among effects."""
    return [effect for effect in effects if isinstance(effect, Alert)]
