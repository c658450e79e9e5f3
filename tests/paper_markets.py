"""Markets written minute by minute, and what a backtest makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from command_line import store
from core_samples import MONDAY_MS, mapping
from tapewatch.archive import funding
from tapewatch.model import MINUTE_MS, Bar
from tapewatch.paper.instruments import Instrument
from tapewatch.strategy import Strategy, from_mapping
from tapewatch.study.backtest import Backtest, Plan, Result
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


def run(request: Request, strategy: Strategy, account: Account, coin: Instrument = COIN) -> Result:
    """The result, which is the same without the gate: of one symbol that comes straight from the columns."""
    gated, every = (backtest_of(request, strategy, account, coin, gate=gate).run() for gate in (True, False))
    assert comparable(gated) == comparable(every)
    return gated


def comparable(result: Result) -> Result:
    """A result that equals every other that is the same."""
    return replace(result, trades=list(result.trades))


def exits(result: Result) -> list[tuple[int, float, str]]:
    """(minute, price, reason) of every exit, trade by trade."""
    return [
        ((part.ms - MONDAY_MS) // MINUTE_MS, part.price, part.reason) for trade in result.trades for part in trade.exits
    ]


def entries(result: Result) -> list[tuple[int, float, float]]:
    """(minute, price, quantity) of every entry."""
    return [((trade.entry_ms - MONDAY_MS) // MINUTE_MS, trade.entry_price, trade.quantity) for trade in result.trades]
