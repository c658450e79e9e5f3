"""`tapewatch replay`: the journal of a run through a fresh engine, and whether the ledger holds what it says."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapewatch.cli import options
from tapewatch.cli.setup import ConfigOption, configuration

if TYPE_CHECKING:
    from tapewatch.live.replay import Verification


def replay(
    config: ConfigOption = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare with the ledger, bit for bit; exit 1 when something differs.")
    ] = False,
    from_: Annotated[str | None, typer.Option("--from", help="First close: ISO (UTC) or ms.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="End of closes, excluded: ISO (UTC) or ms.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout: a line per signal, or the result.")] = False,
) -> None:
    """Feed the journal of a run to a fresh engine and list its signals, or compare them with the ledger.

    It only reads, and works while the run is on.

    Example: tapewatch replay -c tapewatch.yaml --verify
    """
    from_ms, to_ms = options.moment_ms(from_, "--from"), options.moment_ms(to, "--to")
    loaded = configuration(config)
    folder = loaded.journal_folder
    if not verify:
        from tapewatch.cli.signals import print_signals

        print_signals(_signals(folder, from_ms, to_ms), as_json=as_json)
        return
    from tapewatch.live.replay import verify as compared
    from tapewatch.store import Ledger

    ledger = Ledger.open(loaded.ledger.url, create=False)
    try:
        result = compared(folder, ledger, loaded.exchange.venue, from_ms=from_ms, to_ms=to_ms, progress=_progress())
    finally:
        ledger.close()
    _print_result(result, as_json=as_json)
    if not result.equal:
        raise typer.Exit(1)


def _signals(folder: Path, from_ms: int | None, to_ms: int | None) -> Iterator[dict[str, Any]]:
    """What the engines say, in the form of `signals --stored`; each signal once."""
    import msgspec

    from tapewatch.live.replay import Player

    player, seen = Player(folder), set()
    for said in player.play():
        for judged in said.judged:
            signal = judged.signal
            early = from_ms is not None and signal.close_ms < from_ms
            if early or (to_ms is not None and signal.close_ms >= to_ms) or signal.id in seen:
                continue
            seen.add(signal.id)
            decided = {name: getattr(judged, name) for name in ("state", "late", "recv_ms", "alert_id")}
            yield msgspec.json.decode(msgspec.json.encode(signal)) | decided
    for gap in player.gaps:
        sys.stderr.write(f"tapewatch: {gap}\n")


def _print_result(result: Verification, *, as_json: bool) -> None:
    if as_json:
        options.print_json(
            {
                "events": result.events,
                "signals": result.signals,
                "verdicts": result.verdicts,
                "trades": 0,
                "equal": result.equal,
                "differences": result.differences,
                "pruned": result.pruned,
            }
        )
        return
    outcome = "all equal" if result.equal else f"{len(result.differences)} differences"
    sys.stdout.write(f"{result.events} events, {result.signals} signals, {result.verdicts} verdicts: {outcome}\n")
    if result.pruned:
        sys.stdout.write(f"{result.pruned} signals of the ledger are from before the journal\n")
    for line in result.differences:
        values = f"{line['field'] or line['what']}: live {line['live']}, replayed {line['replayed']}"
        sys.stdout.write(f"  {line['reason']:<18} {line['id']}  {values}\n")


def _progress() -> Any:
    """A function that shows how many events were played; nothing is shown when stderr is not a terminal."""
    if not sys.stderr.isatty():
        return lambda _events: None
    from rich.console import Console
    from rich.status import Status

    status = Status("", console=Console(stderr=True))
    status.start()
    return lambda events: status.update(f"{events:,} events")
