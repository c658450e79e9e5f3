"""Who is watched, who is not and why: a function of the exchange's list, the rules and what is traded.

Every symbol gets one decision, with the first rule it fails. Rules that judge a moving number (volume, market cap,
rank) are harder to enter by than to stay by, and who entered stays for a while, so that nobody comes and goes with
each ticker. A symbol that `include` names without a wildcard is watched as long as it trades, whatever the other
rules say.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property, lru_cache
from typing import Literal, Protocol

import msgspec

from tapewatch.assets import is_leveraged, is_stable
from tapewatch.model import NAN, Listing, Standing, Universe

Rule = Literal[
    "unknown", "status", "quote", "include", "exclude", "leveraged", "stable", "market_cap", "volume_24h", "max_symbols"
]
_WILDCARDS = frozenset("*?[")
#: A standing is told again when the volume has moved by this share: volume orders symbols where they compete.
DRIFT = 0.2
_LONG_AGO_MS = -(2**62)


class Listed(Protocol):
    """One symbol of the exchange, as a feed's `Instrument` has it."""

    @property
    def symbol(self) -> str: ...  # noqa: D102
    @property
    def base(self) -> str: ...  # noqa: D102
    @property
    def quote(self) -> str: ...  # noqa: D102
    @property
    def status(self) -> str: ...  # noqa: D102
    @property
    def trading(self) -> bool: ...  # noqa: D102


@dataclass(frozen=True)
class Rules:
    """What is asked of a symbol.

    Attributes:
        include, exclude: names, or patterns with `*`, `?` and `[…]`.
        quotes: quote assets, as USDT.
        leveraged, stable: whether such tokens and pairs are watched too.
        min_volume_24h: quote units traded in 24 hours.
        min_volume_1h: quote units an hour on average over 24 hours; below it a symbol is watched but not eligible.
        min_market_cap: in USD; None asks for none. `unknown_market_cap` says whether a symbol passes without one.
        hysteresis: the share by which a number may fall below its minimum before what was reached is lost.
        min_stay_ms: how long a symbol is watched at least, whatever the numbers do.
        max_symbols: the most liquid ones are watched; names first, and all of them.
    """

    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    quotes: tuple[str, ...] = ("USDT",)
    leveraged: bool = False
    stable: bool = False
    min_volume_24h: float = 0.0
    min_volume_1h: float = 1_000.0
    min_market_cap: float | None = None
    unknown_market_cap: bool = False
    hysteresis: float = 0.2
    min_stay_ms: int = 3_600_000
    max_symbols: int = 1_000

    @cached_property
    def named(self) -> frozenset[str]:
        """The symbols that `include` names without a wildcard."""
        return frozenset(word for word in self.include if not is_pattern(word))

    @cached_property
    def patterns(self) -> tuple[str, ...]:
        """The other entries of `include`."""
        return tuple(filter(is_pattern, self.include))


class Decision(msgspec.Struct, frozen=True):
    """Whether a symbol is watched, and if not, the first rule it fails with the reason in words and numbers.

    `eligible` says whether it is liquid enough for alerts.
    """

    symbol: str
    watched: bool
    rule: Rule | None
    reason: str | None
    base: str
    quote: str
    status: str
    quote_volume_24h: float
    eligible: bool


@dataclass(frozen=True)
class Review:
    """What a look at the market says; nothing has changed until it is accepted.

    Attributes:
        now_ms: when.
        decisions: of every listed or named symbol, the most liquid first.
        added: who comes, the most liquid first; removed: who goes.
        standings: of who is watched, those that changed.
    """

    now_ms: int
    decisions: tuple[Decision, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    standings: tuple[Standing, ...]

    @property
    def watched(self) -> tuple[str, ...]:
        """Who is watched from here on, the most liquid first."""
        return tuple(one.symbol for one in self.decisions if one.watched)

    def event(self, listings: Sequence[Listing] = ()) -> Universe | None:
        """What the engine must know, with what is new of how symbols are traded; None when it is nothing."""
        if not self.standings and not self.removed and not listings:
            return None
        return Universe(self.now_ms, self.standings, self.removed, tuple(listings))


class Watchlist:
    """Who is watched, and since when.

    Args:
        rules: see `Rules`.
        watched: whom an earlier run watched: for them staying counts, not entering.
        standings: those of the earlier run; they count as before, and are told anew.
    """

    def __init__(self, rules: Rules, watched: Iterable[str] = (), standings: Iterable[Standing] = ()) -> None:
        self.rules = rules
        self._since_ms = dict.fromkeys(watched, _LONG_AGO_MS)
        self._earlier = {standing.symbol: standing for standing in standings}
        self._standings: dict[str, Standing] = {}

    def __len__(self) -> int:
        return len(self._since_ms)

    @property
    def symbols(self) -> frozenset[str]:
        """Who is watched."""
        return frozenset(self._since_ms)

    @property
    def eligible(self) -> int:
        """How many of the watched are liquid enough for alerts."""
        return sum(standing.eligible for standing in self._standings.values())

    def review(
        self, listed: Iterable[Listed], volumes: Mapping[str, float], caps: Mapping[str, float], now_ms: int
    ) -> Review:
        """What would change now.

        Args:
            listed: every symbol of the exchange.
            volumes: quote units traded in 24 hours by symbol; what is missing is unknown.
            caps: market capitalisation in USD by base asset.
            now_ms: the exchange's time.
        """
        market: dict[str, Listed] = {}
        for one in sorted(listed, key=lambda one: (one.symbol, not one.trading, one.base)):
            market.setdefault(one.symbol, one)
        bases = frozenset(one.base for one in market.values())
        found = {
            symbol: self._fault(one, bases, volumes.get(symbol, NAN), caps, now_ms) for symbol, one in market.items()
        }
        found.update(dict.fromkeys(self.rules.named - market.keys(), ("unknown", "the exchange does not list it")))
        found.update(self._surplus([symbol for symbol, fault in found.items() if fault is None], volumes, now_ms))
        order = sorted(found, key=lambda symbol: (-_known(volumes.get(symbol, NAN)), symbol))
        standings = {symbol: self._standing(symbol, volumes.get(symbol, NAN)) for symbol in order}
        decisions = tuple(_decision(symbol, market.get(symbol), found[symbol], standings[symbol]) for symbol in order)
        watched = [one.symbol for one in decisions if one.watched]
        return Review(
            now_ms,
            decisions,
            added=tuple(symbol for symbol in watched if symbol not in self._since_ms),
            removed=tuple(sorted(self._since_ms.keys() - set(watched))),
            standings=tuple(standings[symbol] for symbol in watched if self._changed(standings[symbol])),
        )

    def accept(self, review: Review) -> None:
        """Let it be so."""
        for symbol in review.removed:
            del self._since_ms[symbol]
            self._standings.pop(symbol, None)
        self._since_ms.update(dict.fromkeys(review.added, review.now_ms))
        self._standings.update((standing.symbol, standing) for standing in review.standings)
        self._earlier = {}

    def _fault(
        self, one: Listed, bases: frozenset[str], volume: float, caps: Mapping[str, float], now_ms: int
    ) -> tuple[Rule, str] | None:
        rules = self.rules
        if not one.trading:
            return "status", f"its status is {one.status}"
        if one.symbol in rules.named:
            return None
        fault = _by_name(rules, one, bases)
        if fault is not None or self._must_stay(one.symbol, now_ms):
            return fault
        ease = 1.0 - rules.hysteresis if one.symbol in self._since_ms else 1.0
        return _by_market_cap(rules, caps.get(one.base), ease) or self._by_volume(one.symbol, volume, ease)

    def _must_stay(self, symbol: str, now_ms: int) -> bool:
        return now_ms - self._since_ms.get(symbol, _LONG_AGO_MS) < self.rules.min_stay_ms

    def _by_volume(self, symbol: str, volume: float, ease: float) -> tuple[Rule, str] | None:
        least = self.rules.min_volume_24h * ease
        if math.isnan(volume):
            missing = least > 0 and symbol not in self._since_ms
            return ("volume_24h", "its 24 h volume is not known") if missing else None
        if volume >= least:
            return None
        return "volume_24h", f"24 h volume {volume:,.0f} of at least {least:,.0f}"

    def _surplus(
        self, passing: Sequence[str], volumes: Mapping[str, float], now_ms: int
    ) -> dict[str, tuple[Rule, str]]:
        """Those beyond `max_symbols`; who is watched goes before a newcomer of about the same volume."""
        rules = self.rules

        def rank(symbol: str) -> tuple[bool, bool, float, str]:
            ease = 1.0 - rules.hysteresis if symbol in self._since_ms else 1.0
            volume = _known(volumes.get(symbol, NAN)) / ease
            return symbol not in rules.named, not self._must_stay(symbol, now_ms), -volume, symbol

        ordered = sorted(passing, key=rank)
        return {
            symbol: ("max_symbols", f"number {number:,} by volume of at most {rules.max_symbols:,}")
            for number, symbol in enumerate(ordered, start=1)
            if number > rules.max_symbols and symbol not in rules.named
        }

    def _standing(self, symbol: str, volume: float) -> Standing:
        before, rules = self._standings.get(symbol) or self._earlier.get(symbol), self.rules
        reached = before is not None and before.eligible and not math.isnan(before.quote_volume_24h)
        ease = 1.0 - rules.hysteresis if reached else 1.0
        hourly, least = volume / 24, rules.min_volume_1h * ease
        # What is not known is no reason to stay silent.
        if not hourly < least:
            return Standing(symbol, eligible=True, quote_volume_24h=volume)
        reason = f"{hourly:,.0f} quote units an hour on average over 24 h, at least {least:,.0f} are asked"
        return Standing(symbol, eligible=False, reason=reason, quote_volume_24h=volume)

    def _changed(self, now: Standing) -> bool:
        before = self._standings.get(now.symbol)
        if before is None or before.eligible != now.eligible:
            return True
        old, new = before.quote_volume_24h, now.quote_volume_24h
        return math.isnan(old) != math.isnan(new) or abs(new - old) > DRIFT * old


def is_pattern(word: str) -> bool:
    """Whether an entry of `include` has a wildcard."""
    return not _WILDCARDS.isdisjoint(word)


def matching(patterns: Sequence[str], symbol: str) -> str | None:
    """The first of these patterns that matches a symbol."""
    return next((pattern for pattern in patterns if _compiled(pattern).match(symbol)), None)


@lru_cache(maxsize=4_096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))


def _known(volume: float) -> float:
    """A volume for sorting."""
    return 0.0 if math.isnan(volume) else volume


def _by_name(rules: Rules, one: Listed, bases: frozenset[str]) -> tuple[Rule, str] | None:
    if one.quote not in rules.quotes:
        return "quote", f"it is priced in {one.quote or '?'}, not in {' or '.join(rules.quotes)}"
    if matching(rules.patterns, one.symbol) is None:
        return "include", "no pattern matches it"
    excluded = matching(rules.exclude, one.symbol)
    if excluded is not None:
        return "exclude", f"{excluded!r} matches it"
    if not rules.leveraged and is_leveraged(one.base, bases):
        return "leveraged", f"{one.base} is a leveraged token"
    if not rules.stable and is_stable(one.base, one.quote):
        return "stable", f"{one.base} and {one.quote} are worth the same"
    return None


def _by_market_cap(rules: Rules, cap: float | None, ease: float) -> tuple[Rule, str] | None:
    if rules.min_market_cap is None:
        return None
    if cap is None:
        return None if rules.unknown_market_cap else ("market_cap", "its market cap is not known")
    least = rules.min_market_cap * ease
    return None if cap >= least else ("market_cap", f"market cap {cap:,.0f} USD of at least {least:,.0f}")


def _decision(symbol: str, one: Listed | None, fault: tuple[Rule, str] | None, standing: Standing) -> Decision:
    rule, reason = fault if fault is not None else (None, None)
    base, quote, status = (one.base, one.quote, one.status) if one is not None else ("", "", "")
    return Decision(
        symbol, fault is None, rule, reason, base, quote, status, standing.quote_volume_24h, standing.eligible
    )
