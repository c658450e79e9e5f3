"""What the answers of the API look like: their types, for its description."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from tapewatch.model import Side
from tapewatch.web.holdings import Position

SignalState = Literal["passed", "blocked"]
MessageState = Literal["queued", "sending", "sent", "superseded", "digested", "late", "dead"]


class Reason(BaseModel):
    """Why there is no answer."""

    code: str
    message: str


class Failure(BaseModel):
    """An answer that is none."""

    error: Reason


class RunStrategy(BaseModel):
    """A strategy that is at work."""

    name: str
    timeframes: list[str]
    sides: list[Side]


class RunChannel(BaseModel):
    """A channel that alerts go to."""

    name: str
    type: str


class State(BaseModel):
    """What runs; `market_ms` is the exchange's time, `seq` the number of the last event."""

    version: str
    venue: str
    role: Literal["all", "scanner", "positions", "relay"]
    started_ms: int
    now_ms: int
    market_ms: int | None
    paper: bool
    strategies: list[RunStrategy]
    channels: list[RunChannel]
    symbols: int
    seq: int


class LastSignal(BaseModel):
    """The last signal of a symbol; `ms` is its bar's close."""

    id: str
    side: Side
    strategy: str
    ms: int
    state: SignalState


class WatchRow(BaseModel):
    """A symbol at a glance: `volatility` and `trend` are those of its outlook's timeframe; null is unknown."""

    symbol: str
    price: float | None
    change_pct: float | None
    volume_z: float | None
    trend: Literal["up", "down", "flat"] | None
    volatility: Literal["low", "normal", "high"] | None
    last_signal: LastSignal | None
    last_bar_ms: int | None
    fresh: bool


class WatchList(BaseModel):
    """Every watched symbol."""

    items: list[WatchRow]


class Delivery(BaseModel):
    """What became of an alert on a channel."""

    channel: str
    state: MessageState
    attempts: int
    sent_ms: int | None
    error: str | None


class Target(BaseModel):
    """A take-profit level; `share` is a percentage of the position."""

    price: float | None
    share: float


class Trailing(BaseModel):
    """A stop that follows the best price; distances in the price's unit."""

    after: float | None
    by: float


class Factor(BaseModel):
    """One condition; `met` is null where it is unknown."""

    name: str
    met: bool | None
    text: str
    left: float | None = None
    op: str | None = None
    right: float | None = None
    margin: float | None = None


class Verdict(BaseModel):
    """What one check of the gate said."""

    check: str
    passed: bool = Field(alias="pass")
    reason: str | None = None


class Confidence(BaseModel):
    """How many factors were met of those asked."""

    met: int
    asked: int


class Outcome(BaseModel):
    """What became of a signal; `ms` is the open of the candle in which it ended, distances are in units of risk."""

    result: str
    ambiguous: bool
    bars: int
    price: float
    ms: int
    mfe_r: float | None
    mae_r: float | None
    gross_r: float | None
    net_r: float | None


class Signal(BaseModel):
    """A signal as `signals --stored --json` prints it, with what became of it and of its messages."""

    id: str
    venue: str
    symbol: str
    timeframe: str
    strategy: str
    side: Side
    open_ms: int
    close_ms: int
    entry: float | None
    stop: float | None
    targets: list[Target]
    break_even: float | None = None
    trailing: Trailing | None = None
    atr: float | None
    risk_reward: float | None
    stop_distance_pct: float | None
    profit_distance_pct: float | None
    bias: Literal["bullish", "bearish", "neutral"]
    confidence: Confidence
    strength: float | None
    score: float | None = None
    volume: float | None
    volume_ratio: float | None
    factors: list[Factor]
    indicators: dict[str, float | bool | None]
    regime: dict[str, bool | None] = {}
    settled: bool
    verdicts: list[Verdict]
    context: dict[str, Any] | None
    params: dict[str, float]
    history_start_ms: int
    trace_id: str
    state: SignalState
    late: bool
    recv_ms: int
    alert_id: str | None
    outcome: Outcome | None
    deliveries: list[Delivery]


class SignalPage(BaseModel):
    """Some signals, and the cursor of the next page."""

    items: list[Signal]
    next: str | None


class Health(BaseModel):
    """The health document (draft-inadarei-api-health-check-06)."""

    status: Literal["pass", "warn", "fail"]
    version: str
    output: str | None = None
    checks: dict[str, list[dict[str, Any]]]


class Attempt(BaseModel):
    """An attempt to deliver; `outcome` is null while it is under way."""

    number: int
    started_ms: int
    ended_ms: int | None
    outcome: str | None
    error: str | None


class Message(BaseModel):
    """An alert for a channel, with every attempt to deliver it."""

    message_id: str
    channel: str
    state: MessageState
    severity: str
    created_ms: int
    due_ms: int
    sent_ms: int | None
    possible_repeat: bool
    fallback_of: str | None
    stand_in: str | None
    digest_id: str | None
    last_error: str | None
    attempts: list[Attempt]


class SignalWhole(Signal):
    """A signal with its messages and its paper position."""

    messages: list[Message]
    trade: Position | None


class Alert(BaseModel):
    """An alert, of its leading signal where it has one; `record` is what had become of those like it."""

    alert_id: str
    ms: int
    kind: str
    late: bool
    symbol: str | None
    strategy: str | None
    side: Side | None
    interval: str | None
    title: str
    text: str | None
    record: dict[str, Any] | None
    deliveries: list[Delivery]


class AlertPage(BaseModel):
    """Some alerts, and the cursor of the next page."""

    items: list[Alert]
    next: str | None


class Queue(BaseModel):
    """Messages of a channel in a state."""

    channel: str
    state: MessageState
    count: int
    oldest_ms: int


class Outbox(BaseModel):
    """All messages, counted."""

    items: list[Queue]


class Candles(BaseModel):
    """Candles in columns, in order; `indicators` have a value or null for each."""

    symbol: str
    interval: str
    interval_ms: int
    open_ms: list[int]
    open: list[float]
    high: list[float]
    low: list[float]
    close: list[float]
    volume: list[float]
    indicators: dict[str, list[float | None]]
    next: int | None


class Why(BaseModel):
    """What strategies said of a bar."""

    bar: dict[str, Any]
    strategies: list[dict[str, Any]]


class WhyList(BaseModel):
    """The bars that close at a moment, by timeframe."""

    items: list[Why]


class Instrument(BaseModel):
    """A symbol as its exchange lists it, and why it is watched or not; sizes are exact, as text."""

    venue: str
    symbol: str
    base_asset: str | None
    quote_asset: str | None
    status: str | None
    tick: str | None
    step: str | None
    least_notional: str | None
    watched: bool
    eligible: bool
    reason: str | None
    quote_volume_24h: float | None
    first_seen_ms: int
    changed_ms: int


class Universe(BaseModel):
    """Every symbol that is or was watched."""

    items: list[Instrument]
