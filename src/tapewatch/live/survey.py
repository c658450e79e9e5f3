"""What the ledger is told of the market beside signals: who is watched, and now and then what each market is like.

Neither belongs to a step: both are written in transactions of their own, when alerts have been stored. What a ledger in
trouble does not take of a moment is a hole; who is watched is told again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial

from tapewatch.config import Config
from tapewatch.engine import Engine
from tapewatch.engine.glance import Glance
from tapewatch.errors import StoreError, TapewatchError
from tapewatch.feeds import Feed
from tapewatch.live.universe import time_of
from tapewatch.model import NAN, Listing, Standing
from tapewatch.store import Ledger
from tapewatch.store.moments import Instrument, MarketTables, Snapshot
from tapewatch.telemetry import get_logger
from tapewatch.universe import Decision, Review

_log = get_logger("store")

#: How often the exchange's clock is looked at, wall time.
LOOK_S = 0.5
#: So long after its moment a snapshot is taken, by the exchange's clock: bars have come, and their alerts are stored.
SETTLE_MS = 5_000
#: Symbols looked at before other tasks get their turn.
SLICE = 100
#: Spreads that do not come within so long are not known.
PATIENCE_S = 10.0
HOURS = 24


class Survey:
    """Stores instruments as they change, and snapshots at the full multiples of an interval.

    Args:
        market: where to; used in `executor` only.
        executor: the ledger's.
        venue: of the instruments.
        every_ms: how often snapshots are taken, by the exchange's clock; 0 takes none.
        spreads: whether the feed is asked for spreads, which is one request where the exchange has one for all.
    """

    def __init__(self, market: MarketTables, executor: Executor, venue: str, every_ms: int, *, spreads: bool) -> None:
        self._market, self._executor, self._venue = market, executor, venue
        self._every_ms, self._asks = every_ms, spreads
        self._told: dict[str, Listing | None] = {}
        self._standings: dict[str, Standing] = {}
        self._pending: dict[str, Instrument] = {}
        self._reviewed_ms, self._first = 0, True
        self._wake = asyncio.Event()
        self._good = True

    def changed(self, review: Review, listing_of: Callable[[str], Listing | None]) -> None:
        """Who is watched was looked at: what is new of them will be stored."""
        self._standings.update((one.symbol, one) for one in review.standings)
        decisions = {one.symbol: one for one in review.decisions}
        news = {*review.added, *review.removed, *(one.symbol for one in review.standings)}
        for symbol in review.watched:
            listing = listing_of(symbol)
            if symbol not in self._told or self._told[symbol] != listing:
                self._told[symbol] = listing
                news.add(symbol)
        for symbol in review.removed:
            self._told.pop(symbol, None)
        self._pending.update((symbol, self._instrument(symbol, decisions.get(symbol))) for symbol in sorted(news))
        self._reviewed_ms = review.now_ms
        if self._pending:
            self._wake.set()

    def _instrument(self, symbol: str, decision: Decision | None) -> Instrument:
        if decision is None:
            return Instrument(symbol, watched=False, eligible=False, reason="the exchange does not list it any more")
        standing = self._standings.get(symbol)
        return Instrument(
            symbol,
            base_asset=decision.base or None,
            quote_asset=decision.quote or None,
            status=decision.status or None,
            watched=decision.watched,
            eligible=decision.watched and decision.eligible,
            reason=decision.reason or (None if standing is None else standing.reason),
            quote_volume_24h=decision.quote_volume_24h,
            listing=self._told.get(symbol),
        )

    async def run(self, feed: Feed, engine: Callable[[], Engine], volume_1h: Callable[[str], float]) -> None:
        """Store until cancelled.

        Args:
            feed: has the exchange's clock, and is asked for spreads.
            engine: the one at work.
            volume_1h: the mean quote volume of an hour of a symbol, NaN where it is not known.
        """
        await feed.ready()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_instruments())
            if self._every_ms:
                tasks.create_task(self._keep_moments(feed, engine, volume_1h))

    async def _keep_instruments(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            told, self._pending = self._pending, {}
            watch = partial(self._market.watch, self._venue, list(told.values()), self._reviewed_ms, only=self._first)
            if await self._stored(watch):
                self._first = False
            else:
                self._pending = told | self._pending  # with the next change

    async def _keep_moments(self, feed: Feed, engine: Callable[[], Engine], volume_1h: Callable[[str], float]) -> None:
        done_ms = time_of(feed) // self._every_ms * self._every_ms  # of one that has passed nothing is known
        while True:
            await asyncio.sleep(LOOK_S)
            at_ms = (time_of(feed) - SETTLE_MS) // self._every_ms * self._every_ms
            if at_ms <= done_ms - self._every_ms:
                done_ms = at_ms  # the clock was set back
            if at_ms > done_ms:
                done_ms = at_ms
                snapshots = await self._taken(feed, engine(), volume_1h, at_ms)
                await self._stored(partial(self._market.keep, self._venue, at_ms, snapshots))

    async def _taken(self, feed: Feed, engine: Engine, volume_1h: Callable[[str], float], at_ms: int) -> list[Snapshot]:
        """Of every symbol whose bars come; those that are behind by more than an interval are left out."""
        symbols = [symbol for symbol, open_ms in engine.positions().items() if open_ms > at_ms - self._every_ms]
        found: list[Glance] = []
        for number, symbol in enumerate(symbols, start=1):
            one = engine.glance(symbol, at_ms)
            if one is not None:
                found.append(one)
            if not number % SLICE:
                await asyncio.sleep(0)
        spreads = await self._spreads(feed, symbols)
        return [
            Snapshot(
                one.symbol, one.price, HOURS * volume_1h(one.symbol), spreads.get(one.symbol, NAN), one.outlook,
                one.natr, one.btc_correlation,
            )
            for one in found
        ]  # fmt: skip

    async def _spreads(self, feed: Feed, symbols: Sequence[str]) -> dict[str, float]:
        """In basis points; what does not come is not known."""
        if not self._asks or not symbols:
            return {}
        with suppress(TimeoutError, TapewatchError):
            async with asyncio.timeout(PATIENCE_S):
                quotes = await feed.quotes(symbols)
            return {one.symbol: 20_000 * (one.ask - one.bid) / (one.ask + one.bid) for one in quotes.values()}
        return {}

    async def _stored(self, write: Callable[[], None]) -> bool:
        """Whether the ledger took it."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, write)
        except StoreError as error:
            if self._good:
                _log.warning("survey_not_kept", error=str(error))
            self._good = False
        else:
            self._good = True
        return self._good


def survey_of(config: Config, ledger: Ledger, executor: Executor) -> Survey:
    """The one that a configuration asks for; of other exchanges spreads may cost a request for each symbol."""
    spreads = config.exchange.ccxt is None
    return Survey(ledger.market, executor, config.exchange.venue, config.ledger.snapshots, spreads=spreads)
