"""Events and journals that the tests of the journal start from."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from core_samples import bar
from tapewatch.model import (
    NAN,
    BarClosed,
    Boundary,
    Context,
    Correction,
    Event,
    Funding,
    History,
    Listing,
    Mute,
    Standing,
    Universe,
)
from tapewatch.store.entries import Begin
from tapewatch.store.journal import Journal, JournalSettings
from tapewatch.store.reading import batches

BEGIN = Begin("fingerprint", "0.1", "3.11", "binance_spot", 60_000, {"scalp": {"timeframes": ["1m"]}}, {})


def all_kinds() -> list[Event]:
    """One event of each kind, with numbers that are hard to keep."""
    odd = bar(3, 1e308, quote_volume=NAN, trades=-0.0, taker_buy=5e-324)
    return [
        Mute("scalp", 7),
        History(bar(1, interval_ms=3_600_000, symbol="ÄÖÜ币USDT")),
        BarClosed(odd, 2**40),
        Boundary(5),
        Universe(1, (Standing("A", eligible=False, reason="thin"),), ("B",)),
        Universe(2, listings=(Listing("A", Decimal("0.01"), Decimal("1E+3"), Decimal("5.00")),), anew=("C",)),
        Funding("A", 3, -0.0),
        Context("A", 9, 1.5),
        Correction(bar(1), odd, 3),
    ]


def minutes(count: int, first: int = 0) -> list[Event]:
    """Closed minutes."""
    return [BarClosed(bar(number, 100.0 + number), 10_000 + number) for number in range(first, first + count)]


def opened(folder: Path, **settings: float) -> Journal:
    """The journal of a folder."""
    return Journal.open(folder, JournalSettings(**settings), lambda: 1_700_000_000_000)  # type: ignore[arg-type]


def begun(folder: Path, batches_: Sequence[Sequence[Event]] = (), **settings: float) -> Journal:
    """A new journal with batches in it."""
    journal = opened(folder, **settings)
    journal.start(BEGIN)
    for events in batches_:
        journal.append(events)
    return journal


def held(folder: Path, journal_id: str, from_position: int = 1) -> list[Event]:
    """What can be read, without an end that is cut off."""
    return [event for batch in batches(folder, journal_id, from_position) for event in batch.events]
