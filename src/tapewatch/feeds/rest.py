"""Binance's REST interface: pooled, checked, within its limits, and retried until it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import msgspec

from tapewatch.errors import DataError
from tapewatch.feeds.book import LEVELS, OrderBook, gathered, order_book
from tapewatch.feeds.budget import Urgency
from tapewatch.feeds.clock import ExchangeClock
from tapewatch.feeds.gateway import Gateway
from tapewatch.feeds.observer import FeedObserver
from tapewatch.feeds.port import Instrument, Quote
from tapewatch.feeds.settings import FeedSettings
from tapewatch.feeds.wire import Book, Day, Depth, ExchangeInfo, ServerTime, decode_rows
from tapewatch.model import INTERVAL_NAMES, NAN, Bar

#: Rows of one klines answer (exchange-protocol 5.2); more are cut off silently.
PAGE = 1_000
#: Symbols named in one request for quotes; for more the whole market is asked, which costs the same.
NAMED = 100
#: Of a request for an order book of so many levels (exchange-protocol 5.2).
BOOK_WEIGHT = 5
#: The share of requests at once that order books may take: bars must not wait for them.
BOOKS_SHARE = 0.75

_info = msgspec.json.Decoder(ExchangeInfo).decode
_time = msgspec.json.Decoder(ServerTime).decode
_days = msgspec.json.Decoder(list[Day], strict=False).decode
_quotes = msgspec.json.Decoder(list[Book], strict=False).decode
_depth = msgspec.json.Decoder(Depth, strict=False).decode


@dataclass(frozen=True, slots=True)
class Page:
    """One klines answer: the newest row is normally the running bar, and nothing in it says so."""

    bars: list[Bar]
    full: bool


class Rest:
    """The requests this program makes; an async context manager.

    Every call waits and retries until there is an answer (see `Gateway`).

    Raises:
        SetupError: the hosts cannot be the exchange, refuse this region, or the settings are wrong.
        DataError: the exchange understood and refused, as it does for an unknown symbol.
    """

    def __init__(self, settings: FeedSettings, clock: ExchangeClock, observer: FeedObserver) -> None:
        self._clock = clock
        self._observer = observer
        self._gateway = Gateway(settings, clock, observer)
        self._books_at_once = max(1, int(settings.concurrency * BOOKS_SHARE))
        self._book_places = asyncio.Semaphore(self._books_at_once)

    async def __aenter__(self) -> Self:
        await self._gateway.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._gateway.__aexit__(kind, error, trace)

    @property
    def used_weight(self) -> int:
        """The weight used in the current minute as far as is known."""
        return self._gateway.budget.used_weight

    @property
    def failing(self) -> bool:
        """Whether it cannot be counted on for now."""
        return self._gateway.failing

    async def sync_clock(self, urgency: Urgency = Urgency.HOUSEKEEPING) -> int:
        """Sets the clock by the server's, where it is to be believed, and returns the exchange's time."""
        answer, served = await self._gateway.get("/api/v3/time", {}, 1, urgency, _time)
        self._clock.sync(served.server_time, answer.sent_s, answer.received_s, answer.rate)
        return self._clock.sure_ms

    async def exchange_info(self) -> ExchangeInfo:
        """The symbols and their states; the weight limit it names is obeyed from then on."""
        params = {"showPermissionSets": "false"}
        _, info = await self._gateway.get("/api/v3/exchangeInfo", params, 20, Urgency.BOOTSTRAP, _info)
        self._gateway.budget.limit(info.weight_per_minute(), info.requests_per_5m())
        return info

    async def instruments(self) -> list[Instrument]:
        """Every symbol, with its quote volume of 24 hours where that can be had."""
        info = await self.exchange_info()
        volumes = await self._volumes()
        return [
            Instrument(
                one.symbol,
                one.base_asset,
                one.quote_asset,
                one.status,
                one.status == "TRADING",
                volumes.get(one.symbol, NAN),
                one.listing,
            )
            for one in info.symbols
        ]

    async def _volumes(self) -> dict[str, float]:
        try:
            _, tickers = await self._gateway.get("/api/v3/ticker/24hr", {"type": "MINI"}, 80, Urgency.BOOTSTRAP, _days)
        except DataError as error:
            self._observer.warning(f"no volumes: {error}")
            return {}
        return {day.symbol: day.quote_volume for day in tickers}

    async def quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        """Best bid and ask of these symbols, in one try; what is unknown or has no book is left out."""
        if not symbols:
            return {}
        named = len(symbols) <= NAMED
        params = {"symbols": msgspec.json.encode(list(dict.fromkeys(symbols))).decode()} if named else {}
        try:
            books = await self._quotes(params)
        except DataError:  # one unknown symbol fails the whole request
            if not named:
                raise
            books = await self._quotes({})
        wanted = set(symbols)
        return {
            book.symbol: Quote(book.symbol, book.bid_price, book.ask_price)
            for book in books
            if book.symbol in wanted and book.bid_price > 0 and book.ask_price > 0
        }

    async def bars(
        self,
        symbol: str,
        interval_ms: int,
        start_ms: int,
        end_ms: int | None,
        urgency: Urgency,
        volume: float = 0.0,
    ) -> Page:
        """Up to a page of bars that open from `start_ms` on, not after `end_ms`; malformed rows are reported."""
        params = {
            "symbol": symbol,
            "interval": INTERVAL_NAMES[interval_ms],
            "startTime": str(start_ms),
            "limit": str(PAGE),
        }
        if end_ms is not None:
            params["endTime"] = str(end_ms)
        _, (rows, bad) = await self._gateway.get("/api/v3/klines", params, 2, urgency, decode_rows, volume)
        for _ in range(bad):
            self._observer.malformed(f"a row of klines of {symbol} from {start_ms}")
        return Page([row.bar(symbol, interval_ms) for row in rows], len(rows) + bad >= PAGE)

    async def _quotes(self, params: dict[str, str]) -> list[Book]:
        return await self._gateway.once("/api/v3/ticker/bookTicker", params, 4, Urgency.CONTEXT, _quotes)

    async def books(self, symbols: Sequence[str], within_s: float) -> dict[str, OrderBook]:
        """Order books of these symbols, the first ones first; those that do not come in time are left out."""
        return await gathered(self._book, symbols, within_s, self._books_at_once)

    async def _book(self, symbol: str) -> OrderBook:
        def parsed(body: bytes) -> OrderBook:
            depth = _depth(body)
            return order_book(symbol, depth.bids, depth.asks, LEVELS)

        params = {"symbol": symbol, "limit": str(LEVELS)}
        async with self._book_places:
            return await self._gateway.once("/api/v3/depth", params, BOOK_WEIGHT, Urgency.CONTEXT, parsed)
