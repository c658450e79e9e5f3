"""Who is watched, kept up to date while a run is on: new symbols come and delisted ones go without a restart.

The exchange's list is asked for every hour, volumes come with its all-market ticker, and once a minute, between two
boundaries, the rules are looked at anew. An answer that would empty the universe is not believed.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

import msgspec

from tapewatch.config import Config
from tapewatch.config.schema import Universe
from tapewatch.errors import EdgeError, SetupError, TapewatchError
from tapewatch.feeds import Feed, Instrument, SeriesPlan, Ticker
from tapewatch.feeds.coingecko import CapSettings, MarketCaps
from tapewatch.feeds.network import backoff
from tapewatch.live.turns import work_until
from tapewatch.model import MINUTE_MS, Event, Listing, Standing
from tapewatch.telemetry import get_logger
from tapewatch.universe import Review, Rules, Watchlist

_log = get_logger("live")

#: How often the clocks are looked at, wall time.
TICK_S = 0.5
#: A simulated clock may run fast: the exchange's list costs 100 of its weight, so it is asked this seldom at most.
REFRESH_S = 10.0
#: When market caps that could not be had are asked for again; the last one repeats.
CAPS_WAIT_S = (5.0, 15.0, 60.0, 300.0, 900.0)
#: Symbols that an error message names.
NAMED = 5

Plan = Callable[[Sequence[Instrument], int], Awaitable[list[SeriesPlan]]]


class UniverseService:
    """Chooses whom a feed brings, and tells the engine who is liquid and who is gone.

    Args:
        rules: see `Rules`.
        take: accepts events.
        begin: what the feed must bring of these instruments at the start.
        plan: the same for those who come later; a TapewatchError puts them off.
        refresh_ms: how often the exchange's list is asked for, by its clock.
        caps: market capitalisations, where the rules ask for them.
        on_change: is told what was decided, before the first bar of who comes.
        listings: whether the engine must know in which pieces symbols are traded.
    """

    def __init__(
        self,
        rules: Rules,
        *,
        take: Callable[[Sequence[Event]], None],
        begin: Plan,
        plan: Plan,
        refresh_ms: int,
        caps: MarketCaps | None = None,
        on_change: Callable[[Review], None] = lambda _review: None,
        listings: bool = False,
    ) -> None:
        self._rules = rules
        self._take = take
        self._begin, self._plan = begin, plan
        self._refresh_ms = refresh_ms
        self.caps = caps
        self._on_change = on_change
        self._tells_listings = listings
        self._told: dict[str, Listing] = {}
        self._watchlist = Watchlist(rules)
        self._listed: dict[str, Instrument] = {}
        self._volumes: dict[str, float] = {}
        self._doubted: frozenset[str] = frozenset()
        self._refresh_due_ms = self._refreshed_ms = self._review_due_ms = 0
        self._refreshed_s = -math.inf
        self._refreshing = False
        self._left_out: Counter[str] = Counter()
        self._waits_for: str | None = "the exchange"
        self._caps_asked, self._caps_known, self._caps_changed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def change(self, rules: Rules, refresh_ms: int, caps: MarketCaps | None = None) -> None:
        """Choose by these from now on, soon; see the class. Other `caps` are asked in place of those before.

        Raises:
            SetupError: of what the exchange lists, nobody would be watched; nothing has changed.
        """
        if self._listed and (caps is self.caps or not rules.patterns):
            known = {} if caps is None else caps.values
            review = Watchlist(rules, self._watchlist.symbols).review(self._listed.values(), self._volumes, known, 0)
            if not review.watched:
                raise SetupError(nobody(review, rules.named))
        self._rules = self._watchlist.rules = rules
        self._refresh_ms = refresh_ms
        self._refresh_due_ms = min(self._refresh_due_ms, self._refreshed_ms + refresh_ms)
        self._review_due_ms = 0
        if caps is not self.caps:
            self.caps, changed = caps, self._caps_changed
            self._caps_changed = asyncio.Event()
            changed.set()

    def on_tickers(self, tickers: Iterable[Ticker]) -> None:
        """Take what the all-market ticker says; who is not in it has not changed."""
        volumes = self._volumes
        for ticker in tickers:
            if ticker.symbol in self._listed and ticker.quote_volume_24h >= 0:
                volumes[ticker.symbol] = ticker.quote_volume_24h

    def volume_1h(self, symbol: str) -> float:
        """The mean quote volume of an hour, of the last 24, as was told last; NaN where nothing was."""
        return self._volumes.get(symbol, math.nan) / 24

    def listing(self, symbol: str) -> Listing | None:
        """In which pieces the exchange trades a symbol, as it was told last."""
        listed = self._listed.get(symbol)
        return None if listed is None else listed.listing

    def state(self) -> dict[str, object]:
        """What health shows."""
        return {
            "watched": len(self._watchlist),
            "eligible": self._watchlist.eligible,
            "listed": len(self._listed),
            "left_out": dict(self._left_out),
            "refreshed_ms": self._refreshed_ms or None,
            "waits_for": self._waits_for,
        }

    async def run(
        self,
        feed: Feed,
        held: Iterable[str] = (),
        standings: Iterable[Standing] = (),
        listings: Iterable[Listing] = (),
    ) -> None:
        """Choose, then follow until cancelled.

        Args:
            feed: brings who is chosen.
            held: whom the engine holds from an earlier run; they count as watched until now.
            standings: how liquid it knows them to be.
            listings: in which pieces it knows symbols to be traded.

        Raises:
            SetupError: there is nobody to watch at the start.
        """
        self._watchlist = Watchlist(self._rules, held, standings)
        self._told = {one.symbol: one for one in listings}
        now_ms = await feed.ready()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow_caps())
                if self.caps is not None:
                    self._waits_for = "market capitalisations"
                    await self._caps_first(self.caps)
                    self._waits_for = "the exchange"
                self._believe(await feed.instruments(), now_ms)
                await self._start(feed, now_ms)
                while True:
                    await asyncio.sleep(TICK_S)
                    await self._look(feed, tasks)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _start(self, feed: Feed, now_ms: int) -> None:
        review = self._review(now_ms)
        if not review.watched:
            raise SetupError(nobody(review, self._rules.named))
        plans = await self._begin(self._instruments(review.watched), now_ms)
        self._apply(feed, review, plans)
        self._waits_for = None
        missing = {one.symbol: one.reason for one in review.decisions if one.symbol in self._rules.named and one.rule}
        if missing:
            _log.warning("not_traded", symbols=missing, note="not watched")
        _log.info("universe", **{key: value for key, value in self.state().items() if key != "waits_for"})

    async def _look(self, feed: Feed, tasks: asyncio.TaskGroup) -> None:
        """Does what is due by the exchange's clock; when that has gone back, everything is."""
        now_ms = time_of(feed)
        back = now_ms < self._refreshed_ms - MINUTE_MS
        rested = time.monotonic() - self._refreshed_s >= REFRESH_S
        if (back or now_ms >= self._refresh_due_ms) and rested and not self._refreshing:
            self._refreshing = True
            tasks.create_task(self._refresh(feed))
        if now_ms >= self._review_due_ms:
            await self._change(feed, now_ms)

    async def _refresh(self, feed: Feed) -> None:
        try:
            listed = await feed.instruments()
        except TapewatchError as error:
            self._put_off(time_of(feed), f"the exchange's list could not be had: {error}")
        else:
            self._believe(listed, time_of(feed))
        finally:
            self._refreshing = False
            self._refreshed_s = time.monotonic()

    def _believe(self, listed: Sequence[Instrument], now_ms: int) -> None:
        """Take the exchange's list, unless it is one that only a mistake explains.

        When nobody trades, something is wrong there; when most of who is watched is gone, a second answer must say so.
        """
        doubt = self._doubt(listed)
        if doubt is not None:
            self._put_off(now_ms, doubt)
            return
        self._listed = {one.symbol: one for one in listed}
        known = {one.symbol: one.quote_volume_24h for one in listed if one.quote_volume_24h >= 0}
        self._volumes = {symbol: volume for symbol, volume in self._volumes.items() if symbol in self._listed} | known
        self._refreshed_ms, self._refresh_due_ms, self._review_due_ms = now_ms, now_ms + self._refresh_ms, now_ms

    def _doubt(self, listed: Sequence[Instrument]) -> str | None:
        if not self._listed:
            return None
        trading = {one.symbol for one in listed if one.trading}
        watched = self._watchlist.symbols
        gone, doubted, self._doubted = watched - trading, self._doubted, frozenset()
        if not trading:
            return f"of {len(listed)} symbols the exchange trades none"
        if len(gone) > 1 and len(gone) * 2 > len(watched) and not gone <= doubted:
            self._doubted = gone
            return f"{len(gone)} of {len(watched)} watched symbols would not trade any more"
        return None

    def _put_off(self, now_ms: int, reason: str) -> None:
        """The present universe stays; ask again soon."""
        self._refresh_due_ms = now_ms + min(self._refresh_ms, MINUTE_MS)
        _log.warning("universe_kept", reason=reason)

    def _review(self, now_ms: int) -> Review:
        # Half a minute past is when bars neither close nor are fetched.
        self._review_due_ms = (now_ms // MINUTE_MS + 1) * MINUTE_MS + MINUTE_MS // 2
        caps = self.caps.values if self.caps is not None else {}
        return self._watchlist.review(self._listed.values(), self._volumes, caps, now_ms)

    async def _change(self, feed: Feed, now_ms: int) -> None:
        caps = self.caps
        if caps is not None and not caps.values and self._rules.patterns and not self._rules.unknown_market_cap:
            self._review_due_ms = now_ms + MINUTE_MS
            _log.warning("universe_kept", reason="market capitalisations are not known yet")
            return
        review = self._review(now_ms)
        if not review.watched:
            _log.warning("universe_kept", reason=nobody(review, self._rules.named))
            return
        try:
            plans = await self._plan(self._instruments(review.added), now_ms) if review.added else []
        except TapewatchError as error:
            _log.warning("universe_kept", reason=str(error))
            return
        self._apply(feed, review, plans)
        if review.added or review.removed:
            reasons = {one.symbol: one.reason for one in review.decisions}
            removed = {
                symbol: reasons.get(symbol, "the exchange does not list it any more") for symbol in review.removed
            }
            _log.info("universe_changed", added=list(review.added), removed=removed, watched=len(self._watchlist))

    def _instruments(self, symbols: Sequence[str]) -> list[Instrument]:
        """With the volume as it is now."""
        return [
            msgspec.structs.replace(self._listed[symbol], quote_volume_24h=self._volumes.get(symbol, math.nan))
            for symbol in symbols
        ]

    def _apply(self, feed: Feed, review: Review, plans: Sequence[SeriesPlan]) -> None:
        self._watchlist.accept(review)
        self._left_out = Counter(one.rule for one in review.decisions if one.rule is not None)
        feed.unwatch(review.removed)
        event = review.event(self._new_listings(review.watched))
        if event is not None:
            self._take([event])
        self._on_change(review)
        feed.watch(plans)

    def _new_listings(self, symbols: Iterable[str]) -> list[Listing]:
        """Of these symbols, what the engine does not know yet of how they are traded."""
        if not self._tells_listings:
            return []
        listings = (self._listed[symbol].listing for symbol in symbols)
        new = [one for one in listings if one is not None and self._told.get(one.symbol) != one]
        self._told.update((one.symbol, one) for one in new)
        return new

    # Market capitalisations.

    async def _caps_first(self, caps: MarketCaps) -> None:
        """Waits for the first answer where nobody could be chosen without, else just for the first attempt."""
        if self._rules.patterns and not caps.values:
            await (self._caps_asked if self._rules.unknown_market_cap else self._caps_known).wait()

    async def _follow_caps(self) -> None:
        """Keep those that are asked for at the moment."""
        while True:
            changed, caps = self._caps_changed, self.caps
            if caps is None:
                await changed.wait()
            else:
                await work_until(changed, self._keep_caps(caps))

    async def _keep_caps(self, caps: MarketCaps) -> None:
        failures = 0
        while True:
            await asyncio.sleep(caps.due_in_s)
            try:
                await caps.refresh()
            except EdgeError as error:
                failures += 1
                wait_s = max(error.retry_after_s or 0.0, backoff(failures, CAPS_WAIT_S))
                _log.warning("market_caps_failed", error=str(error), retry_s=round(wait_s), known=len(caps.values))
            else:
                failures, wait_s = 0, 0.0
                self._caps_known.set()
                _log.info("market_caps", known=len(caps.values))
            if caps.trouble is not None:
                _log.warning("market_caps_not_kept", error=caps.trouble)
            self._caps_asked.set()
            await asyncio.sleep(wait_s)


def time_of(feed: Feed) -> int:
    """The exchange's time; a simulated clock may stand, so only what it has shown is sure."""
    return feed.clock.shown_ms if feed.clock.paced else feed.clock.now_ms()


def nobody(review: Review, named: Collection[str]) -> str:
    """Why there is no symbol to watch, naming the key and the symbols that were meant."""
    counts = Counter(one.rule for one in review.decisions)
    left_out = ", ".join(f"{count:,} by {rule}" for rule, count in counts.most_common())
    told = [f"{one.symbol}: {one.reason}" for one in review.decisions if one.symbol in named][:NAMED]
    counted = f"left out: {left_out or 'the exchange lists nobody'}"
    return f"universe.include: no symbol is left to watch ({'; '.join([counted, *told])})"


def rules_of(universe: Universe) -> Rules:
    """The rules that a configuration asks for."""
    return Rules(
        include=tuple(universe.include),
        exclude=tuple(universe.exclude),
        quotes=tuple(universe.quotes),
        leveraged=universe.leveraged,
        stable=universe.stable,
        min_volume_24h=universe.min_volume_24h,
        min_volume_1h=universe.min_volume_1h,
        min_market_cap=universe.market_cap.min_usd,
        unknown_market_cap=universe.market_cap.pass_unknown,
        hysteresis=universe.hysteresis,
        min_stay_ms=universe.min_stay,
        max_symbols=universe.max_symbols,
    )


def caps_of(config: Config, now_ms: Callable[[], int]) -> MarketCaps | None:
    """Where market capitalisations come from, None when nobody asks for them."""
    asked = config.universe.market_cap
    if asked.min_usd is None:
        return None
    file = asked.file or config.ledger.beside("").with_suffix(".market-caps.json")
    key = None if asked.api_key is None else asked.api_key.get_secret_value()
    pause_s = 6.0 if key is None else 2.0
    return MarketCaps(CapSettings(asked.url, asked.ids, asked.top, file, asked.refresh, key, pause_s=pause_s), now_ms)
