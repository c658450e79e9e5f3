"""What the answers of the API look like: their types, for its description."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

Side = Literal["long", "short"]
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
    """What runs; `seq` is the number of the last event."""

    version: str
    venue: str
    role: Literal["all", "scanner", "positions", "relay"]
    started_ms: int
    now_ms: int
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
