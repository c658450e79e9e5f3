"""What every feed is to the rest of the program, whatever the exchange and however its bars come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import msgspec

from tapewatch.feeds.book import OrderBook
from tapewatch.feeds.clock import ExchangeClock
from tapewatch.feeds.observer import FrameCounts
from tapewatch.model import NAN, Listing

ConnectionState = Literal["connecting", "live", "replacing", "down"]


@dataclass(frozen=True, slots=True)
class SeriesPlan:
    """What one symbol needs.

    Args:
        symbol: as the exchange writes it.
        base_start_ms: open of the first 1m bar.
        larger: interval -> open of its first bar, for intervals whose first windows come from the exchange.
        last_open_ms: the 1m bar an earlier run decided last, None at a first start.
        quote_volume_24h: what was traded in a day, in quote units; the more, the earlier in every queue.
    """

    symbol: str
    base_start_ms: int
    larger: Mapping[int, int] = field(default_factory=dict)
    last_open_ms: int | None = None
    quote_volume_24h: float = 0.0


class Instrument(msgspec.Struct, frozen=True):
    """One symbol of the exchange; `trading` says whether bars can be expected of it, `listing` in which pieces."""

    symbol: str
    base: str
    quote: str
    status: str
    trading: bool
    quote_volume_24h: float = NAN
    listing: Listing | None = None


class Quote(msgspec.Struct, frozen=True):
    """Best bid and ask of a symbol."""

    symbol: str
    bid: float
    ask: float


class FundingRate(msgspec.Struct, frozen=True):
    """What longs of a perpetual pay next, as a share of the position, and when; they receive what is negative."""

    symbol: str
    rate: float
    next_ms: int


_MINI_TICKER = {"symbol": "s", "close": "c", "quote_volume_24h": "q", "event_ms": "E"}


class Ticker(msgspec.Struct, frozen=True, gc=False, rename=_MINI_TICKER):
    """One symbol of an all-market ticker: last price and the quote volume of 24 hours, as of `event_ms`.

    It is read straight from Binance's JSON, of which there are thousands a second.
    """

    symbol: str
    close: float
    quote_volume_24h: float
    event_ms: int


class Connection(msgspec.Struct, frozen=True):
    """One streaming connection as `status`, health and metrics show it.

    Attributes:
        name: which one, as in logs.
        streams, symbols: what it carries.
        age_s: wall seconds since it was made.
        last_frame_s_ago: wall seconds since data came, None before any.
        frames: data frames so far.
        reconnects: how often it was made anew.
    """

    name: str
    state: ConnectionState
    streams: int
    symbols: tuple[str, ...]
    age_s: float
    last_frame_s_ago: float | None
    frames: int
    reconnects: int


class Feed(Protocol):
    """Brings closed 1m bars of every watched symbol, from history to live, in order, each once.

    Everything but `run` may be called only while `run` is under way.

    Attributes:
        counts: what came over the streams.
        clock: the exchange's clock.
        progress: symbols whose first windows are complete, symbols watched.
        emergency: whether bars come by polling, because streams cannot be had.
    """

    counts: FrameCounts
    clock: ExchangeClock

    @property
    def progress(self) -> tuple[int, int]: ...  # noqa: D102

    @property
    def emergency(self) -> bool: ...  # noqa: D102

    async def run(self) -> None:
        """Feeds until cancelled.

        Raises:
            SetupError: the settings are wrong.
        """

    async def ready(self) -> int:
        """The exchange's time in ms, once REST has answered for the first time."""

    async def instruments(self) -> list[Instrument]:
        """Every symbol, with its 24 h quote volume where the exchange tells it."""

    async def quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        """Best bid and ask now; a symbol that is unknown or has no book is left out."""

    async def books(self, symbols: Sequence[str], within_s: float) -> dict[str, OrderBook]:
        """Order books now, the first symbols first; what does not come within so long is left out, as the unknown is.

        No bar waits for them: where the exchange's limits are near, none is asked for.
        """

    async def rates(self) -> dict[str, FundingRate]:
        """What perpetuals pay next, by their symbols here, and by those of the same name or assets on a spot market.

        One try.

        Raises:
            DataError: nobody can be asked that.
            EdgeError: there was no answer.
        """

    def watch(self, plans: Sequence[SeriesPlan]) -> None:
        """Bring these symbols too; one that is watched already stays as it is."""

    def unwatch(self, symbols: Sequence[str]) -> None:
        """Bring nothing more of these symbols, not even what was being fetched."""

    def connections(self) -> list[Connection]:
        """The streaming connections as they are now."""
