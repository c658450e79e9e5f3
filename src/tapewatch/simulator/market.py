"""Where a simulator's candles come from: one small interface, and the archive folder behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from tapewatch.archive import reader
from tapewatch.archive.candles import Candles
from tapewatch.model import DAY_MS, INTERVALS_MS

#: Assets in which others are priced, longer names first.
_QUOTES = ("FDUSD", "USDT", "USDC", "TUSD", "BUSD", "BTC", "ETH", "BNB", "EUR", "TRY", "USD")


def quote_of(symbol: str) -> str:
    """The asset in which a symbol is priced, by its name."""
    return next((name for name in _QUOTES if symbol.endswith(name) and symbol != name), "USDT")


class Market(Protocol):
    """Candles by symbol.

    Attributes:
        venue: whose candles they are.
        symbols: all that are traded, in the order in which they are listed.
        first_ms: the first candle's open.
        last_ms: the last candle's close.
    """

    venue: str
    symbols: tuple[str, ...]
    first_ms: int
    last_ms: int

    def candles(self, symbol: str) -> Candles:
        """The symbol's candles of the smallest interval there is."""
        ...


class ArchiveMarket:
    """The candles stored under a folder; each symbol is read when it is first asked for.

    Args:
        root: the archive's folder.
        venue: which of its venues.
        symbols: which of its symbols, all when empty.

    Raises:
        SetupError: the folder, the venue or a symbol is not there.
    """

    def __init__(self, root: Path, venue: str = "binance_spot", symbols: tuple[str, ...] = ()) -> None:
        held = [stored for stored in reader.inventory(root) if stored.venue == venue]
        self._interval: dict[str, str] = {}
        for stored in sorted(held, key=lambda stored: INTERVALS_MS[stored.interval], reverse=True):
            self._interval[stored.symbol] = stored.interval
        unknown = next((symbol for symbol in symbols if symbol not in self._interval), None)
        if unknown is not None or not held:
            raise reader.missing(root, venue, unknown or "", "1m")
        self.root, self.venue = root, venue
        self.symbols = symbols or tuple(sorted(self._interval))
        spans = [reader.span(root, venue, symbol, self._interval[symbol]) for symbol in self.symbols]
        self.first_ms = min(first_ms for first_ms, _ in spans)
        self.last_ms = max(last_ms for _, last_ms in spans)

    def candles(self, symbol: str) -> Candles:
        """The symbol's candles of its smallest stored interval."""
        return reader.load(self.root, self.venue, symbol, self._interval[symbol])


def default_start_ms(market: Market) -> int:
    """A day before the market's end, or its middle when it is shorter than two days; on a minute."""
    start_ms = max(market.last_ms - DAY_MS, (market.first_ms + market.last_ms) // 2)
    return start_ms - start_ms % INTERVALS_MS["1m"]
