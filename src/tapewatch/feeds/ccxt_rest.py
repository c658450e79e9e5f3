"""Any exchange's REST interface through CCXT: few requests at once, the urgent first, retried until answered."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from email.utils import parsedate_to_datetime
from itertools import count
from types import TracebackType
from typing import Any, Self, TypeVar

from tapewatch.errors import DataError, EdgeError
from tapewatch.feeds.book import LEVELS, OrderBook, gathered, order_book
from tapewatch.feeds.budget import Urgency
from tapewatch.feeds.ccxt_answers import bars_of, instrument_of, listing_of, quote_of, rates_of, ticker_of
from tapewatch.feeds.ccxt_errors import meaning
from tapewatch.feeds.clock import ExchangeClock
from tapewatch.feeds.network import backoff
from tapewatch.feeds.observer import FeedObserver
from tapewatch.feeds.port import FundingRate, Instrument, Quote, Ticker
from tapewatch.feeds.rest import Page
from tapewatch.feeds.settings import FeedSettings
from tapewatch.model import INTERVAL_NAMES

T = TypeVar("T")

#: How the library says that a precision is the size of a piece, not a number of digits.
_TICK_SIZE = 4
#: Requests under way at once: those in the library's own queue cannot be overtaken by urgent ones.
CONCURRENCY = 4
#: And order books, for what is cancelled still has its turn in that queue.
BOOKS_AT_ONCE = 2
#: Rows asked for at most; where the library knows that an exchange gives fewer, that is the page.
PAGE = 1_000
#: Failures in a row, of any requests, after which all wait: it is not one request that has bad luck.
ALL_WAIT = 3
#: What fails so often in a row while other requests succeed is that request's own trouble, and is given up for now.
TRIES = 5
#: Without these there is no feed.
NEEDED = frozenset({"time", "markets"})


class Turns:
    """Lets few requests through at once, the most urgent first, none while the exchange wants to be left alone."""

    def __init__(self, places: int, wall: Callable[[], float]) -> None:
        self._free = places
        self._wall = wall
        self._order = count()
        self._queue: list[tuple[Urgency, float, int, asyncio.Future[None]]] = []
        self._blocked_s = 0.0

    def block(self, seconds: float) -> None:
        """Nobody goes for so long."""
        self._blocked_s = max(self._blocked_s, self._wall() + seconds)

    @asynccontextmanager
    async def turn(self, urgency: Urgency, volume: float) -> AsyncIterator[None]:
        """Waits for a place, and holds it; of the same urgency the larger volume goes first."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (urgency, -volume, next(self._order), future))
        self._pump()
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._leave()
            raise
        try:
            while (left_s := self._blocked_s - self._wall()) > 0:  # noqa: ASYNC110  (it may become longer meanwhile)
                await asyncio.sleep(left_s)
            yield
        finally:
            self._leave()

    def _leave(self) -> None:
        self._free += 1
        self._pump()

    def _pump(self) -> None:
        while self._queue and self._free > 0:
            future = heapq.heappop(self._queue)[3]
            if not future.done():  # else its caller was cancelled
                self._free -= 1
                future.set_result(None)


class CcxtRest:
    """The few public questions that a feed has; an async context manager that closes the exchange at its end.

    Calls wait and retry until there is an answer.

    Raises:
        SetupError: the exchange refuses this region.
        DataError: the exchange understood and refused, as it does for an unknown symbol; or it cannot be asked this.
        EdgeError: this fails again and again, while other requests succeed; time and symbols are asked for regardless.
    """

    def __init__(self, exchange: Any, settings: FeedSettings, clock: ExchangeClock, observer: FeedObserver) -> None:
        self._exchange = exchange
        self._settings = settings
        self._clock = clock
        self._observer = observer
        self._turns = Turns(min(CONCURRENCY, settings.concurrency), clock.wall_s)
        self._levels: int | None = LEVELS
        self._book_places = asyncio.Semaphore(BOOKS_AT_ONCE)
        self._closed = False
        self.failures = 0
        self._lost = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        exchange, self._closed = self._exchange, True
        for throttler in (exchange.throttler, *(client.throttle for client in (exchange.clients or {}).values())):
            throttler.running = False  # else it would serve its queue of the cancelled first
        with suppress(asyncio.CancelledError):  # its sockets' futures are cancelled, not this
            await exchange.close()

    @property
    def failing(self) -> bool:
        """Whether the last request of all failed."""
        return self.failures > 0

    async def sync_clock(self, urgency: Urgency = Urgency.HOUSEKEEPING) -> int:
        """Sets the clock by the exchange's time, else by the date that its answers bear, else by this machine's."""
        exchange = self._exchange
        if not exchange.has.get("fetchTime"):
            await self._call("markets", lambda: exchange.load_markets(True), urgency)
            now_ms, now_s = self._dated() or int(exchange.milliseconds()), self._clock.wall_s()
            self._clock.sync(now_ms, now_s, now_s, 1.0)
            return now_ms
        sent_s = self._clock.wall_s()

        async def ask() -> int:
            nonlocal sent_s
            sent_s = self._clock.wall_s()
            return int(await exchange.fetch_time())

        now_ms = await self._call("time", ask, urgency)
        self._clock.sync(now_ms, sent_s, self._clock.wall_s(), self._rate())
        return now_ms

    def _dated(self) -> int | None:
        """The date of the last answer, in the middle of its second."""
        headers = self._exchange.last_response_headers or {}
        try:
            return round(parsedate_to_datetime(headers.get("Date", "")).timestamp() * 1000) + 500
        except (TypeError, ValueError):
            return None

    def _rate(self) -> float:
        """A simulator says how fast its clock runs."""
        headers = self._exchange.last_response_headers or {}
        self._clock.simulated = "X-Tapewatch-Rate" in headers
        try:
            rate = float(headers.get("X-Tapewatch-Rate", "1"))
        except ValueError:
            return 1.0
        return rate if 0.0 < rate < 1e9 else 1.0

    async def instruments(self) -> list[Instrument]:
        """Every symbol of the exchange's default kind, or of all kinds where it has none of that."""
        exchange = self._exchange
        markets = (await self._call("markets", lambda: exchange.load_markets(True), Urgency.HOUSEKEEPING)).values()
        tickers = {ticker.symbol: ticker for ticker in await self.tickers()}
        kind = exchange.options.get("defaultType")
        chosen = [market for market in markets if market.get("type") == kind] or list(markets)
        sized = exchange.precisionMode == _TICK_SIZE
        return [
            instrument_of(market, tickers.get(market["symbol"]), listing_of(market) if sized else None)
            for market in chosen
        ]

    async def tickers(self) -> list[Ticker]:
        """Last price and quote volume of 24 hours of all symbols; none where they cannot be had in one request."""
        exchange = self._exchange
        if not exchange.has.get("fetchTickers"):
            return []
        try:
            found = await self._call("tickers", exchange.fetch_tickers, Urgency.HOUSEKEEPING)
        except (DataError, EdgeError) as error:  # some want to be told symbols
            self._observer.warning(f"no volumes: {error}")
            return []
        now_ms = self._clock.now_ms()
        return [ticker_of(one, now_ms) for one in found.values() if one.get("symbol")]

    async def quotes(self, symbols: Sequence[str], urgency: Urgency = Urgency.CONTEXT) -> dict[str, Quote]:
        """Best bid and ask of these symbols; what is unknown or has no book is left out."""
        exchange = self._exchange
        known = [symbol for symbol in dict.fromkeys(symbols) if symbol in (exchange.markets or {})]
        if not known:
            return {}
        found: dict[str, Any] = {}
        with suppress(DataError, EdgeError):  # then one by one
            if exchange.has.get("fetchBidsAsks") is True:
                found = await self._call("quotes", lambda: exchange.fetch_bids_asks(known), urgency)
            elif exchange.has.get("fetchTickers") and len(known) > 1:
                found = await self._call("quotes", lambda: exchange.fetch_tickers(known), urgency)
        for symbol in known:
            if quote_of(symbol, found.get(symbol)) is None:
                found[symbol] = await self._best(symbol, urgency)
        quotes = [quote_of(symbol, found.get(symbol)) for symbol in known]
        return {quote.symbol: quote for quote in quotes if quote is not None}

    async def _best(self, symbol: str, urgency: Urgency) -> Any:
        exchange = self._exchange
        if not exchange.has.get("fetchOrderBook"):
            return None
        try:
            book = await self._call("quotes", lambda: exchange.fetch_order_book(symbol), urgency)
        except (DataError, EdgeError) as error:
            self._observer.warning(f"{symbol}: no quotes: {error}")
            return None
        sides = [book.get(side) or [[None]] for side in ("bids", "asks")]
        return {"bid": sides[0][0][0], "ask": sides[1][0][0]}

    async def books(self, symbols: Sequence[str], within_s: float) -> dict[str, OrderBook]:
        """Order books of these symbols, the first ones first; those that do not come in time are left out."""
        exchange = self._exchange
        if not exchange.has.get("fetchOrderBook"):
            return {}
        known = [symbol for symbol in dict.fromkeys(symbols) if symbol in (exchange.markets or {})]
        return await gathered(self._book, known, within_s, BOOKS_AT_ONCE)

    async def _book(self, symbol: str) -> OrderBook:
        """One try: its failure says nothing of other requests. Which numbers of levels there are, some will not say."""
        exchange, levels = self._exchange, self._levels
        async with self._book_places, self._turns.turn(Urgency.CONTEXT, 0.0):
            try:
                found = await self._once("order book", lambda: exchange.fetch_order_book(symbol, levels))
            except DataError:
                self._levels = None
                raise
            except EdgeError as error:
                if error.retry_after_s is not None:
                    self._turns.block(error.retry_after_s)
                raise
        return order_book(symbol, found.get("bids") or (), found.get("asks") or (), levels)

    async def rates(self) -> dict[str, FundingRate]:
        """What perpetuals pay next, by their symbols and by those of their spot markets; one try.

        Raises:
            DataError: the exchange does not tell them in one request.
            EdgeError: it did not answer.
        """
        exchange = self._exchange
        if not exchange.has.get("fetchFundingRates"):
            raise DataError(f"{exchange.id} does not tell the funding rates of all symbols")
        async with self._turns.turn(Urgency.CONTEXT, 0.0):
            found = await self._once("funding rates", exchange.fetch_funding_rates)
        return rates_of(found.values())

    async def bars(
        self, symbol: str, interval_ms: int, start_ms: int, end_ms: int | None, urgency: Urgency, volume: float = 0.0
    ) -> Page:
        """Up to a page of bars that open from `start_ms` on, not after `end_ms`; malformed rows are reported."""
        exchange = self._exchange
        last_ms = self._clock.now_ms() if end_ms is None else end_ms
        wanted = max(2, (last_ms - start_ms) // interval_ms + 2)
        name = INTERVAL_NAMES[interval_ms]
        rows = await self._call("candles", lambda: _rows(exchange, symbol, name, start_ms, wanted), urgency, volume)
        bars, bad = bars_of(rows, symbol, interval_ms)
        for _ in range(bad):
            self._observer.malformed(f"a candle of {symbol} from {start_ms}")
        within = [bar for bar in bars if start_ms <= bar.open_ms and (end_ms is None or bar.open_ms <= end_ms)]
        # How many an exchange gives is not always what it says, so a page is full when it ends before what was asked.
        return Page(within, bool(within) and within[-1].close_ms < last_ms - interval_ms)

    async def _call(self, what: str, ask: Callable[[], Awaitable[T]], urgency: Urgency, volume: float = 0.0) -> T:
        tries = 0
        while True:
            try:
                async with self._turns.turn(urgency, volume):
                    answer = await self._once(what, ask)
            except EdgeError as error:
                tries += 1
                await self._after_failure(what, error, tries)
                if what not in NEEDED and tries >= TRIES and self.failures < tries:
                    raise
            else:
                self.failures = 0
                if self._lost:
                    self._lost = False
                    self._observer.connection_found("REST")
                return answer

    async def _once(self, what: str, ask: Callable[[], Awaitable[T]]) -> T:
        if self._closed:
            raise EdgeError("nothing is asked any more")
        try:
            answer = await ask()
        except Exception as error:  # the library meets malformed answers with whatever Python raises
            self._observer.rest_request(what, 0, 0)
            raise meaning(error, self._exchange) from None
        self._observer.rest_request(what, 200, 0)
        return answer

    async def _after_failure(self, what: str, error: EdgeError, tries: int) -> None:
        self.failures += 1
        wait_s = backoff(tries, self._settings.rest_backoff_s)
        if error.retry_after_s is not None:
            wait_s = error.retry_after_s
        if error.retry_after_s is not None or self.failures >= ALL_WAIT:
            self._turns.block(wait_s)
        if tries == self._settings.alert_after:
            self._lost = True
            self._observer.connection_lost(tries, str(error), "REST")
        if self.failures & (self.failures - 1) == 0:  # the 1st, 2nd, 4th, 8th … in a row
            self._observer.warning(f"REST {what} failed ({self.failures} in a row): {error}; again in {wait_s:.1f} s")
        await asyncio.sleep(wait_s)


async def _rows(exchange: Any, symbol: str, name: str, start_ms: int, wanted: int) -> list[Any]:
    await exchange.load_markets()  # they are loaded mostly
    limit = min(wanted, exchange.feature_value(symbol, "fetchOHLCV", "limit") or PAGE, PAGE)
    rows = await exchange.fetch_ohlcv(symbol, name, start_ms, limit)
    if not isinstance(rows, list):
        raise TypeError(f"{type(rows).__name__} in place of candles")
    return rows
