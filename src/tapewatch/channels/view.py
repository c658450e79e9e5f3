"""An alert as the values a template shows; templates have layout, this has meaning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import tzinfo
from typing import Any, Literal, Protocol

import msgspec

from tapewatch.channels.evidence import move_of, volume_zscore
from tapewatch.channels.labels import (
    base_asset,
    compact,
    indicator_label,
    moment,
    number,
    percent,
    plain,
    quote_asset,
    rounded,
    short,
)
from tapewatch.channels.lines import FactorLine, Line
from tapewatch.channels.record import record_words
from tapewatch.channels.surroundings import context_lines
from tapewatch.model import Factor, Record, Signal

#: A subject has to fit a lock screen, and must not fill a mail's headers.
MOST_OF_SUBJECT = 200

Candle = tuple[float, float, float, float]


class Alert(Protocol):
    """What is written of an alert: of kind `signal` with its signals, else in words.

    `record` is what had become of alerts like it; `candles` are open, high, low and close up to its bar.
    """

    @property
    def alert_id(self) -> str: ...  # noqa: D102

    @property
    def kind(self) -> str: ...  # noqa: D102

    @property
    def created_ms(self) -> int: ...  # noqa: D102

    @property
    def subject(self) -> str | None: ...  # noqa: D102

    @property
    def text(self) -> str | None: ...  # noqa: D102

    @property
    def signals(self) -> tuple[Signal, ...]: ...  # noqa: D102

    @property
    def record(self) -> Record | None: ...  # noqa: D102

    @property
    def candles(self) -> tuple[Candle, ...]: ...  # noqa: D102


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What every template can show.

    Attributes:
        kind: of the alert.
        alert_id: as `alerts ls` prints it.
        subject: one line, the same in every style.
        late: whether it comes late.
        repeat: whether the user may have it already.
        remarks: both of these in words, for the top of a message.
        time: when it was written, in UTC and the user's zone.
        chart: whether a picture of the chart goes with it.
        chart_url: leads to the chart; empty where there is none.
    """

    kind: str
    alert_id: str
    subject: str
    late: bool
    repeat: bool
    remarks: list[str]
    time: str
    chart: bool = False
    chart_url: str = ""


class NoticeView(View, frozen=True, kw_only=True):
    """What a template of an alert in words can show.

    Attributes:
        lines: its lines.
    """

    lines: list[str]


class DigestView(View, frozen=True, kw_only=True):
    """What a template of a digest can show.

    Attributes:
        count: how many alerts it names.
        why: why they come together.
        lines: a line for each, the most urgent first, written in the template's style already.
    """

    count: int
    why: str
    lines: list[str]


class SignalView(View, frozen=True, kw_only=True):
    """What a template of a signal's alert can show.

    Attributes:
        side: `LONG` or `SHORT`.
        symbol, base, quote: `BTCUSDT`, `BTC` and `USDT`; `quote` is empty where it is not known.
        venue: as in the signal's id.
        timeframe: as `15m`.
        strategy: its name.
        strength: as `6.4/10`.
        confidence: factors met of those asked, as `4/4`.
        score: what a model gives it, as `63%`; empty where none does.
        price: the bar's close.
        bar_close: when the bar closed, in UTC and the user's zone.
        summary: lines: signal strength, confidence, model, price move, volume, bias, bar close; those that the
            strategy's values provide.
        levels: lines: entry, stop, targets, what moves the stop, risk and reward.
        context: lines: the market's regime, correlated movers, spread, order book, hourly volume, funding,
            correlation with BTC, and what was not there in time; those that are known.
        record: lines: what became of signals like it, beside random entries and after costs.
        verdict: what the record comes to; empty where that cannot be said yet.
        warning: whether the verdict is a warning.
        indicators: lines: what the strategy computed.
        factors: what it asked, each with `mark` (`met`, `not met`, `unknown`), `name` and `text`.
        others: further strategies that fired on the bar, with their sides.
        trace: names the signal in every log line.
        signal: the signal as `signals --json` prints it.
    """

    side: Literal["LONG", "SHORT"]
    symbol: str
    base: str
    quote: str
    venue: str
    timeframe: str
    strategy: str
    strength: str
    confidence: str
    score: str
    price: str
    bar_close: str
    summary: list[Line]
    levels: list[Line]
    context: list[Line]
    record: list[Line]
    verdict: str
    warning: bool
    indicators: list[Line]
    factors: list[FactorLine]
    others: list[str]
    trace: str
    signal: dict[str, Any]


def names_of(kind: str) -> tuple[str, ...]:
    """What a template of a kind can show."""
    view = {"signal": SignalView, "digest": DigestView}.get(kind, NoticeView)
    return view.__struct_fields__


REPEAT = "Possible repeat: sending was interrupted before, so you may have this message already."


def signal_view(
    alert: Alert,
    record: Record | None,
    zone: tzinfo,
    late: str | None,
    *,
    repeat: bool,
    chart: bool = False,
    chart_url: str | None = None,
) -> SignalView:
    """The view of an alert of signals: the first in full, the others by name."""
    lead = alert.signals[0]
    told = record_words(record, lead)
    return SignalView(
        kind=alert.kind,
        alert_id=short(alert.alert_id, 200),
        subject=signal_subject(lead, late=late is not None),
        late=late is not None,
        repeat=repeat,
        remarks=_remarks(late, repeat=repeat),
        time=moment(alert.created_ms, zone),
        chart=chart,
        chart_url=chart_url or "",
        side="LONG" if lead.side == "long" else "SHORT",
        symbol=short(lead.symbol),
        base=short(base_asset(lead.symbol)),
        quote=short(quote_asset(lead.symbol)),
        venue=short(lead.venue),
        timeframe=short(lead.timeframe),
        strategy=short(lead.strategy),
        strength=_strength(lead),
        confidence=f"{lead.confidence.met}/{lead.confidence.asked}",
        score="" if lead.score is None else f"{lead.score:.0%}",
        price=number(lead.entry),
        bar_close=moment(lead.close_ms, zone),
        summary=_summary(lead, zone),
        levels=_levels(lead),
        context=context_lines(lead, zone),
        record=told.lines,
        verdict=told.verdict,
        warning=told.warning,
        indicators=_indicators(lead),
        factors=[_factor(factor) for factor in lead.factors],
        others=[f"{short(signal.strategy)} ({signal.side.upper()})" for signal in alert.signals[1:]],
        trace=short(lead.trace_id),
        signal=msgspec.json.decode(msgspec.json.encode(lead)),
    )


def notice_view(alert: Alert, zone: tzinfo, late: str | None, *, repeat: bool) -> NoticeView:
    """The view of an alert in words."""
    return NoticeView(
        kind=alert.kind,
        alert_id=short(alert.alert_id, 200),
        subject=_cut(plain(alert.subject or ""), late=late is not None),
        late=late is not None,
        repeat=repeat,
        remarks=_remarks(late, repeat=repeat),
        time=moment(alert.created_ms, zone),
        lines=[short(line, 2_000) for line in (alert.text or "").splitlines()],
    )


def signal_subject(lead: Signal, *, late: bool) -> str:
    """What a lock screen shows: asset, strategy, side, timeframe, strength."""
    about = f"{short(base_asset(lead.symbol))} {short(lead.strategy).upper()}"
    named = f"[{about}] {lead.side.upper()} Signal - {short(lead.timeframe)}"
    return _cut(f"{named}, {_strength(lead)}" if math.isfinite(lead.strength) else named, late=late)


def _cut(subject: str, *, late: bool) -> str:
    return subject[: MOST_OF_SUBJECT - 7] + " (late)" if late else subject[:MOST_OF_SUBJECT]


def _remarks(late: str | None, *, repeat: bool) -> list[str]:
    return [*([f"Late: {plain(late)}"] if late else []), *([REPEAT] if repeat else [])]


def _strength(signal: Signal) -> str:
    return f"{signal.strength:.1f}/10" if math.isfinite(signal.strength) else "n/a"


def _summary(signal: Signal, zone: tzinfo) -> list[Line]:
    return [
        Line("Signal strength", _strength(signal)),
        Line("Confidence", f"{signal.confidence.met}/{signal.confidence.asked}"),
        *([] if signal.score is None else [Line("Model", f"{signal.score:.0%} to touch the target first")]),
        *_move(signal),
        Line("Volume", _volume(signal)),
        Line("Market bias", signal.bias),
        Line("Bar close", moment(signal.close_ms, zone)),
    ]


def _move(signal: Signal) -> list[Line]:
    move = move_of(signal)
    if move is None:
        return []
    over = f" over {move.bars} bar{'s' * (move.bars != 1)}" if move.bars else ""
    in_atr = f", {move.atr:+.1f} ATR" if math.isfinite(move.atr) else ""
    return [Line("Price move", f"{percent(move.pct)}{over}{in_atr}")]


def _volume(signal: Signal) -> str:
    words = []
    if math.isfinite(signal.volume_ratio):
        words.append(f"{signal.volume_ratio:.0%} of its average")
    if zscore := volume_zscore(signal):
        over = f" over {zscore.bars} bars" if zscore.bars else ""
        words.append(f"z-score {zscore.value:+.1f}{over}")
    traded = f"{compact(signal.volume)} {short(base_asset(signal.symbol))}"
    return f"{traded} ({', '.join(words)})" if words else traded


def _levels(signal: Signal) -> list[Line]:
    reward = f"1:{signal.risk_reward:.2f}" if math.isfinite(signal.risk_reward) else "n/a"
    return [
        Line("Entry", number(signal.entry)),
        Line("Stop", f"{rounded(signal.stop)} ({percent(-signal.stop_distance_pct)})"),
        *_targets(signal),
        *_moves(signal),
        Line("Risk/reward", reward),
    ]


def _percent_of(entry: float, distance: float) -> float:
    """NaN of an entry at 0, which only a broken signal has."""
    return distance / entry * 100 if entry else math.nan


def _targets(signal: Signal) -> list[Line]:
    direction = 1 if signal.side == "long" else -1
    lines = []
    for place, target in enumerate(signal.targets, 1):
        profit = _percent_of(signal.entry, direction * (target.price - signal.entry))
        share = "" if len(signal.targets) == 1 else f", {number(target.share)}% of the position"
        label = "Target" if len(signal.targets) == 1 else f"Target {place}"
        lines.append(Line(label, f"{rounded(target.price)} ({percent(profit)}{share})"))
    return lines


def _moves(signal: Signal) -> list[Line]:
    """What moves the stop, once the price is that far."""

    def reached(distance: float) -> str:
        level = signal.entry + distance if signal.side == "long" else signal.entry - distance
        return f"{rounded(level)} ({percent(_percent_of(signal.entry, distance))})"

    lines = [] if signal.break_even is None else [Line("Break-even after", reached(signal.break_even))]
    if trailing := signal.trailing:
        by_pct = _percent_of(signal.entry, trailing.by)
        of_entry = f" ({by_pct:.2f}%)" if math.isfinite(by_pct) else ""
        behind = f"{rounded(trailing.by)}{of_entry} behind the best price"
        after = "" if trailing.after is None else f", after {reached(trailing.after)}"
        lines.append(Line("Trailing stop", behind + after))
    return lines


def _indicators(signal: Signal) -> list[Line]:
    lines = {"ATR(14)": rounded(signal.atr)}
    for expression, value in signal.indicators.items():
        # Counts of bars and conditions are shown by the factors that read them.
        if isinstance(value, float | int) and not isinstance(value, bool) and "barssince" not in expression:
            lines.setdefault(short(indicator_label(expression, signal.params), 120), rounded(value))
    return [Line(label, value) for label, value in lines.items()]


def _factor(factor: Factor) -> FactorLine:
    mark = "unknown" if factor.met is None else "met" if factor.met else "not met"
    text = short(factor.text, 400)
    if factor.left is not None and factor.right is not None:
        text += f" ({rounded(factor.left)} {factor.op} {rounded(factor.right)})"
    return FactorLine(mark, short(factor.name), text)


def digest_line(alert: Alert, zone: tzinfo) -> tuple[str, str]:
    """An alert's name in a digest: what stands out, and the rest of the line."""
    if not alert.signals:
        return plain(alert.subject or alert.alert_id)[:MOST_OF_SUBJECT], f", {moment(alert.created_ms, zone)}"
    lead = alert.signals[0]
    others = f", also {', '.join(short(signal.strategy) for signal in alert.signals[1:])}" if alert.signals[1:] else ""
    named = f"{short(lead.strategy)} {short(lead.timeframe)}{others}"
    head = f"{lead.side.upper()} {short(lead.symbol)} {_strength(lead)}"
    return head[:MOST_OF_SUBJECT], f" {named} at {number(lead.entry)}, {moment(lead.close_ms, zone)}"[:MOST_OF_SUBJECT]


def digest_view(
    alerts: Sequence[Alert],
    lines: list[str],
    zone: tzinfo,
    why: str,
    identity: str,
    created_ms: int,
    late: str | None,
    *,
    repeat: bool,
) -> DigestView:
    """The view of a digest of these alerts, with their lines as `Writer.line` writes them."""
    symbols = list(dict.fromkeys(short(alert.signals[0].symbol) for alert in alerts if alert.signals))
    few = ", ".join(symbols[:3]) + (f" and {len(symbols) - 3} more" if len(symbols) > 3 else "")
    subject = f"{len(alerts)} alert{'s' * (len(alerts) != 1)}{f': {few}' if few else ''}"
    return DigestView(
        kind="digest",
        alert_id=short(identity, 200),
        subject=_cut(subject, late=late is not None),
        late=late is not None,
        repeat=repeat,
        remarks=_remarks(late, repeat=repeat),
        time=moment(created_ms, zone),
        count=len(alerts),
        why=plain(why),
        lines=lines,
    )
