"""A day on which something breaks every minute, played by a simulator in this process to a `tapewatch run`."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import polars as pl

from run_harness import MINUTE_MS, Process, configure, fetch, health_url, series_of
from tapewatch.model import BarClosed
from tapewatch.simulator import ChangedMarket, Market, Simulator, changes, export, load_faults
from tapewatch.simulator.limits import Limits
from tapewatch.store.reading import batches, segments

#: More than any machine keeps up with: simulated time waits for the run.
RATE = 60_000.0
SEED = 11
#: The exchange counts weight by the wall clock, where this day has minutes: what a day allows, in a few of them.
WEIGHT_PER_MINUTE = 600_000
#: A run whose waits are as short as its day. What the exchange asks for by `Retry-After` it waits all the same.
HASTE = """
import dataclasses
from tapewatch.feeds import gateway
from tapewatch.live import feeds
patient = feeds.feed_settings
def hasty(config):
    return dataclasses.replace(
        patient(config), backoff_s=(0.05, 0.1, 0.2), rest_backoff_s=(0.02, 0.05, 0.1), settle_wall_s=0.1, tick_s=0.02,
        breaker_s=(0.1, 0.2), recheck_s=(0.1, 0.2, 0.5),
    )
feeds.feed_settings = hasty
gateway.RETRY_AFTER_S[403] = gateway.REGION_S = 0.3
"""

#: How many symbols a fault of single symbols strikes: few enough of a whole market for what F2 asks of such a day.
_STRUCK = 2
_SOME = "symbols: SOME"
#: Of some symbols the exchange says two things of a bar, and which of them came first is a matter of luck.
DISPUTED = 12
_DISPUTED = "symbols: DISPUTED"
_BRIEF = ("for: 5s", "for: 20s")
#: What breaks in most minutes: the kind, and for each further key what may be drawn.
MOSTLY: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "duplicate": (("for: 1m", "for: 2m"),),
    "missing_close": ((_SOME, "probability: 0.005"),),
    "second_close": ((_DISPUTED,),),
    "http_5xx": (_BRIEF, ("probability: 0.5", "probability: 1.0")),
    "late_close": (("for: 30s", "for: 3m"), (_SOME,)),
    "reorder": (("for: 1m",), (_SOME,)),
    "http_429": (("for: 5s",),),
    "malformed": ((_SOME,),),
    "correction": ((f"for: 2s, {_SOME}", _DISPUTED),),
    "array": ((_SOME,),),
    "http_truncated": (_BRIEF,),
    "extra": (("for: 1m",),),
    "skew": (("for: 1m",), ("offset: 900ms", "offset: -2s")),
    "http_busy": (_BRIEF,),
    "volume": (("for: 7m",), ("factor: 0.1", "factor: 5"), (_SOME,)),
}
#: What breaks every `RARELY_EVERY` minutes: mostly connections, of which the exchange allows only so many.
RARELY: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "drop": (_BRIEF,),
    "stall": (("for: 1m", "for: 2m"), (_SOME,)),
    "silence": (("for: 5m", "for: 9m"), (_SOME,)),
    "lag": (("for: 2m, delay: 500ms", "for: 20s, delay: 10s"),),
    "outage": (("for: 2m", "for: 6m"), (_SOME,)),
    "choke": (_BRIEF,),
    "shutdown": (_BRIEF,),
    "http_403": (("for: 5s",),),
    "age": (),
    "refuse": (("for: 30s",),),
    "http_451": (("for: 5s",),),
    "http_418": (("for: 1s",),),
}
RARELY_EVERY = 8
KINDS = frozenset((*MOSTLY, *RARELY))


def script(symbols: tuple[str, ...], minutes: int) -> str:
    """A fault every minute, each kind in turn; the second, for whom and for how long are drawn from the seed."""
    draw = random.Random(SEED)
    lines, turns = [], Counter[str]()
    for minute in range(1, minutes):
        kinds, key = (RARELY, "rarely") if minute % RARELY_EVERY == 0 else (MOSTLY, "mostly")
        kind = list(kinds)[turns[key] % len(kinds)]
        turns[key] += 1
        options = "".join(f", {draw.choice(choice)}" for choice in kinds[kind])
        for name, some in (("SOME", draw.sample(symbols, _STRUCK)), ("DISPUTED", symbols[-DISPUTED:])):
            options = options.replace(name, f"[{', '.join(some)}]")
        lines.append(f"- {{kind: {kind}, at: {minute * 60 + draw.randrange(5, 30)}s{options}}}")
    return "\n".join(lines)


@dataclass(frozen=True)
class Day:
    """What was played, and what came of it.

    Attributes:
        served: an archive of every bar that the exchange had.
        faults: how often each kind struck.
        breaches: limits of the exchange that the run broke.
        availability: bars processed in time, of all that were due.
        code: the run's exit code.
        log: what it wrote.
    """

    served: Path
    faults: Counter[str]
    breaches: Counter[tuple[str, str]]
    availability: float
    code: int
    log: str


async def play(folder: Path, market: Market, start_ms: int, minutes: int, within_s: float, **sections: object) -> Day:
    """Play so many minutes of a market from `start_ms` on to a run, configured as the harness does."""
    rules_file = folder / "faults.yaml"
    rules_file.write_text(script(market.symbols, minutes))
    rules = load_faults(rules_file)
    market.last_ms = start_ms + minutes * MINUTE_MS
    served = folder / "served"
    export(ChangedMarket(market, changes(rules, SEED, start_ms, market.last_ms)), served)
    limits = Limits(weight_per_minute=WEIGHT_PER_MINUTE)
    simulator = Simulator(market, rate=RATE, start_ms=start_ms, faults=rules, limits=limits, seed=SEED, at_end="hold")
    await simulator.start()
    try:
        hosts = {"venue": market.venue, "rest_url": simulator.rest_url, "ws_url": simulator.ws_url}
        configure(folder, "", market.symbols, exchange=hosts, **sections)
        run = Process(folder, "run", "run", "-c", str(folder / "tapewatch.yaml"), program=HASTE)
        try:
            bars = {symbol: had(served, symbol, start_ms, market.last_ms) for symbol in market.symbols}
            last_ms = {symbol: int(rows[-1][0]) for symbol, rows in bars.items() if rows}
            async with asyncio.timeout(within_s):
                while run.code is None and not await asyncio.to_thread(_complete, folder, last_ms):  # noqa: ASYNC110
                    await asyncio.sleep(1.0)
            assert run.code is None, run.log
            metrics = await asyncio.to_thread(lambda: fetch(f"{health_url(run)}/metrics")[1])
            code = await asyncio.to_thread(run.stop)
        finally:
            run.kill()
        books = simulator.books
        return Day(served, books.faults, books.breaches, _availability(metrics), code, run.log)
    finally:
        await simulator.stop()


def journaled(folder: Path) -> Iterator[BarClosed]:
    """Every live bar that entered the engine of the folder's run, in order."""
    journal = folder / "tapewatch.db.journal"
    firsts = {segment.journal_id: segment.first for segment in reversed(segments(journal))}
    for identity, first in firsts.items():
        for batch in batches(journal, identity, first):
            yield from (event for event in batch.events if isinstance(event, BarClosed))


def had(served: Path, symbol: str, start_ms: int, end_ms: int) -> list[tuple[float, ...]]:
    """The bars of a symbol that the exchange had in [start, end): open time, prices, volume."""
    frame = pl.read_parquet(sorted((served / "binance_spot" / quote(symbol) / "1m").glob("*.parquet")))
    rows = frame.filter(pl.col("open_time").is_between(start_ms, end_ms, closed="left"))
    return rows.select("open_time", "open", "high", "low", "close", "volume").rows()


def _complete(folder: Path, last_ms: Mapping[str, int]) -> bool:
    """Whether the last bar that the exchange had of every symbol has been processed."""
    series = series_of(folder)
    return all((series.get((symbol, MINUTE_MS), (0, None))[1] or 0) >= ms for symbol, ms in last_ms.items())


def _availability(metrics: str) -> float:
    due, in_time = (
        float(re.findall(rf"^tapewatch_bars_{name}_total (\S+)$", metrics, re.MULTILINE)[0])
        for name in ("due", "in_time")
    )
    return in_time / due
