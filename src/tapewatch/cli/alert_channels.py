"""`tapewatch alerts channels`: how each channel stands."""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing
from typing import Annotated, Any

import typer

from tapewatch.cli import options
from tapewatch.cli.setup import DEFAULT_PATHS, ConfigOption


def list_channels(
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line each.")] = False,
) -> None:
    """List the channels: whether each is in use, what waits, what it delivered today (in `alerts.time_zone`).

    Example: tapewatch alerts channels
    """
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from tapewatch.config import load
    from tapewatch.store import ChannelState, Ledger

    loaded, now_ms = load(config or DEFAULT_PATHS, os.environ), time.time_ns() // 1_000_000
    zone = ZoneInfo(loaded.alerts.time_zone)
    midnight = datetime.now(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    with closing(Ledger.open(loaded.ledger.address, create=False)) as ledger:
        known = ledger.outbox.channel_states()
        counts = ledger.outbox.counts()
        sent = ledger.outbox.sent_since(round(midnight.timestamp() * 1000))
        oldest = {name: ledger.outbox.depth(name)[1] for name in loaded.channels}
    for name, spec in loaded.channels.items():
        state, count = known.get(name, ChannelState(name)), counts.get(name, {})
        held = state.state == "disabled" or state.until_ms > now_ms
        told: dict[str, Any] = {
            "channel": name,
            "type": spec.type,
            "state": state.state if held else "ok",
            "until_ms": state.until_ms if held and state.state == "held" else None,
            "reason": state.reason if held else None,
            "queued": count.get("queued", 0) + count.get("sending", 0),
            "oldest_ms": oldest[name],
            "dead": count.get("dead", 0),
            "sent_today": sent.get(name, 0),
        }
        if as_json:
            options.print_json(told)
        else:
            sys.stdout.write(_channel_line(told))
    if not loaded.channels and not as_json:
        sys.stderr.write("tapewatch: no channel is configured\n")


def _channel_line(told: dict[str, Any]) -> str:
    until = f" until {options.iso(told['until_ms'])}" if told["until_ms"] else ""
    why = f" ({told['reason']})" if told["reason"] else ""
    since = f" since {options.iso(told['oldest_ms'])}" if told["oldest_ms"] else ""
    said = f"{told['queued']} waiting{since}, {told['dead']} dead, {told['sent_today']} sent today"
    return f"{told['channel']:16} {told['type']:9} {told['state']}{until}{why}: {said}\n"
