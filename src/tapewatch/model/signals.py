"""A candidate with its evidence, and the ids that are derived from it."""

from __future__ import annotations

import hashlib
from typing import Any, Literal
from urllib.parse import quote

import msgspec

Side = Literal["long", "short"]
State = Literal["passed", "blocked"]


class Target(msgspec.Struct, frozen=True):
    """One take-profit level: `share` is the percentage of the position closed at `price`."""

    price: float
    share: float


class Trailing(msgspec.Struct, frozen=True):
    """A stop that follows the best price at `by`, once that is `after` in favour of the entry; None: from the entry."""

    after: float | None
    by: float


class Factor(msgspec.Struct, frozen=True):
    """One condition of a strategy on one bar: `met` is None where it is unknown.

    `left op right` is the outermost comparison with the values it had, None where the condition has none. `margin` says
    how clearly it is met, 0 to 1, or how far it is from it, -1 to 0.
    """

    name: str
    met: bool | None
    text: str
    left: float | None = None
    op: str | None = None
    right: float | None = None
    margin: float | None = None


class Verdict(msgspec.Struct, frozen=True, rename={"passed": "pass"}):
    """What one check of the gate said; `reason` has the numbers when it blocked or marked."""

    check: str
    passed: bool
    reason: str | None = None


class Outlook(msgspec.Struct, frozen=True):
    """What a market is like on one timeframe, at its last closed bar: None is unknown.

    `regimes` says whether each of the language's regimes holds; `trend` is `up` when close > ema(close, 50) and
    ema(close, 9) > ema(close, 21), `down` mirrored, else `flat`.
    """

    timeframe: str
    regimes: dict[str, bool | None]
    trend: Literal["up", "down", "flat"] | None = None


class Mover(msgspec.Struct, frozen=True):
    """Another symbol that moves with a signal's: the correlation of their returns, and what it moved in percent.

    `listed` says that its own signal was blocked because this alert stands for the cluster.
    """

    symbol: str
    correlation: float
    move_pct: float
    listed: bool = False


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What a market was like when a signal was found; None where it is not known, or was not asked for.

    Attributes:
        spread_bps: between best bid and ask, of their middle.
        imbalance: (bids - asks) / (bids + asks) of the order book's quote units near the middle, -1 to 1.
        slippage_bps: from the middle to the mean price of `slippage_quote` quote units bought (sold, for a short).
        hourly_volume_quote: mean quote volume of an hour.
        funding_rate, next_funding_ms: of the perpetual.
        outlooks: on the signal's timeframe and its higher one.
        btc_correlation: of returns with BTC's.
        movers: symbols alerted lately that move with it, and those this alert stands for.
        missing: what was asked for and did not come in time, in words.
    """

    spread_bps: float | None = None
    imbalance: float | None = None
    slippage_bps: float | None = None
    slippage_quote: float | None = None
    hourly_volume_quote: float | None = None
    funding_rate: float | None = None
    next_funding_ms: int | None = None
    outlooks: tuple[Outlook, ...] = ()
    btc_correlation: float | None = None
    movers: tuple[Mover, ...] = ()
    missing: tuple[str, ...] = ()


class Confidence(msgspec.Struct, frozen=True):
    """How many factors were met of those asked."""

    met: int
    asked: int


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate: a bar on which a strategy's rule fired, settled or not, gated or not.

    The fields and their meanings are those of `tapewatch signals --json`. `break_even` and `trailing` are distances in
    the price's unit. `score` is what a scoring model gives it: the probability of touching its target first; None
    without one.
    """

    id: str
    venue: str
    symbol: str
    timeframe: str
    strategy: str
    side: Side
    open_ms: int
    close_ms: int
    entry: float
    stop: float
    targets: tuple[Target, ...]
    break_even: float | None = None
    trailing: Trailing | None = None
    atr: float
    risk_reward: float
    stop_distance_pct: float
    profit_distance_pct: float
    bias: Literal["bullish", "bearish", "neutral"]
    confidence: Confidence
    strength: float
    score: float | None = None
    volume: float
    volume_ratio: float
    factors: tuple[Factor, ...]
    indicators: dict[str, float | bool | None]
    regime: dict[str, bool | None] = {}
    settled: bool
    verdicts: tuple[Verdict, ...] = ()
    context: Surroundings | None = None
    params: dict[str, float]
    history_start_ms: int
    trace_id: str

    @property
    def moves(self) -> tuple[float, float, float]:
        """Break-even and the trailing stop's `after` and `by` as an order has them: 0 for none."""
        trailing = self.trailing
        after, by = (0.0, 0.0) if trailing is None else (trailing.after or 0.0, trailing.by)
        return self.break_even or 0.0, after, by


def signal_from(raw: dict[str, Any]) -> Signal:
    """A signal from plain values, as `msgspec.to_builtins` gives them, each number of the type it had."""
    trailing = raw.get("trailing")
    context = raw.get("context")
    parts = {
        "context": context if context is None else msgspec.convert(context, Surroundings),
        "targets": tuple(Target(**target) for target in raw["targets"]),
        "trailing": trailing if trailing is None else Trailing(**trailing),
        "confidence": Confidence(**raw["confidence"]),
        "factors": tuple(Factor(**factor) for factor in raw["factors"]),
        "verdicts": tuple(Verdict(one["check"], one["pass"], one["reason"]) for one in raw["verdicts"]),
    }
    return Signal(**{**raw, **parts})


def signal_id(venue: str, symbol: str, timeframe: str, strategy: str, side: str, close_ms: int) -> str:
    """The derived id of a signal: the same bar gives the same id in every run. Parts are percent-encoded."""
    return "/".join(quote(part, safe="") for part in (venue, symbol, timeframe, strategy, side, str(close_ms)))


def alert_id(venue: str, symbol: str, timeframe: str, close_ms: int) -> str:
    """The derived id of the one alert a venue, symbol, timeframe and bar can have."""
    return "/".join(quote(part, safe="") for part in (venue, symbol, timeframe, str(close_ms)))


def trace_id(identity: str) -> str:
    """16 hex digits derived from an id, short enough to read out and to search logs for."""
    return hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()
