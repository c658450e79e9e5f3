"""What a fault script does to the market itself: outages, listings, halts, other volumes and order books.

All of it is known before the first candle is served, so it is in the candles: streams, REST, larger bars and tickers
follow by themselves, and `ChangedMarket` is what the exchange really had.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tapewatch.archive.candles import VALUES, Candles, Floats
from tapewatch.model import MINUTE_MS
from tapewatch.simulator.decimals import places
from tapewatch.simulator.market import Market
from tapewatch.simulator.rules import MARKET_FAULTS, FaultRule
from tapewatch.simulator.tape import Stretch

_OUTAGE_MS = 5 * MINUTE_MS
TRADING, HALT = "TRADING", "HALT"
#: What is in the order book and not in candles.
_OF_THE_BOOK = frozenset({"spread", "depth"})


@dataclass(frozen=True)
class Change:
    """One change of the market, from the minute that follows `at_ms` on.

    `symbols` are all when empty; `to_ms` is infinite for what is not undone.
    """

    kind: str
    at_ms: int
    from_ms: int
    to_ms: float
    symbols: frozenset[str] = frozenset()
    factor: float = 1.0

    def concerns(self, symbol: str) -> bool:
        """Whether it changes this symbol."""
        return not self.symbols or symbol in self.symbols

    def told(self) -> dict[str, object]:
        """What is said of it in the simulator's output."""
        known: dict[str, object] = {"from_ms": self.from_ms}
        if self.to_ms < math.inf and self.kind != "list":
            known["to_ms"] = int(self.to_ms)
        if self.symbols:
            known["symbols"] = sorted(self.symbols)
        return known | ({"factor": self.factor} if self.kind in {"volume", *_OF_THE_BOOK} else {})


def changes(rules: Sequence[FaultRule], seed: int, start_ms: int, end_ms: int) -> list[Change]:
    """All changes that the rules make between start and end, in order of time."""
    found = [
        _change(rule, at_ms)
        for order, rule in enumerate(rules)
        if rule.kind in MARKET_FAULTS
        for at_ms in _times(rule, random.Random(f"{seed} {order}"), start_ms, end_ms)
    ]
    return sorted(found, key=lambda change: change.at_ms)


def _times(rule: FaultRule, draw: random.Random, start_ms: int, end_ms: int) -> Iterator[int]:
    at_ms = rule.first_ms(start_ms)
    while at_ms < end_ms:
        if draw.random() < rule.probability:
            yield at_ms
        if rule.every is None:
            return
        at_ms += rule.every


def _change(rule: FaultRule, at_ms: int) -> Change:
    from_ms = -(-at_ms // MINUTE_MS) * MINUTE_MS
    lasting = rule.lasting or (_OUTAGE_MS if rule.kind == "outage" else None)
    to_ms = math.inf if lasting is None else from_ms + -(-lasting // MINUTE_MS) * MINUTE_MS
    return Change(rule.kind, at_ms, from_ms, to_ms, frozenset(rule.symbols), rule.factor or 1.0)


class ChangedMarket:
    """A market with changes.

    Args:
        market: as it was.
        made: the changes.
    """

    def __init__(self, market: Market, made: Iterable[Change]) -> None:
        self._market, self.made = market, tuple(made)
        self.venue, self.symbols = market.venue, market.symbols
        self.first_ms, self.last_ms = market.first_ms, market.last_ms

    def candles(self, symbol: str) -> Candles:
        """The symbol's candles as far as there were any."""
        candles = self._market.candles(symbol)
        for change in self.made:
            if change.kind in _OF_THE_BOOK or not change.concerns(symbol):
                continue
            if change.kind == "volume":
                candles = _scaled(candles, change)
            else:
                from_ms, to_ms = (
                    (-math.inf, change.from_ms) if change.kind == "list" else (change.from_ms, change.to_ms)
                )
                candles = _without(candles, from_ms, to_ms)
        return candles

    def stretches(self, kind: str, symbol: str) -> list[Stretch]:
        """When its order book has another `spread` or `depth`."""
        return [
            Stretch(change.from_ms, change.to_ms, change.factor)
            for change in self.made
            if change.kind == kind and change.concerns(symbol)
        ]

    def places(self, symbol: str) -> tuple[int, int] | None:
        """Decimals of price and quantity, where the market knows them without its candles."""
        known = getattr(self._market, "places", None)
        return None if known is None else known(symbol)


def _without(candles: Candles, from_ms: float, to_ms: float) -> Candles:
    keep = (candles.open_ms < from_ms) | (candles.open_ms >= to_ms)
    if keep.all():
        return candles
    return replace(candles, open_ms=candles.open_ms[keep], **{name: getattr(candles, name)[keep] for name in VALUES})


def _scaled(candles: Candles, change: Change) -> Candles:
    inside = (candles.open_ms >= change.from_ms) & (candles.open_ms < change.to_ms) & (candles.volume > 0)
    unit = 10.0 ** places(candles.volume[-500:].tolist())

    def times(column: Floats, parts: float) -> Floats:
        scaled = np.maximum(np.rint(column * change.factor * parts), 1.0) / parts
        return np.where(inside & ~np.isnan(column), scaled, column)

    volume = times(candles.volume, unit)
    return replace(
        candles,
        volume=volume,
        quote_volume=times(candles.quote_volume, 1e8),
        trades=times(candles.trades, 1.0),
        taker_buy=np.minimum(times(candles.taker_buy, unit), volume),
    )


class Roster:
    """Which symbols are listed at a time, and whether they trade."""

    def __init__(self, symbols: Sequence[str], made: Iterable[Change]) -> None:
        self._symbols, self._made = symbols, [change for change in made if change.kind in {"list", "delist", "halt"}]
        self._known: dict[str, str] = {}
        self._until_ms = -math.inf

    def statuses(self, now_ms: int) -> dict[str, str]:
        """Status by symbol, of those that are listed."""
        if now_ms >= self._until_ms:
            self._known = {symbol: status for symbol in self._symbols if (status := self._status(symbol, now_ms))}
            turns = [turn for change in self._made for turn in (change.from_ms, change.to_ms) if turn > now_ms]
            self._until_ms = min(turns, default=math.inf)
        return self._known

    def _status(self, symbol: str, now_ms: int) -> str:
        status = TRADING
        for change in self._made:
            if symbol not in change.symbols:
                continue
            begun = now_ms >= change.from_ms
            if (change.kind == "list" and not begun) or (change.kind == "delist" and begun):
                return ""
            if change.kind == "halt" and begun and now_ms < change.to_ms:
                status = HALT
        return status
