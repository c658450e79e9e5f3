"""The universe as of each day of an archive: whom a live run would have watched, known by what was traded before.

A symbol is there from its first to its last stored candle, delisted ones too. Rules on top are those of a live run,
decided by the same code, at the begin of each UTC day from the volumes of the day before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tapewatch.archive.candles import Candles
from tapewatch.archive.reader import inventory, span
from tapewatch.model import DAY_MS
from tapewatch.universe import Rules, Watchlist

#: More symbols than any archive has.
ALL = 1_000_000


def rules_of(min_volume_24h: float | None, max_symbols: int | None) -> Rules | None:
    """The rules that an archive has the numbers for, None without any; everything else passes."""
    if min_volume_24h is None and max_symbols is None:
        return None
    return Rules(
        quotes=("",),
        leveraged=True,
        stable=True,
        min_volume_24h=min_volume_24h or 0.0,
        min_volume_1h=0.0,
        max_symbols=max_symbols or ALL,
    )


@dataclass(frozen=True)
class Membership:
    """Who is watched on which UTC day, by the day's number since 1970."""

    days: Mapping[int, frozenset[str]]

    def has(self, symbol: str, close_ms: int) -> bool:
        """Whether a bar that closes then is looked at."""
        return symbol in self.days.get(close_ms // DAY_MS, frozenset())


@dataclass(frozen=True)
class _Stored:
    """A symbol of an archive, as the rules of a universe read it."""

    symbol: str
    base: str = ""
    quote: str = ""
    status: str = "TRADING"
    trading: bool = True


def membership(candles: Sequence[Candles], rules: Rules) -> Membership:
    """Day by day from the first candle to the day after the last; the first has no day before, and nobody."""
    volumes = {one.symbol: _by_day(one) for one in candles}
    traded = sorted({day for of_symbol in volumes.values() for day in of_symbol})
    watchlist, days = Watchlist(rules), {}
    for before in range(traded[0], traded[-1] + 1):
        known = {symbol: of_symbol[before] for symbol, of_symbol in volumes.items() if before in of_symbol}
        review = watchlist.review([_Stored(symbol) for symbol in known], known, {}, (before + 1) * DAY_MS)
        watchlist.accept(review)
        days[before + 1] = watchlist.symbols
    return Membership(days)


def within(root: Path, venue: str, symbols: Sequence[str], from_ms: int | None, to_ms: int | None) -> list[str]:
    """Those of these symbols that have candles in a period.

    Raises:
        SetupError: a file is no Parquet file of candles.
    """
    if from_ms is None and to_ms is None:
        return list(symbols)
    held = [stored for stored in inventory(root) if stored.venue == venue]
    found = []
    for symbol in symbols:
        spans = [span(root, venue, symbol, stored.interval) for stored in held if stored.symbol == symbol]
        begun = to_ms is None or any(first_ms < to_ms for first_ms, _ in spans)
        if begun and (from_ms is None or any(end_ms > from_ms for _, end_ms in spans)):
            found.append(symbol)
    return found


def _by_day(candles: Candles) -> dict[int, float]:
    """Quote units traded on each day that has candles."""
    quote = np.where(np.isnan(candles.quote_volume), candles.volume * candles.close, candles.quote_volume)
    days, rows = np.unique(candles.open_ms // DAY_MS, return_inverse=True)
    return dict(zip(days.tolist(), np.bincount(rows, quote).tolist(), strict=True))
