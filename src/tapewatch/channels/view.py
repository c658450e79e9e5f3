"""A signal as the strings a template shows; templates have layout, this has meaning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from typing import NamedTuple

import msgspec

from tapewatch.channels.labels import base_asset, indicator_label, number, percent, plain, rounded
from tapewatch.model import Factor, Signal


class Line(NamedTuple):
    """One labelled value."""

    label: str
    value: str


class FactorLine(NamedTuple):
    """One factor: `met`, `not met` or `unknown`, with its text and the values it compared."""

    mark: str
    name: str
    text: str


class SignalView(msgspec.Struct, frozen=True, kw_only=True):
    """What a signal template can show."""

    subject: str
    side: str
    symbol: str
    levels: list[Line]
    judgement: list[Line]
    indicators: list[Line]
    factors: list[FactorLine]
    times: list[Line]
    others: str
    remarks: list[str]


def signal_view(signals: Sequence[Signal], zone: tzinfo, late: str | None, repeat: str | None) -> SignalView:
    """The view of an alert: the first signal, and the names of the others that fired on the same bar."""
    lead = signals[0]
    side, strategy = lead.side.upper(), plain(lead.strategy)
    subject = f"[{plain(base_asset(lead.symbol))} {strategy.upper()}] {side} Signal - {plain(lead.timeframe)}"
    return SignalView(
        subject=subject[:200] + (" (late)" if late else ""),
        side=side,
        symbol=plain(lead.symbol),
        levels=[
            Line("Type", side),
            Line("Symbol", plain(lead.symbol)),
            Line("Timeframe", plain(lead.timeframe)),
            Line("Strategy", strategy),
            Line("Entry", number(lead.entry)),
            Line("Stop", f"{rounded(lead.stop)} ({percent(-lead.stop_distance_pct)})"),
            *_targets(lead),
            *_moves(lead),
            Line("Risk/reward", f"1:{lead.risk_reward:.2f}" if math.isfinite(lead.risk_reward) else "n/a"),
        ],
        judgement=[
            Line("Market bias", lead.bias),
            Line("Confidence", f"{lead.confidence.met}/{lead.confidence.asked}"),
            Line("Strength", f"{lead.strength:.1f}/10" if math.isfinite(lead.strength) else "n/a"),
            Line("Volume", _volume(lead)),
        ],
        indicators=_indicators(lead),
        factors=[_factor(factor) for factor in lead.factors],
        times=[*_times(lead.close_ms, zone), Line("Trace", plain(lead.trace_id))],
        others=", ".join(f"{plain(signal.strategy)} ({signal.side.upper()})" for signal in signals[1:]),
        remarks=[remark for remark in (late, repeat) if remark],
    )


def _targets(signal: Signal) -> list[Line]:
    direction = 1 if signal.side == "long" else -1
    lines = []
    for place, target in enumerate(signal.targets, 1):
        profit = direction * (target.price - signal.entry) / signal.entry * 100
        share = "" if len(signal.targets) == 1 else f", {number(target.share)}% of the position"
        label = "Target" if len(signal.targets) == 1 else f"Target {place}"
        lines.append(Line(label, f"{rounded(target.price)} ({percent(profit)}{share})"))
    return lines


def _moves(signal: Signal) -> list[Line]:
    """What moves the stop, once the price is that far."""

    def reached(distance: float) -> str:
        level = signal.entry + distance if signal.side == "long" else signal.entry - distance
        return f"{rounded(level)} ({percent(distance / signal.entry * 100)})"

    lines = [] if signal.break_even is None else [Line("Break-even after", reached(signal.break_even))]
    if trailing := signal.trailing:
        behind = f"{rounded(trailing.by)} ({trailing.by / signal.entry * 100:.2f}%) behind the best price"
        after = "" if trailing.after is None else f", after {reached(trailing.after)}"
        lines.append(Line("Trailing stop", behind + after))
    return lines


def _indicators(signal: Signal) -> list[Line]:
    lines = {"ATR(14)": rounded(signal.atr)}
    for expression, value in signal.indicators.items():
        # Counts of bars and conditions are shown by the factors that read them.
        if isinstance(value, float | int) and not isinstance(value, bool) and "barssince" not in expression:
            lines.setdefault(indicator_label(expression, signal.params), rounded(value))
    return [Line(label, value) for label, value in lines.items()]


def _volume(signal: Signal) -> str:
    ratio = f" ({signal.volume_ratio:.1f}x average)" if math.isfinite(signal.volume_ratio) else ""
    return number(signal.volume) + ratio


def _factor(factor: Factor) -> FactorLine:
    mark = "unknown" if factor.met is None else "met" if factor.met else "not met"
    text = plain(factor.text)
    if factor.left is not None and factor.right is not None:
        text += f" ({rounded(factor.left)} {factor.op} {rounded(factor.right)})"
    return FactorLine(mark, plain(factor.name), text)


def _times(close_ms: int, zone: tzinfo) -> list[Line]:
    moment = datetime.fromtimestamp(close_ms / 1000, UTC)
    local = moment.astimezone(zone)
    return [
        Line("Time", f"{moment:%Y-%m-%d %H:%M:%S} UTC"),
        Line("Local time", f"{local:%Y-%m-%d %H:%M:%S %Z} ({zone})"),
    ]
