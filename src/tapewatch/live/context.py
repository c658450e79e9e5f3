"""The market around candidates: asked for when the engine wants it, answered in time, with what came until then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar

from tapewatch.config import Config
from tapewatch.errors import TapewatchError
from tapewatch.feeds import Feed, FundingRate, OrderBook, Quote
from tapewatch.feeds.book import near_quote, slippage_bps
from tapewatch.feeds.breaker import Breaker
from tapewatch.live.rates import RateKeeper
from tapewatch.model import NAN, Context, FetchContext

#: An alert waits no longer than half a second for what goes with it; the rest is for the way there and back, of a
#: program that is busy with a whole market's bars.
PATIENCE_S = 0.4
#: Order books of one close: more would not come in time, and would take the exchange's limits from bars.
BOOKS = 40
#: So often in a row nothing came, and it is not asked for that long, the first time, the second and so on.
GIVE_UP_AFTER = 3
REST_S = (5.0, 15.0, 60.0)
#: What is said of order books beyond `BOOKS`.
TOO_MANY = "order book (too many at once)"

T = TypeVar("T")


@dataclass(frozen=True)
class Wanted:
    """What is asked for around candidates: whether at all, and slippage for how many quote units (0: not)."""

    spread: bool = False
    depth: bool = False
    slippage_quote: float = 0.0
    volume: bool = False
    funding: bool = False

    @property
    def books(self) -> bool:
        """Whether order books are needed."""
        return self.depth or self.slippage_quote > 0


def wanted_of(config: Config) -> Wanted:
    """What a configuration asks for around candidates; a gate that judges spreads needs them too."""
    context = config.alerts.context
    spread = context.spread or config.gate.max_spread is not None
    return Wanted(spread, context.depth, context.slippage, context.volume, context.funding)


class Market(Protocol):
    """What is asked of a feed; see there."""

    async def quotes(self, symbols: Sequence[str]) -> dict[str, Quote]: ...  # noqa: D102

    async def books(self, symbols: Sequence[str], within_s: float) -> dict[str, OrderBook]: ...  # noqa: D102


class _Source(Generic[T]):
    """Something that is asked with little patience, and left alone for a while when nothing comes several times."""

    def __init__(self, ask: Callable[[Sequence[str], float], Awaitable[Mapping[str, T]]]) -> None:
        self._ask = ask
        self._breaker = Breaker(GIVE_UP_AFTER, REST_S, time.monotonic)

    @property
    def resting(self) -> bool:
        """Whether it is not asked now."""
        return self._breaker.wait_s() > 0

    async def get(self, symbols: Sequence[str], within_s: float) -> Mapping[str, T]:
        """What came in time."""
        if not symbols or self.resting or within_s <= 0:
            return {}
        self._breaker.enter()
        found: Mapping[str, T] = {}
        with suppress(TimeoutError, TapewatchError):
            found = await self._ask(symbols, within_s)
        if found:
            self._breaker.succeeded()
        else:
            self._breaker.failed()
        return found


class ContextDesk:
    """Carries out `FetchContext`: each is answered once, within `patience_s`.

    Args:
        wanted: what is asked for.
        market: gives quotes and order books.
        rates: gives what perpetuals pay.
        volume_1h: the mean quote volume of an hour of a symbol, NaN where it is not known.
        take: where answers go.
        on_answered: is told how many seconds answers took.
        patience_s: how long after it was asked for an answer is given at the latest, without what has not come.
    """

    def __init__(
        self,
        wanted: Wanted,
        market: Market,
        rates: RateKeeper,
        volume_1h: Callable[[str], float],
        take: Callable[[Sequence[Context]], None],
        on_answered: Callable[[float, Sequence[Context]], None] = lambda _seconds, _answers: None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._wanted = wanted
        self._rates = rates
        self._volume_1h = volume_1h
        self._take = take
        self._on_answered = on_answered
        self._patience_s = patience_s
        self._books = _Source(market.books)
        self._quotes = _Source(self._quotes_in_time)
        self._market = market
        self._asked: list[FetchContext] = []
        self._asked_s = 0.0
        self._wake = asyncio.Event()
        self._close_ms, self._room = 0, BOOKS

    def ask(self, effects: Sequence[FetchContext]) -> None:
        """Fetch these together; the answers come by `take`, later."""
        if not self._asked:
            self._asked_s = time.monotonic()
        self._asked += effects
        self._wake.set()

    async def run(self) -> None:
        """Answer until cancelled; those under way then are not."""
        async with asyncio.TaskGroup() as tasks:
            if self._wanted.funding:
                tasks.create_task(self._rates.run(), name="funding rates")
            while True:
                await self._wake.wait()
                self._wake.clear()
                asked, self._asked = self._asked, []
                tasks.create_task(self._answer(asked, self._asked_s))

    async def _answer(self, asked: Sequence[FetchContext], asked_s: float) -> None:
        """Answer those without order books as soon as the rest is there, the others when their books are."""
        within_s = max(0.0, asked_s + self._patience_s - time.monotonic())
        symbols = self._ranked({effect.symbol for effect in asked})
        booked, beyond = self._booked(symbols, max(effect.close_ms for effect in asked))
        quoted = [symbol for symbol in symbols if symbol not in booked] if self._wanted.spread else []
        async with asyncio.TaskGroup() as tasks:
            books = tasks.create_task(self._books.get(booked, within_s))
            quotes = tasks.create_task(self._quotes.get(quoted, within_s))
            found = _Found(beyond, rates=await self._known_rates(symbols, within_s), quotes=await quotes)
            with_books = set(booked)
            self._tell([effect for effect in asked if effect.symbol not in with_books], found, asked_s)
            found = replace(found, books=await books)
            self._tell([effect for effect in asked if effect.symbol in with_books], found, asked_s)

    def _tell(self, asked: Sequence[FetchContext], found: _Found, asked_s: float) -> None:
        if asked:
            answers = [self._context(effect, found) for effect in asked]
            self._take(answers)
            self._on_answered(time.monotonic() - asked_s, answers)

    def _ranked(self, symbols: Iterable[str]) -> list[str]:
        """The most traded first, by name where nothing is known of it."""
        volumes = {symbol: self._volume_1h(symbol) for symbol in symbols}
        return sorted(volumes, key=lambda symbol: (-volumes[symbol] if volumes[symbol] >= 0 else 0.0, symbol))

    def _booked(self, symbols: Sequence[str], close_ms: int) -> tuple[Sequence[str], frozenset[str]]:
        """Whose order books are asked for, and whose are beyond the number of one close, over all its questions."""
        if not self._wanted.books or self._books.resting:
            return (), frozenset()
        if close_ms > self._close_ms:
            self._close_ms, self._room = close_ms, BOOKS
        booked, beyond = symbols[: self._room], symbols[self._room :]
        self._room -= len(booked)
        return booked, frozenset(beyond)

    async def _known_rates(self, symbols: Sequence[str], within_s: float) -> Mapping[str, FundingRate | None]:
        if not self._wanted.funding:
            return {}
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                return await self._rates.of(symbols)
        return dict.fromkeys(symbols)

    async def _quotes_in_time(self, symbols: Sequence[str], within_s: float) -> Mapping[str, Quote]:
        async with asyncio.timeout(within_s):
            return await self._market.quotes(symbols)

    def _context(self, effect: FetchContext, found: _Found) -> Context:
        wanted, symbol = self._wanted, effect.symbol
        missing: list[str] = []
        bid, ask = found.best(symbol) if wanted.spread else (NAN, NAN)
        if wanted.spread and bid != bid:  # noqa: PLR0124  (NaN)
            missing.append("spread")
        book = found.books.get(symbol)
        bids_quote, asks_quote = near_quote(book) if book is not None and wanted.depth else (NAN, NAN)
        if wanted.books and book is None:
            missing.append(TOO_MANY if symbol in found.beyond else "order book")
        slippage, thin = _slippage(book, wanted.slippage_quote)
        volume = self._volume_1h(symbol) if wanted.volume else NAN
        if wanted.volume and volume != volume:  # noqa: PLR0124  (NaN)
            missing.append("hourly volume")
        rate = found.rates.get(symbol)
        if symbol in found.rates and rate is None:
            missing.append("funding")
        return Context(
            symbol,
            effect.close_ms,
            bid=bid,
            ask=ask,
            bids_quote=bids_quote,
            asks_quote=asks_quote,
            buy_slippage_bps=slippage[0],
            sell_slippage_bps=slippage[1],
            slippage_quote=wanted.slippage_quote if book is not None and wanted.slippage_quote else NAN,
            hourly_volume_quote=volume,
            funding_rate=NAN if rate is None else rate.rate,
            next_funding_ms=0 if rate is None else rate.next_ms,
            missing=(*missing, *thin),
        )


def desk_of(
    config: Config,
    feed: Feed,
    volume_1h: Callable[[str], float],
    take: Callable[[Sequence[Context]], None],
    on_answered: Callable[[float, Sequence[Context]], None],
) -> ContextDesk:
    """The desk that a configuration asks for."""
    rates = RateKeeper(feed.rates, feed.clock)
    return ContextDesk(wanted_of(config), feed, rates, volume_1h, take, on_answered)


@dataclass(frozen=True)
class _Found:
    """What came for one lot of questions, and whose order books were too many to ask for."""

    beyond: frozenset[str]
    rates: Mapping[str, FundingRate | None]
    quotes: Mapping[str, Quote]
    books: Mapping[str, OrderBook] = field(default_factory=dict)

    def best(self, symbol: str) -> tuple[float, float]:
        """Best bid and ask."""
        book, quote = self.books.get(symbol), self.quotes.get(symbol)
        if book is not None:
            return book.bids[0][0], book.asks[0][0]
        return (NAN, NAN) if quote is None else (quote.bid, quote.ask)


def _slippage(book: OrderBook | None, quote: float) -> tuple[tuple[float, float], list[str]]:
    """Of buying and of selling so much, and which side is too thin for it."""
    if book is None or not quote:
        return (NAN, NAN), []
    buying, selling = (slippage_bps(side, book.middle, quote) for side in (book.asks, book.bids))
    thin = [side for side, bps in (("asks", buying), ("bids", selling)) if bps is None]
    said = [f"{'book' if len(thin) > 1 else thin[0]} thinner than {quote:g}"] if thin else []
    return (NAN if buying is None else buying, NAN if selling is None else selling), said
