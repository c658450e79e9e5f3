"""`tapewatch report`: what a ledger has of the paper account and of the alerts, as one HTML file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapewatch.cli import options
from tapewatch.cli.setup import DEFAULT_PATHS, ConfigOption
from tapewatch.errors import SetupError

if TYPE_CHECKING:
    from tapewatch.archive.candles import Candles
    from tapewatch.config import Config
    from tapewatch.store import Ledger
    from tapewatch.study.ledger_report import Kept
    from tapewatch.study.quality import Judged

    Times = tuple[int | None, int | None]


def report(
    out: Annotated[Path, typer.Option(help="The file, FILE.html; one that is there is replaced.")],
    config: ConfigOption = None,
    from_: Annotated[str | None, typer.Option("--from", help="Begin of the period: ISO (UTC) or ms.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Its end, excluded: ISO (UTC) or ms.")] = None,
) -> None:
    """Write the paper account, its trades, and how alerts did and were delivered, to one HTML file.

    Example: tapewatch report -c tapewatch.yaml --out report.html
    """
    from tapewatch.config import load
    from tapewatch.store import Ledger
    from tapewatch.study.document import check_file, write_whole
    from tapewatch.study.ledger_report import render

    times = options.period_ms(from_, to)
    check_file("--out", out, (".html",))
    loaded = load(config or DEFAULT_PATHS, os.environ)
    with closing(Ledger.open(loaded.ledger.address, create=False)) as ledger:
        kept = _kept(loaded, ledger, times)
        page = render(kept, _candles(loaded, {row["symbol"] for row in kept.positions}), _stops(ledger))
    write_whole("--out", out, page.encode())
    sys.stdout.write(f"{out}: {options.counted(len(kept.positions), 'trade')}, {len(kept.messages):,} messages\n")


def _kept(loaded: Config, ledger: Ledger, times: Times) -> Kept:
    from tapewatch.model import DAY_MS
    from tapewatch.study.ledger_report import Kept

    venue, (from_ms, to_ms) = loaded.exchange.venue, times

    def inside(ms: int) -> bool:
        return (from_ms is None or ms >= from_ms) and (to_ms is None or ms < to_ms)

    closed = [row for row in ledger.paper.positions(venue, states=("closed",)) if inside(row["closed_ms"])]
    closed.sort(key=lambda row: (row["entry_ms"], row["symbol"]))
    days = ledger.paper.days(venue)
    return Kept(
        venue=venue,
        asked=_asked(loaded, times),
        account=_account(ledger.paper.account(venue), days, times),
        days=[day for day in days if inside(day["day_ms"]) and inside(day["day_ms"] + DAY_MS - 1)],
        positions=closed,
        still_open=len(ledger.paper.positions(venue, states=("open",))),
        skipped=ledger.paper.skipped(venue) if times == (None, None) else {},
        judged=_judged(loaded, ledger, times),
        told=ledger.deliveries.told(venue, *times),
        messages=ledger.deliveries.messages(*times),
        attempts=ledger.deliveries.attempts(*times),
    )


def _account(account: dict[str, Any] | None, days: Sequence[Mapping[str, Any]], times: Times) -> dict[str, Any] | None:
    """The account as of the period: what it began with, and what it was at the end, both at ends of UTC days."""
    from tapewatch.model import DAY_MS

    from_ms, to_ms = times
    if account is None:
        return None
    found = dict(account)
    if from_ms is not None:
        before = [day["equity"] for day in days if day["day_ms"] + DAY_MS <= from_ms]
        found["start_cash"] = before[-1] if before else account["start_cash"]
        found["started_ms"] = max(account["started_ms"], from_ms)
    if to_ms is not None and account["at_ms"] >= to_ms:
        over = [day for day in days if day["day_ms"] + DAY_MS <= to_ms]
        found["equity"] = over[-1]["equity"] if over else account["start_cash"]
        found["at_ms"] = max(over[-1]["day_ms"] + DAY_MS if over else 0, found["started_ms"])
    return found


def _judged(loaded: Config, ledger: Ledger, times: Times) -> list[Judged]:
    """How the signals did that passed, as `alerts score` says it."""
    from tapewatch.cli.score import Asked, found_in, grouped, sentences
    from tapewatch.live.makeup import cost_bps_of
    from tapewatch.study.quality import Judged

    venue = loaded.exchange.venue
    cost_bps = cost_bps_of(None if loaded.paper is None else loaded.paper.trading)
    groups = grouped(ledger.scores.ended(venue=venue, from_ms=times[0], to_ms=times[1]))
    baselines = ledger.scores.baselines(venue)
    found = [found_in(group, baselines, Asked("passed", None, cost_bps, by_regime=False)) for group in groups]
    return [Judged(list(sentences(one, options=False)), one.scores, one.strength) for one in found]


def _asked(loaded: Config, times: Times) -> list[tuple[str, str]]:
    from_ms, to_ms = times
    begun, ended = (None if ms is None else f"{options.iso(ms)} UTC" for ms in times)
    period = "all of it" if from_ms is None and to_ms is None else f"{begun or 'the begin'} to {ended or 'now'}"
    return [
        ("Venue", loaded.exchange.venue),
        ("Strategies", ", ".join(loaded.strategies) or "none"),
        ("Period", f"{period}: trades by their end, days of the account that are wholly in it, signals by the close of "
         "their bar, alerts and messages by when they were raised"),
        ("Kept", "Alerts and messages are in the ledger for as long as `ledger.keep` says, by default seven days"),
    ]  # fmt: skip


def _stops(ledger: Ledger) -> Callable[[str], float | None]:
    def stop(signal_id: str) -> float | None:
        found = list(ledger.stored_signals(ids=[signal_id]))
        return found[0]["stop"] if found else None

    return stop


def _candles(loaded: Config, symbols: set[str]) -> Callable[[str], Candles | None]:
    """Those that a run has recorded of these symbols: in the archive, and in the journal what is not there yet."""
    from tapewatch.archive import reader

    root, venue = loaded.archive_folder, loaded.exchange.venue

    @cache
    def journaled() -> dict[str, Any]:
        from tapewatch.live.compact import candles, mark_of
        from tapewatch.store.segments import segment_paths

        found: dict[str, Any] = {}
        for path in segment_paths(loaded.journal_folder):
            if mark_of(path).exists():
                continue
            with suppress(OSError):  # a run has just removed it
                for symbol, columns in candles(path).items():
                    if symbol in symbols:
                        found.setdefault(symbol, []).append(columns)
        return found

    @cache
    def of(symbol: str) -> Candles | None:
        stored = None
        with suppress(SetupError):
            stored = reader.series(root, venue, symbol, "1m")
        return _joined(venue, symbol, stored, journaled().get(symbol, ()))

    return of


def _joined(venue: str, symbol: str, stored: Candles | None, more: Sequence[Any]) -> Candles | None:
    """Candles of the archive and columns of the journal as one series; what is stored stays."""
    import numpy as np

    from tapewatch.archive.candles import VALUES, Candles
    from tapewatch.model import MINUTE_MS

    open_ms = [np.array(columns.open_ms, np.int64) for columns in more]
    values = {name: [np.array(columns.values[name], np.float64) for columns in more] for name in VALUES}
    if stored is not None:
        open_ms.insert(0, stored.open_ms)
        for name, parts in values.items():
            parts.insert(0, getattr(stored, name))
    if not open_ms:
        return None
    times, rows = np.unique(np.concatenate(open_ms), return_index=True)  # the first of equal ones
    columns: dict[str, Any] = {name: np.concatenate(parts)[rows] for name, parts in values.items()}
    return Candles(venue, symbol, MINUTE_MS, times, **columns)
