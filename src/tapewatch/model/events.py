"""The engine's events, and its effects but for those of the paper book."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from tapewatch.model.bars import NAN, Bar
from tapewatch.model.signals import Side, Signal, State


class Judged(msgspec.Struct, frozen=True):
    """Effect: a candidate with its verdicts and its bar, to be stored. `late` says that bar's data came late."""

    signal: Signal
    state: State
    late: bool
    recv_ms: int
    alert_id: str | None
    bar: Bar | None = None


class Alert(msgspec.Struct, frozen=True):
    """Effect: one alert for a venue, symbol, timeframe and bar; the first signal leads, the others are named in it.

    `candles`: open, high, low and close of the last bars of its timeframe, its own the last; empty where not wanted.
    """

    alert_id: str
    signals: tuple[Signal, ...]
    late: bool
    created_ms: int
    candles: tuple[tuple[float, float, float, float], ...] = ()


class LastPassed(msgspec.Struct, frozen=True):
    """Effect and saved state of the gate: the last signal that passed under one key."""

    symbol: str
    strategy: str
    timeframe: str
    side: Side
    close_ms: int
    entry: float


class Rest(msgspec.Struct, frozen=True):
    """Saved state of the gate: what the cooldown of a symbol and strategy counts from.

    The close of its last signal that passed, and of the base bar that touched that one's stop; 0 while none has.
    """

    symbol: str
    strategy: str
    close_ms: int
    stopped_ms: int = 0


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
    stack: str = ""

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
    """Event: the market around a bar when its candidates were found; NaN where that could not be had in time.

    Attributes:
        bid, ask: the best ones.
        bids_quote, asks_quote: quote units in the order book near the middle.
        buy_slippage_bps, sell_slippage_bps: from the middle to the mean price of `slippage_quote` quote units.
        hourly_volume_quote: mean quote volume of an hour.
        funding_rate, next_funding_ms: of the perpetual; 0 is an unknown time.
        missing: what was asked for and did not come, in words.
    """

    symbol: str
    close_ms: int
    bid: float = NAN
    ask: float = NAN
    bids_quote: float = NAN
    asks_quote: float = NAN
    buy_slippage_bps: float = NAN
    sell_slippage_bps: float = NAN
    slippage_quote: float = NAN
    hourly_volume_quote: float = NAN
    funding_rate: float = NAN
    next_funding_ms: int = 0
    missing: tuple[str, ...] = ()

    @property
    def spread(self) -> float:
        """Between bid and ask, as a share of their middle; NaN where that is not known."""
        both = self.bid + self.ask
        return 2 * (self.ask - self.bid) / both if both else NAN


class Standing(msgspec.Struct, frozen=True):
    """Whether a symbol is liquid enough for alerts, and if not, why."""

    symbol: str
    eligible: bool
    reason: str | None = None
    quote_volume_24h: float = NAN


class Listing(msgspec.Struct, frozen=True):
    """In which pieces the exchange trades a symbol, in quote and base units."""

    symbol: str
    tick: Decimal
    step: Decimal
    least_notional: Decimal


class Universe(msgspec.Struct, frozen=True, tag=True):
    """Event: standings and listings that changed, and symbols that are watched no more, of which nothing is kept.

    Of those in `anew` the bars will be brought again from a start of their own; what is held of them stays.
    """

    now_ms: int
    standings: tuple[Standing, ...] = ()
    gone: tuple[str, ...] = ()
    listings: tuple[Listing, ...] = ()
    anew: tuple[str, ...] = ()


class Funding(msgspec.Struct, frozen=True, tag=True):
    """Event: what a perpetual position pays, or receives where it is negative, as a share of its notional at `ms`."""

    symbol: str
    ms: int
    rate: float


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


class Passed(msgspec.Struct, frozen=True, tag=True):
    """Event: a signal that passed the gate of another process, the `number`-th that its ledger has stored.

    `time_limit` is its strategy's, in bars of its timeframe.
    """

    number: int
    judged: Judged
    time_limit: int


class Heard(msgspec.Struct, frozen=True, tag=True):
    """Event: of the signals of another process those up to this number are none of the book's."""

    number: int


class Mute(msgspec.Struct, frozen=True, tag=True):
    """Event: signals of this symbol or strategy are blocked until `until_ms` by the exchange's clock; 0 ends that."""

    target: str
    until_ms: int
