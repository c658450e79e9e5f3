"""`tapewatch trace`: the whole way of one alert, from its bar to who got it and what came of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from tapewatch.cli import options
from tapewatch.cli.setup import DEFAULT_PATHS, ConfigOption

if TYPE_CHECKING:
    from tapewatch.store import Ledger

#: A message that was made further from its alert than this was made by another clock: the market was simulated.
APART_MS = 86_400_000
_DETAIL = " " * 48

Line = Mapping[str, Any]


class Event(NamedTuple):
    """Something on the way of an alert, and what there is to say about it in further lines."""

    ms: int
    since_close_ms: int | None
    what: str
    said: str
    more: tuple[str, ...] = ()


def trace(
    identity: Annotated[
        str, typer.Argument(metavar="ID", help="Of an alert, signal or message, or a trace id; or how one begins.")
    ],
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show the way of one alert: bar, candidate, verdicts, every attempt to deliver it, paper position, outcome.

    Exit 1 when the ledger has nothing under that id.

    Example: tapewatch trace binance_spot/BTCUSDT/1m/1747750020000
    """
    from tapewatch.config import load
    from tapewatch.store import Ledger

    ledger = Ledger.open(load(config or DEFAULT_PATHS, os.environ).ledger.address, create=False)
    try:
        found = ledger.traces.find(identity)
        if len(found) != 1:
            sys.stderr.write(_not_one(identity, found, [] if found else ledger.traces.near(identity)))
            raise typer.Exit(1)
        whole = _whole(ledger, found[0])
    finally:
        ledger.close()
    events = sorted(_events(whole), key=lambda event: event.ms)
    if as_json:
        options.print_json({"id": found[0], **whole, "events": [event._asdict() for event in events]})
    else:
        _print(found[0], whole, events)


def _not_one(identity: str, found: Sequence[str], near: Sequence[str]) -> str:
    from tapewatch.store.trace import NAMED

    if not found:
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        return f"tapewatch: the ledger has no alert, signal, message or trace id {identity}{hint}\n"
    more = " …" if len(found) > NAMED else ""
    return f"tapewatch: {identity} is the beginning of several: {' '.join(found[:NAMED])}{more}\n"


def _whole(ledger: Ledger, subject: str) -> dict[str, Any]:
    """`alert` (None of a signal that led to none), its `signals` as they are listed, `trades`, and what was `told`."""
    alert = ledger.traces.alert(subject)
    ids = [subject] if alert is None else alert["signal_ids"]
    signals = {one["id"]: one for one in ledger.stored_signals(ids=ids)} if ids else {}
    for identity, ms in ledger.traces.ended_ms(ids).items():
        if identity in signals and signals[identity]["outcome"] is not None:
            signals[identity]["outcome"]["recv_ms"] = ms
    return {
        "alert": alert,
        "signals": [signals[one] for one in ids if one in signals],
        "trades": ledger.paper.positions(states=(), signal_ids=ids) if ids else [],
        "told": [one for one in ledger.traces.told(ids) if one["alert_id"] != subject],
    }


def _events(whole: Line) -> Iterator[Event]:
    """What happened, each with the time since the bar's close."""
    signals, alert = whole["signals"], whole["alert"]
    close_ms = signals[0]["close_ms"] if signals else None

    def event(ms: int, what: str, said: str, more: Iterable[str] = (), *, known: bool = True) -> Event:
        since = ms - close_ms if close_ms is not None and known else None
        return Event(ms, since, what, said, tuple(more))

    if signals:
        lead = signals[0]
        yield event(lead["open_ms"], "bar", f"{lead['symbol']} {lead['timeframe']} opened")
        yield event(lead["close_ms"], "bar", "closed")
        yield event(lead["recv_ms"], "bar", "received, late" if lead["late"] else "received")
    for one in signals:
        yield event(one["recv_ms"], "signal", _candidate(one), _evidence(one))
    if alert is not None:
        late = ", late" if alert["late"] else ""
        yield event(alert["created_ms"], "alert", f"{alert['alert_id']}: {alert['subject'] or alert['kind']}{late}")
        known = all(abs(one["created_ms"] - alert["created_ms"]) < APART_MS for one in alert["messages"])
        for ms, what, said in _told(alert, whole["told"]):
            yield event(ms, what, said, known=known)
    received = {one["id"]: one["recv_ms"] for one in signals}
    for trade in whole["trades"]:
        for ms, said in _paper(trade, received.get(trade["signal_id"], 0)):
            yield event(ms, "paper", said)
    for one in signals:
        if one["outcome"] is not None:
            from tapewatch.cli.why import outcome_words

            yield event(one["outcome"]["recv_ms"], "outcome", f"{one['strategy']}: {outcome_words(one['outcome'])}")


def _told(alert: Line, told: Sequence[Line]) -> Iterator[tuple[int, str, str]]:
    """Its messages and those of the digests they went into, then the alerts about what became of it with theirs."""
    for one in (alert, *alert["digests"], *told):
        if one in told:
            yield one["created_ms"], "told", f"{one['alert_id']}: {one['subject']}"
        for message in one["messages"]:
            for ms, said in _delivery(message):
                yield ms, "message", said


def _candidate(one: Line) -> str:
    targets = ", ".join(f"{target['price']:.10g}" for target in one["targets"])
    met, asked = one["confidence"]["met"], one["confidence"]["asked"]
    model = "" if one.get("score") is None else f"model {one['score']:.0%}, "
    levels = f"entry {one['entry']:.10g} stop {one['stop']:.10g} target {targets}"
    return (
        f"{one['strategy']} {one['side']} {one['state']}: {met} of {asked} factors, strength {one['strength']:g}, "
        f"{model}{levels}; trace id {one['trace_id']}"
    )


def _evidence(one: Line) -> Iterator[str]:
    """Its verdicts, then what was known of the market around it, and what was missing."""
    for verdict in one["verdicts"]:
        reason = f": {verdict['reason']}" if verdict["reason"] else ""
        yield f"gate {verdict['check']} {'passed' if verdict['pass'] else 'blocked'}{reason}"
    context = one["context"]
    if context is not None:
        known = (
            f"{name} {options.iso(int(value)) if name.endswith('_ms') else format(value, '.6g')}"
            for name, value in context.items()
            if isinstance(value, int | float)
        )
        yield f"context {', '.join(known) or 'none'}"
        if context["missing"]:
            yield f"context missing: {', '.join(context['missing'])}"


def _delivery(message: Line) -> Iterator[tuple[int, str]]:
    """When a message was queued, and each attempt to send it."""
    name, channel = message["message_id"], message["channel"]
    stands = f" for {message['fallback_of']}" if message["fallback_of"] else ""
    inside = f" in digest {message['digest_id']}" if message["digest_id"] else ""
    instead = f", {message['stand_in']} stands in" if message["stand_in"] else ""
    repeat = ", possible repeat" if message["possible_repeat"] else ""
    error = f" ({message['last_error']})" if message["last_error"] and message["state"] != "sent" else ""
    yield message["created_ms"], f"{name} queued{stands}; now {message['state']}{inside}{instead}{repeat}{error}"
    for one in message["attempts"]:
        yield one["started_ms"], f"{channel} attempt {one['number']} began"
        if one["ended_ms"] is not None:
            took = (one["ended_ms"] - one["started_ms"]) / 1000
            why = f": {one['error']}" if one["error"] else ""
            yield one["ended_ms"], f"{channel} attempt {one['number']} {one['outcome']} after {took:.3f} s{why}"


def _paper(trade: Line, received_ms: int) -> Iterator[tuple[int, str]]:
    """When a signal was taken or not, once its bar had come, and each fill, when its candle came."""
    from tapewatch.cli.why import trade_words

    yield max(trade["decided_ms"], received_ms), f"{trade['strategy']} {trade_words(trade)}"
    for fill in trade["fills"]:
        at = f"{fill['quantity']} at {fill['price']} in the candle of {options.iso(fill['ms'])}"
        brought = f", gross {fill['gross']}" if fill["number"] else ""
        late = ", late" if fill["late"] else ""
        yield fill["recv_ms"], f"{trade['strategy']} {fill['reason']}: {at}{brought}, fee {fill['fee']}{late}"


def _print(subject: str, whole: Line, events: Sequence[Event]) -> None:
    write = sys.stdout.write
    write(f"{subject}\n")
    for event in events:
        since = "" if event.since_close_ms is None else f"{event.since_close_ms / 1000:+,.3f} s"
        at = f"{options.iso(event.ms // 60_000 * 60_000)}:{event.ms // 1000 % 60:02}.{event.ms % 1000:03}"
        write(f"{at}  {since:>14}  {event.what:<8} {event.said}\n")
        for line in event.more:
            write(f"{_DETAIL}  {line}\n")
    members = whole["alert"]["members"] if whole["alert"] is not None else []
    for member in members:
        write(f"names {member}\n")
