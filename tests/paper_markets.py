"""Markets written minute by minute, and what a backtest makes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from msgspec import structs

from command_line import store
from core_samples import MONDAY_MS, mapping
from tapewatch.archive import funding
from tapewatch.archive.reader import series
from tapewatch.engine import Engine
from tapewatch.model import (
    MINUTE_MS,
    AccountState,
    Bar,
    BarClosed,
    BookFailed,
    Boundary,
    EntriesPaused,
    Event,
    Fill,
    Funding,
    Listing,
    Position,
    StepFailed,
    Universe,
)
from tapewatch.outcomes import OutcomeSettings
from tapewatch.paper.instruments import Instrument
from tapewatch.paper.rules import NO_BAR, SKIPPED
from tapewatch.paper.settings import TradingSettings
from tapewatch.strategy import Strategy, from_mapping
from tapewatch.study.backtest import Backtest, Plan, Result
from tapewatch.study.parity import compare
from tapewatch.study.settings import Account
from tapewatch.study.signals import Request

VENUE = "binance_spot"
#: A cent, a thousandth of a coin, and five quote units at least.
COIN = Instrument(Decimal("0.01"), Decimal("0.001"), Decimal(5))
#: Minutes in which nothing happens, after which everything that a strategy reads is settled.
CALM = 700
#: A bar of just this volume is a signal of `asked`.
ASKS = {1: 777.0, -1: 888.0}


@dataclass
class Tape:
    """A market of minutes that begins with a calm; prices are whole cents."""

    symbol: str = "AAAUSDT"
    price: int = 10_000
    minute: int = 0
    bars: list[Bar] = field(default_factory=list)

    def __post_init__(self) -> None:
        """The calm."""
        self.calm(CALM)

    def bar(self, *prices: int, volume: float = 10.0) -> Tape:
        """A bar: its open (the last close where three are given), high, low and close."""
        opened, high, low, close = prices if len(prices) == 4 else (self.price, *prices)
        open_ms = MONDAY_MS + self.minute * MINUTE_MS
        cents = (opened / 100, high / 100, low / 100, close / 100)
        self.bars.append(Bar(self.symbol, MINUTE_MS, open_ms, *cents, volume, volume * close / 100))
        self.minute += 1
        self.price = close
        return self

    def calm(self, minutes: int, volume: float = 10.0) -> Tape:
        """Nothing happens."""
        for _ in range(minutes):
            self.bar(self.price, self.price, self.price, volume=volume)
        return self

    def to(self, price: int, volume: float = 10.0) -> Tape:
        """A bar from the last close to this price, and no further on either side."""
        return self.bar(max(self.price, price), min(self.price, price), price, volume=volume)

    def ask(self, side: int = 1) -> Tape:
        """A bar in which nothing happens but that `asked` fires."""
        return self.calm(1, volume=ASKS[side])

    def silence(self, minutes: int) -> Tape:
        """No bar at all."""
        self.minute += minutes
        return self


def asked(**changes: Any) -> Strategy:
    """A strategy that fires where a tape asks it to, with a stop of 2 and a target of 4."""
    sides = {"long": {"asked": f"volume == {ASKS[1]}"}, "short": {"asked": f"volume == {ASKS[-1]}"}}
    targets = [{"at": "4", "share": "100%"}]
    whole = sides | {"stop": "2", "targets": targets, "time_limit": 10_000, "higher": None} | changes
    return from_mapping("asked", mapping(**whole))


def write(root: Path, tapes: Sequence[Tape], payments: Sequence[tuple[int, float]] = ()) -> Request:
    """An archive of these markets, with funding at (minute, rate) for all of them."""
    for tape in tapes:
        store(root, tape.bars, venue=VENUE)
        if payments:
            rates = {"time": [MONDAY_MS + at * MINUTE_MS for at, _ in payments], "rate": [rate for _, rate in payments]}
            funding.merge(root, VENUE, tape.symbol, pl.DataFrame(rates))
    return Request(root, VENUE, [tape.symbol for tape in tapes])


def backtest_of(
    request: Request, strategy: Strategy, account: Account, coin: Instrument = COIN, *, gate: bool = True
) -> Backtest:
    """As `tapewatch backtest` makes it, every symbol such a coin."""
    return Backtest(Plan(strategy, request, account, dict.fromkeys(request.symbols, coin), gate))


def run(
    request: Request, strategy: Strategy, account: Account, coin: Instrument = COIN, *, blocked: bool = False
) -> Result:
    """The result of a backtest, which is the same in the book of a run to which the same candles come one by one.

    Unless the gate has `blocked` something it is the same without it too: of one symbol straight from the columns.
    """
    gated, every = (backtest_of(request, strategy, account, coin, gate=gate).run() for gate in (True, False))
    assert (comparable(gated) == comparable(every)) is not blocked
    compare_with_a_run(gated, request, strategy, account, coin)
    return gated


def compare_with_a_run(
    result: Result, request: Request, strategy: Strategy, account: Account, coin: Instrument
) -> None:
    """Every fill, every reason, and the money to the last unit."""
    scorings = [request.scoring] if request.scoring is not None else []
    engine = Engine(
        VENUE, [strategy], paper=TradingSettings(**asdict(account)), outcomes=OutcomeSettings(), scorings=scorings
    )
    fills: dict[str, list[Fill]] = {}
    positions: dict[str, Position] = {}
    paused: list[EntriesPaused] = []
    end = None
    for event in events_of(request, account, coin):
        for effect in engine.process(event):
            assert not isinstance(effect, BookFailed | StepFailed)
            if isinstance(effect, Fill):
                fills.setdefault(effect.trade_id, []).append(effect)
            elif isinstance(effect, Position):
                positions[effect.trade_id] = effect
            elif isinstance(effect, EntriesPaused):
                paused.append(effect)
            elif isinstance(effect, AccountState):
                end = effect
    closed = [
        {
            **structs.asdict(one),
            "net": one.gross - one.fees - one.funding,
            "fills": [structs.asdict(fill) for fill in fills[one.trade_id]],
        }
        for one in positions.values()
        if one.state == "closed"
    ]
    assert compare(closed, result.trades).differences == ()
    assert [(one.why, one.since_ms, one.until_ms) for one in paused] == [
        (one.why, one.since_ms, one.until_ms) for one in result.pauses
    ]
    assert sum(one.state == "open" for one in positions.values()) == result.still_open
    refused = Counter(one.reason for one in positions.values() if one.state == "skipped")
    assert (
        refused + Counter({SKIPPED[NO_BAR]: sum(one.state == "pending" for one in positions.values())})
        == result.skipped
    )
    assert end is not None
    assert float(end.equity) == pytest.approx(result.equity[-1], rel=1e-9)
    assert end.cash == end.start_cash + end.gross - end.fees - end.funding
    assert float(end.funding) == pytest.approx(result.funding, rel=1e-9)


def events_of(request: Request, account: Account, coin: Instrument) -> Iterator[Event]:
    """What a run would have had: minute by minute funding, then the bars of all symbols, then their boundary."""
    listings = tuple(Listing(symbol, coin.tick, coin.step, coin.least_notional) for symbol in request.symbols)
    yield Universe(MONDAY_MS, listings=listings)
    due: dict[int, list[Event]] = {}
    for symbol in request.symbols:
        for bar in series(request.root, VENUE, symbol, "1m").bars():
            due.setdefault(bar.close_ms, []).append(BarClosed(bar, bar.close_ms + 50))
        if account.kind == "perpetual":
            for ms, rate in funding.load(request.root, VENUE, symbol).select("time", "rate").iter_rows():
                due.setdefault(ms, []).insert(0, Funding(symbol, ms, rate))
    for close_ms in sorted(due):
        yield from due[close_ms]
        yield Boundary(close_ms)


def comparable(result: Result) -> Result:
    """A result that equals every other that is the same."""
    return replace(result, trades=list(result.trades), returns=result.returns.tolist())  # type: ignore[arg-type]


def exits(result: Result) -> list[tuple[int, float, str]]:
    """(minute, price, reason) of every exit, trade by trade."""
    return [
        ((part.ms - MONDAY_MS) // MINUTE_MS, part.price, part.reason) for trade in result.trades for part in trade.exits
    ]


def entries(result: Result) -> list[tuple[int, float, float]]:
    """(minute, price, quantity) of every entry."""
    return [((trade.entry_ms - MONDAY_MS) // MINUTE_MS, trade.entry_price, trade.quantity) for trade in result.trades]
