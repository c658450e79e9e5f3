"""Any exchange's REST interface through CCXT: few requests at once, the urgent first, retried until answered."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from email.utils import parsedate_to_datetime
from itertools import count
from types import TracebackType
from typing import Any, Self, TypeVar

from tapewatch.errors import DataError, EdgeError
from tapewatch.feeds.budget import Urgency
from tapewatch.feeds.ccxt_errors import meaning
from tapewatch.feeds.clock import ExchangeClock
from tapewatch.feeds.network import backoff
from tapewatch.feeds.observer import FeedObserver
from tapewatch.feeds.port import Instrument, Quote, Ticker
from tapewatch.feeds.rest import Page
from tapewatch.feeds.settings import FeedSettings
from tapewatch.model import INTERVAL_NAMES, NAN, Bar, Listing
from tapewatch.paper.instruments import LEAST_NOTIONAL

T = TypeVar("T")

#: How the library says that a precision is the size of a piece, not a number of digits.
_TICK_SIZE = 4
#: Requests under way at once: those in the library's own queue cannot be overtaken by urgent ones.
CONCURRENCY = 4
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
        self.failures = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        exchange = self._exchange
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
        try:
            rate = float((self._exchange.last_response_headers or {}).get("X-Tapewatch-Rate", "1"))
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
            _instrument(market, tickers.get(market["symbol"]), _listing(market) if sized else None) for market in chosen
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
        return [_ticker(one, now_ms) for one in found.values() if one.get("symbol")]

    async def quotes(self, symbols: Sequence[str], urgency: Urgency = Urgency.GAP) -> dict[str, Quote]:
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
            if _quote(symbol, found.get(symbol)) is None:
                found[symbol] = await self._book(symbol, urgency)
        quotes = [_quote(symbol, found.get(symbol)) for symbol in known]
        return {quote.symbol: quote for quote in quotes if quote is not None}

    async def _book(self, symbol: str, urgency: Urgency) -> Any:
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
                return answer

    async def _once(self, what: str, ask: Callable[[], Awaitable[T]]) -> T:
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
            self._observer.connection_lost(tries, str(error))
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


def bars_of(rows: Sequence[Any], symbol: str, interval_ms: int) -> tuple[list[Bar], int]:
    """The library's candles `[open_ms, open, high, low, close, volume]`, oldest first, and how many make no sense.

    It gives no quote volume, no trades and no taker volume.
    """
    bars: dict[int, Bar] = {}
    bad = 0
    for row in rows:
        try:
            open_ms, *values = row[:6]
            opened, high, low, close, volume = map(float, values)
            bar = Bar(symbol, interval_ms, int(open_ms), opened, high, low, close, volume)
        except (TypeError, ValueError, OverflowError):
            bad += 1
        else:
            bars[bar.open_ms] = bar
    return [bars[open_ms] for open_ms in sorted(bars)], bad


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return NAN


def _ticker(one: dict[str, Any], now_ms: int) -> Ticker:
    close = _number(one.get("last"))
    volume = _number(one.get("quoteVolume"))
    if math.isnan(volume):
        volume = _number(one.get("baseVolume")) * close
    stamp = one.get("timestamp")
    return Ticker(one["symbol"], close, volume, stamp if isinstance(stamp, int) else now_ms)


def _instrument(market: dict[str, Any], ticker: Ticker | None, listing: Listing | None) -> Instrument:
    active = market.get("active")
    status = "unknown" if active is None else "active" if active else "inactive"
    volume = NAN if ticker is None else ticker.quote_volume_24h
    base, quote = (str(market.get(side) or "") for side in ("base", "quote"))
    return Instrument(market["symbol"], base, quote, status, active is not False, volume, listing)


def _listing(market: dict[str, Any]) -> Listing | None:
    """In which pieces it is traded; None where that is not known."""
    precision, limits = market.get("precision") or {}, market.get("limits") or {}
    least = (limits.get("cost") or {}).get("min")
    found = [_number(precision.get("price")), _number(precision.get("amount"))]
    if not all(size > 0 for size in found):
        return None
    tick, step = (Decimal(str(size)) for size in found)
    return Listing(market["symbol"], tick, step, Decimal(str(least)) if _number(least) > 0 else LEAST_NOTIONAL)


def _quote(symbol: str, found: Any) -> Quote | None:
    if not isinstance(found, dict):
        return None
    bid, ask = _number(found.get("bid")), _number(found.get("ask"))
    return Quote(symbol, bid, ask) if bid > 0 and ask > 0 else None
