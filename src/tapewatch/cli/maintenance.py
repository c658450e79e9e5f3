"""`tapewatch maintenance`: a time in which the operator is told nothing."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from tapewatch.cli import options
from tapewatch.cli.setup import DEFAULT_PATHS, ConfigOption
from tapewatch.errors import SetupError

if TYPE_CHECKING:
    from tapewatch.store import Ledger


def maintenance(
    duration: Annotated[
        str | None, typer.Argument(help="How long, as 30m, 2h or 1d; without it, what is on and planned.")
    ] = None,
    at: Annotated[str | None, typer.Option("--at", help="When it begins, ISO (UTC) or ms; default now.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Told with it.")] = None,
    end: Annotated[
        bool, typer.Option("--end", help="End what is on now; where nothing is, forget what is planned.")
    ] = False,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per window.")] = False,
) -> None:
    """Tell the operator nothing for a while; alerts of signals go out as always.

    A run that is on follows within seconds, restarts keep to it. At its end one alert says what happened meanwhile.

    Example: tapewatch maintenance 2h --reason "new disk"
    """
    from tapewatch.config import load
    from tapewatch.store import Ledger

    if duration is None and (at is not None or reason is not None):
        raise SetupError("maintenance: say how long, as 30m, 2h or 1d")
    if end and duration is not None:
        raise SetupError("--end ends what is on; it takes no duration")
    loaded = load(config or DEFAULT_PATHS, os.environ)
    now_ms = time.time_ns() // 1_000_000
    lasting_ms = 0 if duration is None else _lasting_ms(duration)
    from_ms = now_ms if at is None else _at_ms(at, now_ms)
    ledger = Ledger.open(loaded.ledger.address)
    try:
        if end:
            ledger.operation.end_maintenance(now_ms)
        elif duration is not None:
            _plan(ledger, from_ms, from_ms + lasting_ms, reason)
        windows = [window for window in ledger.operation.maintenance() if window.until_ms > now_ms]
    finally:
        ledger.close()
    for window in windows:
        if as_json:
            on = window.from_ms <= now_ms
            options.print_json(
                {"from_ms": window.from_ms, "until_ms": window.until_ms, "reason": window.reason, "on": on}
            )
        else:
            why = f": {window.reason}" if window.reason else ""
            since = "" if window.from_ms <= now_ms else f"from {_minute(window.from_ms)} "
            sys.stdout.write(f"maintenance {since}until {_minute(window.until_ms)} UTC{why}\n")
    if not windows and not as_json:
        sys.stdout.write("no maintenance\n")


def _plan(ledger: Ledger, from_ms: int, until_ms: int, reason: str | None) -> None:
    from tapewatch.store import Maintenance

    taken = {window.name for window in ledger.operation.maintenance()}
    name = next(name for number in range(len(taken) + 1) if (name := f"{from_ms}-{number}") not in taken)
    ledger.operation.maintain(Maintenance(name, from_ms, until_ms, reason))


def _lasting_ms(text: str) -> int:
    from tapewatch.strategy.definition import duration_ms

    try:
        lasting_ms = duration_ms(text)
    except ValueError:
        lasting_ms = 0
    if not lasting_ms:
        raise SetupError(f"maintenance: {text!r} is no duration as 30m, 2h or 1d")
    return lasting_ms


def _at_ms(text: str, now_ms: int) -> int:
    at_ms = options.moment_ms(text, "--at")
    assert at_ms is not None
    if at_ms < now_ms:
        raise SetupError(f"--at: {text} is over; the clock says {_minute(now_ms)} UTC")
    return at_ms


def _minute(ms: int) -> str:
    return options.iso(ms // 60_000 * 60_000)
