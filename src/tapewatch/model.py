"""The values that move through tapewatch: bars, signals, alerts, and the engine's events and effects.

All are frozen. Times are int milliseconds UTC; a bar is identified by its open and known at its close.
"""

from __future__ import annotations

import hashlib
import math
from typing import Literal
from urllib.parse import quote

import msgspec

NAN = math.nan
MINUTE_MS = 60_000
DAY_MS = 86_400_000

#: Timeframe name -> length. Only intervals that divide a day are built; longer ones follow calendars of their own.
INTERVALS_MS = {
    "1m": MINUTE_MS,
    "3m": 3 * MINUTE_MS,
    "5m": 5 * MINUTE_MS,
    "15m": 15 * MINUTE_MS,
    "30m": 30 * MINUTE_MS,
    "1h": 60 * MINUTE_MS,
    "2h": 120 * MINUTE_MS,
    "4h": 240 * MINUTE_MS,
    "6h": 360 * MINUTE_MS,
    "8h": 480 * MINUTE_MS,
    "12h": 720 * MINUTE_MS,
    "1d": DAY_MS,
}
INTERVAL_NAMES = {length: name for name, length in INTERVALS_MS.items()}

Side = Literal["long", "short"]
State = Literal["passed", "blocked"]


class Bar(msgspec.Struct, frozen=True, gc=False):
    """One closed candle. Prices in quote units, `volume` and `taker_buy` in base units.

    What a source does not have (`quote_volume`, `trades`, `taker_buy`) is NaN.
    """

    symbol: str
    interval_ms: int
    open_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float = NAN
    trades: float = NAN
    taker_buy: float = NAN

    @property
    def close_ms(self) -> int:
        """When the bar is known: the next bar's open."""
        return self.open_ms + self.interval_ms


class Target(msgspec.Struct, frozen=True):
    """One take-profit level: `share` is the percentage of the position closed at `price`."""

    price: float
    share: float


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


class Confidence(msgspec.Struct, frozen=True):
    """How many factors were met of those asked."""

    met: int
    asked: int


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate: a bar on which a strategy's rule fired, settled or not, gated or not.

    The fields and their meanings are those of `tapewatch signals --json`.
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
    atr: float
    risk_reward: float
    stop_distance_pct: float
    profit_distance_pct: float
    bias: Literal["bullish", "bearish", "neutral"]
    confidence: Confidence
    strength: float
    volume: float
    volume_ratio: float
    factors: tuple[Factor, ...]
    indicators: dict[str, float | bool | None]
    regime: dict[str, bool | None] = {}
    settled: bool
    verdicts: tuple[Verdict, ...] = ()
    params: dict[str, float]
    history_start_ms: int
    trace_id: str


class Judged(msgspec.Struct, frozen=True):
    """Effect: a candidate with its verdicts, to be stored. `late` says its bar's data came late."""

    signal: Signal
    state: State
    late: bool
    recv_ms: int
    alert_id: str | None


class Alert(msgspec.Struct, frozen=True):
    """Effect: one alert for a venue, symbol, timeframe and bar; the first signal leads, the others are named in it."""

    alert_id: str
    signals: tuple[Signal, ...]
    late: bool
    created_ms: int


class LastPassed(msgspec.Struct, frozen=True):
    """Effect and saved state of the gate: the last signal that passed under one key."""

    symbol: str
    strategy: str
    timeframe: str
    side: Side
    close_ms: int
    entry: float


class BarDone(msgspec.Struct, frozen=True):
    """Effect: the engine has processed this bar; nothing of it may be processed again."""

    symbol: str
    interval_ms: int
    open_ms: int


class BarIgnored(msgspec.Struct, frozen=True):
    """Effect: the bar was already processed or older than the last one."""

    symbol: str
    interval_ms: int
    open_ms: int


class StepFailed(msgspec.Struct, frozen=True):
    """Effect: a strategy's step raised on this bar; the bar was skipped for that strategy and symbol alone."""

    strategy: str
    bar: Bar
    error: str
    state: list[float]
    timeframe: str = ""

    @property
    def key(self) -> tuple[str, str, str, int, int]:
        """What names the step: strategy, timeframe, and the bar's symbol, interval and open."""
        return self.strategy, self.timeframe, self.bar.symbol, self.bar.interval_ms, self.bar.open_ms


class Correction(msgspec.Struct, frozen=True, tag=True):
    """Event and effect: the exchange gave a bar that had gone out other values. What was decided on it stands."""

    before: Bar
    after: Bar
    recv_ms: int


class FetchContext(msgspec.Struct, frozen=True):
    """Effect: candidates of this bar wait for a `Context`; nothing is decided on the bar before it comes."""

    symbol: str
    close_ms: int


class Context(msgspec.Struct, frozen=True, tag=True):
    """Event: the best bid and ask when the candidates of a bar were found; NaN where they could not be had in time."""

    symbol: str
    close_ms: int
    bid: float = NAN
    ask: float = NAN


class Standing(msgspec.Struct, frozen=True):
    """Whether a symbol is liquid enough for alerts, and if not, why."""

    symbol: str
    eligible: bool
    reason: str | None = None
    quote_volume_24h: float = NAN


class Universe(msgspec.Struct, frozen=True, tag=True):
    """Event: standings that changed, and symbols that are watched no more, of which nothing is kept."""

    now_ms: int
    standings: tuple[Standing, ...] = ()
    gone: tuple[str, ...] = ()


class History(msgspec.Struct, frozen=True, tag=True):
    """Event: a bar from before the start, or one an earlier run has decided: it moves series on and decides nothing."""

    bar: Bar


class BarClosed(msgspec.Struct, frozen=True, tag=True):
    """Event: a closed bar of the base interval, received at `recv_ms` by the exchange's clock."""

    bar: Bar
    recv_ms: int


class Boundary(msgspec.Struct, frozen=True, tag=True):
    """Event: every bar that closes at `close_ms` has come, or its deadline has passed."""

    close_ms: int


class Mute(msgspec.Struct, frozen=True, tag=True):
    """Event: signals of this symbol or strategy are blocked until `until_ms` by the exchange's clock; 0 ends that."""

    target: str
    until_ms: int


Event = History | BarClosed | Boundary | Mute | Universe | Context | Correction
Effect = Judged | Alert | LastPassed | BarDone | BarIgnored | StepFailed | FetchContext | Correction


def signal_id(venue: str, symbol: str, timeframe: str, strategy: str, side: str, close_ms: int) -> str:
    """The derived id of a signal: the same bar gives the same id in every run. Parts are percent-encoded."""
    return "/".join(quote(part, safe="") for part in (venue, symbol, timeframe, strategy, side, str(close_ms)))


def alert_id(venue: str, symbol: str, timeframe: str, close_ms: int) -> str:
    """The derived id of the one alert a venue, symbol, timeframe and bar can have."""
    return "/".join(quote(part, safe="") for part in (venue, symbol, timeframe, str(close_ms)))


def trace_id(identity: str) -> str:
    """16 hex digits derived from an id, short enough to read out and to search logs for."""
    return hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()


def fault_of(bar: Bar) -> str | None:
    """Why a candle must be refused, or None when it is sound. NaN fails every comparison and so is refused."""
    if not (bar.open > 0 and bar.high > 0 and bar.low > 0 and bar.close > 0):
        return "price not above zero"
    if not (bar.high >= bar.low):
        return "high below low"
    if not (bar.high >= bar.open and bar.high >= bar.close and bar.low <= bar.open and bar.low <= bar.close):
        return "open or close outside high and low"
    if not (bar.volume >= 0 and bar.volume < math.inf and bar.high < math.inf):
        return "volume negative or not a number"
    if bar.open_ms % bar.interval_ms:
        return "open time not on the interval"
    return None
