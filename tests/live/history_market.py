"""A market of hourly candles over the turn of a year, served as the exchange serves its history."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from simulated import serving

from tapewatch.archive import reader
from tapewatch.archive.candles import VALUES, Candles
from tapewatch.download import Done, Job, Listener, Order, Summary
from tapewatch.model import DAY_MS
from tapewatch.simulator import FaultRule, Simulator

HOUR_MS = 3_600_000
#: The candles begin on 2024-11-28; the simulated present is 2025-02-03 12:00.
FIRST_MS, NOW_MS = 1_732_752_000_000, 1_738_584_000_000


class HourMarket:
    """Hourly candles of two symbols.

    Args:
        holes: opens that neither symbol has.
    """

    venue = "binance_spot"
    symbols = ("BTCUSDT", "币安USDT")
    first_ms, last_ms = FIRST_MS, NOW_MS + DAY_MS

    def __init__(self, holes: tuple[int, int] = (0, 0)) -> None:
        self._holes = holes

    def candles(self, symbol: str) -> Candles:
        """The same candles each time."""
        rng = np.random.default_rng([11, self.symbols.index(symbol)])
        open_ms = np.arange(self.first_ms, self.last_ms, HOUR_MS)
        size = len(open_ms)
        close = np.round(100 + np.cumsum(rng.normal(0, 0.5, size)), 2)
        opened = np.r_[close[0], close[:-1]]
        high, low = np.maximum(opened, close) + 0.25, np.minimum(opened, close) - 0.25
        volume = np.round(rng.uniform(1, 9, size), 5)
        columns = (opened, np.round(high, 2), np.round(low, 2), close, volume)
        further = (np.round(volume * close, 8), np.ceil(volume * 3), np.round(volume / 3, 5))
        keep = (open_ms < self._holes[0]) | (open_ms >= self._holes[1])
        return Candles(self.venue, symbol, HOUR_MS, open_ms[keep], *(one[keep] for one in (*columns, *further)))


@asynccontextmanager
async def history(*faults: dict[str, Any], market: Any = None, **options: Any) -> AsyncIterator[Simulator]:
    """A simulator of that market whose clock stands, with faults."""
    rules = tuple(FaultRule.model_validate(fault) for fault in faults)
    async with serving(market or HourMarket(), **{"start_ms": NOW_MS, "faults": rules, **options}) as simulator:
        yield simulator


class Heard(Listener):
    """Keeps what a download reports."""

    def __init__(self) -> None:
        self.done: dict[tuple[str, str], Done] = {}
        self.notes: list[str] = []
        self.steps = 0

    def expected(self, steps: int) -> None:
        """More to do."""
        self.steps += steps

    def advanced(self, steps: int = 1) -> None:
        """Less to do."""
        self.steps -= steps

    def finished(self, done: Done) -> None:
        """Keep it."""
        self.done[done.symbol, done.interval] = done

    def note(self, text: str) -> None:
        """Keep it."""
        self.notes.append(text)


async def fetch(simulator: Simulator, root: Path, **changes: Any) -> tuple[Summary, Heard]:
    """A download of BTCUSDT's hours from the simulator, with changes to the order."""
    order: dict[str, Any] = {
        "root": root,
        "venue": "binance_spot",
        "symbols": ["BTCUSDT"],
        "intervals": ["1h"],
        "from_ms": FIRST_MS,
        "to_ms": None,
        "source": "auto",
        "funding": False,
        "refresh": False,
        "workers": 4,
        "rest_url": simulator.rest_url,
        "bulk_url": simulator.rest_url,
    }
    heard = Heard()
    summary = await Job(Order(**(order | changes)), heard).run()
    assert heard.steps == 0
    return summary, heard


def equals_the_market(root: Path, symbol: str = "BTCUSDT", *, venue: str = "binance_spot", market: Any = None) -> bool:
    """Whether the stored hours have the very bits of the market's, from its beginning to the present."""
    stored = reader.load(root, venue, symbol, "1h")
    wanted = (market or HourMarket()).candles(symbol).slice(to_ms=NOW_MS - HOUR_MS)
    same = np.array_equal(stored.open_ms, wanted.open_ms)
    return same and all(np.array_equal(getattr(stored, name), getattr(wanted, name)) for name in VALUES)


def contents(root: Path, ending: str = ".parquet") -> dict[str, bytes]:
    """Every stored file."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob(f"*{ending}")}


def asked(simulator: Simulator) -> dict[str, int]:
    """How often each kind of thing was asked for and had."""
    counts: dict[str, int] = {}
    for (path, status), count in simulator.books.requests.items():
        if status == 200:
            kind = next((kind for kind in ("monthly", "daily", "klines", "fundingRate") if kind in path), path)
            counts[kind] = counts.get(kind, 0) + count
    return counts
