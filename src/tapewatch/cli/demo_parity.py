"""What the demo's paper account did, beside a backtest of the very candles that were played."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from tapewatch.model import BarClosed, Event, Listing, Universe

if TYPE_CHECKING:
    from tapewatch.config import Config
    from tapewatch.simulator import Market
    from tapewatch.store import SeriesState
    from tapewatch.study.parity import Parity
    from tapewatch.study.trades import Trade

#: More bars than this are searched by compiled columns, whatever compiling them takes.
FEW_BARS = 200_000


@dataclass
class Played:
    """What the engine was told: from when to when bars were live, and how symbols are traded."""

    first_close_ms: int = 0
    last_close_ms: int = 0
    bars: int = 0
    listings: dict[str, Listing] = field(default_factory=dict)

    def take(self, events: Iterable[Event]) -> None:
        """Events, in order."""
        for event in events:
            if isinstance(event, BarClosed):
                self.bars += 1
                close_ms = event.bar.close_ms
                self.first_close_ms = min(self.first_close_ms or close_ms, close_ms)
                self.last_close_ms = max(self.last_close_ms, close_ms)
            elif isinstance(event, Universe):
                self.listings.update((one.symbol, one) for one in event.listings)


@dataclass(frozen=True)
class Outcome:
    """Closed trades, what they brought, and how they compare."""

    trades: int
    net: Decimal
    parity: Parity


def outcome(config: Config, market: Market, folder: Path) -> Outcome:
    """Compare what is in the ledger with a backtest; imports what that needs, so it comes after the run."""
    from tapewatch.store import Ledger
    from tapewatch.study.parity import compare

    venue = config.exchange.venue
    ledger = Ledger.open(config.ledger.address, create=False)
    try:
        stored = ledger.paper.positions(venue, states=("closed",))
        series = ledger.series_states(venue)
    finally:
        ledger.close()
    net = sum((Decimal(row["net"]) for row in stored), Decimal(0))
    return Outcome(len(stored), net, compare(stored, _trades(config, market, series, folder)))


def _played(config: Config) -> Played:
    """From the run's journal."""
    from tapewatch.store.reading import batches, segments

    played, journal = Played(), config.journal_folder
    first = segments(journal)[0]
    for batch in batches(journal, first.journal_id, first.first):
        played.take(batch.events)
    return played


def _trades(config: Config, market: Market, series: Iterable[SeriesState], folder: Path) -> Iterable[Trade]:
    """Those of a backtest that begins where the run did, on candles that are written under `folder`."""
    played = _played(config)
    if not played.bars or config.paper is None:
        return []
    from tapewatch import strategies
    from tapewatch.paper.instruments import Instrument
    from tapewatch.study.backtest import Backtest, Plan
    from tapewatch.study.parity import account_of
    from tapewatch.study.signals import Request

    starts: dict[int, int] = {}
    for state in series:
        known_ms = starts.get(state.interval_ms, state.history_start_ms)
        starts[state.interval_ms] = min(known_ms, state.history_start_ms)
    first_ms, end_ms = played.first_close_ms, played.last_close_ms + 1
    symbols = _written(market, folder, min(starts.values()), first_ms, end_ms)
    if not symbols:
        return []
    request = Request(folder, market.venue, symbols, from_ms=first_ms, to_ms=end_ms, live_ms=first_ms, starts=starts)
    (strategy,) = strategies.configured(config.strategies)
    instruments = {
        symbol: Instrument(one.tick, one.step, one.least_notional) for symbol, one in played.listings.items()
    }
    plan = Plan(strategy, request, account_of(config.paper), instruments)
    return Backtest(plan, evaluator="interpreted" if played.bars < FEW_BARS else "auto").run().trades


def _written(market: Market, folder: Path, from_ms: int, live_ms: int, end_ms: int) -> list[str]:
    """Write the candles as they were served, with the volumes that the source lacks; returns whose went on live."""
    from tapewatch.archive import writer
    from tapewatch.model import INTERVAL_NAMES
    from tapewatch.simulator.tape import Tape

    symbols = []
    for symbol in market.symbols:
        candles = Tape(market.candles(symbol)).base.slice(from_ms, end_ms)
        if len(candles.slice(live_ms, end_ms)):
            writer.merge(folder, market.venue, symbol, INTERVAL_NAMES[candles.interval_ms], candles)
            symbols.append(symbol)
    return symbols
