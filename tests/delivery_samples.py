"""Signals, steps and messages for the tests of the ledger, the channels and the relay."""

from __future__ import annotations

from typing import Any

from tapewatch.channels import Outgoing
from tapewatch.model import (
    Alert,
    BarDone,
    Confidence,
    Factor,
    Judged,
    LastPassed,
    Signal,
    Target,
    Verdict,
    alert_id,
    signal_id,
    trace_id,
)
from tapewatch.store import Message, Step
from tapewatch.store.records import StoredAlert

VENUE = "binance_spot"
CLOSE_MS = 1_747_750_020_000


def signal(symbol: str = "BTCUSDT", **changes: Any) -> Signal:
    """A long of scalp on BTCUSDT's 1m bar that closed at CLOSE_MS, with any field changed."""
    fields: dict[str, Any] = {
        "venue": VENUE,
        "symbol": symbol,
        "timeframe": "1m",
        "strategy": "scalp",
        "side": "long",
        "close_ms": CLOSE_MS,
        "entry": 67012.5,
        "stop": 66950.25,
        "targets": (Target(67054.0, 100.0),),
        "atr": 41.5,
        "risk_reward": 0.6667,
        "stop_distance_pct": 0.0929,
        "profit_distance_pct": 0.0619,
        "bias": "bullish",
        "confidence": Confidence(5, 5),
        "strength": 6.4,
        "volume": 123.4,
        "volume_ratio": 2.1,
        "factors": (
            Factor("vwap", True, "close > vwap()", 67012.5, ">", 66990.125),
            Factor("bias", None, "higher(close > ema(close, 50))"),
            Factor("rsi", False, "rsi_lo <= rsi(close, 6) <= rsi_hi"),
        ),
        "indicators": {
            "ema(close, fast)": 67001.123456789,
            "ema(close, slow)": 66995.5,
            "vwap()": 66990.125,
            "rsi(close, 6)": 61.25,
            "atr(14)": 41.5,
            "crossover(ema(close, fast), ema(close, slow))": True,
            "higher(ema(close, 50))": None,
        },
        "settled": True,
        "verdicts": (Verdict("settled", True),),
        "params": {"fast": 9.0, "slow": 21.0},
        "history_start_ms": CLOSE_MS - 86_400_000,
    } | changes
    identity = signal_id(VENUE, symbol, fields["timeframe"], fields["strategy"], fields["side"], fields["close_ms"])
    fields = {"id": identity, "open_ms": fields["close_ms"] - 60_000, "trace_id": trace_id(identity)} | fields
    return Signal(**fields)


def alert_of(*signals: Signal, late: bool = False) -> Alert:
    """The alert of signals on one bar."""
    lead = signals[0]
    identity = alert_id(VENUE, lead.symbol, lead.timeframe, lead.close_ms)
    return Alert(identity, signals, late, lead.close_ms + 120)


def stored(*signals: Signal, **changes: Any) -> StoredAlert:
    """An alert of signals as the relay gets it, with any field changed."""
    fields = {"created_ms": CLOSE_MS, "late": False, "subject": None, "text": None, "kind": "signal"} | changes
    lead = signals[0]
    return StoredAlert(alert_id(VENUE, lead.symbol, lead.timeframe, lead.close_ms), signals=signals, **fields)


def worded(subject: str, text: str, **changes: Any) -> StoredAlert:
    """An alert in words as the relay gets it, with any field changed."""
    fields = {"alert_id": "operator/x", "kind": "operator", "created_ms": CLOSE_MS, "late": False} | changes
    return StoredAlert(subject=subject, text=text, signals=(), **fields)


def step_of(
    *alerts: Alert, channels: tuple[str, ...] = ("out",), created_ms: int = CLOSE_MS, priority: int = 0
) -> Step:
    """The step that raised these alerts, with a message for each channel."""
    effects: list[Any] = []
    messages = []
    for alert in alerts:
        for each in alert.signals:
            effects += [
                BarDone(each.symbol, 60_000, each.open_ms),
                Judged(each, "passed", alert.late, alert.created_ms, alert.alert_id),
                LastPassed(each.symbol, each.strategy, each.timeframe, each.side, each.close_ms, each.entry),
            ]
        effects.append(alert)
        messages += [Message(alert.alert_id, name, created_ms, "signal", priority) for name in channels]
    return Step(VENUE, effects, messages)


def outgoing(message_id: str = "binance_spot/BTCUSDT/1m/1747750020000@out", **changes: Any) -> Outgoing:
    """A message about a signal, with any field changed."""
    fields: dict[str, Any] = {
        "message_id": message_id,
        "alert_id": message_id.split("@", maxsplit=1)[0],
        "kind": "signal",
        "subject": "[BTC SCALP] LONG Signal - 1m",
        "text": "Entry: 67012.5\n",
        "html": "<p>Entry: 67012.5</p>\n",
        "signal": {"id": "x", "atr": None},
        "created_ms": CLOSE_MS,
        "sent_ms": CLOSE_MS + 500,
    } | changes
    return Outgoing(**fields)
