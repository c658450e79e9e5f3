"""What is told of paper trading: positions, the account, and what became of alerts, as subject and text. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from typing import NamedTuple

from tapewatch.channels.labels import base_asset, moment, plain, quote_asset, rounded, utc
from tapewatch.model import (
    MINUTE_MS,
    AccountState,
    DayDone,
    EntriesPaused,
    EntriesResumed,
    Fill,
    Outcome,
    Position,
    decimal_text,
)

#: Why a part was closed, in the words of a subject.
_BECAUSE = {
    "time": "its time limit",
    "opposite": "an opposite signal",
    "liquidation": "liquidation",
    "break_even": "its break-even stop",
    "trailing_stop": "its trailing stop",
    "gone": "its last close",
}
_TOUCHED = {"stop": "stop touched", "target": "target touched", "time": "time is over"}
_CENT = Decimal("0.01")


class Told(NamedTuple):
    """An alert in words."""

    subject: str
    text: str


def entry(position: Position, fill: Fill, account: AccountState | None, zone: tzinfo) -> Told:
    """A position was entered."""
    lines = [
        f"Paper position: {_what(position)}, entered.",
        _fill_line("Entry", position, fill, zone),
        f"Stop: {_exact(position.stop)}",
        *_targets(position),
        *_account_lines(account, _quote(position)),
        *_last_lines(position, [fill]),
    ]
    return Told(f"{_head(position)} entry at {_exact(fill.price)}", _text(lines))


def partial(position: Position, fills: Sequence[Fill], account: AccountState | None, zone: tzinfo) -> Told:
    """A part of a position was closed."""
    closed = sum((fill.quantity for fill in fills), Decimal(0))
    reason = _because(fills[-1].reason)
    lines = [
        f"Paper position: {_what(position)}, a part of it closed at {reason}.",
        *(_fill_line("Closed", position, fill, zone) for fill in fills),
        f"Open: {_exact(position.held)} {_base(position)} of {_exact(position.quantity)}, stop {_exact(position.stop)}",
        *_result(position),
        *_account_lines(account, _quote(position)),
        *_last_lines(position, fills),
    ]
    share = f"{closed / position.quantity:.0%}" if position.quantity else "a part"
    return Told(f"{_head(position)} partial exit at {reason}: {share} closed", _text(lines))


def exit_(position: Position, fills: Sequence[Fill], account: AccountState | None, zone: tzinfo) -> Told:
    """A position was closed."""
    reason = _because(position.reason or "")
    before = position.quantity - sum((fill.quantity for fill in fills), Decimal(0))
    lines = [
        f"Paper position: {_what(position)}, closed at {reason}.",
        f"Entered: {_exact(position.quantity)} {_base(position)} at {_exact(position.entry)}, "
        f"{moment(position.entry_ms or 0, zone)}",
        *([f"Closed before: {_exact(before)} {_base(position)}"] if before else []),
        *(_fill_line("Closed", position, fill, zone) for fill in fills),
        "Open: nothing of it",
        *_result(position),
        *_account_lines(account, _quote(position)),
        *_last_lines(position, fills),
    ]
    return Told(f"{_head(position)} exit at {reason}: {_in_r(position.r)}", _text(lines))


def summary(day: DayDone, account: AccountState | None, zone: tzinfo) -> Told:
    """What a day brought."""
    net, booked = day.equity - day.equity_before, day.gross - day.fees - day.funding
    share = f" ({float(net / day.equity_before):+.2%})" if day.equity_before else ""
    name = f"{datetime.fromtimestamp(day.day_ms / 1000, UTC):%Y-%m-%d}"
    lines = [
        f"Paper account, the UTC day {name}, which ended {moment(day.day_ms + 1_440 * MINUTE_MS, zone)}.",
        f"Trades: {day.closed} closed, {day.won} won; {day.entered} entered",
        f"Equity: {_money(day.equity)}, {_signed(net)}{share} since the day began",
        f"Closed and paid: gross {_signed(day.gross)}, fees {_money(day.fees)}, funding {_money(day.funding)}, "
        f"net {_signed(booked)}",
        f"Open: {_positions(day.open)}",
        *([f"Since {moment(account.started_ms, zone)}: {_since_start(account)}"] if account is not None else []),
    ]
    trades = f"{day.won} of {day.closed} trade{'s' * (day.closed != 1)} won" if day.closed else "no trade closed"
    return Told(f"[paper] {name}: {_signed(net)}{share}, {trades}", _text(lines))


def paused(event: EntriesPaused, account: AccountState | None, zone: tzinfo) -> Told:
    """Nothing is entered for a while."""
    until = moment(event.until_ms, zone)
    lines = [
        f"A protection of the paper account ({plain(event.why)}) pauses entries: {_set_off(event)}.",
        f"Since: {moment(event.since_ms, zone)}",
        f"Until: {until}",
        "Signals are told as before, open positions live on.",
        *_account_lines(account),
    ]
    return Told(f"[paper] Entries paused until {utc(event.until_ms)}", _text(lines))


def resumed(event: EntriesResumed, account: AccountState | None, zone: tzinfo) -> Told:
    """What was paused goes on."""
    lines = [
        f"The paper account enters positions again, since {moment(event.at_ms, zone)}.",
        f"Paused since: {moment(event.since_ms, zone)}",
        *_account_lines(account),
    ]
    return Told("[paper] Entries go on", _text(lines))


def follow_up(event: Outcome, alert_id: str, zone: tzinfo) -> Told:
    """What became of an alert's signal."""
    what = _TOUCHED[event.result]
    candle = f"the candle of {moment(event.ms, zone)}"
    both = ["That candle touched stop and target; the stop is assumed to have come first."] if event.ambiguous else []
    lines = [
        f"{event.side.upper()} {plain(event.symbol)}, {plain(event.strategy)} on {plain(event.timeframe)}: {what}.",
        f"Price: {rounded(event.price)}",
        f"In: {candle}{', which came late, as after a downtime' if event.late else ''}",
        *both,
        f"Alert: {plain(alert_id)}",
    ]
    return Told(f"{_head(event)}: {what} at {rounded(event.price)}", _text(lines))


def _text(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _head(about: Position | Outcome) -> str:
    return f"[{plain(base_asset(about.symbol))} {plain(about.strategy).upper()}] {about.side.upper()}"


def _what(position: Position) -> str:
    named = f"{plain(position.strategy)} on {plain(position.timeframe)}"
    return f"{position.side.upper()} {plain(position.symbol)}, {named}"


def _because(reason: str) -> str:
    return _BECAUSE.get(reason, plain(reason))


def _base(position: Position) -> str:
    return plain(base_asset(position.symbol))


def _quote(position: Position) -> str:
    """The unit of its money, to be put behind an amount; empty where that is not known."""
    quote = quote_asset(plain(position.symbol))
    return f" {quote}" if quote else ""


def _fill_line(label: str, position: Position, fill: Fill, zone: tzinfo) -> str:
    why = f" ({_because(fill.reason)})" if fill.number else ""
    quote = _quote(position)
    brought = f", gross {_signed(fill.gross)}{quote}" if fill.number else ""
    return (
        f"{label}: {_exact(fill.quantity)} {_base(position)} at {_exact(fill.price)}{why}, {moment(fill.ms, zone)}"
        f"{brought}, fee {_money(fill.fee)}{quote}"
    )


def _targets(position: Position) -> Iterator[str]:
    many = len(position.targets) > 1
    for number, leg in enumerate(position.targets, 1):
        share = f" for {_exact(leg.quantity)} {_base(position)}" if many else ""
        yield f"Target{f' {number}' if many else ''}: {_exact(leg.price)}{share}"


def _result(position: Position) -> list[str]:
    net = position.gross - position.fees - position.funding
    funding = f", funding {_money(position.funding)}" if position.funding else ""
    lines = [f"{'Net so far' if position.state == 'open' else 'Net'}: {_signed(net)}{_quote(position)}"]
    lines[0] += f" (gross {_signed(position.gross)}, fees {_money(position.fees)}{funding})"
    if position.state == "closed":
        lines[0] += f", {_in_r(position.r)}"
        lines.append(f"Best and worst price: {_in_r(position.mfe_r)} and {_in_r(position.mae_r)}")
    return lines


def _account_lines(account: AccountState | None, quote: str = "") -> list[str]:
    if account is None:
        return []
    return [f"Equity: {_money(account.equity)}{quote}, {_positions(account.open)} open"]


def _last_lines(position: Position, fills: Sequence[Fill]) -> Iterator[str]:
    if position.ambiguous:
        yield "A candle touched stop and target; the stop is assumed to have come first."
    late = [fill.ms for fill in fills if fill.late]
    if late:
        day = f"{datetime.fromtimestamp(min(late) / 1000, UTC):%Y-%m-%d %H:%M}"
        end = f"{datetime.fromtimestamp((max(late) + MINUTE_MS) / 1000, UTC):%H:%M} UTC"
        yield f"Settled from candles of {day} to {end}, which came late, as after a downtime."
    yield f"Trade: {plain(position.trade_id)}"


def _since_start(account: AccountState) -> str:
    net = account.equity - account.start_cash
    share = f" ({float(net / account.start_cash):+.2%})" if account.start_cash else ""
    return f"{_signed(net)}{share}"


def _set_off(event: EntriesPaused) -> str:
    """What set a protection off, in numbers."""
    if event.why == "losses":
        return f"{_positions(event.lost)} lost in a row"
    since = "when the UTC day began" if event.why == "daily_loss" else "at its peak"
    share = f" ({event.realised / event.before - 1:+.2%})" if event.before else ""
    return f"closed trades leave it with {event.realised:,.2f}, it had {event.before:,.2f} {since}{share}"


def _positions(count: int) -> str:
    return f"{count} position{'s' * (count != 1)}"


def _exact(value: Decimal | None) -> str:
    return "n/a" if value is None else decimal_text(value)


def _money(value: Decimal) -> str:
    """To the cent, or to two digits where it is less; the ledger has all of them."""
    if value == 0 or abs(value) >= _CENT:
        return f"{value:,.2f}"
    return rounded(float(f"{value:.2g}"))


def _signed(value: Decimal) -> str:
    return ("+" if value >= 0 else "") + _money(value)


def _in_r(value: float | None) -> str:
    return "n/a" if value is None else f"{value:+.2f} R"
