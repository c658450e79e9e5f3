"""What a day of a market leaves in a ledger: rows and bytes by table, and how long prune and vacuum take.

    python bench/ledger_day.py --symbols 300

A synthetic market goes through an engine as fast as it can, a day after three days of history; what it decides is
stored by the code that a run stores it with, a step a minute, messages are taken and marked as sent, and snapshots of
the clock, figures and the day's metrics are written. Only the wall clock is not that of a day. The strategy is `scalp`
with its bias on its own timeframe: for the larger one the history would have to be that of weeks.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection

from tapewatch import strategies
from tapewatch.config import load
from tapewatch.engine import Engine
from tapewatch.live.makeup import makeup_of
from tapewatch.live.telling import teller_of
from tapewatch.model import MINUTE_MS, BarClosed, Boundary, Context, Effect, Event, FetchContext, History
from tapewatch.simulator import SyntheticMarket
from tapewatch.simulator.listings import names
from tapewatch.store import Ledger, Step
from tapewatch.store.database import Database
from tapewatch.store.moments import Snapshot
from tapewatch.store.overview import overview
from tapewatch.store.retention import prune

DAY_MS = 86_400_000
QUARTER_MS = 15 * MINUTE_MS
HISTORY_MS = 3 * DAY_MS
CONFIG = """
universe: {include: ["*"]}
strategies:
  scalp:
    timeframes: [1m, 5m]
    higher: {}
    long:
      vwap: close > vwap()
      cross: barssince(crossover(ema(close, fast), ema(close, slow))) < 2
      volume: volume > spike * sma(volume, 20)
      rsi: rsi_lo <= rsi(close, 6) <= rsi_hi
      bias: close > ema(close, 50)
channels: {out: {type: file, path: alerts.jsonl}}
alerts: {routes: [{channels: [out]}]}
"""
#: What is followed still ends, so that a prune may take all of it.
ENDED = (
    "INSERT INTO outcomes (signal_id, venue, symbol, strategy, side, timeframe, state, close_ms, regime, result, price,"
    " ms, bars, ambiguous, late, recv_ms, source) SELECT id, venue, symbol, strategy, side, timeframe, state, close_ms,"
    " '', 'time', 1, close_ms, 1, 0, 0, close_ms, 'live' FROM signals"
    " WHERE id NOT IN (SELECT signal_id FROM outcomes)"
)
SAMPLE = {f"tapewatch_figure_{number}": number * 1.5 for number in range(200)}


def main() -> int:
    """Print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", type=int, default=300)
    parser.add_argument("--minutes", type=int, default=1_440)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tapewatch-day-") as folder:
        config = Path(folder, "tapewatch.yaml")
        config.write_text(CONFIG)
        _day(config, f"sqlite:///{folder}/tapewatch.db", arguments.symbols, arguments.minutes)
    return 0


def _day(path: Path, url: str, count: int, minutes: int) -> None:
    config = load([path], {})
    makeup = makeup_of(config, strategies.mappings(config.strategies), "all")
    engine, teller, ledger = makeup.engine(), teller_of(config), Ledger.open(url)
    symbols = names(count)
    market = SyntheticMarket(7, symbols, history_ms=HISTORY_MS, live_ms=minutes * MINUTE_MS)
    began_s, commits_s = time.perf_counter(), 0.0
    for close_ms, events in _minutes(market):
        effects = _decided(engine, events)
        if not isinstance(events[-1], Boundary):
            continue
        notices, messages = teller.tell(effects, close_ms)
        step = Step(makeup.venue, effects, messages, notices=notices, journal_id="day", position=close_ms)
        started_s = time.perf_counter()
        ledger.commit_step(step)
        commits_s += time.perf_counter() - started_s
        for message in messages:
            ledger.outbox.take(message.message_id, close_ms)
            ledger.outbox.mark_sent(message.message_id, close_ms + 5)
        ledger.figures.keep(close_ms, 1, SAMPLE)
        if not close_ms % QUARTER_MS:
            ledger.market.keep(makeup.venue, close_ms, _snapshots(engine, symbols, close_ms))
    ledger.metrics.update()
    print(f"{count} symbols, {minutes} minutes in {time.perf_counter() - began_s:.0f} s, commits {commits_s:.1f} s")
    ledger.close()
    _report(url)


def _minutes(market: SyntheticMarket) -> Iterator[tuple[int, list[Event]]]:
    """By close the events of a minute: of the day before as history, then as they come."""
    for row in zip(*(market.candles(name).bars() for name in market.symbols), strict=True):
        close_ms = row[0].close_ms
        if close_ms <= market.start_ms:
            yield close_ms, [History(bar) for bar in row]
        else:
            yield close_ms, [*(BarClosed(bar, close_ms + 200) for bar in row), Boundary(close_ms)]


def _decided(engine: Engine, events: Iterable[Event]) -> list[Effect]:
    """What follows, with an answer to all that is asked."""
    effects: list[Effect] = []
    for event in events:
        effects += engine.process(event)
    for asked in [effect for effect in effects if isinstance(effect, FetchContext)]:
        around = Context(
            asked.symbol, asked.close_ms, bid=1.0, ask=1.0001, bids_quote=5e4, asks_quote=4e4, buy_slippage_bps=1.0,
            sell_slippage_bps=1.0, slippage_quote=1e3, hourly_volume_quote=1e5, funding_rate=1e-4,
        )  # fmt: skip
        effects += engine.process(around)
    return effects


def _snapshots(engine: Engine, symbols: Iterable[str], at_ms: int) -> list[Snapshot]:
    seen = (engine.glance(symbol, at_ms) for symbol in symbols)
    return [
        Snapshot(one.symbol, one.price, 1e6, 1.5, one.outlook, one.natr, one.btc_correlation)
        for one in seen
        if one is not None
    ]


def _report(url: str) -> None:
    database = Database(url, create=False, busy_timeout_ms=5_000)
    found = overview(database)
    print(f"size {found['database_bytes'] / 1e6:.1f} MB")
    for name, rows in found["rows"].items():
        if rows > 1:
            print(f"{name:18} {rows:9,} rows {found['bytes'].get(name, 0) / 1e6:8.2f} MB")
    with database.write() as connection:  # everything has ended, and nothing is the newest of its kind
        connection.exec_driver_sql(ENDED)
    longest, took_s, gone = _pruned(database)
    print(f"prune {took_s:.1f} s, of which the longest transaction {longest * 1000:.0f} ms: {gone}")
    started_s = time.perf_counter()
    database.vacuum()
    print(f"vacuum {time.perf_counter() - started_s:.2f} s, then {overview(database)['database_bytes'] / 1e6:.1f} MB")
    database.close()


def _pruned(database: Database) -> tuple[float, float, dict[str, int]]:
    """The longest time that the write lock was held, the time of all, and the rows that went."""
    spans: list[float] = []
    write = database.write

    @contextmanager
    def timed() -> Iterator[Connection]:
        with write() as connection:
            started_s = time.perf_counter()
            yield connection
            spans.append(time.perf_counter() - started_s)

    database.write = timed  # type: ignore[method-assign]
    started_s = time.perf_counter()
    keep = dict.fromkeys(("signals", "alerts", "outcomes", "snapshots", "figures"), 1)
    gone = Counter(prune(database, keep, 2**60))
    gone.update(prune(database, keep, 2**60))  # signals go when their alerts have gone
    return max(spans), time.perf_counter() - started_s, {name: count for name, count in gone.items() if count}


if __name__ == "__main__":
    sys.exit(main())
