"""Bars, candles and strategies that the tests of the core start from."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from tapewatch.archive.candles import VALUES, Candles
from tapewatch.model import DAY_MS, MINUTE_MS, NAN, Bar, Signal
from tapewatch.strategy import Strategy, from_mapping

#: A Monday, 00:00 UTC.
MONDAY_MS = 1_704_067_200_000
#: The gate's checks, in its order.
CHECKS = ["settled", "fresh", "duplicate", "cooldown", "muted", "liquidity", "spread", "regime", "correlated", "budget"]


def bar(
    minute: int,
    close: float = 100.0,
    *,
    symbol: str = "AAAUSDT",
    interval_ms: int = MINUTE_MS,
    start_ms: int = MONDAY_MS,
    **values: float,
) -> Bar:
    """The bar that opens `minute` of its own intervals after `start_ms`; a calm one around its close."""
    given = {"open": close, "high": close + 1.0, "low": close - 1.0, "volume": 10.0, **values}
    return Bar(symbol, interval_ms, start_ms + minute * interval_ms, close=close, **given)


def walk(count: int, seed: int = 1, *, start_ms: int = MONDAY_MS, holes: Iterable[int] = (), **same: Any) -> list[Bar]:
    """A random walk of minutes around 100 with all volumes; the same in every version of Python."""
    draw = random.Random(seed).random
    price, bars, missing = 100.0, [], set(holes)
    for minute in range(count):
        opened, price = price, round(price * (1 + (draw() - 0.5) * 0.004), 2)
        high, low = max(opened, price) + round(draw() * 0.1, 2), min(opened, price) - round(draw() * 0.1, 2)
        volume = round(draw() ** 4 * 50, 5)
        extra = {"quote_volume": round(volume * price, 8), "trades": float(round(volume * 3)), "taker_buy": volume / 2}
        if minute not in missing:
            bars.append(
                Bar("AAAUSDT", MINUTE_MS, start_ms + minute * MINUTE_MS, opened, high, low, price, volume, **extra)
                if not same
                else bar(minute, price, start_ms=start_ms, **same)
            )
    return bars


def candles_of(bars: Sequence[Bar], venue: str = "venue") -> Candles:
    """The same bars as columns."""
    opens = np.array([one.open_ms for one in bars], np.int64)
    columns = {name: np.array([getattr(one, name) for one in bars], np.float64) for name in VALUES}
    return Candles(venue, bars[0].symbol, bars[0].interval_ms, opens, **columns)


def mapping(**changes: Any) -> dict[str, Any]:
    """The smallest sound strategy, with changes; a change to None leaves the key out."""
    whole: dict[str, Any] = {
        "timeframes": ["1m"],
        "higher": {"1m": "5m", "5m": "15m"},
        "long": {"up": "close > open"},
        "stop": "2.0",
        "targets": [{"at": "1.0", "share": "100%"}],
    } | changes
    return {key: value for key, value in whole.items() if value is not None}


def strategy(name: str = "probe", **changes: Any) -> Strategy:
    """The smallest sound strategy, with changes, checked."""
    return from_mapping(name, mapping(**changes))


def packed(values: Iterable[Any]) -> list[bytes]:
    """Each number's bits, every NaN the same, so that equal means equal to the last bit."""
    return [struct.pack("<d", NAN if math.isnan(value) else value) for value in values]


def bits(value: Any) -> Any:
    """A signal, or anything in it, with every float as its bits."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, float):
        return packed([value])[0]
    if isinstance(value, Signal):
        return bits(msgspec.structs.asdict(value))
    if isinstance(value, msgspec.Struct):
        return bits(msgspec.structs.asdict(value))
    if isinstance(value, Mapping):
        return {key: bits(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [bits(inner) for inner in value]
    return value


__all__ = ["DAY_MS", "MONDAY_MS", "bar", "bits", "candles_of", "mapping", "packed", "strategy", "walk"]
