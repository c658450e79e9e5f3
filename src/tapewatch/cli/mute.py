"""`tapewatch mute`: silence a symbol or a strategy for a while."""

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
    from tapewatch.config.schema import Universe


def mute(
    target: Annotated[str | None, typer.Argument(help="A symbol or a strategy; without one, what is muted.")] = None,
    for_: Annotated[str | None, typer.Option("--for", help="How long, as 30m, 8h or 2d; default 1h.")] = None,
    off: Annotated[bool, typer.Option("--off", help="End it now.")] = False,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per muted symbol or strategy.")] = False,
) -> None:
    """Send no alerts of a symbol or strategy for a while; its signals are still stored.

    A run that is on follows within seconds.

    Example: tapewatch mute BTCUSDT --for 8h
    """
    from tapewatch import strategies
    from tapewatch.config import load
    from tapewatch.store import Ledger

    loaded = load(config or DEFAULT_PATHS, os.environ)
    now_ms = time.time_ns() // 1_000_000
    if target is not None:
        known = [*loaded.universe.include, *loaded.strategies]
        if target not in known and not _may_be_watched(target, loaded.universe):
            from tapewatch.strategy.expression import did_you_mean

            hint = did_you_mean(target, [*known, *strategies.shipped()])
            raise SetupError(f"'{target}' is neither a watched symbol nor a configured strategy{hint}")
    lasting_ms = _lasting_ms(target, for_, off=off)
    ledger = Ledger.open(loaded.ledger.address)
    try:
        if target is not None:
            ledger.mute(target, now_ms + lasting_ms)
        muted = {name: until_ms for name, until_ms in sorted(ledger.mutes().items()) if until_ms > now_ms}
    finally:
        ledger.close()
    for name, until_ms in muted.items():
        if as_json:
            options.print_json({"target": name, "until_ms": until_ms})
        else:
            sys.stdout.write(f"{name} is muted until {options.iso(until_ms // 60_000 * 60_000)} UTC\n")
    if not muted and not as_json:
        sys.stdout.write("nothing is muted\n")


def _lasting_ms(target: str | None, for_: str | None, *, off: bool) -> int:
    """For how long from now. Raises SetupError, also where the options contradict each other."""
    from tapewatch.strategy.definition import duration_ms

    if target is None and (off or for_ is not None):
        raise SetupError("--off: say what is to be heard again" if off else "--for: say what is to be muted")
    if off and for_ is not None:
        raise SetupError("--off ends it now; it takes no --for")
    try:
        lasting_ms = duration_ms("1h" if for_ is None else for_)
    except ValueError:
        lasting_ms = 0
    if not lasting_ms:
        raise SetupError(f"--for: {for_!r} is no duration as 30m, 8h or 2d")
    return 0 if off else lasting_ms


def _may_be_watched(symbol: str, universe: Universe) -> bool:
    """Whether patterns may choose it: who is watched by them, only a run knows."""
    from tapewatch.universe import is_pattern, matching

    patterns = tuple(filter(is_pattern, universe.include))
    return symbol.endswith(tuple(universe.quotes)) and matching(patterns, symbol) is not None
