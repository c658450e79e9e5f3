"""`tapewatch replay`: the journal of a run through a fresh engine, and whether the ledger holds what it says."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapewatch.cli import options
from tapewatch.cli.asked import From, To
from tapewatch.cli.setup import ConfigOption, configuration

if TYPE_CHECKING:
    from tapewatch.config import Config
    from tapewatch.live.replay import Player, Verification


def replay(
    config: ConfigOption = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare with the ledger, bit for bit; exit 1 when something differs.")
    ] = False,
    from_: From = None,
    to: To = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout: a line per signal, or the result.")] = False,
) -> None:
    """Feed the journal of a run to a fresh engine and list its signals, or compare them with the ledger.

    It only reads, and works while the run is on.

    Example: tapewatch replay -c tapewatch.yaml --verify
    """
    from_ms, to_ms = options.period_ms(from_, to)
    loaded = configuration(config)
    if not verify:
        _list(loaded.journal_folder, from_ms, to_ms, as_json=as_json)
        return
    from tapewatch.live.replay import verify as compared
    from tapewatch.store import Ledger

    ledger = Ledger.open(loaded.ledger.address, create=False)
    try:
        with _progress() as progress:
            result = compared(
                _folders(loaded), ledger, loaded.exchange.venue, from_ms=from_ms, to_ms=to_ms, progress=progress
            )
    finally:
        ledger.close()
    _print_result(result, as_json=as_json)
    if not result.equal:
        raise typer.Exit(1)


def _folders(config: Config) -> list[Path]:
    """Where decisions are journaled: of positions that a process of their own keeps, too."""
    from tapewatch.live.roles import journal_of

    of_positions = journal_of(config, "positions")
    return [config.journal_folder, *([of_positions] if of_positions.exists() else [])]


def _list(folder: Path, from_ms: int | None, to_ms: int | None, *, as_json: bool) -> None:
    from tapewatch.cli.signals import print_signals
    from tapewatch.live.replay import Player

    player = Player(folder)
    print_signals(_signals(player, from_ms, to_ms), as_json=as_json)
    for gap in player.gaps:
        sys.stderr.write(f"tapewatch: {gap}\n")
    if player.gaps:
        raise typer.Exit(1)


def _signals(player: Player, from_ms: int | None, to_ms: int | None) -> Iterator[dict[str, Any]]:
    """What the engines say, in the form of `signals --stored`; each signal once."""
    import msgspec

    from tapewatch.model import Judged

    seen = set()
    for said in player.play():
        for judged in said.effects:
            if not isinstance(judged, Judged):
                continue
            signal = judged.signal
            early = from_ms is not None and signal.close_ms < from_ms
            if early or (to_ms is not None and signal.close_ms >= to_ms) or signal.id in seen:
                continue
            seen.add(signal.id)
            decided = {name: getattr(judged, name) for name in ("state", "late", "recv_ms", "alert_id")}
            yield msgspec.json.decode(msgspec.json.encode(signal)) | decided


def _print_result(result: Verification, *, as_json: bool) -> None:
    if as_json:
        options.print_json(
            {
                "events": result.events,
                "signals": result.signals,
                "verdicts": result.verdicts,
                "trades": result.trades,
                "outcomes": result.outcomes,
                "equal": result.equal,
                "differences": result.differences,
                "pruned": result.pruned,
            }
        )
        return
    counted = options.counted
    found = "all equal" if result.equal else counted(len(result.differences), "difference")
    events, signals = counted(result.events, "event"), counted(result.signals, "signal")
    verdicts = counted(result.verdicts, "verdict")
    trades = f", {counted(result.trades, 'paper trade')}" if result.trades else ""
    ended = f", {counted(result.outcomes, 'outcome')}" if result.outcomes else ""
    sys.stdout.write(f"{events}, {signals}, {verdicts}{trades}{ended}: {found}\n")
    if result.pruned:
        sys.stdout.write(f"{counted(result.pruned, 'signal')} of the ledger from before the journal\n")
    for line in result.differences:
        values = f"  {line['field'] or line['what']}: live {line['live']}, replayed {line['replayed']}"
        sys.stdout.write(f"  {line['reason']:<18} {line['id']}{'' if line['what'] == 'journal' else values}\n")


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """A function that shows how many events were played; nothing is shown when stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda _events: None
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield lambda events: status.update(f"{events:,} events")
